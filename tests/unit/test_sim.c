/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator itself: without a cut it does what Linux does; with one it shows exactly the worlds
 * its traits allow; and it catches the usual ways of losing a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "tests/dice.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"

static uint64_t rnd_below(uint64_t n)
{
	return dice() % n;
}

/* ---- no cut: as Linux does ---- */

enum { NAMES = 6, FILE_BYTES = 20000, STEPS = 400 };
static const char *const names[NAMES] = { "a", "b", "sub/a", "sub/c", "gone/x", "sub" };

static int both_open(struct sys *const sys[2], const int dir[2], const char *name, int flags,
		     int fd[2])
{
	for (int i = 0; i < 2; i++)
		fd[i] = sys[i]->ops->open(sys[i], dir[i], name, flags, 0600);
	CHECK((fd[0] < 0) == (fd[1] < 0) && (fd[0] >= 0 || fd[0] == fd[1]),
	      "open '%s' %#x: Linux %d, simulator %d", name, (unsigned)flags, fd[0], fd[1]);
	return fd[0] < 0 ? fd[0] : 0;
}

static void both_write(struct sys *const sys[2], const int fd[2], const uint8_t *p, size_t n,
		       uint64_t off)
{
	for (int i = 0; i < 2; i++) {
		int r = sys_write_full(sys[i], fd[i], p, n, off);

		CHECK(r >= 0, "write: %d", r);
	}
}

static void both_truncate(struct sys *const sys[2], const int fd[2], uint64_t n)
{
	for (int i = 0; i < 2; i++)
		CHECK(sys[i]->ops->truncate(sys[i], fd[i], n) >= 0, "truncate");
}

static void both_compare(struct sys *const sys[2], const int fd[2], const char *name)
{
	static uint8_t p[2][2 * FILE_BYTES];
	uint64_t size[2];

	for (int i = 0; i < 2; i++)
		CHECK(sys[i]->ops->size(sys[i], fd[i], &size[i]) >= 0, "size");
	CHECK(size[0] == size[1], "'%s': %ju and %ju bytes", name, (uintmax_t)size[0],
	      (uintmax_t)size[1]);
	for (int i = 0; i < 2; i++)
		CHECK(sys_read_full(sys[i], fd[i], p[i], size[i], 0) >= 0, "read '%s'", name);
	CHECK(memcmp(p[0], p[1], size[0]) == 0, "'%s' differs", name);
}

static void step_file(struct sys *const sys[2], const int dir[2], const char *name)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_TRUNC,
				     O_RDWR | O_CREAT | O_EXCL };
	uint8_t data[6000];
	int fd[2];

	if (both_open(sys, dir, name, flags[rnd_below(4)], fd) < 0)
		return;
	memset(data, (int)('a' + rnd_below(26)), sizeof(data));
	if (rnd_below(3) > 0)
		both_write(sys, fd, data, rnd_below(sizeof(data)),
			   rnd_below(FILE_BYTES - sizeof(data)));
	if (rnd_below(4) == 0)
		both_truncate(sys, fd, rnd_below(FILE_BYTES));
	both_compare(sys, fd, name);
	for (int i = 0; i < 2; i++) {
		if (rnd_below(2))
			CHECK(sys[i]->ops->forget(sys[i], fd[i], 0, FILE_BYTES) >= 0, "forget");
		if (i == 1 || rnd_below(16) == 0) /* a real one takes its time */
			CHECK(sys[i]->ops->sync(sys[i], fd[i]) >= 0, "sync");
		(void)sys[i]->ops->close(sys[i], fd[i]);
	}
}

static void step_name(struct sys *const sys[2], const int dir[2], const char *a, const char *b)
{
	int r[2];
	bool move = rnd_below(2) && strncmp(a, "sub", 3) != 0 && strncmp(b, "sub", 3) != 0 &&
		    strncmp(a, "gone", 4) != 0 && strncmp(b, "gone", 4) != 0;

	for (int i = 0; i < 2; i++)
		r[i] = move ? sys[i]->ops->rename(sys[i], dir[i], a, b)
			    : sys[i]->ops->unlink(sys[i], dir[i], a);
	CHECK(r[0] == r[1], "%s '%s' '%s': Linux %d, simulator %d", move ? "rename" : "unlink", a,
	      b, r[0], r[1]);
}

