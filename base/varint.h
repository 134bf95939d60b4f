/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Unsigned integers in LEB128 (DWARF 5, section 7.6): seven bits a byte, least significant first,
 * here only in their shortest form, so that a number can be written in one way. Zigzag makes small
 * numbers of small differences of either sign: 0, -1, 1, -2 are 0, 1, 2, 3.
 */
#define VARINT_MAX 10u /* bytes of one */

/* Once something did not fit, `bad` is set and everything read is 0. */
struct varint_reader {
	const uint8_t *p, *end;
	bool bad;
};

uint64_t varint_get(struct varint_reader *r);

/* Writes v to p, returns its bytes. */
size_t varint_put(uint8_t p[VARINT_MAX], uint64_t v);

uint64_t varint_zigzag(uint64_t difference);
uint64_t varint_unzigzag(uint64_t v);

#endif
