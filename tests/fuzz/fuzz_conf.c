/* SPDX-License-Identifier: Apache-2.0 */
/* Values as they stand in files, and the check of a whole file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/conf_layer.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_numbers(const char *s, size_t n)
{
	struct err e = ERR_INIT;
	uint64_t v = 7;

	if (num_parse(s, n, 10, 1000, "n", &v, &e) < 0 ? v != 7 || e.kind != ERR_INPUT
						       : v < 10 || v > 1000)
		abort();
	v = 7;
	if (num_parse_bytes(s, "n", &v, &e) < 0 && v != 7)
		abort();
	v = 7;
	if (num_parse_seconds(s, "n", &v, &e) < 0 && v != 7)
		abort();
}

static void check_shapes(const char *s)
{
	char text[NUM_TIME_MAX], id[UUID_TEXT_MAX];
	uint8_t u[16];
	int64_t t;

	if (num_parse_time(s, "t", &t, NULL) == 0) {
		num_format_time(t, text);
		if (strcmp(text, s) != 0)
			abort();
	}
	if (uuid_parse(s, "u", u, NULL) == 0) {
		uuid_format(u, id);
		if (strcasecmp(id, s) != 0)
			abort();
	}
	if (hex_parse(s, "h", u, sizeof(u), NULL) == 0 && strlen(s) != 2 * sizeof(u))
		abort();
}

/* Clean text is clean: cleaning it again changes nothing. */
static void check_clean(const char *s, size_t n)
{
	char a[200], b[200];

	(void)text_clean(s, n, a, sizeof(a));
	(void)text_clean(a, strlen(a), b, sizeof(b));
	if (strlen(a) >= sizeof(a) || strcmp(a, b) != 0 || strpbrk(a, "\n\r\033\x7f"))
		abort();
}

/* Every name found lies in the text and stands before a '='. */
static void check_file(const char *text, size_t n)
{
	struct err e = ERR_INIT;
	struct conf_keys keys;

	if (conf_layer_scan(text, n, "f", &keys, &e) < 0) {
		if (e.kind != ERR_INPUT)
			abort();
		return;
	}
	for (size_t i = 0; i < keys.n; i++) {
		struct conf_span k = keys.key[i].name;

		if (k.n == 0 || k.p < text || k.p + k.n >= text + n || memchr(k.p, '=', k.n))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	if (!s)
		abort();
	if (size > 0)
		memcpy(s, data, size);
	s[size] = '\0';
	check_numbers(s, size);
	check_shapes(s);
	check_clean(s, size);
	check_file((const char *)data, size);
	free(s);
	return 0;
}