static int count_name(void *arg, const char *name)
{
	unsigned *n = arg;

	*n += 1000 + (unsigned)name[0];
	return 0;
}

static void test_as_linux(void)
{
	char path[] = "/tmp/proa-test-sim-XXXXXX", cmd[64];
	struct sim sim;
	int dir[2];

	CHECK(mkdtemp(path), "no temporary directory");
	sim_init(&sim);
	sim_dir(&sim, "/top", rnd_below(2) ? SIM_POSIX : SIM_FAT_STRICT);

	struct sys *const sys[2] = { sys_linux(), sim_sys(&sim) };

	for (int i = 0; i < 2; i++) {
		dir[i] = sys[i]->ops->open(sys[i], AT_FDCWD, i ? "/top" : path,
					   O_RDONLY | O_DIRECTORY, 0);
		CHECK(dir[i] >= 0, "open: %d", dir[i]);
		CHECK(sys[i]->ops->mkdir(sys[i], dir[i], "sub", 0700) >= 0, "mkdir");
		CHECK(sys[i]->ops->mkdir(sys[i], dir[i], "sub", 0700) == -EEXIST, "mkdir twice");
		CHECK(sys[i]->ops->mkdir(sys[i], dir[i], "x/y", 0700) == -ENOENT, "mkdir x/y");
	}
	for (unsigned k = 0; k < STEPS; k++) {
		unsigned n[2] = { 0, 0 };

		if (rnd_below(3) > 0)
			step_file(sys, dir, names[rnd_below(NAMES)]);
		else
			step_name(sys, dir, names[rnd_below(NAMES)], names[rnd_below(NAMES)]);
		for (int i = 0; i < 2; i++)
			CHECK(sys[i]->ops->list(sys[i], dir[i], count_name, &n[i]) >= 0, "list");
		CHECK(n[0] == n[1], "lists differ at step %u", k);
	}
	for (int i = 0; i < 2; i++)
		(void)sys[i]->ops->close(sys[i], dir[i]);
	CHECK(sim_open_fds(&sim) == 0, "descriptors");
	sim_done(&sim);
	(void)snprintf(cmd, sizeof(cmd), "rm -r %s", path);
	CHECK(system(cmd) == 0, "%s", cmd);
}

/* ---- which worlds ---- */

/* Collects what sim_outcomes() shows as a set of words. */
struct set {
	const char *const *path; /* NULL-terminated */
	enum sim_view view;
	char word[64][80];
	unsigned n;
};

/* "-" absent, "0" no bytes, "!" mixed bytes, else the byte; and the size. */
static void describe(const struct sim *w, const char *path, char *out, size_t cap)
{
	size_t n = 0, len = strlen(out);
	char *p = sim_read(w, path, &n);
	int c = '-';

	if (p && n == 0)
		c = '0';
	else if (p)
		c = memcmp(p, p + 1, n - 1) == 0 ? p[0] : '!';
	(void)snprintf(out + len, cap - len, "%c%zu ", c, n);
	free(p);
}

static void collect(void *arg, struct sim *w, enum sim_view view)
{
	struct set *s = arg;
	char word[80] = "";

	if (view != s->view)
		return;
	for (size_t i = 0; s->path[i]; i++)
		describe(w, s->path[i], word, sizeof(word));
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->word[i], word) == 0)
			return;
	CHECK(s->n < 64, "more worlds than thought");
	(void)snprintf(s->word[s->n++], sizeof(word), "%s", word);
}

/* The worlds are exactly those in `want` (separated by '|'). */
static void expect(const struct sim *sim, const char *const *path, enum sim_view view,
		   const char *want)
{
	static const struct sim_plan plan = { .seed = 7 };
	struct set s = { .path = path, .view = view };
	unsigned n = 1;

	(void)sim_outcomes(sim, &plan, collect, &s);
	for (const char *p = want; *p; p++)
		n += *p == '|';
	for (unsigned i = 0; i < s.n; i++)
		CHECK(strstr(want, s.word[i]), "unexpected world '%s', want '%s'", s.word[i], want);
	CHECK(s.n == n, "%u worlds, expected %u: %s", s.n, n, want);
}

