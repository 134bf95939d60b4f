/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole update, staged and applied, with the power cut at every change that reaches storage, and
 * every world (or a seeded sample) the machine could wake up with: from the full image and with a
 * full UKI, and by deltas, the kernel taken from the new /usr. In each: what firmware sees
 * obeys I1 and I2 of docs/design.md, and the next start of the agent, without help, obeys I3 and
 * I4.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "tests/act_lab.h"
#include "tests/image_source.h"
#include "tests/test.h"
#include "verity/image.h"

struct lab {
	struct rel old, new;
	uint8_t *slot_a; /* bytes of the running slot's two partitions */
	uint64_t a_off, a_n;
	struct file_source source;
	uint64_t uki_given, full_given;
	bool delta;
	unsigned cuts, worlds, recovered, twice;
	unsigned most; /* worlds after a cut; 0: as many as suit the way */
	uint64_t seed;
};

static const struct rel *rel_now;

static int give_blob(void *arg, const struct release_blob *b, struct image_source *ret,
		     struct err *e)
{
	struct lab *lab = arg;
	const struct rel *r = rel_now;

	(void)e;
	lab->source = (struct file_source){ .bytes = b->bytes,
					    .dies_at = UINT64_MAX,
					    .flip_at = UINT64_MAX };
	lab->source.fd = rel_blob(r, b);
	lab->uki_given += b->role == RELEASE_UKI_FULL || b->role == RELEASE_UKI_DELTA;
	lab->full_given += b->role == RELEASE_USR_FULL;
	*ret = (struct image_source){ .begin = file_source_begin,
				      .read = file_source_read,
				      .arg = &lab->source,
				      .name = "blob" };
	return 0;
}

/* What the agent does from start to applied. kept: bytes found right in the slot. */
static int update(struct sys *sys, struct lab *lab, const struct rel *running, const char *boot,
		  const struct rel *to, uint64_t *kept, struct err *e)
{
	const struct config conf = conf_of();
	const struct host_live live = live_of(running, boot);
	AUTO_HOST *h = NULL;
	struct act a = { .now = 1000, .blob = give_blob, .arg = lab, .threads = 1 };
	struct act_result res = { .slot = SLOT_A };
	struct machine_settle s;
	int r = host_open(sys, &conf, &live, &h, e);

	if (r < 0)
		return r;
	a.host = h;
	rel_now = to;
	r = act_settle(&a, &s, e);
	if (r < 0)
		return err_wrap(e, r, "settle");
	r = act_stage(&a, &to->m, &res, e);
	if (kept)
		*kept = res.kept;
	if (r < 0)
		return err_wrap(e, r, "stage");
	r = act_apply(&a, &res, e);
	return r < 0 ? err_wrap(e, r, "apply") : 0;
}

/* The whole slot A: both partitions lie behind one another. */
static void remember_slot_a(struct sim *sim, struct lab *lab)
{
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;

	CHECK(disk_open(sim_sys(sim), DISK, "x86-64", &d, &e) == 0, "%s", e.text);
	lab->a_off = d->slot[SLOT_A].data.offset;
	lab->a_n = d->slot[SLOT_A].hash.offset + d->slot[SLOT_A].hash.bytes - lab->a_off;
	lab->slot_a = malloc(lab->a_n);
	CHECK(lab->slot_a && sim_read_at(sim, DISK, lab->a_off, lab->slot_a, lab->a_n) == lab->a_n,
	      "slot A");
}

static void check_same(struct sim *w, const char *path, const struct buf *want)
{
	size_t n = 0;
	AUTO_FREE char *got = sim_read(w, path, &n);

	CHECK(got && n == want->n && memcmp(got, want->p, n) == 0, "%s changed: %s", path,
	      w->outcome);
}

