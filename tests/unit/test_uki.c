/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bootctl/uki.h"
#include "tests/test.h"

#define A64 "abababababababababababababababababababababababababababababababab"

static const struct {
	const char *in;
	const char *pretty, *version, *sort_key; /* pretty NULL: refused */
} osrel[] = {
	{ "PRETTY_NAME=\"Proa 1\"\nIMAGE_ID=proa\nIMAGE_VERSION=1.2.0\nVERSION_ID=12\nID=debian\n",
	  "Proa 1", "1.2.0", "proa" },
	{ "ID=debian\nVERSION_ID='12'\nVERSION=\"12 (bookworm)\"", "debian", "12 (bookworm)",
	  "debian" },
	{ "NAME=x\nBUILD_ID=7", "x", "7", "" },
	{ "# ID=no\n  ID = bad\n\tID=yes\r\n", "yes", "", "yes" },
	{ "ID=a\nID=b\n", "b", "", "b" },
	{ "ID=\"a\\\"b\\\\c\\n\"", "a\"b\\c\\n", "", "a\"b\\c\\n" },
	{ "ID='a\\b'\\ c\"d\"", "a\\b cd", "", "a\\b cd" },
	{ "ID=\n", NULL, NULL, NULL },
	{ "", NULL, NULL, NULL },
	{ "XID=a\n", NULL, NULL, NULL },
	{ "ID=\"open\n", NULL, NULL, NULL },
	{ "ID=a\x01z\n", NULL, NULL, NULL },
};

static void test_osrel(void)
{
	char longer[400] = "PRETTY_NAME=";
	struct uki u;

	for (size_t i = 0; i < sizeof(osrel) / sizeof(osrel[0]); i++) {
		struct err e = ERR_INIT;
		int r;

		memset(&u, 0, sizeof(u));
		r = uki_parse_osrel(osrel[i].in, strlen(osrel[i].in), &u, &e);
		CHECK((r == 0) == (osrel[i].pretty != NULL), "%zu: %d %s", i, r, e.text);
		if (r == 0)
			CHECK(strcmp(u.pretty, osrel[i].pretty) == 0 &&
				      strcmp(u.version, osrel[i].version) == 0 &&
				      strcmp(u.sort_key, osrel[i].sort_key) == 0,
			      "%zu: '%s' '%s' '%s'", i, u.pretty, u.version, u.sort_key);
		else
			CHECK(e.kind == ERR_INPUT && !u.pretty[0], "%zu touched", i);
	}
	memset(longer + 12, 'a', 127);
	CHECK(uki_parse_osrel(longer, strlen(longer), &u, NULL) == 0, "127 bytes");
	memset(longer + 12, 'a', 128);
	CHECK(uki_parse_osrel(longer, strlen(longer), &u, NULL) < 0, "128 bytes");
}

static const struct {
	const char *in;
	int usrhash; /* -1: refused */
} cmdline[] = {
	{ "quiet", 0 },
	{ "", 0 },
	{ "usrhash=" A64, 1 },
	{ "a usrhash=" A64 " b\n", 1 },
	{ "a\tusrhash=" A64 "\tb", 1 },
	{ "usrhash=ABABabababababababababababababababababababababababababababababab", 1 },
	{ "usrhash=" A64 " usrhash=" A64, -1 },
	{ "usrhash=" A64 "0", -1 },
	{ "usrhash=abab", -1 },
	{ "usrhash=", -1 },
	{ "usrhash " A64, -1 },
	{ "usrhash", -1 },
	{ "usrhash=x" A64, -1 },
	{ "usrhash=g"
	  "bababababababababababababababababababababababababababababababab",
	  -1 },
	{ "xusrhash=" A64, -1 },
	{ "rd.usrhash=" A64, -1 },
	{ "\"usrhash=" A64 "\"", -1 },
	{ "usr\"\"hash=" A64, -1 },
	{ "usrhash=" A64 " 'usr'hash=" A64, -1 },
	{ "usrhash=" A64 " us\\rhash=" A64, -1 },
	{ "dyndbg=\"file x +p\" usrhash=" A64, 1 },
	{ "a=\"open", -1 },
	{ "a\x07", -1 },
};

static void test_line(size_t i)
{
	struct err e = ERR_INIT;
	struct uki u = { .bytes = 0 };
	int r = uki_parse_cmdline(cmdline[i].in, strlen(cmdline[i].in), &u, &e);

	CHECK((r < 0) == (cmdline[i].usrhash < 0), "'%s': %d %s", cmdline[i].in, r, e.text);
	if (r < 0) {
		CHECK(e.kind == ERR_INPUT && !u.cmdline[0], "'%s' touched", cmdline[i].in);
		return;
	}
	CHECK(u.has_usrhash == (cmdline[i].usrhash == 1), "'%s'", cmdline[i].in);
	CHECK(!u.has_usrhash || u.usrhash[31] == 0xab, "'%s'", cmdline[i].in);
}

static void test_cmdline(void)
{
	char longest[5000];
	struct uki u;

	for (size_t i = 0; i < sizeof(cmdline) / sizeof(cmdline[0]); i++)
		test_line(i);
	CHECK(uki_parse_cmdline("a \0\0", 4, &u, NULL) == 0 && strcmp(u.cmdline, "a") == 0, "end");
	CHECK(uki_parse_cmdline("a\0b", 3, &u, NULL) < 0, "NUL within");
	memset(longest, 'a', sizeof(longest));
	CHECK(uki_parse_cmdline(longest, 4096, &u, NULL) == 0 && strlen(u.cmdline) == 4096, "4096");
	CHECK(uki_parse_cmdline(longest, 4097, &u, NULL) < 0, "4097");
}

int main(void)
{
	test_osrel();
	test_cmdline();
	return 0;
}
