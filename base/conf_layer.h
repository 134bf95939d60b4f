/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CONF_LAYER_H
#define BASE_CONF_LAYER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* A drop-in found in one of the directories; dir counts from 0, the one that wins (/etc). */
struct conf_seen {
	char *name;
	unsigned dir;
	bool masked; /* an empty file or a link to /dev/null */
};

/*
 * UAPI.6: of the same name only that of the lowest dir counts, and a masked one hides the others.
 * Reorders seen[0..n) so that the first *return* elements are the files to read, in that order:
 * by name in byte order, later ones override earlier ones. Elements are only moved. No I/O.
 */
size_t conf_layer_order(struct conf_seen *seen, size_t n);

/* A setting's place in a file's text; section is empty before the first [section]. */
struct conf_span {
	const char *p;
	size_t n;
};

struct conf_key {
	struct conf_span section, name;
};

#define CONF_KEYS_MAX 512

struct conf_keys {
	struct conf_key key[CONF_KEYS_MAX];
	size_t n;
};

/*
 * Every setting of a file, in order; the spans point into text. Refuses what libeconf would read
 * without a word as something else than what stands there: a key set twice in one section of one
 * file (it keeps the first), a '#' or ';' inside a value (it cuts the value there), a line without
 * '=' (it continues a value, or sets an empty one), a setting without a name (it skips it), a NUL
 * byte. ERR_INPUT; path leads the sentence, *ret is scratch then. No I/O.
 */
int conf_layer_scan(const char *text, size_t n, const char *path, struct conf_keys *ret,
		    struct err *e) __attribute__((warn_unused_result));

#endif
