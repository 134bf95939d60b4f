/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARRAY_H
#define BASE_ARRAY_H

#include <stdlib.h>

/*
 * Room for one more member of `size` bytes behind the n at p, where *cap fit: the array grows by
 * doubling. What it is now; NULL: out of memory, and it is as it was. How many there may be is the
 * caller's to limit.
 */
static inline void *array_room(void *p, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap ? 2 * *cap : 16;

	if (n < *cap)
		return p;
	p = reallocarray(p, more, size);
	if (p)
		*cap = more;
	return p;
}

#endif
