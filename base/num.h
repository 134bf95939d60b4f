/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Checked arithmetic: false on overflow, *ret untouched. */
bool num_add(uint64_t a, uint64_t b, uint64_t *ret) __attribute__((warn_unused_result));
bool num_mul(uint64_t a, uint64_t b, uint64_t *ret) __attribute__((warn_unused_result));

/* n rounded up to a multiple of the power of two align; false on overflow. */
bool num_align(uint64_t n, uint64_t align, uint64_t *ret) __attribute__((warn_unused_result));

/*
 * A decimal number in [min, max], digits only, the whole of s[0..n). `what` names it in the error
 * (ERR_INPUT, -EINVAL or -ERANGE).
 */
int num_parse(const char *s, size_t n, uint64_t min, uint64_t max, const char *what, uint64_t *ret,
	      struct err *e) __attribute__((warn_unused_result));

/* Bytes: digits and an optional K, M, G, T (powers of 1024, as systemd reads them). */
int num_parse_bytes(const char *s, const char *what, uint64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Seconds: digits with s, min, h, d, w behind (several may follow one another, "1h 30min"), or bare
 * seconds, as in systemd.time(7).
 */
int num_parse_seconds(const char *s, const char *what, uint64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/* RFC 3339 in UTC, "2026-11-20T19:37:00Z", exactly that shape, year 1970 to 9999; seconds. */
int num_parse_time(const char *s, const char *what, int64_t *ret, struct err *e)
	__attribute__((warn_unused_result));
#define NUM_TIME_MAX 21 /* with NUL */
void num_format_time(int64_t t, char out[NUM_TIME_MAX]);

#endif
