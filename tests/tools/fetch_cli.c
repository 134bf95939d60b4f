/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch-cli PROGRAM [-a OPTION]... [-s MS] [-c BYTES] [-l RATE] [-r] SPEC...: starts proa-fetch as
 * the agent would and prints what it says. SPEC is OFFSET,LENGTH,MAX,FLAGS,ETAG,URL; all are asked
 * for at once. -a  option for proa-fetch     -s  sleep this long after each DATA -c  cancel a
 * request after this many bytes     -l  LIMIT, bytes per second -r  print the peak memory of
 * proa-fetch
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/hex.h"
#include "base/spawn.h"
#include "tests/test.h"
#include "updater/wire/client.h"

struct one {
	uint32_t id;
	uint64_t bytes;
	struct digest *sum;
	bool cancelled;
};

struct cli {
	struct wire_client *client;
	struct one one[WIRE_FLIGHT_MAX];
	unsigned n;
	uint64_t cancel, sleep_ms;
};

static void ask(struct cli *c, const char *spec)
{
	struct wire_get g = { .url = "" };
	struct err e = ERR_INIT;
	struct one *o = &c->one[c->n++];
	uint64_t number[4];
	const char *etag = spec, *url;

	CHECK(c->n <= WIRE_FLIGHT_MAX, "too many");
	for (size_t i = 0; i < 4; i++) {
		char *end;

		number[i] = strtoull(etag, &end, 10);
		CHECK(end > etag && *end == ',', "bad spec '%s'", spec);
		etag = end + 1;
	}
	g.offset = number[0];
	g.length = number[1];
	g.max_bytes = number[2];
	g.flags = (uint32_t)number[3];
	url = strchr(etag, ',');
	CHECK(url && (size_t)(url - etag) < sizeof(g.etag) && strlen(url) <= sizeof(g.url),
	      "bad spec '%s'", spec);
	memcpy(g.etag, etag, (size_t)(url - etag));
	(void)snprintf(g.url, sizeof(g.url), "%s", url + 1);
	CHECK(digest_new(DIGEST_SHA256, NULL, 0, &o->sum, &e) == 0, "%s", e.text);
	CHECK(wire_client_get(c->client, &g, &o->id, &e) == 0, "%s", e.text);
}

static void show_data(struct cli *c, struct one *o, const struct wire_data *d)
{
	struct timespec t = { .tv_sec = (time_t)(c->sleep_ms / 1000),
			      .tv_nsec = (long)(c->sleep_ms % 1000) * 1000000 };
	struct err e = ERR_INIT;

	digest_add(o->sum, d->p, d->n);
	o->bytes += d->n;
	if (c->sleep_ms)
		(void)nanosleep(&t, NULL);
	if (c->cancel && o->bytes >= c->cancel) {
		CHECK(wire_client_cancel(c->client, o->id, &e) == 0, "%s", e.text);
		o->cancelled = true;
		printf("%u cancelled bytes=%" PRIu64 "\n", o->id, o->bytes);
	}
}

static void show_end(struct one *o, const struct wire_end *end)
{
	uint8_t sum[DIGEST_MAX];
	char hex[SHA256_HEX_MAX];

	digest_end(o->sum, sum);
	hex_format(sum, SHA256_BYTES, hex);
	printf("%u end bytes=%" PRIu64 " requests=%u retries=%u sha256=%s\n", o->id, end->bytes,
	       end->requests, end->retries, hex);
}

static void show(struct cli *c, const struct wire_msg *m)
{
	struct one *o = &c->one[m->id - 1];

	CHECK(m->id >= 1 && m->id <= c->n && !o->cancelled, "id %u", m->id);
	if (m->type == WIRE_HEAD)
		printf("%u head total=%" PRId64 " offset=%" PRIu64 " ranged=%d etag=%s\n", m->id,
		       (int64_t)m->head.total, m->head.offset, m->head.ranged, m->head.etag);
	else if (m->type == WIRE_DATA)
		show_data(c, o, &m->data);
	else if (m->type == WIRE_END)
		show_end(o, &m->end);
	else if (m->type == WIRE_FAIL)
		printf("%u fail kind=%d status=%u bytes=%" PRIu64 " text=%s\n", m->id,
		       (int)m->fail.kind, m->fail.status, o->bytes, m->fail.text);
	else
		printf("%u note %s\n", m->id, m->note.text);
	(void)fflush(stdout);
}

static void show_memory(pid_t pid)
{
	char path[64], line[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	CHECK(f, "no %s", path);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			printf("0 rss kib=%lu\n", strtoul(line + 6, NULL, 10));
	(void)fclose(f);
}

static void finish(struct cli *c, pid_t pid)
{
	int status = 0;

	wire_client_free(c->client);
	CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
	printf("0 exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	for (unsigned i = 0; i < c->n; i++)
		digest_free(c->one[i].sum);
}

int main(int argc, char **argv)
{
	const char *child[32] = { argv[1] };
	struct cli c = { .n = 0 };
	struct err e = ERR_INIT;
	const struct wire_msg *m;
	bool memory = false;
	struct wire_limit limit = { .most = 0 };
	size_t args = 1;
	int fd, opt, r;
	pid_t pid;

	CHECK(argc > 2, "usage: fetch-cli PROGRAM [OPTION...] SPEC...");
	optind = 2;
	while ((opt = getopt(argc, argv, "a:s:c:l:r")) != -1) {
		if (opt == 'a' && args < 31)
			child[args++] = optarg;
		else if (opt == 's')
			c.sleep_ms = strtoull(optarg, NULL, 10);
		else if (opt == 'c')
			c.cancel = strtoull(optarg, NULL, 10);
		else if (opt == 'l')
			limit.most = strtoull(optarg, NULL, 10);
		else if (opt == 'r')
			memory = true;
	}
	CHECK(spawn_peer(child, SOCK_SEQPACKET, &pid, &fd, &e) == 0, "%s", e.text);
	CHECK(wire_client_new(fd, &c.client, &e) == 0, "%s", e.text);
	if (limit.most)
		CHECK(wire_client_limit(c.client, &limit, &e) == 0, "%s", e.text);
	for (int i = optind; i < argc; i++)
		ask(&c, argv[i]);
	while (wire_client_flights(c.client) > 0) {
		r = wire_client_next(c.client, 60000, &m, &e);
		if (r <= 0) {
			printf("0 error %s\n", r == 0 ? "timeout" : e.text);
			break;
		}
		show(&c, m);
	}
	if (memory)
		show_memory(pid);
	finish(&c, pid);
	return 0;
}
