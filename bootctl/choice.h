/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_CHOICE_H
#define BOOTCTL_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The order of systemd-boot and the entry it starts with timeout 0, 252 to 262. Pure. */

struct choice_entry {
	const char *file;     /* whole file name; lower-cased it is what the loader calls the id */
	const char *sort_key; /* NULL or "": none */
	const char *machine_id, *version;
	bool counted;
	bool bare; /* the loader is one whose ids have no counter: 258, and 257 as mended */
	uint32_t left, done;
	size_t index; /* the caller's own number, carried along */
};

/* <0 when a stands before b in the menu, 0 when the loader keeps the order it found. */
int choice_compare(const struct choice_entry *a, const struct choice_entry *b);

/* Sorts e[0..n), stable. */
void choice_sort(struct choice_entry *e, size_t n);

/* What is asked for; NULL where nothing is. Globs as in choice_glob(); letter case is ignored. */
struct choice_wish {
	const char *oneshot;        /* LoaderEntryOneShot */
	const char *preferred_var;  /* 260 and later: LoaderEntryPreferred; "@saved" */
	const char *preferred_conf; /* `preferred` of loader.conf; "@saved" */
	const char *var;            /* LoaderEntryDefault; "@saved" */
	const char *conf;           /* `default` of loader.conf; "@saved" */
	const char *saved;          /* LoaderEntryLastBooted */
};

enum choice_why {
	CHOICE_ONESHOT,
	CHOICE_PREFERRED,
	CHOICE_VAR,
	CHOICE_CONF,
	CHOICE_FIRST,
	CHOICE_NONE,
	CHOICE_UNSURE /* choice_next_of() only */
};

/* What a version of the loader does: unknown, no, yes. */
enum choice_does { CHOICE_MAYBE, CHOICE_NO, CHOICE_YES };
struct choice_loader {
	enum choice_does bare;      /* ids have no counters */
	enum choice_does preferred; /* knows LoaderEntryPreferred and `preferred` */
};

/*
 * By what the loader that ran has left: LoaderInfo, LoaderEntrySelected and LoaderBootCountPath,
 * each may be "". What it called a counted entry is better evidence than its version.
 */
struct choice_loader choice_loader(const char *info, const char *selected, const char *count_path);

/* Index into the sorted e[0..n) of the entry that boots next; n when there is none. */
size_t choice_next(const struct choice_entry *e, size_t n, const struct choice_wish *wish,
		   enum choice_why *ret_why);
/*
 * The same for the loader that is there: what every version it may be would start. When that is not
 * one entry: n and CHOICE_UNSURE. Changes the order of e and their `bare`; the answer is the
 * entry's own .index, or n.
 */
size_t choice_next_of(const struct choice_loader *l, struct choice_entry *e, size_t n,
		      const struct choice_wish *wish, enum choice_why *ret_why);
/* "one-shot variable", "default variable", "loader.conf", "first in order", "no entry", ... */
const char *choice_why_text(enum choice_why why);

/* '*', '?', '[a-z]', '\' quotes; case-insensitive; linear in memory, no recursion. */
bool choice_glob(const char *pattern, const char *text);

/* The value of `key` in a loader.conf p[0..n) (the last one wins) into out; "" when absent. */
void choice_conf_value(const char *p, size_t n, const char *key, char *out, size_t cap);

#endif
