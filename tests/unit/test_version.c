/* SPDX-License-Identifier: Apache-2.0 */
/* The examples of UAPI.10; tests/integration/test_version.py compares with systemd itself. */
#include "base/version.h"

#include <string.h>

#include "tests/test.h"

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void check_order(void)
{
	static const struct {
		const char *a, *b;
		int r;
	} table[] = {
		{ "11", "11", 0 },
		{ "systemd-123", "systemd-123", 0 },
		{ "bar-123", "foo-123", -1 },
		{ "123a", "123", 1 },
		{ "123.a", "123", 1 },
		{ "123.a", "123.b", -1 },
		{ "123a", "123.a", 1 },
		{ "11a", "11A", 1 },
		{ "A", "a", -1 },
		{ "1_", "1", 0 },
		{ "_1", "1", 0 },
		{ "1_2", "1.2", 1 },
		{ "1.2.3", "1.2.10", -1 },
		{ "1.01", "1.1", 0 },
		{ "1~rc1", "1", -1 },
		{ "1^1", "1", 1 },
		{ "1-1", "1", 1 },
		{ "1-1", "1^1", -1 },
		{ "", "~", 1 },
		{ "0", "B", 1 },
		{ "123456789012345678901234567890", "123456789012345678901234567891", -1 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		CHECK(sign(version_compare(table[i].a, table[i].b)) == table[i].r, "'%s' '%s'",
		      table[i].a, table[i].b);
		CHECK(sign(version_compare(table[i].b, table[i].a)) == -table[i].r, "'%s' '%s'",
		      table[i].b, table[i].a);
	}
}

static void check_valid(void)
{
	static const char *const good[] = { "1", "1.2.3", "41", "2026.11.20-1", "a", "1.0.0-rc1" };
	static const char *const bad[] = { "",    ".1",  "-1",  "1~2",       "1^2", "1+3",
					   "1_2", "1/2", "1 2", "1\xc3\xa9", "..",  "1\n" };
	char v[66];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(version_valid(good[i]), "'%s'", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!version_valid(bad[i]), "'%s'", bad[i]);
	memset(v, '1', sizeof(v));
	v[64] = '\0';
	CHECK(version_valid(v), "64 characters");
	v[64] = '1';
	v[65] = '\0';
	CHECK(!version_valid(v), "65 characters");
}

static void check_image_id(void)
{
	static const char *const bad[] = { "",     "1web",
					   "-web", "Web",
					   "we_b", "we.b",
					   "web ", "abcdefghijklmnopqrstuvwxyz0123456" };

	CHECK(image_id_valid("web") && image_id_valid("a-1") && image_id_valid("x"), "good");
	CHECK(image_id_valid("abcdefghijklmnopqrstuvwxyz012345"), "32 characters");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!image_id_valid(bad[i]), "'%s'", bad[i]);
}

int main(void)
{
	check_order();
	check_valid();
	check_image_id();
	return 0;
}
