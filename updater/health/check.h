/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_CHECK_H
#define UPDATER_HEALTH_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Which checks are run in which order, and what their ends mean: the layout and the rules of
 * greenboot. Pure; run.h does what is said here.
 */
enum { HEALTH_NAME_MAX = 256, HEALTH_CHECKS_MAX = 256, HEALTH_LINE_MAX = 200 };

/* Where a check comes from. */
enum health_source {
	HEALTH_SCRIPT,    /* /usr/lib/proa/health, /etc/proa/health */
	HEALTH_GREENBOOT, /* /usr/lib/greenboot/check, /etc/greenboot/check */
	HEALTH_UNIT,      /* a systemd unit, unit.h */
	HEALTH_BUILT_IN,  /* can-update, update.h */
};
const char *health_source_name(enum health_source s); /* "script", "greenboot", "unit", ... */

/* What a name in required.d or wanted.d is. */
enum health_file_kind {
	HEALTH_FILE_RUN,    /* regular and executable */
	HEALTH_FILE_BARRED, /* meant to be run (*.sh, or a link to nothing), and cannot be */
	HEALTH_FILE_MASK,   /* a link to /dev/null */
	HEALTH_FILE_OTHER,  /* a README, a directory, an editor's backup */
};

struct health_file {
	char name[HEALTH_NAME_MAX];
	bool etc; /* below /etc, else below /usr/lib */
	enum health_file_kind kind;
};

enum health_end {
	HEALTH_WAITING, /* not run yet */
	HEALTH_PASSED,
	HEALTH_FAILED,
	HEALTH_LATE,    /* the deadline passed while it ran, or before */
	HEALTH_SKIPPED, /* because a required one had failed */
};

struct health_check {
	char name[HEALTH_NAME_MAX];
	enum health_source source;
	enum health_end end; /* this and the rest: what became of it */
	bool required, etc, barred, by_signal;
	int code;                   /* exit status or signal; of scripts */
	char last[HEALTH_LINE_MAX]; /* last line it printed, clean; of others: what was found */
	uint64_t took_ms;
};
const char *health_end_name(enum health_end end); /* "waiting", "passed", "failed", ... */

/* What a file is, from its name and stat(2) mode; mode 0: its link leads nowhere. */
enum health_file_kind health_file_kind(const char *name, unsigned mode, bool dev_null);

/*
 * The checks of one kind (required or not) behind check[0..*n): sorted by name over both
 * directories, a name in /etc replacing the one in /usr/lib, masked and other files left out.
 * ERR_INPUT -E2BIG beyond HEALTH_CHECKS_MAX.
 */
int health_merge(const struct health_file *file, size_t n_file, bool required,
		 struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The same for greenboot's directories, after greenboot's rules: only *.sh, executable or not,
 * those of /usr/lib before those of /etc, none replacing another.
 */
int health_merge_greenboot(const struct health_file *file, size_t n_file, bool required,
			   struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
	__attribute__((warn_unused_result));

/*
 * One check per name in `units` (blanks between), barred when it is no name of a unit. Also for one
 * that is no file: health_add() with its source.
 */
int health_add_units(const char *units, bool required, struct health_check check[HEALTH_CHECKS_MAX],
		     size_t *n, struct err *e) __attribute__((warn_unused_result));
int health_add(const char *name, enum health_source source, bool required,
	       struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What becomes of check[i] next: HEALTH_WAITING when it is to be run now, else the end it has
 * without being run.
 */
enum health_end health_turn(const struct health_check *check, size_t i, bool time_left);

/* The first required check that did not pass; n when the host is healthy. */
size_t health_failure(const struct health_check *check, size_t n);
/* How many wanted checks did not pass. */
size_t health_warnings(const struct health_check *check, size_t n);

/* "20-containerd.sh, exit 1: <last line>" */
void health_reason(const struct health_check *c, char *out, size_t cap);

/* The last line of p[0..n) that says something, clean, "" when none does. */
void health_last_line(const char *p, size_t n, char out[HEALTH_LINE_MAX]);

#endif
