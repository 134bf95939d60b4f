/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/record/chain.h"

enum { LINES = 40 };

static struct record rec; /* large */

static void make_record(size_t n)
{
	memset(&rec, 0, sizeof(rec));
	rec.next_event = 1;
	for (size_t i = 0; i < n; i++) {
		struct record_event ev = { .when = 1700000000 + (int64_t)i,
					   .kind = (enum record_kind)(i % 7) };

		(void)snprintf(ev.version, sizeof(ev.version), "1.%zu.0", i);
		(void)snprintf(ev.text, sizeof(ev.text), "reason \"%zu\"\n", i);
		memset(ev.root, (int)i, sizeof(ev.root));
		record_add_event(&rec, &ev);
	}
}

static void make_chain(struct buf *b, struct chain_head *h)
{
	struct err e = ERR_INIT;

	memset(h, 0, sizeof(*h));
	for (size_t i = 0; i < rec.n_event; i++)
		CHECK(chain_format(&rec.event[i], "proad", h, b, &e) == 0, "%s", e.text);
}

static int count(void *arg, const struct chain_entry *en, const uint8_t hash[32])
{
	(void)hash;
	CHECK(en->n == ++*(size_t *)arg && strcmp(en->actor, "proad") == 0, "entry");
	return 0;
}

static bool holds(const char *p, size_t n)
{
	struct chain_head h;
	struct err e = ERR_INIT;
	int r = chain_walk(p, n, NULL, NULL, &h, &e);

	CHECK(r == 0 || e.text[0], "no words");
	return r == 0 && chain_compare(p, n, &rec, NULL) == 0;
}

static size_t line_at(const char *p, size_t i)
{
	size_t at = 0;

	while (i-- > 0)
		at += strcspn(p + at, "\n") + 1;
	return at;
}

/* Every line removed, doubled or exchanged with the next, every byte changed, every cut. */
static void test_tampering(void)
{
	AUTO_BUF b = BUF_INIT;
	struct chain_head h, again;
	struct err e = ERR_INIT;
	size_t seen = 0;

	make_record(LINES);
	make_chain(&b, &h);
	CHECK(b.p && chain_walk(b.p, b.n, count, &seen, &again, &e) == 0 && seen == LINES, "%s",
	      e.text);
	CHECK(memcmp(&h, &again, sizeof(h)) == 0 && holds(b.p, b.n), "head");
	for (size_t i = 0; i < LINES; i++) {
		size_t at = line_at(b.p, i), to = line_at(b.p, i + 1);
		AUTO_BUF c = BUF_INIT;

		CHECK(buf_add(&c, b.p, at, &e) == 0 && buf_add(&c, b.p + to, b.n - to, &e) == 0,
		      "memory");
		CHECK(!holds(c.p, c.n), "line %zu removed", i);
		c.n = 0;
		CHECK(buf_add(&c, b.p, to, &e) == 0 && buf_add(&c, b.p + at, b.n - at, &e) == 0,
		      "memory");
		CHECK(!holds(c.p, c.n), "line %zu doubled", i);
	}
	/* the record does not know the actor: that of the last line is held by the next */
	for (size_t i = 0; i < b.n - sizeof("\"actor\":\"proad\"}"); i += 23) {
		b.p[i] ^= 2;
		CHECK(!holds(b.p, b.n), "byte %zu changed", i);
		b.p[i] ^= 2;
		CHECK(!holds(b.p, i), "cut at %zu", i);
	}
	CHECK(holds(b.p, b.n), "as it was");
}

static int dir_new(char *template)
{
	int fd;

	CHECK(mkdtemp(template), "mkdtemp");
	fd = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0, "open '%s'", template);
	return fd;
}

/* The file follows the record, whatever was missed; a broken one is left alone. */
static void test_sync(void)
{
	char path[] = "/tmp/proa-chain-XXXXXX";
	AUTO_SYS_FD dir = { sys_linux(), dir_new(path) };
	struct chain_head h = { .n = 0 };
	struct err e = ERR_INIT;
	char *text = NULL;
	size_t n = 0;

	make_record(0);
	CHECK(chain_sync(dir.sys, dir.fd, &rec, "proad", &h, &e) == 0 && h.n == 0, "%s", e.text);
	for (size_t k = 1; k <= 200; k += 1 + k % 60) { /* more than the record keeps */
		make_record(k);
		CHECK(chain_sync(dir.sys, dir.fd, &rec, "proad", &h, &e) == 0, "%s", e.text);
		CHECK(h.n == k && h.last_id == k, "%zu: %llu", k, (unsigned long long)h.n);
		CHECK(chain_sync(dir.sys, dir.fd, &rec, "proad", &h, &e) == 0 && h.n == k, "again");
	}
	CHECK(file_read(dir.sys, dir.fd, CHAIN_FILE, CHAIN_BYTES_MAX, &text, &n, &e) == 0, "%s",
	      e.text);
	CHECK(holds(text, n), "file");
	text[n / 2] ^= 1;
	CHECK(file_replace(dir.sys, dir.fd, CHAIN_FILE, text, n, &e) == 0, "%s", e.text);
	CHECK(chain_sync(dir.sys, dir.fd, &rec, "proad", &h, &e) < 0, "broken and taken");
	free(text);
	(void)unlinkat(dir.fd, CHAIN_FILE, 0);
	CHECK(rmdir(path) == 0, "rmdir");
}

/* A record begun anew goes on where the history ends: nothing that happens then is lost to it. */
static void test_anew(void)
{
	char path[] = "/tmp/proa-chain-XXXXXX";
	AUTO_SYS_FD dir = { sys_linux(), dir_new(path) };
	static const char *const files[] = { CHAIN_FILE, "record.0", "record.1", "record.0.damaged",
					     "record.1.damaged" };
	struct record_event ev = { .kind = RECORD_EV_STAGED, .version = "2.0.0" };
	struct err e = ERR_INIT;
	char *text = NULL;
	size_t n = 0;

	make_record(5);
	CHECK(record_store(dir.sys, dir.fd, &rec, &e) == 0, "%s", e.text);
	CHECK(file_replace(dir.sys, dir.fd, "record.1", "x", 1, &e) == 0, "%s", e.text);
	CHECK(record_load(dir.sys, dir.fd, &rec, &e) == -EUCLEAN, "damaged and taken");
	CHECK(record_reset(dir.sys, dir.fd, &e) == 0, "%s", e.text);
	CHECK(record_load(dir.sys, dir.fd, &rec, &e) == 0 && rec.next_event == 6, "%s", e.text);
	record_add_event(&rec, &ev);
	CHECK(record_store(dir.sys, dir.fd, &rec, &e) == 0, "%s", e.text);
	CHECK(file_read(dir.sys, dir.fd, CHAIN_FILE, CHAIN_BYTES_MAX, &text, &n, &e) == 0, "%s",
	      e.text);
	CHECK(chain_compare(text, n, &rec, &e) == 0 && strstr(text, "2.0.0"), "%s", e.text);
	free(text);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)unlinkat(dir.fd, files[i], 0);
	CHECK(rmdir(path) == 0, "rmdir");
}

int main(void)
{
	test_tampering();
	test_sync();
	test_anew();
	return 0;
}
