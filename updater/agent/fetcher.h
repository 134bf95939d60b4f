/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_FETCHER_H
#define UPDATER_AGENT_FETCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/image/source.h"
#include "updater/wire/client.h"

/* The agent's view of a repository: whole small files, and blobs as image sources. */

struct fetcher;

/* How proa-fetch is reached: a listening socket (a service), or program (NULL: not) as a child. */
struct fetcher_link {
	const char *socket;
	const char *program;
	const char *url;                           /* of the repository, ends in '/' */
	uint64_t limit;                            /* bytes per second, 0: none */
	wire_wait_fn wait;                         /* see wire_client_set_wait(); may be NULL */
	void (*note)(void *arg, const char *text); /* "retrying in 3 s: ..."; may be NULL */
	void *arg;                                 /* for wait and note */
};

/* Connects. ERR_HOST with what to do when the service is not there. */
int fetcher_new(const struct fetcher_link *link, struct fetcher **ret, struct err *e)
	__attribute__((warn_unused_result));
void fetcher_free(struct fetcher *f);
static inline void fetcher_freep(struct fetcher **f)
{
	fetcher_free(*f);
}
#define AUTO_FETCHER __attribute__((cleanup(fetcher_freep))) struct fetcher

/*
 * The file at path below the repository's URL, appended to out, at most max + 1 bytes (so that the
 * caller sees that it is too long). *ret_found false for 403, 404 and 410; other failures are
 * errors of the kind proa-fetch gave them.
 */
int fetcher_file(struct fetcher *f, const char *path, size_t max, struct buf *out, bool *ret_found,
		 struct err *e) __attribute__((warn_unused_result));

/*
 * A source for the blob at path of exactly `bytes` bytes. *ret points into f, which serves one
 * source at a time and outlives it.
 */
int fetcher_source(struct fetcher *f, const char *path, uint64_t bytes, struct image_source *ret,
		   struct err *e) __attribute__((warn_unused_result));

/* Bytes received since fetcher_new(). */
uint64_t fetcher_received(const struct fetcher *f);

#endif
