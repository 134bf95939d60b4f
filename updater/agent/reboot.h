/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_REBOOT_H
#define UPDATER_AGENT_REBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "updater/agent/config.h"
#include "updater/lock/lock.h"
#include "updater/record/record.h"

/*
 * May this host reboot now, and if not, why and until when; and what comes first. Pure: no I/O,
 * clock or log. The order, each step announced in the memo before it is taken:
 *
 *   lock -> pre-reboot.d -> lock asked for again -> reboot -> (boot, blessed) -> post-boot.d ->
 * unlock
 *
 * A kill or a power cut between two steps repeats the step that was announced: taking and giving
 * back a place twice is harmless, and hooks are told that they may run twice.
 *
 * However the record and the firmware disagree, a host reboots by itself at most once for an
 * applied release that never starts; then it waits for a person, who by asking allows one more.
 */

enum reboot_step {
	REBOOT_WAIT,          /* nothing can be done now; the reasons say why */
	REBOOT_NOTHING,       /* nothing asks for a reboot, and nothing is owed */
	REBOOT_LOCK,          /* ask for a place in the group */
	REBOOT_HOOKS,         /* run pre-reboot.d */
	REBOOT_GO,            /* reboot */
	REBOOT_POST_BOOT,     /* run post-boot.d */
	REBOOT_POST_FALLBACK, /* run post-fallback.d */
	REBOOT_UNLOCK,        /* give the place back */
};

enum reboot_why {
	REBOOT_WHY_NONE,
	REBOOT_WHY_MANUAL,      /* Reboot=manual */
	REBOOT_WHY_WINDOW,      /* none is open */
	REBOOT_WHY_INHIBITOR,   /* somebody blocks shutdown */
	REBOOT_WHY_ASSESSING,   /* what runs is not known to be good yet */
	REBOOT_WHY_LOCK,        /* others have all places */
	REBOOT_WHY_LOCK_SERVER, /* cannot be asked */
	REBOOT_WHY_HOOK,        /* pre-reboot.d refused */
	REBOOT_WHY_UNDER_WAY,   /* the reboot was asked for */
	REBOOT_WHY_FAILED,      /* logind did not do it */
	REBOOT_WHY_UNLOCK,      /* a place could not be given back */
	REBOOT_WHY_KEPT,        /* a place is kept since the release failed here */
	REBOOT_WHY_OTHER_ENTRY, /* something else than the applied release boots next */
	REBOOT_WHY_NOT_STARTED, /* it was rebooted for, and something else came up */
};
const char *reboot_why_name(enum reboot_why w); /* "manual", "window", ... */

/* True: only a person makes it go away. */
bool reboot_why_stays(enum reboot_why w);

#define REBOOT_URL_MAX     1025
#define REBOOT_TEXT_MAX    401
#define REBOOT_REASONS_MAX 6
#define REBOOT_PATIENCE_S  600 /* for a reboot that was asked for to happen */

/* Where a place is asked for. */
struct reboot_place {
	struct lock_terms terms;
	char url[REBOOT_URL_MAX]; /* of one server's members, each ends in '/', a blank between two
				   */
};

/* What must outlive a kill and the reboot. All zero: nothing is under way. */
struct reboot_memo {
	bool lock;   /* a place may be held: from before it is asked for until it is given back */
	bool hooked; /* post-boot.d or post-fallback.d is owed */
	struct reboot_place place;        /* with lock */
	char boot_id[RECORD_BOOT_ID_MAX]; /* the boot in which all this began */
	int64_t going;                    /* when the reboot is to happen; 0: not asked for */
	char version[RECORD_VERSION_MAX]; /* the release it is to start; empty: none */
	char from[RECORD_VERSION_MAX];    /* what ran */
	char kept[RECORD_VERSION_MAX];    /* the place is kept since this one failed here */
	/* the release that this host rebooted for last and has not seen start, and in which boot */
	char asked[RECORD_VERSION_MAX], asked_boot[RECORD_BOOT_ID_MAX];
	/* what came in the way last, in that boot */
	enum reboot_why why;
	char text[REBOOT_TEXT_MAX];
	int64_t since, next; /* next: not tried again before; 0: at any time */
};

