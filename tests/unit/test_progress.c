/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

static void check_line(void)
{
	char line[160];
	struct progress p = {
		.label = "fetching", .total = 13500000, .done = 7800000, .start_ms = 1000
	};

	(void)progress_line(&p, 2902, line, sizeof(line));
	CHECK(strcmp(line, "fetching   [#############...........]  57 %   7.8/13.5 MB   4.1 MB/s   "
			   "2 s left") == 0,
	      "'%s'", line);
	p.total = 0;
	(void)progress_line(&p, 2902, line, sizeof(line));
	CHECK(strcmp(line, "fetching   7.8 MB   4.1 MB/s") == 0, "'%s'", line);
}

/* Whatever the numbers: 79 columns at most, 100 % only at the end, a resumed part has no speed. */
static void check_widths(void)
{
	static const uint64_t sizes[] = { 1,          999,          1000,     65536,
					  999999,     1000000,      99949999, 447000000,
					  1073741824, 999499999999, 1u << 31, 1000000000000000,
					  UINT64_MAX };
	static const uint64_t times[] = { 1, 999, 1001, 60000, 3600000, 90000000, 31536000000 };
	enum { N = sizeof(sizes) / sizeof(sizes[0]), T = sizeof(times) / sizeof(times[0]) };

	for (unsigned i = 0; i < N * N * T; i++) {
		struct progress p = { .label = "compressing", .total = sizes[i % N] };
		char line[160];

		p.done = sizes[i / N % N];
		if (p.done > p.total)
			continue;
		(void)progress_line(&p, times[i / N / N], line, sizeof(line));
		CHECK(strlen(line) <= 79, "%zu: '%s'", strlen(line), line);
		CHECK(!strstr(line, "100 %") == (p.done < p.total), "'%s'", line);
		p.base = p.done;
		(void)progress_line(&p, times[i / N / N], line, sizeof(line));
		CHECK(!strstr(line, "/s"), "'%s'", line);
	}
}

static void check_plain(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	struct progress p;

	CHECK(f, "open_memstream");
	progress_begin(&p, f, "writing", 1000, 5000);
	progress_set(&p, 100, 5500);
	progress_set(&p, 200, 14000);
	CHECK(n == 0, "too early: '%s'", text);
	progress_set(&p, 300, 15000);
	progress_set(&p, 400, 15100);
	progress_set(&p, 500, 25000);
	progress_end(&p);
	(void)fclose(f);
	CHECK(strcspn(text, "\r\033") == n, "control characters: '%s'", text);
	CHECK(strstr(text, "30 %") && strstr(text, "50 %") && !strstr(text, "40 %"), "'%s'", text);
	free(text);
}

static void check_terminal(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	struct progress p;

	CHECK(f, "open_memstream");
	progress_begin(&p, f, "writing", 1000, 5000);
	p.tty = true;
	progress_set(&p, 100, 5999);
	progress_end(&p);
	CHECK(n == 0, "drawn for less than a second");
	progress_set(&p, 200, 6000);
	progress_set(&p, 300, 6050);
	progress_set(&p, 400, 6100);
	progress_end(&p);
	progress_end(&p);
	(void)fclose(f);
	CHECK(text[0] == '\r' && strcmp(text + n - 4, "\r\033[K") == 0, "'%s'", text);
	CHECK(strstr(text, "20 %") && strstr(text, "40 %") && !strstr(text, "30 %"), "'%s'", text);
	free(text);
}

int main(void)
{
	check_line();
	check_widths();
	check_plain();
	check_terminal();
	CHECK(clock_mono_ms() > 0, "clock");
	return 0;
}
