/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_CANON_H
#define TUF_CANON_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* Deepest nesting of objects and arrays in any metadata file. */
#define TUF_DEPTH_MAX 32

/*
 * Appends the OLPC canonical form of j, over which TUF signs: no white space, object keys by code
 * point, in strings only '"' and '\' escaped (control characters stay raw), integers only.
 * Unknown members are part of it. -EINVAL (ERR_INPUT) for a real number or deeper nesting than
 * TUF_DEPTH_MAX; -EFBIG or -ENOMEM from the buffer. On failure out may hold a part more.
 * http://wiki.laptop.org/go/Canonical_JSON, TUF 1.0.34 section 4.1.1
 */
int tuf_canon(const json_t *j, struct buf *out, struct err *e) __attribute__((warn_unused_result));

#endif
