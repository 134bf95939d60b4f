/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_CHOICE_H
#define BOOTCTL_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The order of systemd-boot 252 and the entry it starts with timeout 0. Pure. */

struct choice_entry {
	const char *file;     /* whole file name; lower-cased it is what the loader calls the id */
	const char *sort_key; /* NULL or "": none */
	const char *machine_id, *version;
	bool counted;
	uint32_t left, done;
	size_t index; /* the caller's own number, carried along */
};

/* <0 when a stands before b in the menu, 0 when the loader keeps the order it found. */
int choice_compare(const struct choice_entry *a, const struct choice_entry *b);

/* Sorts e[0..n), stable. */
void choice_sort(struct choice_entry *e, size_t n);

/* What is asked for; NULL where nothing is. Globs as in choice_glob(); letter case is ignored. */
struct choice_wish {
	const char *oneshot; /* LoaderEntryOneShot */
	const char *var;     /* LoaderEntryDefault; "@saved" */
	const char *conf;    /* `default` of loader.conf; "@saved" */
	const char *saved;   /* LoaderEntryLastBooted */
};

enum choice_why { CHOICE_ONESHOT, CHOICE_VAR, CHOICE_CONF, CHOICE_FIRST, CHOICE_NONE };

/* Index into the sorted e[0..n) of the entry that boots next; n when there is none. */
size_t choice_next(const struct choice_entry *e, size_t n, const struct choice_wish *wish,
		   enum choice_why *ret_why);
/* "one-shot variable", "default variable", "loader.conf", "first in order", "no entry" */
const char *choice_why_text(enum choice_why why);

/* '*', '?', '[a-z]', '\' quotes; case-insensitive; linear in memory, no recursion. */
bool choice_glob(const char *pattern, const char *text);

/* The value of `default` in a loader.conf p[0..n) (the last one wins) into out; "" when absent. */
void choice_conf_default(const char *p, size_t n, char *out, size_t cap);

#endif
