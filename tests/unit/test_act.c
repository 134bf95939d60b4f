/* SPDX-License-Identifier: Apache-2.0 */
/* What staging, applying and going back do on a host in the simulator, and what they refuse. */
#include <errno.h>

#include "base/cleanup.h"
#include "tests/act_lab.h"
#include "tests/image_source.h"
#include "updater/agent/spool.h"

#define PRINT_MAX 8192

/* Another release than the manifest says, or the cable pulled. */
struct crooked {
	uint64_t dies_at;            /* of the /usr blob; UINT64_MAX: never */
	const struct rel *uki_of;    /* its UKI is given instead; NULL: the right one */
	int cancel_phase, cancel_in; /* -1: never; after so many calls */
	int flip, gone;              /* role of a blob with a wrong byte, or that is not there */
	uint64_t flip_at;
	unsigned mirrors; /* more that have it right */
};

struct lab {
	struct sim sim;
	const struct rel *now;
	struct file_source source;
	struct crooked bad;
	unsigned ukis; /* blobs asked for */
	unsigned asked[RELEASE_SBOM + 1];
	unsigned notes;
	struct host *h;
	struct act a;
};

static struct rel one, two, three, large, only_uki;
static struct rel next, next_kernel; /* of `one`, with deltas */

static int give(void *arg, const struct release_blob *b, struct image_source *ret, struct err *e)
{
	struct lab *lab = arg;
	const struct rel *r = lab->now;

	lab->asked[b->role]++;
	if ((int)b->role == lab->bad.gone)
		return err_set(e, ERR_REFUSED, ENOENT, "the server does not have it");
	lab->source = (struct file_source){ .fd = rel_blob(r, b),
					    .bytes = b->bytes,
					    .dies_at = UINT64_MAX,
					    .flip_at = UINT64_MAX };
	if (b->role == RELEASE_USR_FULL)
		lab->source.dies_at = lab->bad.dies_at;
	if (b->role == RELEASE_UKI_FULL && lab->bad.uki_of)
		lab->source.fd = lab->bad.uki_of->uki_fd;
	if ((int)b->role == lab->bad.flip)
		lab->source.flip_at = lab->bad.flip_at;
	lab->ukis += b->role == RELEASE_UKI_FULL;
	*ret = (struct image_source){ .begin = file_source_begin,
				      .read = file_source_read,
				      .arg = &lab->source,
				      .name = "blob" };
	return 0;
}

static int on_progress(void *arg, enum act_phase phase, uint64_t done, uint64_t total)
{
	struct lab *lab = arg;

	CHECK(done <= total, "%llu of %llu", (unsigned long long)done, (unsigned long long)total);
	if ((int)phase == lab->bad.cancel_phase && lab->bad.cancel_in-- == 0)
		return -1;
	return 0;
}

static int elsewhere(void *arg, const struct release_blob *b)
{
	struct lab *lab = arg;

	if ((int)b->role != lab->bad.flip || lab->bad.mirrors == 0)
		return 0;
	if (--lab->bad.mirrors == 0)
		lab->bad.flip = -1;
	return 1;
}

static void on_note(void *arg, const char *text)
{
	struct lab *lab = arg;

	CHECK(strlen(text) > 20, "%s", text);
	lab->notes++;
}

static const struct crooked honest = {
	.dies_at = UINT64_MAX, .cancel_phase = -1, .flip = -1, .gone = -1
};

/* The agent starts: settles, and is ready for a verb. running NULL: an image seen from outside. */
static void start(struct lab *lab, const struct rel *running, const char *boot,
		  struct machine_settle *ret)
{
	const struct config conf = conf_of();
	const struct host_live live = live_of(running, boot);
	struct err e = ERR_INIT;

	host_close(lab->h);
	lab->h = NULL;
	CHECK(host_open(sim_sys(&lab->sim), &conf, &live, &lab->h, &e) == 0, "%s", e.text);
	lab->bad = honest;
	lab->a = (struct act){ .host = lab->h,
			       .now = 1000,
			       .blob = give,
			       .elsewhere = elsewhere,
			       .progress = on_progress,
			       .note = on_note,
			       .arg = lab,
			       .threads = 1 };
	CHECK(act_settle(&lab->a, ret, &e) == 0, "settle: %s", e.text);
}