enum reboot_by {
	REBOOT_BY_NOBODY, /* only what is owed is done */
	REBOOT_BY_ITSELF, /* as the configuration allows */
	REBOOT_BY_PERSON, /* now, but for locks, hooks and inhibitors */
	REBOOT_BY_FORCE,  /* now, whatever stands in the way */
};

struct reboot_facts {
	int64_t now;
	char boot_id[RECORD_BOOT_ID_MAX];
	enum reboot_by by;
	bool applied;   /* a release boots next that does not run: the target */
	bool assessing; /* what runs is not yet known to be good */
	bool failed;    /* the memo's version has failed here, and nobody forgave it */
	bool kept;      /* the memo's `kept` has, likewise */
	char target[RECORD_VERSION_MAX], running[RECORD_VERSION_MAX];
	enum config_reboot policy;
	/* with CONFIG_REBOOT_WINDOW */
	bool window_known, window_open;
	int64_t window_changes;       /* 0: never */
	char window[REBOOT_TEXT_MAX]; /* which one; or why that is not known */
	char other[REBOOT_TEXT_MAX];  /* not `applied`: what boots next instead; empty: nothing */
	bool lock, keep;              /* a place is needed; is kept when the release fails */
	bool same;                    /* the memo's place is the one that is needed */
	char inhibitor[REBOOT_TEXT_MAX]; /* "sshd (pid 7): why"; empty: none */
	/* of this run: not remembered */
	bool lock_fresh;   /* got, and nothing that takes time has happened since */
	bool hooks_passed; /* pre-reboot.d said yes */
	bool stuck;        /* a step failed, as the memo says: nothing new is begun */
	bool unlock_failed;
};

struct reboot_reason {
	enum reboot_why why;
	int64_t until; /* 0: not known */
	char text[REBOOT_TEXT_MAX];
};

struct reboot_next {
	enum reboot_step step;
	/* why not; with a step that takes something back, why it does */
	struct reboot_reason reason[REBOOT_REASONS_MAX];
	size_t n;
	int64_t look; /* when to decide again; 0: nothing changes by itself */
};

/* The one decision. */
void reboot_decide(const struct reboot_memo *m, const struct reboot_facts *f,
		   struct reboot_next *ret);

/*
 * For who only looks, after reboot_decide(): when the next try is due, what came in the way of the
 * last one in this boot still is the reason until that try has ended.
 */
void reboot_recall(const struct reboot_memo *m, const struct reboot_facts *f,
		   struct reboot_next *next);

/*
 * Announces step: what the memo must say before it is taken. at: when it reboots (REBOOT_GO).
 * True if the memo is another now and must be stored.
 */
bool reboot_begin(struct reboot_memo *m, const struct reboot_facts *f, enum reboot_step step,
		  const struct reboot_place *place, int64_t at);

enum reboot_end {
	REBOOT_DONE,
	REBOOT_NO,      /* all places are taken; a hook refuses */
	REBOOT_TROUBLE, /* it could not be found out, or done */
};

/*
 * What came of step; text: why not; next: not tried again before. The memo must be stored. f: what
 * this run knows (lock_fresh, hooks_passed) is changed too. True: a place that could not be given
 * back is forgotten, since locks are switched off, or a person reboots and another server is asked.
 */
bool reboot_ended(struct reboot_memo *m, struct reboot_facts *f, enum reboot_step step,
		  enum reboot_end end, const char *text, int64_t next);

/* Is anything to be done because of an earlier boot? */
bool reboot_owes(const struct reboot_memo *m, const char *boot_id);

/*
 * A release has become good here, or was fallen back from, whoever rebooted: its hooks are owed.
 * True if the memo is another now.
 */
bool reboot_heard(struct reboot_memo *m, const char *version, const char *boot_id);

/* A person allows another try of that release. True if the memo is another now. */
bool reboot_forgiven(struct reboot_memo *m, const char *version);

/* What post-boot.d is told: "good", "failed" or "postponed" (it never ran). */
const char *reboot_outcome(const struct reboot_memo *m, const struct reboot_facts *f);

#endif