/* I1: nothing of the running release was touched. */
static void check_running(struct sim *w, const struct lab *lab)
{
	AUTO_FREE uint8_t *now = malloc(lab->a_n);

	CHECK(now && sim_read_at(w, DISK, lab->a_off, now, lab->a_n) == lab->a_n, "slot A");
	CHECK(memcmp(now, lab->slot_a, lab->a_n) == 0, "the running slot changed: %s", w->outcome);
	check_same(w, lab->old.file, &lab->old.uki);
}

/* The slot that carries the root hash holds exactly that image: proved from its own tree. */
static void check_slot_holds(struct sim *w, struct disk *d, const struct rel *r)
{
	struct verity_check c = { .root = r->m.root };
	const struct verity_work work = { .threads = 1 };
	struct verity_super super;
	struct verity_bad bad;
	enum slot_name slot;
	struct err e = ERR_INIT;

	CHECK(disk_slot_of(d, r->m.root, &slot, &e) == 0, "visible, but no slot: %s: %s", e.text,
	      w->outcome);
	CHECK(slot_area(d, slot, false, false, &c.data, &e) == 0, "%s", e.text);
	CHECK(slot_area(d, slot, true, false, &c.hash, &e) == 0, "%s", e.text);
	CHECK(image_super(&r->usr.id, &super, &e) == 0, "%s", e.text);
	c.super = &super;
	CHECK(verity_verify(d->sys, &c, &work, &bad, &e) >= 0 && bad.kind == VERITY_BAD_NONE,
	      "visible, but its slot does not prove it: %s %s", e.text, w->outcome);
}

