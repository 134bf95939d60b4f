/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob-cli [-l RATE] [-m RATE] [-t SECONDS] [-w HEX] [-p MS] [-L RATE] PROGRAM URLS PATH BYTES <
 * RUNS: reads the runs
 * ("OFFSET LENGTH" a line) of a blob through the agent's fetcher and PROGRAM, which is proa-fetch,
 * and prints what came as lines of JSON. -l limit, -m and -t minimum rate and its window. With -w
 * the SHA-256 of the whole run must be this; else the mirror is blamed and it is read again. -p
 * hold it for so many milliseconds in the middle, -L another limit from then on.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/progress.h"
#include "tests/test.h"
#include "updater/agent/fetcher.h"
#include "updater/agent/fetcher_core.h"

enum { RUNS_MAX = 100000 };

/* What happens in the middle. */
struct middle {
	struct fetcher *f;
	uint64_t at, pause_ms, limit, until;
	bool begun, set;
};

static int on_wait(void *arg, int fd, short events, int timeout_ms)
{
	struct middle *m = arg;
	struct pollfd p = { .fd = fd, .events = events };

	if (m->f && !m->begun && fetcher_received(m->f) >= m->at) {
		m->begun = true;
		m->until = clock_mono_ms() + m->pause_ms;
		if (m->set)
			fetcher_limit(m->f, m->limit);
	}
	if (m->f)
		fetcher_pause(m->f, m->begun && clock_mono_ms() < m->until);
	return poll(&p, 1, timeout_ms);
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	printf("{\"note\": \"");
	for (; *text; text++)
		printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	printf("\"}\n");
}

static size_t read_in(struct image_run *runs)
{
	char line[128];
	size_t n = 0;

	while (n < RUNS_MAX && fgets(line, sizeof(line), stdin)) {
		char *end;

		runs[n].off = strtoull(line, &end, 10);
		runs[n].len = strtoull(end, NULL, 10);
		CHECK(runs[n].len > 0, "bad run '%s'", line);
		n++;
	}
	return n;
}

static int fetch(const struct image_source *s, const struct image_run *runs, size_t n,
		 char hex[SHA256_HEX_MAX], struct err *e)
{
	static uint8_t part[65536];
	struct digest *sum;
	uint8_t out[DIGEST_MAX];
	int r = s->begin(s->arg, runs, n, e);

	CHECK(digest_new(DIGEST_SHA256, NULL, 0, &sum, NULL) == 0, "digest");
	for (size_t i = 0; i < n && r == 0; i++) {
		for (uint64_t at = 0; at < runs[i].len && r == 0;) {
			uint64_t left = runs[i].len - at;
			size_t k = left < sizeof(part) ? (size_t)left : sizeof(part);

			r = s->read(s->arg, part, k, e);
			if (r == 0)
				digest_add(sum, part, k);
			at += k;
		}
	}
	digest_end(sum, out);
	digest_free(sum);
	hex_format(out, SHA256_BYTES, hex);
	return r;
}

static long rss_peak(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	struct middle middle = { .at = 1 << 20 };
	struct fetcher_link link = { .note = on_note, .wait = on_wait, .arg = &middle };
	AUTO_FREE struct image_run *runs = calloc(RUNS_MAX, sizeof(*runs));
	const char *want = NULL;
	char hex[SHA256_HEX_MAX] = "";
	struct image_source src;
	struct err e = ERR_INIT;
	uint64_t start;
	size_t n;
	int opt, r;

	while ((opt = getopt(argc, argv, "l:m:t:w:p:L:")) != -1) {
		if (opt == 'l')
			link.limit = strtoull(optarg, NULL, 10);
		else if (opt == 'm')
			link.min_rate = strtoull(optarg, NULL, 10);
		else if (opt == 't')
			link.min_time_s = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			middle.pause_ms = strtoull(optarg, NULL, 10);
		else if (opt == 'w')
			want = optarg;
		else
			middle.limit = strtoull(optarg, NULL, 10);
		middle.set |= opt == 'L';
	}
	CHECK(argc - optind == 4 && runs, "usage: blob-cli [OPTION...] PROGRAM URLS PATH BYTES");
	link.program = argv[optind];
	link.url = argv[optind + 1];
	n = read_in(runs);
	AUTO_FETCHER *f = NULL;
	CHECK(fetcher_new(&link, &f, &e) == 0, "%s", e.text);
	CHECK(fetcher_source(f, argv[optind + 2], strtoull(argv[optind + 3], NULL, 10), &src, &e) ==
		      0,
	      "%s", e.text);
	middle.f = f;
	start = clock_mono_ms();
	do
		r = fetch(&src, runs, n, hex, &e);
	while (r == 0 && want && strcmp(hex, want) != 0 &&
	       fetcher_blame(f, &src, "another SHA-256"));
	for (size_t i = 0; i < fetcher_mirrors(f); i++) {
		struct fetcher_mirror m = fetcher_mirror(f, i);

		printf("{\"mirror\": \"%s\", \"received\": %" PRIu64 ", \"bad\": %s}\n", m.url,
		       m.received, m.error[0] ? "true" : "false");
	}
	printf("{\"sha256\": \"%s\", \"received\": %" PRIu64 ", \"requests\": %" PRIu64
	       ", \"ms\": %" PRIu64 ", \"rss\": %ld, \"own\": %ld}\n",
	       hex, fetcher_received(f), fetcher_requests(f), clock_mono_ms() - start,
	       rss_peak(f->pid), rss_peak(getpid()));
	if (r < 0)
		printf("{\"error\": \"%d %s\"}\n", (int)e.kind, e.text);
	return 0;
}
