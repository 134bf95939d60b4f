/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_DICE_H
#define TESTS_DICE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Random cases that come again: from PROA_SEED, else from the same seed each time. */
static uint64_t dice_state = 0x9e3779b97f4a7c15u;

/* Takes PROA_SEED and prints the seed, so that what failed can be run again. */
static inline void dice_seed(void)
{
	const char *seed = getenv("PROA_SEED");

	if (seed)
		dice_state = strtoull(seed, NULL, 0);
	(void)printf("PROA_SEED=%#llx\n", (unsigned long long)dice_state);
}

/* 64 random bits (SplitMix64: every seed is a good one, 0 too). */
static inline uint64_t dice(void)
{
	uint64_t z = dice_state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0 to n - 1; n is not 0. */
static inline unsigned dice_below(unsigned n)
{
	return (unsigned)(dice() % n);
}

#endif