/* I2, and *ret_next: the release that systemd-boot would start. */
static void check_visible(struct sim *w, const struct lab *lab, const struct rel **ret_next)
{
	struct sys *sys = sim_sys(w);
	AUTO_SYS_FD esp = { .sys = sys, .fd = -1 };
	AUTO_FREE struct esp_entry *en = NULL;
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;
	enum choice_why why;
	size_t n, next;

	CHECK(disk_open(sys, DISK, "x86-64", &d, &e) == 0, "no table: %s: %s", e.text, w->outcome);
	esp.fd = sys->ops->open(sys, AT_FDCWD, ESP, O_RDONLY | O_DIRECTORY, 0);
	CHECK(esp_list(sys, esp.fd, &en, &n, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < n; i++) {
		const struct rel *r = strcmp(en[i].version, "1.1.0") == 0 ? &lab->new : &lab->old;
		char path[512];

		if (!en[i].shown)
			continue;
		(void)snprintf(path, sizeof(path), LINUX "/%s", en[i].name.file);
		check_same(w, path, &r->uki);
		check_slot_holds(w, d, r);
	}
	CHECK(esp_next(sys, esp.fd, -1, en, n, &next, &why, &e) == 0 && next < n,
	      "nothing boots: %s", w->outcome);
	*ret_next = strcmp(en[next].version, "1.1.0") == 0 ? &lab->new : &lab->old;
}

/* Bytes of the image that the slot that is not running holds already, group by group. */
static uint64_t right_already(struct sim *w, const struct lab *lab)
{
	const struct rel *r = &lab->new;
	AUTO_FREE uint8_t *got = malloc(r->usr.n);
	uint64_t right = 0, off;
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;

	CHECK(disk_open(sim_sys(w), DISK, "x86-64", &d, &e) == 0, "%s", e.text);
	off = d->slot[SLOT_B].data.offset;
	CHECK(got && sim_read_at(w, DISK, off, got, r->usr.n) == r->usr.n, "slot B");
	for (size_t at = 0; at < r->usr.n; at += IMAGE_GROUP) {
		size_t n = r->usr.n - at < IMAGE_GROUP ? r->usr.n - at : IMAGE_GROUP;

		if (memcmp(got + at, r->usr.data + at, n) == 0)
			right += n;
	}
	return right;
}

static bool record_says_writing(struct sim *w)
{
	struct sys *sys = sim_sys(w);
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	struct err e = ERR_INIT;
	struct record rec;

	dir.fd = sys->ops->open(sys, AT_FDCWD, STATE, O_RDONLY | O_DIRECTORY, 0);
	CHECK(record_load(sys, dir.fd, &rec, &e) == 0, "%s: %s", e.text, w->outcome);
	return rec.phase == RECORD_WRITING;
}

/* The end of every story: 1.1.0 in slot B, proved, boots next; 1.0.0 as it was. */
static void check_updated(struct sim *w, const struct lab *lab)
{
	const struct rel *next;

	check_running(w, lab);
	check_visible(w, lab, &next);
	CHECK(next == &lab->new, "1.1.0 does not boot next: %s", w->outcome);
	CHECK(sim_volatile(w) == 0, "done, and %zu changes in the air", sim_volatile(w));
}

/* The old release came up after the cut: the update is simply done again. I3 and I4. */
static void recover_old(struct sim *w, struct lab *lab)
{
	bool writing = record_says_writing(w);
	uint64_t right = writing ? right_already(w, lab) : 0, kept = 0, given = lab->uki_given;
	size_t saved_n = 0;
	AUTO_FREE char *saved = sim_read(w, STATE "/uki.efi", &saved_n);
	bool saved_whole =
		saved && saved_n == lab->new.uki.n &&memcmp(saved, lab->new.uki.p, saved_n) == 0;
	struct err e = ERR_INIT;
	int r;

	r = update(sim_sys(w), lab, &lab->old, "boot2", &lab->new, &kept, &e);
	CHECK(r == 0, "stuck after the cut: %s: %s", e.text, w->outcome);
	CHECK(kept >= right, "%llu bytes were proved, only %llu kept: %s",
	      (unsigned long long)right, (unsigned long long)kept, w->outcome);
	CHECK(!saved_whole || lab->uki_given == given, "the UKI was fetched again: %s", w->outcome);
	check_updated(w, lab);
}

/* The new release came up: it is assessed, blessed, and then it is the good one. */
static void recover_new(struct sim *w, struct lab *lab)
{
	const struct config conf = conf_of();
	const struct host_live live = live_of(&lab->new, "boot2");
	struct act a = { .now = 2000, .blob = give_blob, .arg = lab, .threads = 1 };
	struct machine_settle s;
	struct err e = ERR_INIT;
	AUTO_HOST *h = NULL;

	bless(w, "1.1.0");
	CHECK(host_open(sim_sys(w), &conf, &live, &h, &e) == 0, "%s: %s", e.text, w->outcome);
	a.host = h;
	CHECK(act_settle(&a, &s, &e) == 0, "%s: %s", e.text, w->outcome);
	CHECK(s.news == MACHINE_NEWS_GOOD && strcmp(s.version, "1.1.0") == 0, "news %d: %s",
	      (int)s.news, w->outcome);
	check_running(w, lab);
}

static uint64_t lab_rnd(struct lab *lab, uint64_t below)
{
	lab->seed = lab->seed * 6364136223846793005u + 1442695040888963407u;
	return (lab->seed >> 33) % below;
}

static void after_second_cut(void *arg, struct sim *w, enum sim_view view)
{
	struct lab *lab = arg;
	const struct rel *next;

	check_running(w, lab);
	check_visible(w, lab, &next);
	if (view != SIM_OS)
		return;
	if (next == &lab->old)
		recover_old(w, lab);
	else
		recover_new(w, lab);
	lab->twice++;
}

/* The power is cut again while the agent recovers. */
static void cut_again(const struct sim *w, struct lab *lab)
{
	const struct sim_plan plan = { .seed = lab->seed, .all_up_to = 2, .max = 3 };
	struct err e = ERR_INIT;
	struct sim again;

	sim_clone(w, &again);
	again.crash_at = 1 + (unsigned)lab_rnd(lab, 80);
	if (update(sim_sys(&again), lab, &lab->old, "boot2", &lab->new, NULL, &e) < 0)
		(void)sim_outcomes(&again, &plan, after_second_cut, lab);
	sim_done(&again);
}

static void check_world(void *arg, struct sim *w, enum sim_view view)
{
	struct lab *lab = arg;
	const struct rel *next;

	lab->worlds++;
	check_running(w, lab);
	check_visible(w, lab, &next);
	if (view != SIM_OS)
		return;
	sim_rearm(w);
	if (next == &lab->old && lab_rnd(lab, 4) == 0)
		cut_again(w, lab);
	if (next == &lab->old)
		recover_old(w, lab);
	else
		recover_new(w, lab);
	lab->recovered++;
}

static void on_cut(struct sim *sim, void *arg)
{
	struct lab *lab = arg;
	const struct sim_plan plan = { .seed = lab->seed,
				       .all_up_to = 8,
				       .max = lab->most    ? lab->most
					      : lab->delta ? 30
							   : 80 };
	const struct file_source under_way = lab->source;

	lab->cuts++;
	(void)sim_outcomes(sim, &plan, check_world, lab);
	lab->source = under_way; /* the recoveries read blobs of their own */
	sim->crash_at = sim->changes + 1;
}

/* From an empty disk to 1.1.0, on an ESP of that trait. */
static void whole_life(struct lab *lab, enum sim_trait esp, bool delta)
{
	struct err e = ERR_INIT;
	struct sim sim;

	lab->cuts = lab->worlds = lab->recovered = lab->twice = 0;
	lab->delta = delta;
	make_release(&lab->old, "1.0.0", delta ? 200 : 150);
	if (delta)
		make_next(&lab->new, &lab->old, "1.1.0", 340000);
	else
		make_release(&lab->new, "1.1.0", 260);
	sim_init(&sim);
	make_disk(&sim);
	sim_dir(&sim, LINUX, esp);
	sim_dir(&sim, STATE, SIM_POSIX);
	sim_dir(&sim, "/efivars", SIM_POSIX);
	CHECK(update(sim_sys(&sim), lab, NULL, "", &lab->old, NULL, &e) == 0, "install: %s",
	      e.text);
	bless(&sim, "1.0.0");
	CHECK(sim_volatile(&sim) == 0, "installed, and something is in the air");
	remember_slot_a(&sim, lab);

	lab->full_given = 0;
	sim_rearm(&sim);
	sim.on_crash = on_cut;
	sim.on_crash_arg = lab;
	sim.crash_at = 1;
	CHECK(update(sim_sys(&sim), lab, &lab->old, "boot1", &lab->new, NULL, &e) == 0,
	      "update: %s", e.text);
	check_updated(&sim, lab);
	CHECK(!delta || lab->full_given == 0, "the full image was asked for");
	printf("%s%s: %u cuts, %u states of storage checked, %u recovered, %u after a second cut\n",
	       esp == SIM_FAT ? "FAT" : "strict FAT", delta ? ", by delta" : "", lab->cuts,
	       lab->worlds, lab->recovered, lab->twice);
	CHECK(lab->cuts > 30 && lab->recovered > lab->cuts, "too little was tried");
	sim_done(&sim);
	free(lab->slot_a);
	done_release(&lab->old);
	done_release(&lab->new);
}

int main(int argc, char **argv)
{
	static struct lab lab;
	const char *seed = getenv("PROA_SEED"), *most = getenv("PROA_WORLDS");
	const char *part = argc > 1 ? argv[1] : "all";
	const bool all = strcmp(part, "all") == 0;

	dice_seed();
	lab.seed = seed ? strtoull(seed, NULL, 0) : 1;
	lab.most = most ? (unsigned)strtoul(most, NULL, 0) : 0;
	if (all || strcmp(part, "full") == 0)
		whole_life(&lab, SIM_FAT, false);
	if (all || strcmp(part, "delta") == 0)
		whole_life(&lab, SIM_FAT, true);
	if (all || strcmp(part, "strict") == 0)
		whole_life(&lab, SIM_FAT_STRICT, true);
	CHECK(lab.worlds > 0, "no part %s", part);
	return 0;
}