static int stage(struct lab *lab, const struct rel *r, struct act_result *ret, struct err *e)
{
	struct act_result ignored = { .slot = SLOT_A };

	lab->now = r;
	return act_stage(&lab->a, &r->m, ret ? ret : &ignored, e);
}

static void must_stage(struct lab *lab, const struct rel *r, struct act_result *ret)
{
	struct err e = ERR_INIT;

	CHECK(stage(lab, r, ret, &e) == 0, "%s", e.text);
}

static void must_apply(struct lab *lab)
{
	struct act_result res = { .slot = SLOT_A };
	struct err e = ERR_INIT;

	CHECK(act_apply(&lab->a, &res, &e) == 0, "%s", e.text);
}

static void record_of(struct lab *lab, struct record *ret)
{
	struct err e = ERR_INIT;

	CHECK(record_load(lab->h->sys, lab->h->state, ret, &e) == 0, "%s", e.text);
}

static const char *next_version(struct lab *lab)
{
	struct err e = ERR_INIT;

	CHECK(host_look(lab->h, &e) == 0, "%s", e.text);
	return lab->h->next < lab->h->n_entries ? lab->h->entries[lab->h->next].version : "none";
}

/* A live host that runs 1.0.0, good. */
static void lab_new(struct lab *lab)
{
	memset(lab, 0, sizeof(*lab));
	sim_init(&lab->sim);
	make_disk(&lab->sim);
	sim_dir(&lab->sim, LINUX, SIM_FAT);
	sim_dir(&lab->sim, STATE, SIM_POSIX);
	sim_dir(&lab->sim, "/efivars", SIM_POSIX);
	start(lab, NULL, "", NULL);
	must_stage(lab, &one, NULL);
	must_apply(lab);
	bless(&lab->sim, "1.0.0");
	start(lab, &one, "boot1", NULL);
}

static void lab_done(struct lab *lab)
{
	host_close(lab->h);
	CHECK(sim_open_fds(&lab->sim) == 0, "%u descriptors are open", sim_open_fds(&lab->sim));
	sim_done(&lab->sim);
}

struct print {
	struct lab *lab;
	char text[PRINT_MAX];
	const char *dir;
};

static void print_name(void *arg, const char *name)
{
	struct print *p = arg;
	size_t k = strlen(p->text);
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	(void)snprintf(p->text + k, sizeof(p->text) - k, "%s %lld\n", path,
		       (long long)sim_size(&p->lab->sim, path));
}

/* Everything a refusal must not change. */
static void print_all(struct lab *lab, struct print *p)
{
	uint8_t sum[SHA256_BYTES];
	size_t n;
	AUTO_FREE char *disk = sim_read(&lab->sim, DISK, &n);
	struct record rec;

	record_of(lab, &rec);
	sha256(disk, n, sum);
	*p = (struct print){ .lab = lab };
	(void)snprintf(p->text, sizeof(p->text), "%02x%02x%02x%02x %d %s %llu\n", sum[0], sum[1],
		       sum[2], sum[3], (int)rec.phase, rec.target.version,
		       (unsigned long long)rec.seq);
	p->dir = LINUX;
	sim_names(&lab->sim, LINUX, print_name, p);
}

static void refused(struct lab *lab, const struct rel *r, int want, const char *word)
{
	static struct print before, after;
	struct err e = ERR_INIT;
	int got;

	print_all(lab, &before);
	got = stage(lab, r, NULL, &e);
	CHECK(got == want && strstr(e.text, word), "%d, wanted %d: %s", got, want, e.text);
	print_all(lab, &after);
	CHECK(strcmp(before.text, after.text) == 0, "%s\n%s\n%s", e.text, before.text, after.text);
	CHECK(!sim_exists(&lab->sim, STATE "/uki.part"), "%s: uki.part stays", e.text);
}

static void test_update(void)
{
	struct act_result res = { .slot = SLOT_A };
	struct lab lab;
	struct err e = ERR_INIT;

	lab_new(&lab);
	must_stage(&lab, &two, &res);
	CHECK(res.slot == SLOT_B && !res.nothing && res.written > 0, "staged");
	CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "staging changed what boots");
	must_stage(&lab, &two, &res);
	CHECK(res.nothing, "staged again");
	must_apply(&lab);
	CHECK(strcmp(next_version(&lab), "1.1.0") == 0, "applied");
	CHECK(!sim_exists(&lab.sim, STATE "/uki.efi"), "the UKI stays");
	CHECK(act_apply(&lab.a, &res, &e) == 0 && res.nothing, "applied again");
	lab_done(&lab);
}

