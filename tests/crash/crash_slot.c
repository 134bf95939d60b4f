/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cut and I/O error at every call of disk_slot_mark() and disk_repair(), on a disk that is
 * well or has lost one copy of its table: it always opens, slot A and all data are as they were,
 * slot B is old or new, and the next start can mark it.
 */
#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/sys.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"
#include "updater/slot/disk.h"

#define PATH   "/disk"
#define CORPUS "tests/corpus/gpt/"

enum { DISK_BYTES = 256 << 10, PIECE = 512, HEAD = 4, TAIL = 3 };

enum hurt { HURT_NONE, HURT_PRIMARY, HURT_PRIMARY_TABLE, HURT_BACKUP, HURTS };

struct state {
	const char *corpus;
	unsigned sector;
	enum hurt hurt;
	bool repair; /* disk_repair() instead of disk_slot_mark() */
	int r;
	unsigned cut, worlds, different;
	uint8_t start[DISK_BYTES];
	struct slot old[2];
};

static const uint8_t root_new[32] = { 1, [15] = 2, [16] = 3, [31] = 4 };
static const uint8_t root_next[32] = { 5, [15] = 6, [16] = 7, [31] = 8 };

/* The corpus of the fuzz target holds the first 512 bytes of the sectors that matter. */
static void disk_make(struct state *s)
{
	uint8_t piece[1 + (HEAD + TAIL) * PIECE];
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), CORPUS "%s", s->corpus);
	f = fopen(path, "rbe");
	CHECK(f && fread(piece, 1, sizeof(piece), f) == sizeof(piece), "%s", path);
	(void)fclose(f);
	for (size_t i = 0; i < DISK_BYTES; i++)
		s->start[i] = (uint8_t)(i / s->sector * 31 + i);
	memset(s->start, 0, (size_t)HEAD * s->sector);
	memset(s->start + DISK_BYTES - (size_t)TAIL * s->sector, 0, (size_t)TAIL * s->sector);
	for (size_t i = 0; i < HEAD + TAIL; i++) {
		size_t lba = i < HEAD ? i : DISK_BYTES / s->sector - HEAD - TAIL + i;

		if (i < HEAD || lba >= DISK_BYTES / s->sector - TAIL)
			memcpy(s->start + lba * s->sector, piece + 1 + i * PIECE, PIECE);
	}
	if (s->hurt == HURT_PRIMARY)
		s->start[s->sector + 20] ^= 1;
	if (s->hurt == HURT_PRIMARY_TABLE)
		s->start[2 * s->sector + 60] ^= 1;
	if (s->hurt == HURT_BACKUP)
		s->start[DISK_BYTES - s->sector + 90] ^= 1;
}

static bool same_part(const struct slot_part *a, const struct slot_part *b)
{
	return a->number == b->number && a->offset == b->offset && a->bytes == b->bytes &&
	       a->flags == b->flags && memcmp(a->uuid, b->uuid, 16) == 0 &&
	       memcmp(a->type, b->type, 16) == 0 && strcmp(a->label, b->label) == 0;
}

static bool same_slot(const struct slot *a, const struct slot *b)
{
	return same_part(&a->data, &b->data) && same_part(&a->hash, &b->hash);
}

static int act(struct sys *sys, bool repair, const char *label, const uint8_t *root)
{
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;
	int r = disk_open(sys, PATH, "x86-64", &d, &e);

	if (r >= 0)
		r = repair ? disk_repair(d, &e) : disk_slot_mark(d, SLOT_B, label, root, &e);
	CHECK((r < 0) == (e.kind != ERR_NONE) && e.kind != ERR_BUG, "r=%d: %s", r, e.text);
	return r;
}

static bool is_marked(const struct disk *d, const uint8_t root[32], const char *label)
{
	enum slot_name n;

	return disk_slot_of(d, root, &n, NULL) >= 0 && n == SLOT_B &&
	       strcmp(d->slot[SLOT_B].data.label, label) == 0 &&
	       strcmp(d->slot[SLOT_B].hash.label, label) == 0;
}

static void check_partitions(const struct state *s, struct sim *w)
{
	static uint8_t now[DISK_BYTES];
	const size_t head = (size_t)HEAD * s->sector;

	CHECK(sim_read_at(w, PATH, 0, now, DISK_BYTES) == DISK_BYTES, "size");
	CHECK(memcmp(now, s->start, s->sector) == 0, "the protective MBR");
	CHECK(memcmp(now + head, s->start + head, DISK_BYTES - head - (size_t)TAIL * s->sector) ==
		      0,
	      "data: cut=%u %s", s->cut, w->outcome);
}

