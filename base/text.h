/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* What people read. All write at most cap bytes with NUL and return out. */

/* "13.5 MB", "447 MB", "9 KB", "12 B": powers of 1000. */
char *text_bytes(uint64_t n, char *out, size_t cap);

/* "45 s", "3 min", "6 h 12 min", "2 d 4 h". */
char *text_duration(uint64_t seconds, char *out, size_t cap);

/* "19 Nov 02:14 +0100" in local time with its offset; with the year when it is another one. */
char *text_time(int64_t t, int64_t now, char *out, size_t cap);

/* Copies s with control characters and invalid UTF-8 replaced by '?', so no terminal is fooled. */
char *text_clean(const char *s, size_t n, char *out, size_t cap);

#endif