static void test_refusals(void)
{
	struct rel r = two;
	struct lab lab;
	struct err e = ERR_INIT;

	lab_new(&lab);
	refused(&lab, &large, -ENOSPC, "data partition");
	r.m.hash_bytes += 4096;
	refused(&lab, &r, -EINVAL, "hash_bytes");
	r = two;
	r.m.uki_sha256[5] ^= 1;
	refused(&lab, &r, -EBADMSG, "is not what the signed manifest says");
	r = two; /* whole and signed, but of another release */
	r.uki_fd = three.uki_fd;
	r.m.uki_bytes = three.m.uki_bytes;
	r.m.blob[2].bytes = three.m.blob[2].bytes;
	memcpy(r.m.uki_sha256, three.m.uki_sha256, SHA256_BYTES);
	refused(&lab, &r, -EBADMSG, "another /usr");
	r = only_uki;
	(void)snprintf(r.m.version, sizeof(r.m.version), "1.0.2");
	refused(&lab, &r, -EBADMSG, "calls itself web 1.0.1");
	r = two;
	r.m.blob[2].bytes--;
	lab.bad.uki_of = &two;
	CHECK(stage(&lab, &r, NULL, &e) < 0, "a cut UKI");
	lab.bad = honest;
	sim_capacity(&lab.sim, STATE, 20000);
	refused(&lab, &two, -ENOSPC, STATE);
	sim_capacity(&lab.sim, STATE, UINT64_MAX);
	sim_capacity(&lab.sim, "/esp", 40000);
	refused(&lab, &two, -ENOSPC, "ESP");
	sim_capacity(&lab.sim, "/esp", UINT64_MAX);
	must_stage(&lab, &two, NULL);
	lab_done(&lab);
}

static void test_foreign(void)
{
	struct lab lab;
	struct err e = ERR_INIT;

	lab_new(&lab);
	CHECK(disk_slot_mark(lab.h->disk, SLOT_B, "other_7", NULL, &e) == 0, "%s", e.text);
	refused(&lab, &two, -EPERM, "other_7");
	lab_done(&lab);
}

static void test_assessing(void)
{
	struct machine_settle s;
	struct lab lab;

	lab_new(&lab);
	must_stage(&lab, &two, NULL);
	must_apply(&lab);
	start(&lab, &two, "boot2", &s);
	CHECK(s.news == MACHINE_NEWS_NONE, "no verdict yet");
	refused(&lab, &three, -EBUSY, "assessed");
	bless(&lab.sim, "1.1.0");
	start(&lab, &two, "boot2", &s);
	CHECK(s.news == MACHINE_NEWS_GOOD && strcmp(s.version, "1.1.0") == 0, "good");
	must_stage(&lab, &three, NULL);
	lab_done(&lab);
}

static void test_only_uki(void)
{
	struct act_result res = { .slot = SLOT_A };
	static struct print before, after;
	struct lab lab;

	lab_new(&lab);
	print_all(&lab, &before);
	must_stage(&lab, &only_uki, &res);
	CHECK(res.uki_only && res.slot == SLOT_A && res.written == 0, "a UKI alone");
	must_apply(&lab);
	print_all(&lab, &after);
	CHECK(memcmp(before.text, after.text, 8) == 0, "the disk changed");
	CHECK(strcmp(next_version(&lab), "1.0.1") == 0, "%s", next_version(&lab));
	lab_done(&lab);
}

/* Whatever phase it stops in, the record says where it is and nothing is fetched twice. */
static void test_cancel(void)
{
	static const enum act_phase phases[] = { ACT_UKI, ACT_FETCH, ACT_WRITE, ACT_PROVE };

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		struct act_result res = { .slot = SLOT_A };
		struct err e = ERR_INIT;
		struct record rec;
		struct lab lab;
		unsigned ukis;

		lab_new(&lab);
		lab.bad.cancel_phase = (int)phases[i];
		lab.bad.cancel_in = phases[i] == ACT_WRITE ? 1 : 0;
		CHECK(stage(&lab, &two, NULL, &e) == -ECANCELED, "phase %zu: %s", i, e.text);
		record_of(&lab, &rec);
		CHECK((rec.phase == RECORD_WRITING) == (phases[i] != ACT_UKI), "phase %zu", i);
		CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "phase %zu", i);
		start(&lab, &one, "boot1", NULL);
		ukis = lab.ukis;
		must_stage(&lab, &two, &res);
		CHECK(phases[i] == ACT_UKI || lab.ukis == ukis, "the UKI was fetched again");
		CHECK(phases[i] != ACT_PROVE || res.fetched < two.usr.full_bytes,
		      "all of it again");
		must_apply(&lab);
		lab_done(&lab);
	}
}

