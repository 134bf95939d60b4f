/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h> /* this header is the only place that includes it */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define AUTO_JSON __attribute__((cleanup(json_decrefp))) json_t

struct json_limits {
	size_t bytes;   /* longest document */
	unsigned depth; /* deepest nesting of objects and arrays */
};
#define JSON_LIMITS_DEFAULT                                                                        \
	{                                                                                          \
		.bytes = 4u << 20, .depth = 32                                                     \
	}

/*
 * Strict JSON (RFC 8259): one document and nothing behind it, UTF-8 checked, duplicate keys
 * refused, limits checked before anything is allocated. ERR_INPUT with line and column; `what` (a
 * file name or URL) leads the sentence.
 */
int json_read(const void *p, size_t n, const struct json_limits *lim, const char *what,
	      json_t **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Where in the document p[0..n), which json_read() has accepted, stands the value that the steps
 * lead to from the root: line and column (in characters) of its first one, both from 1. Where a
 * member is not there, the deepest value that is.
 */
struct json_step {
	const char *key; /* of a member; NULL: element `index` of an array */
	size_t index;
};
void json_locate(const char *p, size_t n, const struct json_step *step, size_t steps,
		 unsigned *ret_line, unsigned *ret_column);

/* Pretty (indent 2, order kept) or compact text of j, appended to b. */
int json_write(const json_t *j, bool pretty, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Members of an object, borrowed. The plain forms answer ERR_INPUT when the key is absent or of
 * another type ("what: key: must be a string"); the _opt forms answer NULL, def or 0 when absent.
 */
int json_get_str(const json_t *o, const char *key, const char *what, const char **ret,
		 struct err *e) __attribute__((warn_unused_result));
int json_get_str_opt(const json_t *o, const char *key, const char *what, const char **ret,
		     struct err *e) __attribute__((warn_unused_result));
int json_get_u64(const json_t *o, const char *key, const char *what, uint64_t max, uint64_t *ret,
		 struct err *e) __attribute__((warn_unused_result));
int json_get_u64_opt(const json_t *o, const char *key, const char *what, uint64_t max, uint64_t def,
		     uint64_t *ret, struct err *e) __attribute__((warn_unused_result));
int json_get_bool_opt(const json_t *o, const char *key, const char *what, bool def, bool *ret,
		      struct err *e) __attribute__((warn_unused_result));
int json_get_obj(const json_t *o, const char *key, const char *what, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int json_get_arr(const json_t *o, const char *key, const char *what, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
/* Exactly n bytes as 2n hex digits. */
int json_get_hex(const json_t *o, const char *key, const char *what, uint8_t *ret, size_t n,
		 struct err *e) __attribute__((warn_unused_result));
/* RFC 3339 UTC time, see num_parse_time(). */
int json_get_time(const json_t *o, const char *key, const char *what, int64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Building: add a member; all return -ENOMEM on failure and steal value. */
int json_put(json_t *o, const char *key, json_t *value, struct err *e)
	__attribute__((warn_unused_result));
int json_put_str(json_t *o, const char *key, const char *value, struct err *e)
	__attribute__((warn_unused_result));
int json_put_u64(json_t *o, const char *key, uint64_t value, struct err *e)
	__attribute__((warn_unused_result));
int json_put_hex(json_t *o, const char *key, const uint8_t *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));
int json_put_time(json_t *o, const char *key, int64_t t, struct err *e)
	__attribute__((warn_unused_result));
int json_push(json_t *arr, json_t *value, struct err *e) __attribute__((warn_unused_result));

#endif
