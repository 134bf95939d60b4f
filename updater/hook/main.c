/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "updater/hook/ask.h"
#include "updater/hook/run.h"

enum { LINES_MAX = 40 };

static void usage(FILE *to)
{
	(void)fputs("Usage: proa-hook    (started by proa-hook.socket, or by proactl --direct)\n"
		    "\n"
		    "Runs the hooks that proad asks for: executables below /etc/proa/hooks and\n"
		    "/usr/lib/proa/hooks, in pre-stage.d, pre-reboot.d, post-boot.d and\n"
		    "post-fallback.d. See proa-hook(8).\n"
		    "\n"
		    "  --help, --version\n"
		    "\n"
		    "Exit status: 0 done, 1 a hook failed, 2 usage.\n",
		    to);
}

static void on_ended(void *arg, const char *what, const char *output, size_t n)
{
	unsigned lines = 0;

	(void)arg;
	log_event(LOG_INFO, MSG_HOOK, NULL, "%s", what);
	for (const char *p = output, *end = output + n; p < end && lines < LINES_MAX; lines++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		char clean[400];

		log_event(LOG_INFO, NULL, NULL, "  %s", text_clean(p, len, clean, sizeof(clean)));
		p += len + 1;
	}
}

static int receive(int fd, struct hook_ask *ret, struct err *e)
{
	char packet[HOOK_PACKET_MAX];
	ssize_t n = recv(fd, packet, sizeof(packet), MSG_TRUNC);

	if (n < 0)
		return err_set(e, ERR_HOST, errno, "cannot read the request: %s", strerror(errno));
	if (n == 0 || (size_t)n > sizeof(packet))
		return err_set(e, ERR_INPUT, EBADMSG, "no request came");
	return hook_ask_parse(packet, (size_t)n, ret, e);
}

static int serve(int fd, bool *ret_ok, struct err *e)
{
	struct hook_answer a;
	struct hook_ask ask;
	AUTO_BUF b = BUF_INIT;
	int r = receive(fd, &ask, e);

	if (r < 0)
		return r;
	hook_run(&ask, fd, on_ended, NULL, &a);
	*ret_ok = a.ok;
	if (!a.ok)
		log_event(LOG_WARNING, MSG_HOOK, NULL, "%s", a.text);
	r = hook_answer_format(&a, &b, e);
	if (r < 0)
		return r;
	if (send(fd, b.p, b.n, MSG_NOSIGNAL) < 0)
		return err_set(e, ERR_HOST, errno, "nobody waits for the answer: %s",
			       strerror(errno));
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	bool ok = false;
	sigset_t set;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		usage(stdout);
		return EXIT_SUCCESS;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("proa-hook " PROA_VERSION);
		return EXIT_SUCCESS;
	}
	log_open("proa-hook");
	if (argc != 1 || sd_listen_fds(1) != 1 ||
	    sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_SEQPACKET, 0) <= 0) {
		usage(stderr);
		return 2;
	}
	/* who asked hangs up: then hooks are ended, not left behind */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	if (serve(SD_LISTEN_FDS_START, &ok, &e) < 0) {
		log_err(&e, "hooks");
		return EXIT_FAILURE;
	}
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
