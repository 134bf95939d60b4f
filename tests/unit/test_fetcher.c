/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's view of a repository, with a proa-fetch at the other end that tells the truth or not.
 */
#include "updater/agent/fetcher.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"
#include "updater/wire/wire.h"

#define FILE_N ((size_t)300000)

enum peer {
	GOOD,
	UNKNOWN_TOTAL, /* a server that does not say how long the file is */
	NO_RANGES,     /* answers every range with the whole file */
	SHORT,         /* END too early */
	SHORT_UNKNOWN, /* the same, and nobody said how long it should be */
	LONG_TOTAL,    /* another file than the one that was signed */
	SHORT_TOTAL,
	MIXED, /* data from another place */
	NOT_FOUND,
	FORBIDDEN,
	BROKEN, /* 500 */
	NOTED,  /* a NOTE before everything */
	FLOOD,  /* NOTEs and nothing else */
	GONE,   /* hangs up in the middle */
};

static uint8_t file[FILE_N];
static uint32_t pending[64]; /* the peer's transfers that have not ended */
static size_t n_pending;

static void put(int fd, const struct wire_msg *m)
{
	struct err e = ERR_INIT;
	int r;

	while ((r = wire_send(fd, m, &e)) == -EAGAIN)
		(void)usleep(1000);
	if (r < 0) /* the agent has left, as it may */
		_exit(0);
}

static void put_data(int fd, uint32_t id, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to;) {
		size_t n = to - at < 50000 ? (size_t)(to - at) : 50000;
		struct wire_msg d = { .type = WIRE_DATA, .id = id };

		d.data = (struct wire_data){ .offset = at, .p = file + at, .n = n };
		put(fd, &d);
		at += n;
	}
}

static void put_fail(int fd, uint32_t id, enum err_kind kind, uint32_t status, const char *text)
{
	struct wire_msg f = { .type = WIRE_FAIL, .id = id };

	f.fail.kind = kind;
	f.fail.status = status;
	wire_text_set(f.fail.text, text);
	put(fd, &f);
}

static void put_note(int fd, uint32_t id)
{
	struct wire_msg n = { .type = WIRE_NOTE, .id = id };

	wire_text_set(n.note.text, "trying again in 3 s");
	put(fd, &n);
}

static uint64_t total_of(enum peer p)
{
	if (p == LONG_TOTAL)
		return FILE_N + 1;
	if (p == SHORT_TOTAL)
		return FILE_N - 1;
	return p == UNKNOWN_TOTAL || p == SHORT_UNKNOWN ? WIRE_UNKNOWN : FILE_N;
}

static void put_file(int fd, uint32_t id, const struct wire_get *get, enum peer p)
{
	uint64_t from = p == NO_RANGES ? 0 : get->offset;
	uint64_t to = get->length ? get->offset + get->length : FILE_N;
	struct wire_msg m = { .type = WIRE_HEAD, .id = id };

	m.head = (struct wire_head){ .total = total_of(p),
				     .offset = from,
				     .ranged = p != NO_RANGES };
	if (to > get->max_bytes)
		to = get->max_bytes;
	put(fd, &m);
	if (p == NO_RANGES && get->offset > 0) {
		pending[n_pending++ % 64] = id; /* the agent will cancel */
		return;
	}
	if (p == GONE) {
		put_data(fd, id, from, from + (to - from) / 2);
		_exit(0);
	}
	if (p == SHORT || p == SHORT_UNKNOWN)
		to -= 1000;
	if (p == MIXED)
		from += 1000;
	put_data(fd, id, from, to);
	m = (struct wire_msg){ .type = WIRE_END, .id = id };
	m.end.bytes = to - from;
	put(fd, &m);
}

static void answer(int fd, const struct wire_msg *m, enum peer p)
{
	for (size_t i = 0; m->type == WIRE_CANCEL && i < n_pending && i < 64; i++)
		if (m->id == pending[i])
			put_fail(fd, m->id, ERR_RETRY, 0, "cancelled");
	if (m->type != WIRE_GET)
		return;
	if (p == NOTED)
		put_note(fd, m->id);
	for (unsigned i = 0; p == FLOOD && i < 100000; i++)
		put_note(fd, m->id);
	if (p == NOT_FOUND)
		put_fail(fd, m->id, ERR_INPUT, 404, "http://x/y: 404 Not Found");
	else if (p == FORBIDDEN)
		put_fail(fd, m->id, ERR_INPUT, 403, "http://x/y: 403 Forbidden");
	else if (p == BROKEN)
		put_fail(fd, m->id, ERR_RETRY, 500, "http://x/y: 500 Internal Server Error");
	else
		put_file(fd, m->id, &m->get, p);
}

static _Noreturn void be_peer(int listener, enum peer p)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	static struct wire_msg m;
	struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	struct err e = ERR_INIT;
	int fd = accept(listener, NULL, NULL);

	(void)alarm(60);
	put(fd, &hello);
	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		int r = poll(&wait, 1, -1) < 0 ? 0 : wire_recv(fd, WIRE_AGENT, frame, &m, &e);

		if (r == 1)
			answer(fd, &m, p);
		else if (r != -EAGAIN)
			_exit(r == 0 ? 0 : 1);
	}
}

