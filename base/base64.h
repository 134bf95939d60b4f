/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the standard alphabet with padding (RFC 4648, 4). */
int base64_put(const void *p, size_t n, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Reads the standard or the URL-safe alphabet, padding optional but right if there, nothing else
 * (no line breaks, no bits behind the end). ERR_INPUT; `what` names the value.
 */
int base64_get(const char *s, const char *what, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