static void test_source_dies(void)
{
	struct act_result res = { .slot = SLOT_A };
	struct err e = ERR_INIT;
	struct lab lab;

	lab_new(&lab);
	lab.bad.dies_at = two.usr.full_bytes * 3 / 4;
	CHECK(stage(&lab, &two, &res, &e) == -ECONNRESET && e.kind == ERR_RETRY, "%s", e.text);
	lab.bad = honest;
	must_stage(&lab, &two, &res);
	CHECK(res.kept > 0 && res.fetched < two.usr.full_bytes, "kept %llu",
	      (unsigned long long)res.kept);
	lab_done(&lab);
}

/* What was staged is looked at again before it is called staged, or applied. */
static void test_staged_rots(void)
{
	struct act_result res = { .slot = SLOT_A };
	struct err e = ERR_INIT;
	struct lab lab;

	lab_new(&lab);
	must_stage(&lab, &two, NULL);
	sim_poke(&lab.sim, STATE "/uki.efi", 20000, "rot", 3);
	CHECK(act_apply(&lab.a, &res, &e) == -ESTALE && strstr(e.text, "proactl stage"), "%s",
	      e.text);
	must_stage(&lab, &two, &res);
	CHECK(!res.nothing && res.kept == two.usr.n, "staged again from what the slot holds");
	must_apply(&lab);
	lab_done(&lab);
}

static void test_newer_over_older(void)
{
	for (int applied = 0; applied < 2; applied++) {
		struct act_result res = { .slot = SLOT_A };
		struct lab lab;

		lab_new(&lab);
		must_stage(&lab, &two, NULL);
		if (applied)
			must_apply(&lab);
		must_stage(&lab, &three, &res);
		CHECK(res.slot == SLOT_B, "slot");
		CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "its slot is gone");
		must_apply(&lab);
		CHECK(strcmp(next_version(&lab), "1.2.0") == 0, "applied");
		CHECK(!sim_exists(&lab.sim, LINUX "/web_1.1.0+3-0.efi"), "the old UKI stays");
		lab_done(&lab);
	}
}

static void test_rollback_pending(void)
{
	for (int applied = 0; applied < 2; applied++) {
		char version[RECORD_VERSION_MAX];
		struct act_result res = { .slot = SLOT_A };
		struct err e = ERR_INIT;
		struct record rec;
		struct lab lab;

		lab_new(&lab);
		must_stage(&lab, &two, NULL);
		if (applied)
			must_apply(&lab);
		CHECK(act_rollback(&lab.a, "too new", version, &e) == 0, "%s", e.text);
		CHECK(strcmp(version, "1.1.0") == 0, "%s", version);
		CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "it boots still");
		record_of(&lab, &rec);
		CHECK(rec.phase == RECORD_IDLE && record_failed(&rec, "1.1.0"), "record");
		CHECK(strstr(record_failed(&rec, "1.1.0")->reason, "too new"), "reason");
		start(&lab, &one, "boot1", NULL);
		must_stage(&lab, &two, &res); /* as after proactl forgive */
		CHECK(res.kept == two.usr.n, "the slot held it still");
		lab_done(&lab);
	}
}

static void test_rollback_running(void)
{
	char version[RECORD_VERSION_MAX];
	struct err e = ERR_INIT;
	struct record rec;
	struct lab lab;

	lab_new(&lab);
	CHECK(act_rollback(&lab.a, "", version, &e) < 0 && strstr(e.text, "no other"), "%s",
	      e.text);
	must_stage(&lab, &two, NULL);
	must_apply(&lab);
	bless(&lab.sim, "1.1.0");
	start(&lab, &two, "boot2", NULL);
	CHECK(act_rollback(&lab.a, "slow", version, &e) == 0, "%s", e.text);
	CHECK(strcmp(version, "1.1.0") == 0 && strcmp(next_version(&lab), "1.0.0") == 0, "back");
	record_of(&lab, &rec);
	CHECK(record_failed(&rec, "1.1.0"), "it would be offered again");
	start(&lab, &one, "boot3", NULL);
	CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "back");
	start(&lab, NULL, "", NULL);
	CHECK(act_rollback(&lab.a, "", version, &e) == -EOPNOTSUPP, "%s", e.text);
	lab_done(&lab);
}

