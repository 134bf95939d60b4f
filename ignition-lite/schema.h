/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_SCHEMA_H
#define IGNITION_LITE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "ignition-lite/tree.h"

/* The schema of specs 3.0.0 to 3.5.0 as tables: what may stand where, since when, how it merges. */

enum ign_type {
	IGN_TYPE_STRING,
	IGN_TYPE_INT,
	IGN_TYPE_BOOL,
	IGN_TYPE_OBJECT,
	IGN_TYPE_STRINGS, /* a list */
	IGN_TYPE_OBJECTS, /* a list */
};

struct ign_object;

struct ign_field {
	const char *name;
	enum ign_type type;
	const struct ign_object *of; /* of OBJECT and OBJECTS */
	unsigned since;              /* spec 3.since.0 */
	bool concat;                 /* a list that is appended to and may repeat itself */
	/* with the other such lists of the object */
	bool shares_keys;
};

/*
 * What the types do not say. Adds its findings with ign_say(). Returns 0, or -ENOMEM (ERR_HOST).
 */
typedef int ign_check_fn(struct ign_read *r, const struct ign_at *at, const json_t *o,
			 struct err *e);

struct ign_object {
	const struct ign_field *field;
	size_t fields;
	const char *key;     /* the member by which entries of a list are the same; NULL: no list */
	ign_check_fn *check; /* NULL: nothing */
};

enum { IGN_MINOR_MAX = 5 };

extern const struct ign_object ign_schema, ign_header_schema; /* of the root, of httpHeaders */

/* The field of that name, of whatever version; NULL. */
const struct ign_field *ign_field_find(const struct ign_object *o, const char *name);

/*
 * The key of entry v of the list f: itself, a member, or for a partition its number or label, in
 * room if need be; "" when it has none.
 */
#define IGN_KEY_MAX 512
const char *ign_key(const struct ign_field *f, const json_t *v, char room[IGN_KEY_MAX]);

#endif
