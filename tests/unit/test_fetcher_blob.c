/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs over several mirrors: a proa-fetch at the other end whose mirrors are slow, away, wrong or
 * lying, and which answers several requests at once in any order.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/dice.h"
#include "tests/test.h"
#include "updater/agent/fetcher.h"
#include "updater/agent/fetcher_core.h"

#define FILE_N  ((size_t)3 << 20)
#define GROUP_N ((size_t)16 << 10) /* what the reader can prove at once */

enum nature {
	STEADY,   /* gives what is asked for */
	STREAM,   /* the same, but knows no ranges */
	UNTOLD,   /* the same, but does not say how long the file is */
	TAGGED,   /* the same, but each answer has another entity tag */
	FRESH,    /* becomes another file (with the same bytes) now and then */
	HONEST_N, /* those above give the file to whoever asks long enough */
	DOWN = HONEST_N,
	ABSENT, /* 404 */
	OTHER,  /* another length */
	FLAKY,  /* breaks off */
	LIAR,   /* wrong bytes */
	SLY,    /* wrong bytes, then it breaks off */
	NATURES,
};

/* What the peer saw; shared with it. */
struct seen {
	unsigned gets, cancels, flights_max, bad;
	uint64_t ahead_max;
};

static uint8_t *file;
static enum nature natures[MIRRORS_MAX];
static struct seen *seen;
/* --- the peer --- */

struct answer {
	uint64_t offset, at, end, cut;
	uint32_t id; /* 0: free */
	enum nature nature;
	bool head;
	char etag[WIRE_ETAG_MAX + 1];
};

static struct answer answers[WIRE_FLIGHT_MAX];
static unsigned version;

static void put(int fd, const struct wire_msg *m)
{
	struct err e = ERR_INIT;
	int r;

	while ((r = wire_send(fd, m, &e)) == -EAGAIN) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		(void)poll(&p, 1, 1000);
	}
	if (r < 0) /* the agent has left, as it may */
		_exit(0);
}

static void put_fail(int fd, struct answer *a, enum err_kind kind, uint32_t status, bool changed)
{
	struct wire_msg f = { .type = WIRE_FAIL, .id = a->id };

	f.fail.kind = kind;
	f.fail.status = status;
	f.fail.changed = changed;
	wire_text_set(f.fail.text, "it failed");
	put(fd, &f);
	a->id = 0;
}

static void take_get(const struct wire_msg *m)
{
	struct answer *a = NULL;
	uint64_t ahead = 0;
	unsigned n = 1;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++) {
		if (!answers[i].id && !a)
			a = &answers[i];
		if (!answers[i].id || answers[i].at == answers[i].end)
			continue;
		n++;
		ahead += answers[i].end - answers[i].at;
	}
	if (!a || m->get.url[8] != '/') {
		seen->bad++;
		return;
	}
	*a = (struct answer){ .id = m->id,
			      .nature = natures[m->get.url[7] - '0'],
			      .offset = m->get.offset,
			      .at = m->get.offset,
			      .end = m->get.length ? m->get.offset + m->get.length : FILE_N,
			      .cut = dice() % 400000 };
	memcpy(a->etag, m->get.etag, sizeof(a->etag));
	ahead += a->end - a->at;
	seen->gets++;
	if (n > seen->flights_max)
		seen->flights_max = n;
	if (n > 1 && a->nature != STREAM && ahead > seen->ahead_max)
		seen->ahead_max = ahead;
}

static void take(int fd, const struct wire_msg *m)
{
	if (m->type == WIRE_GET)
		take_get(m);
	for (size_t i = 0; m->type == WIRE_CANCEL && i < WIRE_FLIGHT_MAX; i++) {
		if (answers[i].id != m->id)
			continue;
		seen->cancels++;
		put_fail(fd, &answers[i], ERR_RETRY, 0, false);
	}
}

static void put_head(int fd, struct answer *a)
{
	struct wire_msg m = { .type = WIRE_HEAD, .id = a->id };
	bool stream = a->nature == STREAM && a->offset > 0;

	if (a->nature == TAGGED || (a->nature == FRESH && dice() % 50 == 0))
		version++;
	if (a->nature != UNTOLD)
		(void)snprintf(m.head.etag, sizeof(m.head.etag), "\"%d-%u\"", (int)a->nature,
			       a->nature == TAGGED || a->nature == FRESH ? version : 0);
	if (a->etag[0] && strcmp(a->etag, m.head.etag) != 0) {
		put_fail(fd, a, ERR_REFUSED, 200, true);
		return;
	}
	a->head = true;
	if (stream)
		a->at = 0;
	m.head.offset = a->at;
	m.head.total = a->nature == UNTOLD ? WIRE_UNKNOWN : FILE_N;
	if (a->nature == OTHER)
		m.head.total = FILE_N - 1 < a->end ? a->end : FILE_N - 1;
	if (a->nature == OTHER && m.head.total == FILE_N) {
		put_fail(fd, a, ERR_REFUSED, 206, false);
		return;
	}
	m.head.ranged = a->nature != STREAM;
	put(fd, &m);
}

