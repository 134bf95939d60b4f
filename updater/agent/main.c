/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "updater/agent/agent.h"
#include "updater/agent/loop.h"

static void usage(FILE *to)
{
	(void)fputs(
		"Usage: proad [--config FILE]             serve org.proa.Host1 on the system bus\n"
		"       proad --direct [--config FILE]    serve one peer on descriptor 3 (proactl "
		"--direct)\n"
		"       proad --settle [--config FILE]    after a boot: note what became of the "
		"update\n"
		"\n"
		"Proa's agent: writes and proves releases, adds boot entries, remembers.\n"
		"\n"
		"  --config FILE  read this instead of proa.conf(5) and its drop-ins\n"
		"  --help, --version\n"
		"\n"
		"Exit status: 0 done, 1 failed, 2 usage. People use proactl(1).\n",
		to);
}

/* proa-fetch lies beside this program, in the build as on a host. */
static int beside(const char *name, char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return -1;
	out[n] = '\0';
	slash = strrchr(out, '/');
	if (!slash || (size_t)(slash - out) + strlen(name) + 2 > PATH_MAX)
		return -1;
	(void)snprintf(slash + 1, PATH_MAX - (size_t)(slash + 1 - out), "%s", name);
	return 0;
}

struct options {
	bool direct, settle;
	const char *config;
};

/* 0: go on; else an exit status + 1. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "direct", no_argument, NULL, 'd' },       { "settle", no_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },      { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (c) {
		case 'd':
			o->direct = true;
			break;
		case 's':
			o->settle = true;
			break;
		case 'c':
			o->config = optarg;
			break;
		case 'h':
			usage(stdout);
			return 1;
		case 'V':
			puts("proad " PROA_VERSION);
			return 1;
		default:
			usage(stderr);
			return 3;
		}
	}
	if (optind < argc || (o->direct && o->settle)) {
		usage(stderr);
		return 3;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .direct = false };
	char fetch[PATH_MAX], hook[PATH_MAX];
	struct agent a = { .sys = sys_linux() };
	struct err e = ERR_INIT;
	int r = parse(argc, argv, &o), fd = -1;

	if (r > 0)
		return r - 1;
	log_open("proad");
	a.config_file = o.config;
	if (o.direct) {
		if (sd_listen_fds(1) != 1) {
			(void)fputs("proad: --direct needs a peer on descriptor 3: use proactl "
				    "--direct\n",
				    stderr);
			return 2;
		}
		fd = SD_LISTEN_FDS_START;
		if (beside("proa-fetch", fetch) == 0)
			a.fetch_program = fetch;
		if (beside("proa-hook", hook) == 0)
			a.hook_program = hook;
	}
	r = o.settle ? loop_settle(&a, &e) : loop_run(&a, fd, &e);
	agent_done(&a);
	if (r < 0) {
		log_err(&e, o.settle ? "settle" : NULL);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
