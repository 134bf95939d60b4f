/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_FETCHER_H
#define UPDATER_AGENT_FETCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/agent/mirror.h"
#include "updater/image/source.h"
#include "updater/wire/client.h"

/*
 * The agent's view of a repository and its mirrors: whole small files from one mirror, and blobs as
 * image sources that fall over between mirrors by themselves. None of them is trusted.
 */

struct fetcher;

/* How proa-fetch is reached: a listening socket (a service), or program (NULL: not) as a child. */
struct fetcher_link {
	const char *socket;
	const char *program;
	const char *url;     /* of the mirrors, each ends in '/', one blank between two */
	uint64_t limit;      /* bytes per second, 0: none */
	uint64_t min_rate;   /* fewer bytes per second than this ... */
	uint32_t min_time_s; /* ... for so long is a failure; 0: proa-fetch's own rule */
	uint32_t deadline_s; /* for one file, retries and waits included; 0: proa-fetch's own */
	wire_wait_fn wait;   /* see wire_client_set_wait(); may be NULL */
	void (*note)(void *arg, const char *text); /* "retrying in 3 s: ..."; may be NULL */
	void *arg;                                 /* for wait and note */
};

/*
 * proa-fetch itself, for what is no file or blob: *ret is the caller's, *ret_pid that of the child
 * (0: a service), for fetcher_leave() after *ret was freed. url and the limits of link do not
 * count.
 */
int fetcher_reach(const struct fetcher_link *link, struct wire_client **ret, pid_t *ret_pid,
		  struct err *e) __attribute__((warn_unused_result));
void fetcher_leave(pid_t pid);

/* Connects. ERR_HOST with what to do when the service is not there. */
int fetcher_new(const struct fetcher_link *link, struct fetcher **ret, struct err *e)
	__attribute__((warn_unused_result));
void fetcher_free(struct fetcher *f);
static inline void fetcher_freep(struct fetcher **f)
{
	fetcher_free(*f);
}
#define AUTO_FETCHER __attribute__((cleanup(fetcher_freep))) struct fetcher

/* --- mirrors, in the order of the configuration --- */

struct fetcher_mirror {
	const char *url;
	const char
		*error; /* its last failure, a sentence; "" none. Good until the next call on f */
	uint64_t received; /* bytes */
};
size_t fetcher_mirrors(const struct fetcher *f); /* 1 to MIRRORS_MAX */
struct fetcher_mirror fetcher_mirror(const struct fetcher *f, size_t i);

/* How long a file is tried for. */
enum fetcher_patience {
	FETCHER_PATIENT, /* with all of proa-fetch's tries */
	FETCHER_BRIEF,   /* two, of a minute at most: other mirrors may have it */
	FETCHER_GLANCE,  /* one, of a few seconds */
};

/* Files come from mirror i from now on, and blobs from it first. It is mirror 0, patient, at first.
 */
void fetcher_use(struct fetcher *f, size_t i, enum fetcher_patience patience);

/* The mirror that files come from. */
size_t fetcher_used(const struct fetcher *f);

/* What is known against mirror i, for people: told as a note, kept for fetcher_mirror(). */
void fetcher_fault(struct fetcher *f, size_t i, const char *text);

/* --- files --- */

/*
 * The file at path below the mirror's URL, appended to out, at most max + 1 bytes (so that the
 * caller sees that it is too long). *ret_found false for 403, 404 and 410; other failures are
 * errors of the kind proa-fetch gave them.
 */
int fetcher_file(struct fetcher *f, const char *path, size_t max, struct buf *out, bool *ret_found,
		 struct err *e) __attribute__((warn_unused_result));

/* --- blobs --- */

/*
 * A source for the blob at path of exactly `bytes` bytes. *ret points into f, which outlives it;
 * there may be several, but begin() of one ends the pass over another. Runs are asked for one range
 * a request, several requests at once; memory is bounded (1 MiB is read ahead). A mirror that fails
 * is left for the next one in the middle; a failure of read() means that all have failed.
 */
int fetcher_source(struct fetcher *f, const char *path, uint64_t bytes, struct image_source *ret,
		   struct err *e) __attribute__((warn_unused_result));

/*
 * What was read last from src (one of f's) was proved to be wrong; why: a sentence. Its mirror is
 * not asked for this blob again. True: another is left, so begin() and read it again (image_write()
 * with resume). False: every mirror lied.
 */
bool fetcher_blame(struct fetcher *f, const struct image_source *src, const char *why);

/* --- while it runs; callable from `wait` --- */

/*
 * Stops asking and reading: requests are given up, read() waits, nothing times out. Then goes on
 * where it stopped. Files are not held.
 */
void fetcher_pause(struct fetcher *f, bool paused);

/* Another bandwidth limit from the next message on; bytes per second, 0: none. */
void fetcher_limit(struct fetcher *f, uint64_t limit);

/* Bytes received since fetcher_new(), and requests made of proa-fetch. */
uint64_t fetcher_received(const struct fetcher *f);
uint64_t fetcher_requests(const struct fetcher *f);

#endif