static void put_data(int fd, struct answer *a)
{
	static uint8_t part[WIRE_DATA_MAX];
	uint64_t left = a->end - a->at;
	size_t n = 1 + (size_t)(dice() % (dice() % 4 ? WIRE_DATA_MAX : 100));
	struct wire_msg d = { .type = WIRE_DATA, .id = a->id };

	n = n < left ? n : (size_t)left;
	memcpy(part, file + a->at, n);
	if (a->nature == LIAR || a->nature == SLY)
		for (size_t i = 0; i < n; i++)
			part[i] ^= 0x55;
	d.data = (struct wire_data){ .offset = a->at, .p = part, .n = n };
	put(fd, &d);
	a->at += n;
}

static void step(int fd, struct answer *a)
{
	bool breaks = a->nature == FLAKY || a->nature == SLY;

	if (a->nature == ABSENT) {
		put_fail(fd, a, ERR_REFUSED, 404, false);
	} else if (a->nature == DOWN || (breaks && a->at - a->offset >= a->cut)) {
		put_fail(fd, a, ERR_RETRY, 0, false);
	} else if (!a->head) {
		put_head(fd, a);
	} else if (a->at < a->end) {
		put_data(fd, a);
	} else {
		struct wire_msg m = { .type = WIRE_END, .id = a->id };

		m.end.bytes = a->end - (a->nature == STREAM ? 0 : a->offset);
		put(fd, &m);
		a->id = 0;
	}
}

static _Noreturn void be_peer(int listener)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	static struct wire_msg m;
	struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	int fd = accept(listener, NULL, NULL);

	(void)alarm(100);
	put(fd, &hello);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		size_t busy = 0;
		int r;

		for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
			busy += answers[i].id != 0;
		(void)poll(&p, 1, busy ? 0 : -1);
		while ((r = wire_recv(fd, WIRE_AGENT, frame, &m, NULL)) == 1)
			take(fd, &m);
		if (r != -EAGAIN)
			_exit(r == 0 ? 0 : 1);
		for (size_t k = dice() % WIRE_FLIGHT_MAX, i = 0; i < WIRE_FLIGHT_MAX; i++) {
			struct answer *a = &answers[(k + i) % WIRE_FLIGHT_MAX];

			if (a->id) {
				step(fd, a);
				break;
			}
		}
	}
}

/* --- the agent --- */

struct lab {
	char dir[64], socket[96];
	int listener;
	pid_t pid;
	struct fetcher *f;
	unsigned notes, waits, pause_every;
};

static void on_note(void *arg, const char *text)
{
	((struct lab *)arg)->notes++;
	CHECK(text[0], "an empty note");
}

static int on_wait(void *arg, int fd, short events, int timeout_ms)
{
	struct lab *lab = arg;
	struct pollfd p = { .fd = fd, .events = events };

	lab->waits++;
	if (lab->pause_every && lab->f)
		fetcher_pause(lab->f, lab->waits % lab->pause_every == 0 &&
					      lab->waits < 4 * lab->pause_every);
	return poll(&p, 1, timeout_ms);
}

static void lab_start(struct lab *lab, unsigned mirrors)
{
	static const char urls[] = "http://0/ http://1/ http://2/ http://3/ http://4/ http://5/ "
				   "http://6/ http://7/";
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char url[sizeof(urls)];
	struct fetcher_link link = {
		.url = url, .note = on_note, .wait = on_wait, .arg = lab, .min_time_s = 10
	};
	struct err e = ERR_INIT;

	memset(lab, 0, sizeof(*lab));
	memset(seen, 0, sizeof(*seen));
	(void)snprintf(url, sizeof(url), "%.*s", (int)(mirrors * 10 - 1), urls);
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
		be_peer(lab->listener);
	link.socket = lab->socket;
	CHECK(fetcher_new(&link, &lab->f, &e) == 0, "%s", e.text);
	CHECK(fetcher_mirrors(lab->f) == mirrors, "%zu", fetcher_mirrors(lab->f));
}