/* Whether a world like that was looked at: many cuts leave the same bytes. */
static bool known(struct state *s, const struct sim *w)
{
	enum { SEEN_MAX = 1 << 14 };
	static uint8_t seen[SEEN_MAX][SHA256_BYTES];
	static const uint8_t none[SHA256_BYTES];
	static uint8_t now[DISK_BYTES + sizeof(s->old) + 2];
	uint8_t sum[SHA256_BYTES];
	size_t at;

	CHECK(sim_read_at(w, PATH, 0, now, DISK_BYTES) == DISK_BYTES, "size");
	memcpy(now + DISK_BYTES, s->old, sizeof(s->old));
	now[DISK_BYTES + sizeof(s->old)] = s->r >= 0;
	now[DISK_BYTES + sizeof(s->old) + 1] = s->repair;
	sha256(now, sizeof(now), sum);
	memcpy(&at, sum, sizeof(at));
	for (at %= SEEN_MAX; memcmp(seen[at], none, sizeof(none)) != 0; at = (at + 1) % SEEN_MAX)
		if (memcmp(seen[at], sum, sizeof(sum)) == 0)
			return true;
	CHECK(++s->different < SEEN_MAX / 2, "table too small");
	memcpy(seen[at], sum, sizeof(sum));
	return false;
}

static void check_world(void *arg, struct sim *w, enum sim_view view)
{
	struct state *s = arg;
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;
	bool old, marked;

	(void)view;
	s->worlds++;
	if (known(s, w))
		return;
	CHECK(disk_open(sim_sys(w), PATH, "x86-64", &d, &e) >= 0, "cut=%u %s: %s", s->cut,
	      w->outcome, e.text);
	CHECK(same_slot(&d->slot[SLOT_A], &s->old[SLOT_A]), "slot A: cut=%u %s", s->cut,
	      w->outcome);
	old = same_slot(&d->slot[SLOT_B], &s->old[SLOT_B]);
	marked = is_marked(d, root_new, "web_2");
	CHECK(old || (marked && !s->repair), "slot B: cut=%u %s", s->cut, w->outcome);
	CHECK(s->r < 0 || s->repair || marked, "success, but old: cut=%u %s", s->cut, w->outcome);
	CHECK(s->r < 0 || (!d->primary_bad && !d->backup_bad), "success, but a copy is bad");
	check_partitions(s, w);
	disk_close(d);
	d = NULL;

	CHECK(act(sim_sys(w), false, "web_3", root_next) >= 0, "stuck: cut=%u %s", s->cut,
	      w->outcome);
	CHECK(sim_volatile(w) == 0 && sim_open_fds(w) == 0, "loose ends");
	CHECK(disk_open(sim_sys(w), PATH, "x86-64", &d, &e) >= 0, "%s", e.text);
	CHECK(is_marked(d, root_next, "web_3"), "marked again");
	check_partitions(s, w);
}

static unsigned run(struct state *s, unsigned crash_at, unsigned fail_at, int fail_errno)
{
	static const struct sim_plan plan = { .seed = 1, .max = 300 };
	AUTO_DISK *d = NULL;
	struct sim sim;
	unsigned calls;

	sim_init(&sim);
	sim_file(&sim, PATH, s->start, DISK_BYTES);
	CHECK(disk_open(sim_sys(&sim), PATH, "x86-64", &d, NULL) >= 0, "start");
	CHECK(d->sector == s->sector, "sector of %u bytes", d->sector);
	CHECK(d->primary_bad == (s->hurt == HURT_PRIMARY || s->hurt == HURT_PRIMARY_TABLE) &&
		      d->backup_bad == (s->hurt == HURT_BACKUP),
	      "damage is seen");
	memcpy(s->old, d->slot, sizeof(s->old));
	disk_close(d);
	d = NULL;
	sim_rearm(&sim);
	sim.write_max = 700; /* not a sector's multiple, so that they are torn by the program too */
	sim.crash_at = crash_at;
	sim.fail_at = fail_at;
	sim.fail_errno = fail_errno;
	s->cut = crash_at ? crash_at : fail_at;
	s->r = act(sim_sys(&sim), s->repair, "web_2", root_new);
	CHECK(s->r >= 0 || crash_at || fail_at, "failed without a reason: %d", s->r);
	(void)sim_outcomes(&sim, &plan, check_world, s);
	calls = crash_at ? sim.changes : sim.calls;
	sim_done(&sim);
	return calls;
}

int main(void)
{
	static const struct {
		const char *corpus;
		unsigned sector;
	} disks[] = { { "two-slots", 512 }, { "eight", 512 }, { "two-slots-4096", 4096 } };
	static struct state s;
	unsigned cuts = 0;

	for (unsigned i = 0; i < 3 * HURTS * 2; i++) {
		unsigned calls;

		s.corpus = disks[i % 3].corpus;
		s.sector = disks[i % 3].sector;
		s.hurt = (enum hurt)(i / 3 % HURTS);
		s.repair = i / 3 / HURTS;
		disk_make(&s);
		calls = run(&s, 0, 0, EIO);
		for (unsigned k = 1; k <= calls; k++) {
			(void)run(&s, k, 0, EIO);
			(void)run(&s, 0, k, EIO);
			cuts += 2;
		}
	}
	printf("%u cuts and errors, %u worlds, %u of them different\n", cuts, s.worlds,
	       s.different);
	return 0;
}