struct lab {
	char dir[64], socket[96];
	int listener;
	pid_t pid;
	struct fetcher *f;
	unsigned notes;
};

static void on_note(void *arg, const char *text)
{
	struct lab *lab = arg;

	CHECK(strcmp(text, "trying again in 3 s") == 0, "%s", text);
	lab->notes++;
}

static void lab_start(struct lab *lab, enum peer p)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct fetcher_link link = { .url = "http://x/", .note = on_note, .arg = lab, .limit = 5 };
	struct err e = ERR_INIT;

	memset(lab, 0, sizeof(*lab));
	(void)snprintf(lab->dir, sizeof(lab->dir), "/tmp/test_fetcher.XXXXXX");
	CHECK(mkdtemp(lab->dir), "mkdtemp");
	(void)snprintf(lab->socket, sizeof(lab->socket), "%s/s", lab->dir);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", lab->socket);
	lab->listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	CHECK(bind(lab->listener, (const struct sockaddr *)&sa, sizeof(sa)) == 0 &&
		      listen(lab->listener, 1) == 0,
	      "socket");
	lab->pid = fork();
	if (lab->pid == 0)
		be_peer(lab->listener, p);
	link.socket = lab->socket;
	CHECK(fetcher_new(&link, &lab->f, &e) == 0, "%s", e.text);
}

static void lab_end(struct lab *lab)
{
	int status;

	fetcher_free(lab->f);
	(void)close(lab->listener);
	CHECK(waitpid(lab->pid, &status, 0) == lab->pid && WIFEXITED(status) &&
		      WEXITSTATUS(status) == 0,
	      "peer");
	(void)unlink(lab->socket);
	(void)rmdir(lab->dir);
}

static void test_file(enum peer p, int want, const char *word)
{
	struct lab lab;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	bool found = true;
	int r;

	lab_start(&lab, p);
	r = fetcher_file(lab.f, "metadata/timestamp.json", FILE_N, &b, &found, &e);
	CHECK(r == want, "peer %d: %d %s", (int)p, r, e.text);
	CHECK(!word || strstr(e.text, word), "peer %d: %s", (int)p, e.text);
	if (r == 0 && found)
		CHECK(b.n == FILE_N && memcmp(b.p, file, FILE_N) == 0, "peer %d", (int)p);
	CHECK(found == (p != NOT_FOUND && p != FORBIDDEN), "peer %d: found", (int)p);
	CHECK(lab.notes == (p == NOTED ? 1 : p == FLOOD ? 10000 : 0), "%u notes", lab.notes);
	lab_end(&lab);
}

/* The caller sees that a file is too long, and the next one comes whole. */
static void test_too_long(void)
{
	struct lab lab;
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF again = BUF_INIT;
	struct err e = ERR_INIT;
	bool found;

	lab_start(&lab, UNKNOWN_TOTAL);
	CHECK(fetcher_file(lab.f, "a", 100000, &b, &found, &e) == 0 && found, "%s", e.text);
	CHECK(b.n > 100000 && b.n <= 100001, "%zu", b.n);
	CHECK(fetcher_file(lab.f, "b", FILE_N, &again, &found, &e) == 0, "%s", e.text);
	CHECK(again.n == FILE_N, "%zu", again.n);
	lab_end(&lab);
}

/* In odd pieces. */
static int read_run(const struct image_source *s, const struct image_run *run, struct err *e)
{
	static uint8_t got[7777];
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < run->len;) {
		uint64_t left = run->len - at;
		size_t k = left < sizeof(got) ? (size_t)left : sizeof(got);

		r = s->read(s->arg, got, k, e);
		CHECK(r < 0 || memcmp(got, file + run->off + at, k) == 0, "at %llu",
		      (unsigned long long)(run->off + at));
		at += k;
	}
	return r;
}