/* Killed at that change, then started again. True: it went through; *ret_failed: it was recorded.
 */
static bool rollback_killed_at(unsigned at, bool *ret_failed)
{
	char version[RECORD_VERSION_MAX];
	struct err e = ERR_INIT;
	struct record rec;
	struct lab lab;
	bool ended;

	lab_new(&lab);
	must_stage(&lab, &two, NULL);
	must_apply(&lab);
	lab.sim.crash_at = lab.sim.changes + at;
	ended = act_rollback(&lab.a, "", version, &e) == 0;
	host_close(lab.h); /* proad is gone, the machine is not */
	lab.h = NULL;
	sim_rearm(&lab.sim);
	start(&lab, &one, "boot1", NULL);
	record_of(&lab, &rec);
	*ret_failed = rec.phase == RECORD_IDLE;
	if (*ret_failed) {
		CHECK(record_failed(&rec, "1.1.0"), "cut %u: forgotten", at);
		CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "cut %u: it boots", at);
	}
	lab_done(&lab);
	return ended;
}

/* Once it is settled that a release failed, it never boots. */
static void test_rollback_killed(void)
{
	unsigned at = 1, failed = 0;
	bool was, ended = false;

	for (; !ended; at++) {
		ended = rollback_killed_at(at, &was);
		failed += was;
	}
	CHECK(at > 5 && failed > 1, "%u cuts, %u", at, failed);
}

/* 1.1.0 runs, good; a person goes back to 1.0.0, which is written anew. */
static int go_back(struct lab *lab, struct err *e)
{
	struct act_result res = { .slot = SLOT_A };
	struct record rec;
	bool there;
	int r = 0;

	record_of(lab, &rec);
	there = rec.phase != RECORD_WRITING && strcmp(rec.target.version, "1.0.0") == 0;
	if (!there)
		r = stage(lab, &one, &res, e);
	lab->a.leave = "too slow";
	return r < 0 ? r : act_apply(&lab->a, &res, e);
}

static void lab_two_runs(struct lab *lab)
{
	lab_new(lab);
	must_stage(lab, &two, NULL);
	must_apply(lab);
	bless(&lab->sim, "1.1.0");
	start(lab, &two, "boot2", NULL);
}

/* Killed at that change, then the same again. True: it went through. */
static bool go_back_killed_at(unsigned at)
{
	struct err e = ERR_INIT;
	struct record rec;
	struct lab lab;
	bool ended;

	lab_two_runs(&lab);
	lab.sim.crash_at = lab.sim.changes + at;
	ended = go_back(&lab, &e) == 0;
	host_close(lab.h);
	lab.h = NULL;
	sim_rearm(&lab.sim);
	start(&lab, &two, "boot2", NULL);
	CHECK(next_version(&lab)[0], "cut %u: nothing boots", at);
	CHECK(go_back(&lab, &e) == 0, "cut %u: %s", at, e.text);
	CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "cut %u: %s boots", at, next_version(&lab));
	record_of(&lab, &rec);
	CHECK(rec.phase == RECORD_APPLIED && strcmp(rec.target.version, "1.0.0") == 0, "record");
	CHECK(record_failed(&rec, "1.1.0") &&
		      strstr(record_failed(&rec, "1.1.0")->reason, "too slow"),
	      "cut %u: 1.1.0 would be offered again", at);
	lab_done(&lab);
	return ended;
}

/* How many changes it takes. */
static unsigned test_go_back_killed(void)
{
	unsigned at = 1;

	while (!go_back_killed_at(at))
		at++;
	CHECK(at > 60, "%u cuts", at);
	return at;
}

static void set_default(struct lab *lab, const char *line)
{
	sim_dir(&lab->sim, ESP "/loader", SIM_FAT);
	sim_file(&lab->sim, ESP "/loader/loader.conf", line, strlen(line));
}

static bool has_entry(const struct lab *lab, const char *version)
{
	for (size_t i = 0; i < lab->h->n_entries; i++)
		if (strcmp(lab->h->entries[i].version, version) == 0)
			return true;
	return false;
}

