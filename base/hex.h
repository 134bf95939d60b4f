/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Lower-case digits into out[2n+1]. */
void hex_format(const uint8_t *p, size_t n, char *out);

/*
 * Exactly 2n digits (either case) of the NUL-terminated s into p[0..n). ERR_INPUT -EINVAL; `what`
 * names the value in the error.
 */
int hex_parse(const char *s, const char *what, uint8_t *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));

/* UUIDs as 16 bytes in text order. out[37] with NUL; parse takes exactly the 36-character form. */
#define UUID_TEXT_MAX 37
void uuid_format(const uint8_t u[16], char out[UUID_TEXT_MAX]);
int uuid_parse(const char *s, const char *what, uint8_t ret[16], struct err *e)
	__attribute__((warn_unused_result));

/* n bytes from the kernel's random source; cannot fail on a booted Linux (aborts otherwise). */
void random_bytes(void *p, size_t n);

#endif