static void lab_end(struct lab *lab)
{
	int status;

	fetcher_free(lab->f);
	(void)close(lab->listener);
	CHECK(waitpid(lab->pid, &status, 0) == lab->pid && WIFEXITED(status) &&
		      WEXITSTATUS(status) == 0,
	      "peer");
	CHECK(seen->bad == 0, "%u bad requests", seen->bad);
	CHECK(seen->flights_max <= FETCHER_FLIGHTS, "%u at once", seen->flights_max);
	CHECK(seen->ahead_max <= FETCHER_AHEAD, "%llu bytes at once",
	      (unsigned long long)seen->ahead_max);
	(void)unlink(lab->socket);
	(void)rmdir(lab->dir);
}

/* 0, or what read() or begin() said; *ret_at: how far it came (run and byte), in groups. */
static int read_groups(const struct image_source *s, const struct image_run *runs, size_t n,
		       struct image_run *ret_left, size_t *ret_left_n, bool *ret_wrong,
		       struct err *e)
{
	static uint8_t got[GROUP_N];
	int r = s->begin(s->arg, runs, n, e);

	*ret_wrong = false;
	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t at = runs[i].off, end = runs[i].off + runs[i].len;

		while (at < end) {
			size_t k = end - at < GROUP_N ? (size_t)(end - at) : GROUP_N;

			memcpy(ret_left, runs + i, (n - i) * sizeof(*runs));
			ret_left[0] = (struct image_run){ at, end - at };
			*ret_left_n = n - i;
			r = s->read(s->arg, got, k, e);
			*ret_wrong = r == 0 && memcmp(got, file + at, k) != 0;
			if (r < 0 || *ret_wrong)
				return r;
			at += k;
		}
	}
	return r;
}

/* As the agent does: what is wrong is blamed, and the rest is read again. 0 when all was right. */
static int fetch(struct lab *lab, const struct image_run *runs, size_t n, struct err *e)
{
	static struct image_run a[512], b[512];
	struct image_source s;
	int r = fetcher_source(lab->f, "blobs/sha256/x", FILE_N, &s, e);

	memcpy(a, runs, n * sizeof(*runs));
	while (r == 0) {
		size_t left = 0;
		bool wrong;

		r = read_groups(&s, a, n, b, &left, &wrong, e);
		if (r < 0 || !wrong)
			return r;
		if (!fetcher_blame(lab->f, &s, "its group does not hash"))
			return err_set(e, ERR_REFUSED, EBADMSG, "all lied");
		n = left;
		memcpy(a, b, n * sizeof(*a));
	}
	return r;
}

/* Rising and not touching; at most 500. */
static size_t make_runs(struct image_run *out)
{
	size_t n = 0, most = 1 + dice() % (dice() % 3 ? 30 : 500);
	uint64_t at = dice() % 50000;

	while (n < most && at < FILE_N) {
		uint64_t len = 1 + dice() % (dice() % 20 ? 20000 : 2000000);

		if (len > FILE_N - at)
			len = FILE_N - at;
		out[n++] = (struct image_run){ at, len };
		at += len + 1 + dice() % 100000;
	}
	return n;
}

static uint64_t runs_bytes(const struct image_run *runs, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += runs[i].len;
	return sum;
}

/* How many requests runs take when nothing goes wrong. */
static uint64_t runs_requests(const struct image_run *runs, size_t n)
{
	uint64_t step = runs_bytes(runs, n) / FETCHER_STEP_PART, count = 0;

	step = step < FETCHER_STEP_MIN ? FETCHER_STEP_MIN : step;
	for (size_t i = 0; i < n; i++)
		count += (runs[i].len + step - 1) / step;
	return count;
}

static void one_random(unsigned round)
{
	static struct image_run runs[512];
	unsigned mirrors = 1 + (unsigned)(dice() % 4);
	bool honest = false, plain = true;
	size_t n = make_runs(runs);
	struct lab lab;
	struct err e = ERR_INIT;
	int r;

	for (unsigned i = 0; i < mirrors; i++) {
		natures[i] = (enum nature)(dice() % (dice() % 2 ? HONEST_N : NATURES));
		honest |= natures[i] < HONEST_N;
		plain &= natures[i] == STEADY || natures[i] == UNTOLD;
	}
	lab_start(&lab, mirrors);
	lab.pause_every = dice() % 4 ? 0 : 20;
	r = fetch(&lab, runs, n, &e);
	CHECK(!honest || r == 0, "round %u: %s", round, e.text);
	CHECK(r == 0 || (e.kind != ERR_BUG && e.kind != ERR_HOST), "round %u: %s", round, e.text);
	if (plain && !lab.pause_every)
		CHECK(fetcher_received(lab.f) == runs_bytes(runs, n) &&
			      seen->gets == runs_requests(runs, n),
		      "round %u: %llu bytes for %llu, %u requests for %zu runs", round,
		      (unsigned long long)fetcher_received(lab.f),
		      (unsigned long long)runs_bytes(runs, n), seen->gets, n);
	lab_end(&lab);
}