/*
 * Killed at that change; then somebody makes what runs the default, and the same is asked for
 * again. True: the cut came after 1.0.0 was published and before 1.1.0 was left.
 */
static bool go_back_with_default(unsigned at, bool *ret_ended)
{
	struct err e = ERR_INIT;
	struct record rec;
	struct lab lab;
	bool failed, there;

	lab_two_runs(&lab);
	lab.sim.crash_at = lab.sim.changes + at;
	*ret_ended = go_back(&lab, &e) == 0;
	host_close(lab.h);
	lab.h = NULL;
	sim_rearm(&lab.sim);
	set_default(&lab, "default web_1.1.0*\n");
	start(&lab, &two, "boot2", NULL);
	record_of(&lab, &rec);
	failed = record_failed(&rec, "1.1.0");
	there = rec.phase == RECORD_APPLIED;
	if (go_back(&lab, &e) < 0) {
		CHECK(strstr(e.text, "would still boot next"), "cut %u: %s", at, e.text);
		start(&lab, &two, "boot2", NULL);
		record_of(&lab, &rec);
		CHECK(failed || !record_failed(&rec, "1.1.0"), "cut %u: 1.1.0 was left", at);
		CHECK(!there || has_entry(&lab, "1.0.0"), "cut %u: nothing else boots", at);
	}
	set_default(&lab, "timeout 0\n");
	start(&lab, &two, "boot2", NULL);
	CHECK(go_back(&lab, &e) == 0, "cut %u: %s", at, e.text);
	CHECK(strcmp(next_version(&lab), "1.0.0") == 0, "cut %u: %s boots", at, next_version(&lab));
	lab_done(&lab);
	return there && !failed;
}

static void test_go_back_with_default(unsigned changes)
{
	unsigned between = 0;
	bool ended = false;

	for (unsigned at = changes - 32; !ended; at++) /* staging is long over */
		between += go_back_with_default(at, &ended);
	CHECK(between > 0, "no cut between publishing and leaving");
}

/* Without a person who says so nothing older is applied. */
static void test_older_needs_a_person(void)
{
	struct act_result res = { .slot = SLOT_A };
	struct err e = ERR_INIT;
	struct lab lab;

	lab_two_runs(&lab);
	must_stage(&lab, &one, NULL);
	CHECK(act_apply(&lab.a, &res, &e) < 0 && strstr(e.text, "would still boot next"), "%s",
	      e.text);
	CHECK(strcmp(next_version(&lab), "1.1.0") == 0, "%s", next_version(&lab));
	lab_done(&lab);
}

static uint64_t blob_bytes(const struct rel *r, enum release_blob_role role)
{
	return release_blob_find(&r->m, role, NULL)->bytes;
}

/* Nothing but the deltas is asked for, and of the UKI's full blob what it takes to judge it. */
static void test_delta(void)
{
	for (int kernel = 0; kernel < 2; kernel++) {
		const struct rel *r = kernel ? &next_kernel : &next;
		struct act_result res = { .slot = SLOT_A };
		struct lab lab;
		uint64_t all = blob_bytes(r, RELEASE_USR_FULL) + blob_bytes(r, RELEASE_UKI_FULL);

		lab_new(&lab);
		memset(lab.asked, 0, sizeof(lab.asked));
		must_stage(&lab, r, &res);
		CHECK(res.plan.usr.way == ACT_WAY_DELTA && res.plan.uki.way == ACT_WAY_DELTA,
		      "ways %d %d", (int)res.plan.usr.way, (int)res.plan.uki.way);
		CHECK(res.plan.uki_late == (kernel == 1), "late %d", res.plan.uki_late);
		CHECK(lab.asked[RELEASE_USR_FULL] == 0 &&
			      (lab.asked[RELEASE_UKI_FULL] > 0) == (kernel == 1),
		      "full blobs were asked for");
		CHECK(res.fetched + res.uki_fetched < all * 3 / 5 &&
			      res.fetched + res.uki_fetched <= res.plan.fetch,
		      "%llu + %llu of %llu fetched, %llu planned", (unsigned long long)res.fetched,
		      (unsigned long long)res.uki_fetched, (unsigned long long)all,
		      (unsigned long long)res.plan.fetch);
		CHECK(lab.notes == 0 && res.copied > 0, "notes");
		must_apply(&lab);
		CHECK(strcmp(next_version(&lab), r->m.version) == 0, "applied");
		lab_done(&lab);
	}
}

