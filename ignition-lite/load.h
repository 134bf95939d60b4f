/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_LOAD_H
#define IGNITION_LITE_LOAD_H

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/config.h"
#include "ignition-lite/http.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/store.h"

/*
 * From the bytes of a config to the whole config: what ignition.config.replace and merge name is
 * fetched, read and merged, children of children first; and from a plan to a filled store.
 */
struct ign_load {
	int spool;           /* open directory for what does not fit into memory */
	const char *ca_file; /* the system's certificates; NULL: libcurl's own */
	unsigned timeout_s;  /* overrides httpTotal; 0: does not */
	void (*note)(void *arg, const char *text); /* retries, warnings of configs; may be NULL */
	void *note_arg;
};

/* A config may lead to so many others, and so deep; loops end here. */
enum { IGN_LOAD_DEPTH = 8, IGN_LOAD_CONFIGS = 128 };

/*
 * Reads text and everything it refers to; nothing (n 0) is an empty config. `what` names it in
 * sentences.
 */
int ign_load_config(const struct ign_load *l, const char *text, size_t n, const char *what,
		    struct ign_config **ret, struct err *e) __attribute__((warn_unused_result));

/* Fetches the text of a config from url (data:, http, https), as far as IGN_CONFIG_MAX bytes. */
int ign_load_url(const struct ign_load *l, const char *url, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Fetches and verifies all of p->fetch into *ret, blob by blob in its order. */
int ign_load_files(const struct ign_load *l, const struct ign_plan *p, struct ign_store **ret,
		   struct err *e) __attribute__((warn_unused_result));

#endif
