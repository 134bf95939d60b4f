/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_FETCHER_CORE_H
#define UPDATER_AGENT_FETCHER_CORE_H

#include <sys/types.h>

#include "updater/agent/fetcher.h"

/* What fetcher.c and fetcher_blob.c share; nobody else includes it. */

#define FETCHER_PATH_MAX 256u
/*
 * Requests at once, and the bytes that those behind the first may bring before they are wanted.
 * Small runs share a round trip so. What is under way is lost when the power fails: so a request
 * asks for no more than this part of the pass (though not for less than FETCHER_STEP_MIN), and no
 * more than two of them are ahead.
 */
#define FETCHER_FLIGHTS   8u
#define FETCHER_AHEAD     ((uint64_t)1 << 20)
#define FETCHER_STEP_PART 96u
#define FETCHER_STEP_MIN  ((uint64_t)32 << 10)

struct fetcher_blob {
	struct fetcher *fetcher;
	struct fetcher_blob *next;
	char path[FETCHER_PATH_MAX];
	char name[WIRE_URL_MAX + 1]; /* its URL at the present mirror */
	uint64_t bytes;
	struct mirror_course course;
	uint32_t whole;   /* bit per mirror: has no ranges */
	unsigned changes; /* how often it became another file meanwhile */
};

/* One request, or what is left of its bytes. */
struct fetcher_flight {
	uint32_t id;      /* 0: ended */
	uint64_t at, end; /* what of the blob it still has to bring to the reader */
	bool failed;
	struct wire_fail fail;
	struct buf ahead; /* came before it was wanted; `used` of it is gone */
	size_t used;
};

/* The pass over the runs of one blob. */
struct fetcher_pass {
	struct fetcher_blob *blob; /* NULL: none */
	const struct image_run *runs;
	size_t n_runs;
	size_t read_run, ask_run; /* the next byte to read, to ask for: in which run */
	uint64_t read_at, ask_at; /* ... and where in the blob */
	uint64_t step;            /* bytes that one request may ask for */
	char etag[WIRE_ETAG_MAX + 1];
	struct fetcher_flight flight[FETCHER_FLIGHTS]; /* in the order of their bytes */
	size_t flights;
	const uint8_t *p; /* what is left of the last DATA, of flight[0] */
	size_t n;
	struct wire_fail passing; /* the last failure that may pass; text "": none */
};

struct fetcher {
	struct wire_client *wire;
	pid_t pid; /* of the child, 0: a service */
	void (*note)(void *arg, const char *text);
	void *arg;
	struct wire_limit limit;
	bool limit_new, paused;
	uint32_t deadline_s;
	uint64_t received, requests;

	char *urls; /* the strings below */
	size_t mirrors, now;
	enum fetcher_patience patience;
	struct {
		const char *url;
		char error[WIRE_TEXT_MAX + 1];
		uint64_t received;
	} mirror[MIRRORS_MAX];

	struct fetcher_blob *blobs;
	struct fetcher_pass pass;
};

/* The URL of path at mirror i. ERR_INPUT when it is too long. */
int fetcher_url(const struct fetcher *f, size_t i, const char *path, char out[WIRE_URL_MAX + 1],
		struct err *e) __attribute__((warn_unused_result));

/* Tries that a GET gets. */
uint32_t fetcher_tries(enum fetcher_patience patience);

/*
 * The next event that is not a NOTE; 1, or 0 after timeout_ms. What is new about the limits is said
 * first.
 */
int fetcher_event(struct fetcher *f, int timeout_ms, const struct wire_msg **ret, struct err *e)
	__attribute__((warn_unused_result));
/* The same, and silence is an error. */
int fetcher_next(struct fetcher *f, const struct wire_msg **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Waits until something may be asked for: requests that were given up take a place until proa-fetch
 * has ended them. Nothing else may be under way.
 */
int fetcher_await_room(struct fetcher *f, struct err *e) __attribute__((warn_unused_result));

/* Gives up what is under way of the pass; read() would ask for it again. */
void fetcher_pass_drop(struct fetcher *f);

#endif