/* What it says it would do is what it does, and saying it changes nothing. */
static void test_plan(void)
{
	static struct print before, after;
	const struct rel *rels[] = { &two, &next, &next_kernel, &only_uki };

	for (size_t i = 0; i < 4; i++) {
		struct act_result plan = { .slot = SLOT_A }, res = plan;
		struct err e = ERR_INIT;
		struct lab lab;

		lab_new(&lab);
		print_all(&lab, &before);
		lab.now = rels[i];
		CHECK(act_plan_stage(&lab.a, &rels[i]->m, &plan, &e) == 0, "%s", e.text);
		print_all(&lab, &after);
		CHECK(strcmp(before.text, after.text) == 0, "%s\n%s", before.text, after.text);
		must_stage(&lab, rels[i], &res);
		CHECK(plan.plan.fetch == res.plan.fetch && plan.slot == res.slot, "another plan");
		CHECK(res.fetched + res.uki_fetched <= plan.plan.fetch &&
			      (plan.plan.uki_late ||
			       res.fetched + res.uki_fetched == plan.plan.fetch),
		      "%zu: %llu + %llu fetched, %llu planned", i, (unsigned long long)res.fetched,
		      (unsigned long long)res.uki_fetched, (unsigned long long)plan.plan.fetch);
		CHECK(plan.plan.copy == res.copied, "%llu copied", (unsigned long long)res.copied);
		CHECK(act_plan_stage(&lab.a, &rels[i]->m, &plan, &e) == 0 && plan.nothing, "%s",
		      e.text);
		lab_done(&lab);
	}
}

/* Whatever is wrong with a delta or with what runs: the update goes through, and says so. */
static void test_another_way(void)
{
	static const int roles[] = { RELEASE_USR_DELTA, RELEASE_UKI_DELTA };

	for (unsigned k = 0; k < 24; k++) {
		int role = roles[k % 2];
		const struct rel *r = k % 3 ? &next_kernel : &next;
		struct act_result res = { .slot = SLOT_A };
		struct lab lab;

		lab_new(&lab);
		if (k < 4)
			lab.bad.gone = role;
		else
			lab.bad.flip = role;
		lab.bad.flip_at = image_rnd(blob_bytes(r, (enum release_blob_role)role));
		if (k < 8) /* in the recipe */
			lab.bad.flip_at = 200 + image_rnd(60);
		must_stage(&lab, r, &res);
		CHECK(lab.notes > 0 || lab.bad.flip_at >= 200, "nobody was told");
		CHECK(k >= 4 ||
			      (role == RELEASE_USR_DELTA ? res.plan.usr.why : res.plan.uki.why)[0],
		      "no reason");
		must_apply(&lab);
		lab_done(&lab);
	}
}

static void test_base_rots(void)
{
	for (unsigned k = 0; k < 10; k++) {
		struct act_result res = { .slot = SLOT_A };
		struct verity_area area;
		struct err e = ERR_INIT;
		struct lab lab;

		lab_new(&lab);
		CHECK(slot_area(lab.h->disk, SLOT_A, k % 3 == 0, false, &area, &e) == 0, "%s",
		      e.text);
		for (unsigned i = 0; i < 40; i++)
			sim_poke(&lab.sim, DISK,
				 area.offset + (k % 3 == 0 ? IMAGE_BLOCK + image_rnd(8000)
							   : image_rnd(one.usr.n)),
				 "rot", 3);
		must_stage(&lab, k % 2 ? &next : &next_kernel, &res);
		must_apply(&lab);
		lab_done(&lab);
	}
}

static void test_mirrors(void)
{
	static const int roles[] = { RELEASE_USR_FULL, RELEASE_UKI_FULL, RELEASE_USR_INDEX };

	for (unsigned k = 0; k < 6; k++) {
		int role = roles[k % 3];
		struct err e = ERR_INIT;
		struct lab lab;
		int r;

		lab_new(&lab);
		lab.bad.flip = role;
		lab.bad.flip_at = role == RELEASE_USR_INDEX ? 40 : 3000;
		lab.bad.mirrors = k < 3 ? 2 : 0;
		r = stage(&lab, &two, NULL, &e);
		CHECK(k < 3 ? r == 0 : r < 0 && e.kind == ERR_REFUSED, "%u: %d %s", k, r, e.text);
		lab_done(&lab);
	}
}