/* 0 or what went wrong. */
static int read_runs(struct lab *lab, const struct image_run *runs, size_t n, struct err *e)
{
	struct image_source s;
	int r = fetcher_source(lab->f, "blobs/sha256/x", FILE_N, &s, e);

	if (r == 0)
		r = s.begin(s.arg, runs, n, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_run(&s, &runs[i], e);
	return r;
}

static const struct image_run three[] = { { 0, 20000 }, { 100000, 65537 }, { 299999, 1 } };
static const struct image_run late[] = { { 1, 10 }, { 250000, 50000 } };

static void test_source(enum peer p)
{
	const struct image_run all = { 0, FILE_N };
	struct lab lab;
	struct err e = ERR_INIT;

	lab_start(&lab, p);
	CHECK(read_runs(&lab, three, 3, &e) == 0, "peer %d: %s", (int)p, e.text);
	CHECK(read_runs(&lab, &all, 1, &e) == 0, "peer %d: %s", (int)p, e.text);
	CHECK(read_runs(&lab, late, 2, &e) == 0, "peer %d: %s", (int)p, e.text);
	if (p == GOOD) /* ranges are honoured: nothing else was fetched */
		CHECK(fetcher_received(lab.f) == 20000 + 65537 + 1 + FILE_N + 10 + 50000,
		      "%llu bytes", (unsigned long long)fetcher_received(lab.f));
	else /* each from the start once, for all runs together */
		CHECK(fetcher_received(lab.f) <= 3 * FILE_N + 20000, "%llu bytes",
		      (unsigned long long)fetcher_received(lab.f));
	lab_end(&lab);
}

/* A reader may stop anywhere and go on elsewhere. */
static void test_stop(enum peer p)
{
	const struct image_run all = { 0, FILE_N };
	struct image_source s;
	AUTO_BUF b = BUF_INIT;
	uint8_t got[100];
	bool found;
	struct lab lab;
	struct err e = ERR_INIT;

	lab_start(&lab, p);
	CHECK(fetcher_source(lab.f, "x", FILE_N, &s, &e) == 0, "%s", e.text);
	CHECK(s.begin(s.arg, &all, 1, &e) == 0, "%s", e.text);
	CHECK(s.read(s.arg, got, sizeof(got), &e) == 0, "%s", e.text);
	CHECK(fetcher_file(lab.f, "y", FILE_N, &b, &found, &e) == 0 && found, "%s", e.text);
	CHECK(b.n == FILE_N && memcmp(b.p, file, FILE_N) == 0, "a file after a source");
	CHECK(read_runs(&lab, late, 2, &e) == 0, "%s", e.text);
	CHECK(s.read(s.arg, got, 1, &e) < 0, "read past the runs");
	lab_end(&lab);
}

static void test_bad_source(enum peer p, int want, const char *word)
{
	struct lab lab;
	struct err e = ERR_INIT;
	int r;

	lab_start(&lab, p);
	r = read_runs(&lab, three, 3, &e);
	CHECK(r == want, "peer %d: %d %s", (int)p, r, e.text);
	CHECK(strstr(e.text, word), "peer %d: %s", (int)p, e.text);
	lab_end(&lab);
}

static void test_no_service(void)
{
	const struct fetcher_link none = { .url = "", .socket = "/nowhere" };
	const struct fetcher_link gone = { .url = "http://x/", .socket = "/nowhere/s" };
	struct fetcher *f;
	struct err e = ERR_INIT;

	CHECK(fetcher_new(&none, &f, &e) < 0 && strstr(e.text, "URL="), "%s", e.text);
	CHECK(fetcher_new(&gone, &f, &e) < 0 && strstr(e.text, "proa-fetch.socket"), "%s", e.text);
	CHECK(e.kind == ERR_HOST, "%s", e.text);
}

/* A child that never ends is ended. */
static void test_stubborn_child(void)
{
	const struct fetcher_link link = { .url = "http://x/", .program = "/usr/bin/yes" };
	struct fetcher *f;
	struct err e = ERR_INIT;

	(void)!freopen("/dev/null", "w", stdout);
	CHECK(fetcher_new(&link, &f, &e) == 0, "%s", e.text);
	fetcher_free(f);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "it was left behind");
}

int main(void)
{
	for (size_t i = 0; i < FILE_N; i++)
		file[i] = (uint8_t)(i * 2654435761u >> 13);
	test_file(GOOD, 0, NULL);
	test_file(UNKNOWN_TOTAL, 0, NULL);
	test_file(NO_RANGES, 0, NULL);
	test_file(NOTED, 0, NULL);
	test_file(NOT_FOUND, 0, NULL);
	test_file(FORBIDDEN, 0, NULL);
	test_file(SHORT, -EBADMSG, "misbehaved");
	test_file(MIXED, -EBADMSG, "misbehaved");
	test_file(BROKEN, -EREMOTEIO, "500");
	test_file(FLOOD, -EBADMSG, "nothing but notes");
	test_file(GONE, -EPIPE, "is gone");
	test_too_long();
	test_source(GOOD);
	test_source(UNKNOWN_TOTAL);
	test_source(NO_RANGES);
	test_stop(GOOD);
	test_stop(NO_RANGES);
	test_bad_source(SHORT, -EBADMSG, "misbehaved");
	test_bad_source(LONG_TOTAL, -EBADMSG, "larger than allowed");
	test_bad_source(SHORT_TOTAL, -EREMOTEIO, "the signed manifest says");
	test_bad_source(MIXED, -EBADMSG, "misbehaved");
	test_bad_source(NOT_FOUND, -ENOENT, "404");
	test_bad_source(BROKEN, -EREMOTEIO, "500");
	test_bad_source(FLOOD, -EBADMSG, "nothing but notes");
	test_bad_source(GONE, -EPIPE, "is gone");
	test_no_service();
	test_stubborn_child();
	return 0;
}
