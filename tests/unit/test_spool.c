/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes over blobs that are cut off anywhere, then taken up with a file that was torn, rotted, or
 * is of another release: what is read is always the blob, and what is there is not fetched again.
 */
#include "updater/agent/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "tests/dice.h"
#include "tests/test.h"

enum { BLOB = 300000, ROUNDS = 1000, RUNS = 12, HEAD = 40 };

/* A server with two blobs that hangs up after a while. */
struct server {
	const uint8_t *blob;
	struct image_run run[RUNS * 40];
	size_t n_runs, at_run;
	uint64_t at, given, most;
};

static uint8_t blobs[2][BLOB];
static char dir_name[] = "/tmp/proa-spool-XXXXXX";
static int dir;

static int server_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct server *s = arg;

	(void)e;
	CHECK(n > 0 && n <= sizeof(s->run) / sizeof(s->run[0]), "%zu runs", n);
	for (size_t i = 0; i < n; i++)
		CHECK(runs[i].len > 0 && runs[i].off + runs[i].len <= BLOB &&
			      (i == 0 || runs[i].off > runs[i - 1].off + runs[i - 1].len),
		      "runs must rise and not touch");
	memcpy(s->run, runs, n * sizeof(*runs));
	s->n_runs = n;
	s->at_run = 0;
	s->at = runs[0].off;
	return 0;
}

static int server_read(void *arg, void *p, size_t n, struct err *e)
{
	struct server *s = arg;
	uint8_t *to = p;

	if (s->given + n > s->most)
		return err_set(e, ERR_RETRY, ECONNRESET, "hung up");
	s->given += n;
	for (; n > 0; n--) {
		CHECK(s->at_run < s->n_runs, "read past the runs");
		*to++ = s->blob[s->at++];
		if (s->at == s->run[s->at_run].off + s->run[s->at_run].len &&
		    ++s->at_run < s->n_runs)
			s->at = s->run[s->at_run].off;
	}
	return 0;
}

static size_t runs_make(struct image_run *runs)
{
	size_t n = 0;
	uint64_t at = dice_below(3) ? 0 : dice_below(BLOB / 2);

	while (n < RUNS && at < BLOB) {
		uint64_t len = 1 + dice_below(dice_below(2) ? 2000 : BLOB / 3);

		len = len < BLOB - at ? len : BLOB - at;
		runs[n++] = (struct image_run){ at, len };
		at += len + 1 + dice_below(BLOB / 5);
	}
	return n;
}

/* Bytes of the pass that were read, which are those of the blob. */
static uint64_t pass(struct spool *s, unsigned which, const struct image_run *runs, size_t n,
		     uint64_t most, uint64_t *ret_fetched)
{
	static uint8_t got[BLOB];
	struct server server = { .blob = blobs[which], .most = most };
	const struct image_source in = { server_begin, server_read, &server, NULL };
	uint8_t id[SPOOL_ID] = { (uint8_t)(which + 1) };
	struct err e = ERR_INIT;
	uint64_t done = 0;
	int r = spool_begin(s, id, &in, runs, n, &e);

	*ret_fetched = 0;
	CHECK(r == 0, "%s", e.text);
	for (size_t i = 0; i < n; i++)
		for (uint64_t at = 0; at < runs[i].len;) {
			size_t k = 1 + dice_below(dice_below(2) ? 5000 : 150000);

			k = k < runs[i].len - at ? k : (size_t)(runs[i].len - at);
			r = spool_read(s, got, k, ret_fetched, &e);
			if (r == -ECONNRESET)
				return done;
			CHECK(r == 0, "%s", e.text);
			CHECK(memcmp(got, blobs[which] + runs[i].off + at, k) == 0, "other bytes");
			at += k;
			done += k;
		}
	CHECK(*ret_fetched == server.given, "%llu fetched, %llu given",
	      (unsigned long long)*ret_fetched, (unsigned long long)server.given);
	return done;
}

static uint64_t sum(const struct image_run *runs, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += runs[i].len;
	return total;
}