/* A server that lied, hung up, and is good now: what was kept of it is not its fault any more. */
static void test_kept_lies(void)
{
	struct rel noise = next_kernel; /* frames of many pieces of the spool, and no deltas */

	noise.m.n_blob = 3;
	for (unsigned k = 0; k < 8; k++) {
		struct act_result res = { .slot = SLOT_A };
		struct err e = ERR_INIT;
		struct lab lab;

		lab_new(&lab);
		lab.bad.flip = RELEASE_USR_FULL;
		lab.bad.flip_at = image_rnd(SPOOL_PIECE_MAX);
		lab.bad.dies_at = SPOOL_PIECE_MAX + image_rnd(SPOOL_PIECE_MAX);
		CHECK(stage(&lab, &noise, NULL, &e) == -ECONNRESET, "%s", e.text);
		CHECK(sim_size(&lab.sim, STATE "/" SPOOL_FILE) > (int)SPOOL_PIECE_MAX, "not kept");
		lab.bad = honest;
		must_stage(&lab, &noise, &res);
		must_apply(&lab);
		lab_done(&lab);
	}
}

/* More than may be fetched: it waits, and says why. */
static void test_max(void)
{
	static struct print before, after;
	struct act_result res = { .slot = SLOT_A };
	struct err e = ERR_INIT;
	struct record rec;
	struct lab lab;
	uint64_t limit;

	lab_new(&lab);
	print_all(&lab, &before);
	lab.a.max_fetch = blob_bytes(&two, RELEASE_USR_FULL) / 2;
	must_stage(&lab, &two, &res);
	CHECK(res.waits && res.wants > lab.a.max_fetch && strstr(res.why, "no delta from 1.0.0"),
	      "%s", res.why);
	print_all(&lab, &after);
	CHECK(strcmp(before.text, after.text) == 0, "%s\n%s", before.text, after.text);
	must_stage(&lab, &next, &res);
	CHECK(!res.waits, "a small one waits: %s", res.why);
	lab_done(&lab);

	/* the delta turns out to be wrong in the middle */
	lab_new(&lab);
	lab.now = &next;
	CHECK(act_plan_stage(&lab.a, &next.m, &res, &e) == 0, "%s", e.text);
	limit = res.plan.fetch + 5000;
	lab.a.max_fetch = limit;
	lab.bad.flip = RELEASE_USR_DELTA;
	lab.bad.flip_at = blob_bytes(&next, RELEASE_USR_DELTA) - 100;
	must_stage(&lab, &next, &res);
	CHECK(res.waits && strstr(res.why, "delta"), "%s", res.why);
	record_of(&lab, &rec);
	CHECK(rec.phase == RECORD_WRITING, "phase");
	lab.a.max_fetch = 0;
	must_stage(&lab, &next, &res);
	CHECK(!res.waits, "it goes on");
	must_apply(&lab);
	lab_done(&lab);
}

int main(void)
{
	dice_seed();
	make_release(&one, "1.0.0", 200);
	make_next(&next, &one, "1.1.1", 0);
	make_next(&next_kernel, &one, "1.1.2", 340000);
	make_release(&two, "1.1.0", 260);
	make_release(&three, "1.2.0", 200);
	make_release(&large, "1.3.0", 300);
	only_uki.m = one.m; /* a new kernel for the /usr of 1.0.0 */
	(void)snprintf(only_uki.m.version, sizeof(only_uki.m.version), "1.0.1");
	make_uki(&only_uki, "1.0.1", one.m.root);
	test_update();
	test_refusals();
	test_foreign();
	test_assessing();
	test_only_uki();
	test_cancel();
	test_source_dies();
	test_staged_rots();
	test_newer_over_older();
	test_rollback_pending();
	test_rollback_running();
	test_rollback_killed();
	test_go_back_with_default(test_go_back_killed());
	test_older_needs_a_person();
	test_delta();
	test_plan();
	test_another_way();
	test_base_rots();
	test_mirrors();
	test_kept_lies();
	test_max();
	done_release(&next);
	done_release(&next_kernel);
	done_release(&one);
	done_release(&two);
	done_release(&three);
	done_release(&large);
	buf_done(&only_uki.uki);
	buf_done(&only_uki.uki_packed);
	(void)close(only_uki.uki_fd);
	return 0;
}