static int must_open(struct sim *sim, const char *path, int flags)
{
	int fd = sim->sys.ops->open(&sim->sys, AT_FDCWD, path, flags, 0600);

	CHECK(fd >= 0, "open '%s': %d", path, fd);
	return fd;
}

static void must_write(struct sim *sim, int fd, int c, size_t n, uint64_t off)
{
	char p[8192];

	memset(p, c, n);
	CHECK(sys_write_full(&sim->sys, fd, p, n, off) >= 0, "write");
}

static void must_sync(struct sim *sim, const char *path)
{
	int fd = must_open(sim, path, O_RDONLY);

	CHECK(sim->sys.ops->sync(&sim->sys, fd) >= 0, "sync '%s'", path);
	(void)sim->sys.ops->close(&sim->sys, fd);
}

static void rename_in(struct sim *sim, const char *dir, const char *from, const char *to)
{
	int fd = must_open(sim, dir, O_RDONLY | O_DIRECTORY);

	CHECK(sim->sys.ops->rename(&sim->sys, fd, from, to) >= 0, "rename");
	(void)sim->sys.ops->close(&sim->sys, fd);
}

static void unlink_in(struct sim *sim, const char *dir, const char *name)
{
	int fd = must_open(sim, dir, O_RDONLY | O_DIRECTORY);

	CHECK(sim->sys.ops->unlink(&sim->sys, fd, name) >= 0, "unlink");
	(void)sim->sys.ops->close(&sim->sys, fd);
}

static void begin(struct sim *sim, enum sim_trait trait)
{
	sim_init(sim);
	sim_dir(sim, "/d", trait);
	sim_file(sim, "/d/a", "aaa", 3);
}