/* What a power cut, a bad disk or somebody else may do to the file. */
static void damage(void)
{
	int fd = openat(dir, SPOOL_FILE, O_RDWR | O_CLOEXEC);
	struct stat st;
	uint8_t byte;
	off_t at;

	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= HEAD, "the file is not there");
	at = (off_t)(dice() % (uint64_t)st.st_size);
	switch (dice_below(4)) {
	case 0:
		CHECK(ftruncate(fd, at) == 0, "truncate");
		break;
	case 1:
		CHECK(pread(fd, &byte, 1, at) == 1, "read");
		byte ^= (uint8_t)(1u << dice_below(8));
		CHECK(pwrite(fd, &byte, 1, at) == 1, "write");
		break;
	case 2:
		CHECK(pwrite(fd, blobs[0], 5000, st.st_size) == 5000, "write");
		break;
	default:
		break;
	}
	(void)close(fd);
}

static void round_do(unsigned k)
{
	struct image_run runs[RUNS];
	uint8_t id[SPOOL_ID] = { 7 };
	size_t n = runs_make(runs);
	uint64_t total = sum(runs, n), first, second, fetched;
	unsigned which = dice_below(2);
	bool other = k % 7 == 0;
	struct err e = ERR_INIT;
	struct spool *s;

	spool_remove(sys_linux(), dir);
	CHECK(spool_open(sys_linux(), dir, id, &s, &e) == 0, "%s", e.text);
	(void)pass(s, which, runs, n, dice() % (total + 1), &first);
	if (dice_below(4) == 0) {
		CHECK(!spool_drop(s), "nothing was read from it yet");
	} else if (dice_below(2)) { /* another pass of the same process: nothing twice */
		CHECK(pass(s, which, runs, n, UINT64_MAX, &second) == total, "not all of it");
		CHECK(first + second == total, "%llu + %llu of %llu", (unsigned long long)first,
		      (unsigned long long)second, (unsigned long long)total);
		first = total;
	}
	spool_free(s);
	damage();
	id[1] = other;
	CHECK(spool_open(sys_linux(), dir, id, &s, &e) == 0, "%s", e.text);
	CHECK(pass(s, which, runs, n, UINT64_MAX, &second) == total, "not all of it");
	CHECK(second <= total && (!other || second == total), "fetched more than there is");
	CHECK(second + first >= total, "bytes from nowhere");
	CHECK(spool_drop(s) == (second < total) && !spool_drop(s), "%llu of %llu fetched",
	      (unsigned long long)second, (unsigned long long)total);
	if (k % 4 == 0)
		CHECK(pass(s, which, runs, n, UINT64_MAX, &second) == total && second == total,
		      "kept");
	CHECK(pass(s, 1 - which, runs, n, UINT64_MAX, &fetched) == total && fetched == total,
	      "the other blob is another one");
	spool_free(s);
}

/* Undamaged, everything that was read is there again. */
static void test_all_kept(void)
{
	const struct image_run run = { 0, BLOB };
	uint8_t id[SPOOL_ID] = { 9 };
	struct err e = ERR_INIT;
	uint64_t fetched, before = 0;
	struct spool *s;

	spool_remove(sys_linux(), dir);
	while (before < BLOB) {
		uint64_t read;

		CHECK(spool_open(sys_linux(), dir, id, &s, &e) == 0, "%s", e.text);
		read = pass(s, 0, &run, 1, 50000 + dice_below(50000), &fetched);
		CHECK(read <= before + fetched, "read what was not there");
		before += fetched;
		spool_free(s);
	}
	CHECK(before == BLOB, "%llu fetched for %d", (unsigned long long)before, BLOB);
}

/* Where nothing can be kept, everything is fetched. */
static void test_no_room(void)
{
	const struct image_run run = { 0, BLOB };
	uint8_t id[SPOOL_ID] = { 9 };
	struct err e = ERR_INIT;
	uint64_t fetched;
	struct spool *s;

	CHECK(spool_open(sys_linux(), -1, id, &s, &e) == 0, "%s", e.text);
	CHECK(pass(s, 0, &run, 1, UINT64_MAX, &fetched) == BLOB && fetched == BLOB, "all of it");
	spool_free(s);
}

int main(void)
{
	dice_seed();
	for (size_t i = 0; i < BLOB; i++) {
		blobs[0][i] = (uint8_t)(dice() >> 32);
		blobs[1][i] = (uint8_t)(dice() >> 32);
	}
	CHECK(mkdtemp(dir_name), "mkdtemp");
	dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0, "open");
	for (unsigned k = 0; k < ROUNDS; k++)
		round_do(k);
	test_all_kept();
	test_no_room();
	spool_remove(sys_linux(), dir);
	(void)close(dir);
	(void)rmdir(dir_name);
	return 0;
}
