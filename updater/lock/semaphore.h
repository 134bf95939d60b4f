/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_LOCK_SEMAPHORE_H
#define UPDATER_LOCK_SEMAPHORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* airlock's semaphore: {"total_slots": n, "holders": [ids, sorted]}. Pure. */
struct semaphore {
	uint64_t places;
	json_t *holders; /* an array of strings, sorted, each once */
};

void semaphore_done(struct semaphore *s);
#define AUTO_SEMAPHORE __attribute__((cleanup(semaphore_done))) struct semaphore

/* places, all free. */
int semaphore_new(unsigned places, struct semaphore *ret, struct err *e)
	__attribute__((warn_unused_result));

/* ERR_REFUSED -EBADMSG; more holders than places are let be (somebody took places away). */
int semaphore_read(const char *p, size_t n, struct semaphore *ret, struct err *e)
	__attribute__((warn_unused_result));
int semaphore_write(const struct semaphore *s, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

bool semaphore_holds(const struct semaphore *s, const char *id);

/* 1 changed, 0 it was so already, -EBUSY (ERR_RETRY) all places are taken. */
int semaphore_take(struct semaphore *s, const char *id, struct err *e)
	__attribute__((warn_unused_result));
int semaphore_release(struct semaphore *s, const char *id, struct err *e)
	__attribute__((warn_unused_result));

/* "2 of 2 places taken by a, b"; returns out. */
char *semaphore_show(const struct semaphore *s, char *out, size_t cap);

#endif
