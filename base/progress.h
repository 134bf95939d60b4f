/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * One line of progress: bytes, rate, time left. On a terminal it is redrawn in place at most ten
 * times a second; elsewhere a plain line is written every ten seconds. Nothing is drawn for what
 * takes less than a second. Widths fit 80 columns.
 *
 *   fetching   [##############..........]  58 %   7.8/13.5 MB   4.1 MB/s   1 s left
 */
struct progress {
	FILE *to;
	bool tty;
	bool drawn; /* a line stands on the terminal */
	char label[12];
	uint64_t total;      /* 0: unknown */
	uint64_t done, base; /* base: done when it began (resume), not counted into the rate */
	uint64_t start_ms, last_ms;
};

/* now_ms: CLOCK_MONOTONIC milliseconds, given by the caller. */
void progress_begin(struct progress *p, FILE *to, const char *label, uint64_t total,
		    uint64_t now_ms);
void progress_set(struct progress *p, uint64_t done, uint64_t now_ms);
/* Clears the line on a terminal; the caller prints the summary. */
void progress_end(struct progress *p);

/* The line itself, without control characters: pure, for tests. */
char *progress_line(const struct progress *p, uint64_t now_ms, char *out, size_t cap);

uint64_t clock_mono_ms(void);

#endif
