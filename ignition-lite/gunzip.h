/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_GUNZIP_H
#define IGNITION_LITE_GUNZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * gzip (RFC 1952), several members one after another too, bytes in, bytes out. What comes out is
 * counted: more than max bytes is -EFBIG (ERR_INPUT), whatever the input promises.
 */
struct ign_gunzip;

typedef int (*ign_bytes_fn)(void *arg, const void *p, size_t n, struct err *e);

int ign_gunzip_new(uint64_t max, ign_bytes_fn fn, void *arg, struct ign_gunzip **ret, struct err *e)
	__attribute__((warn_unused_result));
void ign_gunzip_free(struct ign_gunzip *g);
static inline void ign_gunzip_freep(struct ign_gunzip **g)
{
	ign_gunzip_free(*g);
}

/* ERR_INPUT for what is no gzip; or what fn says. */
int ign_gunzip_add(struct ign_gunzip *g, const void *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));
/* The input is over: ERR_INPUT if a member is not whole, or there was none. */
int ign_gunzip_end(struct ign_gunzip *g, struct err *e) __attribute__((warn_unused_result));

#endif
