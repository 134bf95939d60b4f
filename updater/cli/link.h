/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_CLI_LINK_H
#define UPDATER_CLI_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

/* The connection to proad: the system bus, or a proad of our own (--direct). */

struct link;

struct link_options {
	bool direct;
	const char *config; /* for --direct; NULL: the host's */
	/* what happens meanwhile; may be NULL */
	void (*progress)(void *arg, const char *verb, const char *phase, uint64_t done,
			 uint64_t total);
	void (*note)(void *arg, const char *text);
	void *arg;
};

/* ERR_HOST with what to do when proad cannot be reached. */
int link_new(const struct link_options *o, struct link **ret, struct err *e)
	__attribute__((warn_unused_result));
void link_free(struct link *l);
static inline void link_freep(struct link **l)
{
	link_free(*l);
}
#define AUTO_LINK __attribute__((cleanup(link_freep))) struct link

/*
 * Calls a method of org.proa.Host1 (args: its texts, NULL-terminated) and waits without limit,
 * serving signals. The first ^C asks proad to cancel when the method is a verb of this call's own;
 * else it gives up waiting, as the second does. *ret is the JSON it answered. The error is proad's
 * own sentence; -EACCES: who calls may not.
 */
int link_call(struct link *l, const char *method, const char *const *args, json_t **ret,
	      struct err *e) __attribute__((warn_unused_result));

/*
 * Waits until proad has sent a signal, at most `ms` milliseconds: 1, or 0. -ECANCELED when somebody
 * has typed ^C, then and ever after.
 */
int link_wait(struct link *l, unsigned ms, struct err *e) __attribute__((warn_unused_result));

#endif