static void test_rename_worlds(void)
{
	static const char *const ab[] = { "/d/a", "/d/b", NULL };
	struct sim sim;

	begin(&sim, SIM_POSIX);
	rename_in(&sim, "/d", "a", "b");
	expect(&sim, ab, SIM_OS, "a3 -0 |-0 a3 ");
	must_sync(&sim, "/d");
	expect(&sim, ab, SIM_OS, "-0 a3 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT);
	rename_in(&sim, "/d", "a", "b");
	expect(&sim, ab, SIM_FIRMWARE, "a3 -0 |-0 -0 |a3 a3 |-0 a3 |a3 00 |-0 00 ");
	expect(&sim, ab, SIM_OS, "a3 -0 |-0 -0 |a3 00 |00 a3 |-0 a3 |-0 00 ");
	must_sync(&sim, "/d");
	expect(&sim, ab, SIM_OS, "-0 a3 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT_STRICT);
	rename_in(&sim, "/d", "a", "b");
	must_sync(&sim, "/d");
	expect(&sim, ab, SIM_OS, "-0 a3 |-0 00 ");
	must_sync(&sim, "/d/b");
	expect(&sim, ab, SIM_OS, "-0 a3 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT_STRICT); /* the other way round */
	rename_in(&sim, "/d", "a", "b");
	must_sync(&sim, "/d/b");
	expect(&sim, ab, SIM_FIRMWARE, "a3 -0 |-0 -0 |a3 a3 |-0 a3 ");
	must_sync(&sim, "/d");
	expect(&sim, ab, SIM_OS, "-0 a3 ");
	sim_done(&sim);
}

static void test_replace_worlds(void)
{
	static const char *const ab[] = { "/d/a", "/d/b", NULL };
	struct sim sim;

	begin(&sim, SIM_POSIX);
	sim_file(&sim, "/d/b", "bbb", 3);
	rename_in(&sim, "/d", "a", "b");
	expect(&sim, ab, SIM_OS, "a3 b3 |-0 a3 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT_STRICT);
	sim_file(&sim, "/d/b", "bbb", 3);
	rename_in(&sim, "/d", "a", "b");
	/* the old file's clusters may be free while its name still leads there */
	expect(&sim, ab, SIM_OS, "a3 b3 |a3 00 |00 a3 |-0 a3 |-0 b3 |-0 00 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT_STRICT);
	unlink_in(&sim, "/d", "a");
	expect(&sim, ab, SIM_OS, "a3 -0 |00 -0 |-0 -0 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT);
	unlink_in(&sim, "/d", "a");
	expect(&sim, ab, SIM_OS, "a3 -0 |-0 -0 ");
	sim_done(&sim);
}

static void test_data_worlds(void)
{
	static const char *const b[] = { "/d/b", NULL };
	struct sim sim;
	int fd;

	begin(&sim, SIM_POSIX);
	fd = must_open(&sim, "/d/b", O_RDWR | O_CREAT);
	must_write(&sim, fd, 'b', 1024, 0);
	expect(&sim, b, SIM_OS, "-0 |00 |b1024 |b512 |!1024 ");
	CHECK(sim.sys.ops->sync(&sim.sys, fd) >= 0, "sync");
	expect(&sim, b, SIM_OS, "-0 |b1024 ");
	must_sync(&sim, "/d");
	expect(&sim, b, SIM_OS, "b1024 ");
	sim_done(&sim);

	begin(&sim, SIM_FAT);
	fd = must_open(&sim, "/d/b", O_RDWR | O_CREAT);
	must_write(&sim, fd, 'b', 1024, 0);
	/* \xa5: a size that uncovers what lay there before */
	expect(&sim, b, SIM_FIRMWARE,
	       "-0 |00 |b1024 |\xa5"
	       "1024 |!1024 |b512 |\xa5"
	       "512 |b1 |\xa5"
	       "1 ");
	CHECK(sim.sys.ops->sync(&sim.sys, fd) >= 0, "sync");
	must_sync(&sim, "/d");
	expect(&sim, b, SIM_OS, "b1024 ");
	sim_done(&sim);
}

static void test_name_order(void)
{
	static const char *const bc[] = { "/d/b", "/d/c", "/e/c", NULL };
	struct sim sim;

	for (int fat = 0; fat < 2; fat++) {
		begin(&sim, fat ? SIM_FAT : SIM_POSIX);
		sim_dir(&sim, "/e", fat ? SIM_FAT : SIM_POSIX);
		(void)must_open(&sim, "/d/b", O_RDWR | O_CREAT);
		(void)must_open(&sim, "/d/c", O_RDWR | O_CREAT);
		(void)must_open(&sim, "/e/c", O_RDWR | O_CREAT);
		expect(&sim, bc, SIM_OS,
		       fat ? "-0 -0 -0 |-0 -0 00 |-0 00 -0 |-0 00 00 |00 -0 -0 |00 -0 00 |00 00 -0 "
			     "|00 00 00 "
			   : "-0 -0 -0 |00 -0 -0 |00 00 -0 |-0 -0 00 |00 -0 00 |00 00 00 ");
		sim_done(&sim);
	}
}

/* Three sectors of a disk: each old or new, and enough different mixtures. */
struct torn {
	bool seen[8];
};

static void check_torn(void *arg, struct sim *w, enum sim_view view)
{
	struct torn *t = arg;
	uint8_t p[3 * SIM_SECTOR];
	unsigned mask = 0;

	CHECK(view == SIM_OS, "no FAT here");
	CHECK(sim_read_at(w, "/disk", 5000, p, sizeof(p)) == sizeof(p), "read");
	for (unsigned i = 0; i < sizeof(p); i++) {
		/* the write is not aligned: byte 5000 is in sector 9 */
		unsigned sector = (5000 + i) / SIM_SECTOR - 5000 / SIM_SECTOR;

		CHECK(p[i] == 0 || p[i] == 'x', "byte %u is %u", i, p[i]);
		if (p[i] == 'x' && sector < 3)
			mask |= 1u << sector;
	}
	t->seen[mask] = true;
}

static void test_torn(void)
{
	static const struct sim_plan plan = { .seed = 3 };
	struct torn t = { { false } };
	struct sim sim;
	int fd;

	sim_init(&sim);
	sim_sparse(&sim, "/disk", 64u << 20);
	fd = must_open(&sim, "/disk", O_RDWR);
	must_write(&sim, fd, 'x', UINT64_C(3) * SIM_SECTOR, 5000);
	CHECK(sim_outcomes(&sim, &plan, check_torn, &t) == 6, "outcomes");
	CHECK(t.seen[0] && t.seen[7] && t.seen[1] && (t.seen[4] || t.seen[5]), "tearing");
	sim_done(&sim);
}

/* A second descriptor of what one is of, as /proc has it. */
static void test_open_again(void)
{
	char path[32], got = 0;
	struct sim sim;
	int fd, other;

	sim_init(&sim);
	fd = must_open(&sim, "/a", O_RDWR | O_CREAT);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = must_open(&sim, path, O_RDWR);
	CHECK(sim.sys.ops->unlink(&sim.sys, AT_FDCWD, "/a") >= 0, "unlink");
	must_write(&sim, other, 'x', 7, 1);
	(void)sim.sys.ops->close(&sim.sys, other);
	CHECK(sim.sys.ops->pread(&sim.sys, fd, &got, 1, 7) == 1 && got == 'x', "another file");
	sim.fail_at = sim.calls + 1;
	CHECK(sim.sys.ops->open(&sim.sys, AT_FDCWD, path, O_RDONLY, 0) == -EIO, "cannot fail");
	(void)sim.sys.ops->close(&sim.sys, fd);
	CHECK(sim_open_fds(&sim) == 0, "descriptors");
	sim_done(&sim);
}

static void test_failures(void)
{
	struct sim sim;
	char p[3];
	uint64_t n;
	int fd;

	/* a failed sync loses what it should have written, and says so only once */
	begin(&sim, SIM_POSIX);
	fd = must_open(&sim, "/d/a", O_RDWR);
	must_write(&sim, fd, 'n', 3, 0);
	sim.fail_at = sim.calls + 1;
	CHECK(sim.sys.ops->sync(&sim.sys, fd) == -EIO, "sync should fail");
	CHECK(sim.sys.ops->sync(&sim.sys, fd) == 0, "the second sync should not");
	CHECK(sys_read_full(&sim.sys, fd, p, 3, 0) >= 0 && p[0] == 'n', "cached");
	CHECK(sim.sys.ops->forget(&sim.sys, fd, 0, 3) == 0, "forget");
	CHECK(sys_read_full(&sim.sys, fd, p, 3, 0) >= 0 && p[0] == 'a', "lost");
	sim.crash_at = sim.changes + 1;
	CHECK(sys_write_full(&sim.sys, fd, p, 3, 0) == -ESHUTDOWN, "dead");
	CHECK(sys_read_full(&sim.sys, fd, p, 3, 0) == -ESHUTDOWN, "still dead");
	CHECK(sim.sys.ops->close(&sim.sys, fd) == 0, "close");
	sim_done(&sim);

	begin(&sim, SIM_FAT);
	sim_capacity(&sim, "/d", UINT64_C(3) * SIM_PAGE);
	fd = must_open(&sim, "/d", O_RDONLY | O_DIRECTORY);
	CHECK(sim.sys.ops->space(&sim.sys, fd, &n) == 0 && n == UINT64_C(2) * SIM_PAGE, "%ju",
	      (uintmax_t)n);
	(void)sim.sys.ops->close(&sim.sys, fd);
	fd = must_open(&sim, "/d/B", O_RDWR | O_CREAT);
	must_write(&sim, fd, 'b', 8192, 0);
	CHECK(sim.sys.ops->pwrite(&sim.sys, fd, "x", 1, 8192) == -ENOSPC, "full");
	CHECK(sim_exists(&sim, "/d/b") && sim_size(&sim, "/d/b") == 8192, "FAT has no case");
	sim_done(&sim);
}

/* ---- does it catch bugs? ---- */

/* Ways of replacing a file, all but the first wrong. */
enum way { RIGHT, NO_SYNC, NO_DIR_SYNC, IN_PLACE, UNLINK_FIRST, SYNC_TOO_LATE, WAYS };

static void replace(struct sim *sim, enum way way)
{
	struct sys *s = &sim->sys;
	int dir = must_open(sim, "/d", O_RDONLY | O_DIRECTORY), fd;

	fd = must_open(sim, way == IN_PLACE ? "/d/a" : "/d/.a.new", O_RDWR | O_CREAT | O_TRUNC);
	must_write(sim, fd, 'n', 2000, 0);
	if (way != NO_SYNC && way != SYNC_TOO_LATE)
		CHECK(s->ops->sync(s, fd) >= 0, "sync");
	if (way == UNLINK_FIRST) {
		CHECK(s->ops->unlink(s, dir, "a") >= 0, "unlink");
		CHECK(s->ops->sync(s, dir) >= 0, "sync");
	}
	if (way != IN_PLACE)
		CHECK(s->ops->rename(s, dir, ".a.new", "a") >= 0, "rename");
	if (way != NO_DIR_SYNC)
		(void)s->ops->sync(s, dir);
	if (way == SYNC_TOO_LATE)
		(void)s->ops->sync(s, fd);
	(void)s->ops->close(s, fd);
	(void)s->ops->close(s, dir);
}

struct hunt {
	bool finished, caught;
	unsigned worlds;
};

static void look(void *arg, struct sim *w, enum sim_view view)
{
	struct hunt *h = arg;
	size_t n = 0;
	char *p = sim_read(w, "/d/a", &n);
	bool is_old = p && n == 3 && memcmp(p, "aaa", 3) == 0;
	bool is_new = p && n == 2000 && p[0] == 'n' && memcmp(p, p + 1, 1999) == 0;

	(void)view;
	h->worlds++;
	h->caught = h->caught || !(is_new || (is_old && !h->finished));
	free(p);
}

/* Cuts at the k-th change by looking at the state just before it. */
struct cut {
	struct hunt *h;
};

static void at_cut(struct sim *sim, void *arg)
{
	static const struct sim_plan plan = { .seed = 5 };
	const struct cut *c = arg;

	(void)sim_outcomes(sim, &plan, look, c->h);
	sim->crash_at++; /* and on to the next */
}

static void test_catches(void)
{
	for (int way = RIGHT; way < WAYS; way++) {
		static const struct sim_plan plan = { .seed = 5 };
		struct hunt h = { .finished = false };
		struct cut c = { &h };
		struct sim sim;

		begin(&sim, SIM_POSIX);
		sim.crash_at = 1;
		sim.on_crash = at_cut;
		sim.on_crash_arg = &c;
		replace(&sim, (enum way)way);
		h.finished = true;
		(void)sim_outcomes(&sim, &plan, look, &h);
		CHECK(h.caught == (way != RIGHT), "way %d: caught=%d in %u worlds", way, h.caught,
		      h.worlds);
		CHECK(sim_open_fds(&sim) == 0, "descriptors");
		sim_done(&sim);
	}
}

/* A big scenario is sampled: bounded, and the same for the same seed. */
static void count_world(void *arg, struct sim *w, enum sim_view view)
{
	uint64_t *sum = arg;
	uint8_t p[64];

	(void)view;
	for (uint64_t at = 0; at < 200; at++) {
		CHECK(sim_read_at(w, "/disk", at << 14, p, sizeof(p)) == sizeof(p), "read");
		*sum = *sum * 31 + p[0];
	}
}

static void test_sampled(void)
{
	struct sim_plan plan = { .seed = 11, .max = 60 };
	uint64_t sum[3] = { 0, 0, 0 };
	struct sim sim;
	int fd;

	sim_init(&sim);
	sim_sparse(&sim, "/disk", 64u << 20);
	fd = must_open(&sim, "/disk", O_RDWR);
	for (uint64_t i = 0; i < 200; i++)
		must_write(&sim, fd, 'x', 8192, i << 14);
	for (int i = 0; i < 3; i++) {
		plan.seed += i == 2;
		CHECK(sim_outcomes(&sim, &plan, count_world, &sum[i]) == 60, "not 60 outcomes");
	}
	CHECK(sum[0] == sum[1] && sum[1] != sum[2], "the seed does not rule");
	sim_done(&sim);
}

int main(void)
{
	dice_seed();
	for (unsigned i = 0; i < 20; i++)
		test_as_linux();
	test_rename_worlds();
	test_replace_worlds();
	test_data_worlds();
	test_name_order();
	test_torn();
	test_open_again();
	test_failures();
	test_catches();
	test_sampled();
	return 0;
}