/* Many small runs share round trips; a long one is asked for in parts, as a cut takes some. */
static void test_flights(void)
{
	static struct image_run runs[200];
	struct lab lab;
	struct err e = ERR_INIT;

	natures[0] = STEADY;
	for (size_t i = 0; i < 200; i++)
		runs[i] = (struct image_run){ i * 10000, 5000 };
	lab_start(&lab, 1);
	CHECK(fetch(&lab, runs, 200, &e) == 0, "%s", e.text);
	CHECK(seen->flights_max >= FETCHER_FLIGHTS, "%u at once", seen->flights_max);
	CHECK(fetcher_requests(lab.f) == 200, "%llu requests",
	      (unsigned long long)fetcher_requests(lab.f));
	lab_end(&lab);

	runs[0] = (struct image_run){ 0, FILE_N };
	lab_start(&lab, 1);
	CHECK(fetch(&lab, runs, 1, &e) == 0, "%s", e.text);
	CHECK(seen->gets > FETCHER_STEP_PART / 2 && seen->gets <= FETCHER_STEP_PART + 1 &&
		      seen->flights_max <= 3 && lab.notes == 0,
	      "%u requests, %u at once", seen->gets, seen->flights_max);
	lab_end(&lab);
}

/*
 * Held: what was under way is given up, and it goes on where it stopped. A pause between two
 * requests gives nothing up, so it is tried a few times.
 */
static void test_pause(void)
{
	const struct image_run all = { 0, FILE_N };
	bool held = false;

	natures[0] = STEADY;
	for (unsigned i = 0; !held; i++) {
		struct lab lab;
		struct err e = ERR_INIT;

		CHECK(i < 20, "never held");
		lab_start(&lab, 1);
		lab.pause_every = 10;
		CHECK(fetch(&lab, &all, 1, &e) == 0, "%s", e.text);
		held = lab.waits < 10 || seen->cancels > 0;
		CHECK(fetcher_received(lab.f) < 3 * FILE_N, "fetched again from the start");
		lab_end(&lab);
	}
}

/* What is known of each mirror, for people. */
static void test_told(void)
{
	const struct image_run run = { 5, 100000 };
	struct lab lab;
	struct err e = ERR_INIT;

	natures[0] = DOWN;
	natures[1] = LIAR;
	natures[2] = ABSENT;
	natures[3] = STEADY;
	lab_start(&lab, 4);
	CHECK(fetch(&lab, &run, 1, &e) == 0, "%s", e.text);
	CHECK(strstr(fetcher_mirror(lab.f, 0).error, "it failed"), "down");
	CHECK(strstr(fetcher_mirror(lab.f, 1).error,
		     "http://1/ gave wrong bytes of blobs/sha256/x"),
	      "%s", fetcher_mirror(lab.f, 1).error);
	CHECK(strstr(fetcher_mirror(lab.f, 2).error, "it failed"), "absent");
	CHECK(fetcher_mirror(lab.f, 3).error[0] == '\0' &&
		      strcmp(fetcher_mirror(lab.f, 3).url, "http://3/") == 0 &&
		      fetcher_mirror(lab.f, 3).received >= 80000,
	      "steady");
	CHECK(lab.notes >= 3, "%u notes", lab.notes);
	lab_end(&lab);

	natures[1] = natures[2];
	lab_start(&lab, 2);
	CHECK(fetch(&lab, &run, 1, &e) < 0 && e.kind == ERR_RETRY, "one may come back: %s", e.text);
	CHECK(strstr(e.text, "none of the 2 mirrors"), "%s", e.text);
	lab_end(&lab);
}

int main(void)
{
	const char *rounds = getenv("PROA_ROUNDS");
	unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 150;

	dice_seed();
	file = malloc(FILE_N);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(file && seen != MAP_FAILED, "memory");
	for (size_t i = 0; i < FILE_N; i++)
		file[i] = (uint8_t)(i * 2654435761u >> 13);
	test_flights();
	test_pause();
	test_told();
	for (unsigned i = 0; i < n; i++)
		one_random(i);
	free(file);
	return 0;
}
