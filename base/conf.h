/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Layered configuration (UAPI.6): <name>.conf from /etc, /run or /usr/lib (first found wins whole),
 * then the drop-ins <name>.conf.d/ *.conf of all three merged by file name; an empty file or a link
 * to /dev/null masks. Files live in the directory <name> below each: /etc/proa/proa.conf.
 *
 * A file holds [Section] lines, Key=value lines and comments behind '#' or ';'. A value ends with
 * its line; a key set twice in one file, a '#' or ';' inside a value and a line that is none of
 * these are errors (ERR_INPUT with file and line). "Key=" takes back what a lower file said.
 */
struct conf;

/* root is prefixed to the three directories ("" for the host). Absent files are no error. */
int conf_load(const char *root, const char *name, struct conf **ret, struct err *e)
	__attribute__((warn_unused_result));
/* One file and nothing else (--config). */
int conf_load_file(const char *path, struct conf **ret, struct err *e)
	__attribute__((warn_unused_result));
/* One file more, which counts before all that was read. An absent one is no error. */
int conf_add_file(struct conf *c, const char *path, struct err *e)
	__attribute__((warn_unused_result));
void conf_free(struct conf *c);
static inline void conf_freep(struct conf **c)
{
	conf_free(*c);
}
#define AUTO_CONF __attribute__((cleanup(conf_freep))) struct conf

/*
 * Values. Absent: def (a NULL string def stays NULL); "auto" is that too, but for strings. Wrong:
 * ERR_INPUT naming file, line, section and key. Strings live as long as c.
 */
int conf_str(struct conf *c, const char *section, const char *key, const char *def,
	     const char **ret, struct err *e) __attribute__((warn_unused_result));
int conf_bool(struct conf *c, const char *section, const char *key, bool def, bool *ret,
	      struct err *e) __attribute__((warn_unused_result));
int conf_u64(struct conf *c, const char *section, const char *key, uint64_t min, uint64_t max,
	     uint64_t def, uint64_t *ret, struct err *e) __attribute__((warn_unused_result));
int conf_bytes(struct conf *c, const char *section, const char *key, uint64_t def, uint64_t *ret,
	       struct err *e) __attribute__((warn_unused_result));
int conf_seconds(struct conf *c, const char *section, const char *key, uint64_t def, uint64_t *ret,
		 struct err *e) __attribute__((warn_unused_result));

/* Where a key was set; -ENOENT when it was not. path lives as long as c; line from 1. */
int conf_origin(struct conf *c, const char *section, const char *key, const char **ret_path,
		uint64_t *ret_line, struct err *e) __attribute__((warn_unused_result));

/*
 * Errors about a setting begin with its place, "FILE:LINE: ". Forgets the setting whose place leads
 * text, as if it had not been set, so that the next mistake can be looked for; false: there is
 * none.
 */
bool conf_forget(struct conf *c, const char *text);

/*
 * Every key that is set but not in known ("Section.Key", NULL-terminated list) is given to fn with
 * the file and line, so that a misspelt key is reported instead of ignored.
 */
typedef void (*conf_unknown_fn)(void *arg, const char *section, const char *key, const char *path,
				uint64_t line);
int conf_check(struct conf *c, const char *const *known, conf_unknown_fn fn, void *arg,
	       struct err *e) __attribute__((warn_unused_result));

#endif
