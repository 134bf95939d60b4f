/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_ACT_STEPS_H
#define UPDATER_AGENT_ACT_STEPS_H

#include "base/buf.h"
#include "base/sys.h"
#include "updater/agent/act.h"
#include "updater/image/delta.h"
#include "updater/image/index.h"
#include "updater/image/scan.h"

/* What the files act_*.c share; act.h is for everybody else. */

/* A UKI on its way to HOST_SAVED_UKI. */
#define ACT_UKI_PART "uki.part"

#define ACT_MIRRORS_MAX 16u /* tries to have a blob right */

/* ---- act_stage.c ---- */

int act_tell(struct act *a, enum act_phase phase, uint64_t done, uint64_t total, struct err *e)
	__attribute__((warn_unused_result));
void act_note(struct act *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int act_record(struct act *a, struct record *rec, struct err *e)
	__attribute__((warn_unused_result));

/* Lock, load, facts, and whether the verb is allowed. */
int act_enter(struct act *a, enum machine_verb v, struct sys_fd *lock, struct record *rec,
	      struct machine_facts *f, struct err *e) __attribute__((warn_unused_result));

/*
 * May so many bytes be fetched in all? -EDQUOT (ERR_HOST) when a person must say so first; why:
 * what makes it so many.
 */
int act_allow(struct act *a, uint64_t fetch, const char *why, struct act_result *res, struct err *e)
	__attribute__((warn_unused_result));

/*
 * A blob as a source that asks for its bytes when it is begun, since only one blob at a time can be
 * read. `src` is what others are given.
 */
struct act_blob {
	struct act *act;
	const struct release_blob *blob;
	struct image_source in, src;
	uint64_t here; /* bytes that were not fetched: they were when this was cut off before */
};
void act_blob_init(struct act_blob *b, struct act *a, const struct release_blob *blob);

/*
 * The bytes of that blob were wrong. True: others come now. When some had been kept from before,
 * these are thrown away and nobody is blamed yet; else they come from elsewhere.
 */
bool act_elsewhere(struct act *a, const struct release_blob *blob);

/*
 * True if the error is about those bytes, or about where they were to come from, so that another
 * blob may do; false for a passing one, a cancel, and this machine's own.
 */
bool act_try_another(const struct err *e);

/* ---- act_rollback.c ---- */

/* Records that what runs was left with a->leave, then condemns its entry. */
int act_leave(struct act *a, struct record *rec, struct err *e) __attribute__((warn_unused_result));

/* ---- act_usr.c: the /usr of a release, from what runs to a proved slot ---- */

struct act_usr {
	struct act *a;
	const struct release_manifest *m;
	struct act_result *res;
	struct image_id id;
	struct verity_area data, hash;           /* the slot to write */
	struct verity_area base_data, base_hash; /* the running one; bytes 0: none */
	struct buf head;                         /* of the index blob, as much as was fetched */
	struct buf more;                         /* the same with more parts, when a delta failed */
	struct image_index *index, *index_more;
	struct image_scan *scan; /* NULL: the slot was not looked at */
	struct image_delta *delta;
	struct act_blob full, patch;
	uint64_t got; /* bytes of index and recipe so far */
};
void act_usr_done(struct act_usr *u);
#define AUTO_ACT_USR __attribute__((cleanup(act_usr_done))) struct act_usr

/*
 * Fills *u and the /usr half of res->plan. resume: the slot may hold parts of it already. Changes
 * nothing.
 */
int act_usr_plan(struct act_usr *u, bool resume, struct err *e) __attribute__((warn_unused_result));

/* True if the slot was found to hold all of it. */
bool act_usr_there(const struct act_usr *u);

/* Step 3: writes and proves. Numbers go to res. */
int act_usr_write(struct act_usr *u, struct err *e) __attribute__((warn_unused_result));

/* ---- act_uki.c: the UKI of a release, judged and saved in the state directory ---- */

struct act_uki {
	struct act *a;
	const struct release_manifest *m;
	struct act_result *res;
	bool saved;                /* it is there already */
	struct image_delta *delta; /* NULL: the full blob */
	bool from_usr;             /* the delta's base is the /usr it belongs to, not `base` */
	struct act_blob patch;
	struct sys_fd base;        /* the running UKI */
	struct verity_area second; /* the /usr it belongs to; bytes 0: not proved yet */
};
void act_uki_done(struct act_uki *u);
#define AUTO_ACT_UKI __attribute__((cleanup(act_uki_done))) struct act_uki

/*
 * Fills *u, whose first three members and `second` are set, and the UKI half of res->plan. A delta
 * that takes bytes from the new /usr is late unless `second` holds it. Changes nothing.
 */
int act_uki_plan(struct act_uki *u, const struct record_release *t, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Makes and judges it, and saves it durably. What fails leaves nothing behind. A delta that turns
 * out wrong is made up for with the full blob.
 */
int act_uki_save(struct act_uki *u, struct err *e) __attribute__((warn_unused_result));

/*
 * For one that is late: what can be judged now, from a few frames of the full blob: that it names
 * this /usr and this release, and that its signer is not one this firmware refuses.
 * act_try_another() errors: make it from the full blob instead, now.
 */
int act_uki_peek(struct act_uki *u, struct err *e) __attribute__((warn_unused_result));

/* The judgement of act_uki_peek() on what it has fetched. */
int act_uki_judge_part(struct act_uki *u, int fd, struct err *e)
	__attribute__((warn_unused_result));

/* Is this the UKI of that release, and would this machine's firmware start it? */
int act_uki_judge(struct act *a, int fd, const char *version, const uint8_t root[32], struct err *e)
	__attribute__((warn_unused_result));

/* 1 when the state directory holds exactly this UKI. */
int act_uki_is_saved(struct act *a, const struct record_release *t, struct err *e)
	__attribute__((warn_unused_result));

#endif
