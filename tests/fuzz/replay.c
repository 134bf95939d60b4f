/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a fuzz target without libFuzzer: every file of the corpus directory, every truncation of
 * it, and thousands of seeded mutations. PROA_SEED sets the seed, PROA_RUNS the mutations per file.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 1 << 20, TRUNCATIONS_MAX = 4096 };

/* An exact-size heap copy each time, so that ASan sees a read of one byte too many. */
static void give(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	CHECK(copy, "out of memory");
	memcpy(copy, p, n);
	(void)LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void mutate(uint8_t *p, size_t *n)
{
	static const uint8_t interesting[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '0', '-' };

	for (unsigned k = 1 + (unsigned)(dice() % 6); k > 0 && *n > 0; k--) {
		size_t at = (size_t)(dice() % *n), m = (size_t)(dice() % 16);

		switch (dice() % 5) {
		case 0:
			p[at] ^= (uint8_t)(1u << (dice() % 8));
			break;
		case 1:
			p[at] = interesting[dice() % sizeof(interesting)];
			break;
		case 2:
			*n = at;
			break;
		case 3:
			memset(p + at, (int)(dice() & 0xff), m < *n - at ? m : *n - at);
			break;
		default:
			m = m < *n - at ? m : *n - at;
			memmove(p + at, p + at + m, *n - at - m);
			*n -= m;
			break;
		}
	}
}

static size_t replay(const char *path, unsigned runs)
{
	static uint8_t orig[FILE_MAX], work[FILE_MAX];
	FILE *f = fopen(path, "rbe");
	size_t n, step;

	CHECK(f, "cannot open '%s'", path);
	n = fread(orig, 1, sizeof(orig), f);
	(void)fclose(f);
	step = n / TRUNCATIONS_MAX + 1;
	give(orig, n);
	for (size_t k = 0; k < n; k += step)
		give(orig, k);
	for (unsigned k = 0; k < runs; k++) {
		size_t m = n;

		memcpy(work, orig, n);
		mutate(work, &m);
		give(work, m);
	}
	return 1 + n / step + runs;
}

int main(int argc, char **argv)
{
	const char *runs = getenv("PROA_RUNS");
	struct dirent **names = NULL;
	size_t inputs = 0;
	int n;

	CHECK(argc == 2, "usage: %s CORPUS-DIRECTORY", argv[0]);
	dice_seed();
	n = scandir(argv[1], &names, NULL, alphasort);
	CHECK(n >= 0, "no corpus '%s'", argv[1]);
	for (int i = 0; i < n; i++) {
		char path[4096];

		if (names[i]->d_name[0] != '.') {
			(void)snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]->d_name);
			inputs += replay(path, runs ? (unsigned)strtoul(runs, NULL, 0) : 2000);
		}
		free(names[i]);
	}
	free(names);
	CHECK(inputs > 0, "corpus '%s' is empty", argv[1]);
	printf("%zu inputs\n", inputs);
	return 0;
}
