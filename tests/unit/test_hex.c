/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

#include <errno.h>
#include <string.h>

#include "tests/test.h"

static void check_hex(void)
{
	static const char *const wrong[] = {
		"", "0", "00", "00000", "000g", "00 0", "0x00", "-000"
	};
	uint8_t all[256], back[256], two[2] = { 7, 7 };
	char text[513];
	struct err e = ERR_INIT;

	for (unsigned i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	hex_format(all, 256, text);
	CHECK(strlen(text) == 512 && strncmp(text, "000102", 6) == 0, "%s", text);
	CHECK(hex_parse(text, "x", back, 256, &e) == 0 && memcmp(all, back, 256) == 0, "%s",
	      e.text);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CHECK(hex_parse(wrong[i], "salt", two, 2, &e) == -EINVAL, "'%s'", wrong[i]);
		CHECK(e.kind == ERR_INPUT && strstr(e.text, "salt"), "%s", e.text);
		CHECK(two[0] == 7 && two[1] == 7, "touched on failure");
	}
	CHECK(hex_parse("aBFf", "x", two, 2, &e) == 0 && two[0] == 0xab && two[1] == 0xff, "case");
	CHECK(hex_parse("", "x", two, 0, &e) == 0, "nothing");
}

static void check_uuid(void)
{
	static const char *const wrong[] = {
		"",
		"8484680c-9521-48c6-9c11-b0720656f69",
		"8484680c-9521-48c6-9c11-b0720656f69ex",
		"8484680c9521-48c6-9c11-b0720656f69e0",
		"{484680c-9521-48c6-9c11-b0720656f69e",
		"8484680c-9521-48c6-9c11-b0720656f69g",
		"8484680c-9521-48c6-9c1-1b0720656f69e",
	};
	const char *good = "8484680c-9521-48c6-9c11-b0720656f69e";
	uint8_t u[16] = { 7 };
	char text[UUID_TEXT_MAX];
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK(uuid_parse(wrong[i], "id", u, &e) == -EINVAL && u[0] == 7, "'%s'", wrong[i]);
	CHECK(uuid_parse(good, "id", u, &e) == 0 && u[0] == 0x84 && u[15] == 0x9e, "%s", e.text);
	uuid_format(u, text);
	CHECK(strcmp(text, good) == 0, "%s", text);
	CHECK(uuid_parse("8484680C-9521-48C6-9C11-B0720656F69E", "id", u, &e) == 0, "%s", e.text);
}

int main(void)
{
	uint8_t a[64] = { 0 }, b[64] = { 0 };

	check_hex();
	check_uuid();
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	CHECK(memcmp(a, b, sizeof(a)) != 0, "twice the same");
	random_bytes(a, 0);
	return 0;
}
