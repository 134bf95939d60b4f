/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

enum {
	COLUMNS = 79, /* the last one stays free: some terminals wrap there */
	LABEL = 11,
	BAR_MAX = 24,
	QUIET_MS = 1000,
	TTY_MS = 100,
	PLAIN_MS = 10000,
};

uint64_t clock_mono_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, FILE *to, const char *label, uint64_t total,
		    uint64_t now_ms)
{
	const char *term = getenv("TERM");
	int fd = fileno(to);

	*p = (struct progress){ .to = to, .total = total, .start_ms = now_ms, .last_ms = now_ms };
	p->tty = fd >= 0 && isatty(fd) && term && strcmp(term, "dumb") != 0;
	(void)snprintf(p->label, sizeof(p->label), "%s", label);
}

/* Bytes a second, 0 while nothing can be said. */
static uint64_t rate(const struct progress *p, uint64_t now_ms)
{
	uint64_t ms = now_ms > p->start_ms ? now_ms - p->start_ms : 0;
	uint64_t moved = p->done > p->base ? p->done - p->base : 0;

	if (ms == 0)
		return 0;
	return moved < UINT64_MAX / 1000 ? moved * 1000 / ms : moved / ms * 1000;
}

/* "7.8/13.5 MB": both in the unit of the total. */
static void amounts(const struct progress *p, char *out, size_t cap)
{
	char total[24], done[24];
	char *unit, *done_unit;

	(void)text_bytes(p->total, total, sizeof(total));
	(void)text_bytes(p->done, done, sizeof(done));
	unit = strchr(total, ' ');
	done_unit = strchr(done, ' ');
	if (unit && done_unit && strcmp(unit, done_unit) == 0)
		*done_unit = '\0';
	else if (p->done == 0)
		(void)snprintf(done, sizeof(done), "0");
	(void)snprintf(out, cap, "%s/%s", done, total);
}

static size_t add(char *out, size_t cap, size_t n, const char *before, const char *text,
		  const char *after)
{
	int k;

	if (n >= cap)
		return n;
	k = snprintf(out + n, cap - n, "%s%s%s", before, text, after);
	return k < 0 ? n : n + (size_t)k;
}

static unsigned percent(const struct progress *p)
{
	if (p->done >= p->total)
		return 100;
	/* in this order no product overflows; 100 is kept for what is complete */
	return p->total < UINT64_MAX / 100 ? (unsigned)(p->done * 100 / p->total)
					   : (unsigned)(p->done / (p->total / 100 + 1));
}

/* Everything behind the bar. */
static size_t tail_text(const struct progress *p, uint64_t now_ms, char *out, size_t cap)
{
	uint64_t speed = rate(p, now_ms);
	char part[64];
	size_t n = 0;

	out[0] = '\0';
	if (p->total > 0) {
		(void)snprintf(part, sizeof(part), "%4u %%", percent(p));
		n = add(out, cap, n, part, "", "");
		amounts(p, part, sizeof(part));
		n = add(out, cap, n, "   ", part, "");
	} else {
		n = add(out, cap, n, "", text_bytes(p->done, part, sizeof(part)), "");
	}
	if (speed > 0)
		n = add(out, cap, n, "   ", text_bytes(speed, part, sizeof(part)), "/s");
	if (speed > 0 && p->total > p->done)
		n = add(out, cap, n, "   ",
			text_duration((p->total - p->done) / speed + 1, part, sizeof(part)),
			" left");
	return n < cap ? n : cap - 1;
}

char *progress_line(const struct progress *p, uint64_t now_ms, char *out, size_t cap)
{
	char tail[128], bar[BAR_MAX + 1];
	size_t used = tail_text(p, now_ms, tail, sizeof(tail)), width, full;

	if (p->total == 0) {
		(void)snprintf(out, cap, "%-*s%s", LABEL, p->label, tail);
		return out;
	}
	width = used + LABEL + 2 < COLUMNS ? COLUMNS - LABEL - 2 - used : 0;
	if (width > BAR_MAX)
		width = BAR_MAX;
	full = width * percent(p) / 100;
	memset(bar, '.', width);
	memset(bar, '#', full);
	bar[width] = '\0';
	(void)snprintf(out, cap, "%-*s[%s]%s", LABEL, p->label, bar, tail);
	return out;
}

void progress_set(struct progress *p, uint64_t done, uint64_t now_ms)
{
	char line[160];

	p->done = done;
	if (now_ms < p->start_ms + QUIET_MS || now_ms < p->last_ms + (p->tty ? TTY_MS : PLAIN_MS))
		return;
	p->last_ms = now_ms;
	(void)progress_line(p, now_ms, line, sizeof(line));
	if (p->tty)
		(void)fprintf(p->to, "\r%s\033[K", line);
	else
		(void)fprintf(p->to, "%s\n", line);
	(void)fflush(p->to);
	p->drawn = p->tty;
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fputs("\r\033[K", p->to);
	p->drawn = false;
	(void)fflush(p->to);
}
