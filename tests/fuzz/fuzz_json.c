/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever is read keeps its value through writing and reading, and each value in it is found where
 * json_locate() says; what is refused is explained.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const json_t *j, bool pretty)
{
	static const struct json_limits wide = { .bytes = 64u << 20, .depth = 32 };
	struct err e = ERR_INIT;
	AUTO_JSON *back = NULL;
	AUTO_BUF b = BUF_INIT;

	if (json_write(j, pretty, &b, &e) < 0 ||
	    json_read(b.p, b.n, &wide, "again", &back, &e) < 0 || !json_equal(j, back))
		abort();
}

/* The offset of a line and column, which counts characters. */
static size_t offset_of(const char *p, size_t n, unsigned line, unsigned column)
{
	size_t i = 0;

	for (; line > 1 && i < n; i++)
		line -= p[i] == '\n';
	while (i < n && column > 1) {
		i++;
		while (i < n && ((unsigned char)p[i] & 0xc0) == 0x80)
			i++;
		column--;
	}
	return i;
}

/* One value somewhere inside, chosen by `turn`; its steps from the root. */
static json_t *descend(json_t *j, size_t turn, struct json_step step[32], size_t *ret_n)
{
	size_t n = 0;

	while (n < 32 && turn > 0) {
		size_t count = json_is_array(j) ? json_array_size(j) : json_object_size(j);
		void *it = json_object_iter(j);

		if (count == 0)
			break;
		step[n] = (struct json_step){ .index = turn % count };
		for (size_t i = 0; i < step[n].index && it; i++)
			it = json_object_iter_next(j, it);
		if (json_is_array(j)) {
			j = json_array_get(j, step[n].index);
		} else {
			step[n].key = json_object_iter_key(it);
			j = json_object_iter_value(it);
		}
		n++;
		turn /= 2;
	}
	*ret_n = n;
	return j;
}

/* What stands at the place that is told is the value. */
static void located(json_t *root, const char *p, size_t n)
{
	for (size_t turn = 0; turn < 16; turn++) {
		struct json_step step[32];
		AUTO_JSON *back = NULL;
		unsigned line = 0, column = 0;
		size_t steps, at;
		const json_t *want = descend(root, turn, step, &steps);

		json_locate(p, n, step, steps, &line, &column);
		at = offset_of(p, n, line, column);
		back = json_loadb(p + at, n - at, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, NULL);
		if (!json_equal(want, back))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	if (json_read(data, size, NULL, "input", &j, &e) < 0) {
		if (j || e.kind != ERR_INPUT || strncmp(e.text, "input: ", 7) != 0)
			abort();
		return 0;
	}
	located(j, (const char *)data, size);
	again(j, true);
	again(j, false);
	return 0;
}
