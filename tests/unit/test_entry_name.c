/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bootctl/entry_name.h"
#include "tests/test.h"

static const struct {
	const char *in, *id;
	bool ok, counted;
	unsigned left, done;
} table[] = {
	{ "os-41.conf", "os-41", true, false, 0, 0 },
	{ "os-41+3.conf", "os-41", true, true, 3, 0 },
	{ "os-41+2-1.efi", "os-41", true, true, 2, 1 },
	{ "os-41+0-3.efi", "os-41", true, true, 0, 3 },
	{ "os-41+09.efi", "os-41", true, true, 9, 0 },
	{ "os-41+10-000.efi", "os-41", true, true, 10, 0 },
	{ "proa_1.2.0+3-0.efi", "proa_1.2.0", true, true, 3, 0 },
	{ "os+1+2-3.efi", "os+1", true, true, 2, 3 }, /* the last '+' */
	/* counters that are none belong to the id */
	{ "os-41+.conf", "os-41+", true, false, 0, 0 },
	{ "os-41+3-.conf", "os-41+3-", true, false, 0, 0 },
	{ "os-41+3-1x.efi", "os-41+3-1x", true, false, 0, 0 },
	{ "os-41+2147483647.efi", "os-41", true, true, 2147483647, 0 },
	{ "os-41+2147483648.efi", "os-41+2147483648", true, false, 0, 0 },
	{ "os-41+99999999999999999999.efi", "os-41+99999999999999999999", true, false, 0, 0 },
	{ "os+3.EFI", "os+3", true, false, 0, 0 }, /* the loader counts ".efi" only */
	{ "+3.efi", "+3", true, false, 0, 0 },
	{ "my os~1.conf", "my os~1", true, false, 0, 0 },
	{ "../etc.conf/x.conf", NULL, false, false, 0, 0 },
	{ "a\\b.efi", NULL, false, false, 0, 0 },
	{ "a\nb.efi", NULL, false, false, 0, 0 },
	{ ".hidden.efi", NULL, false, false, 0, 0 },
	{ ".conf", NULL, false, false, 0, 0 },
	{ ".efi", NULL, false, false, 0, 0 },
	{ "os.efi.part", NULL, false, false, 0, 0 },
	{ "efi", NULL, false, false, 0, 0 },
	{ "", NULL, false, false, 0, 0 },
};

static void test_one(size_t i)
{
	struct boot_entry_name en = { .left = 77 };
	struct err e = ERR_INIT;
	int r = boot_entry_name_parse(table[i].in, strlen(table[i].in), &en, &e);

	CHECK((r == 0) == table[i].ok, "'%s': r=%d %s", table[i].in, r, e.text);
	if (r < 0) {
		CHECK(en.left == 77 && e.kind == ERR_INPUT, "'%s' touched", table[i].in);
		return;
	}
	CHECK(en.counted == table[i].counted && en.left == table[i].left &&
		      en.done == table[i].done && strcmp(en.id, table[i].id) == 0 &&
		      strcmp(en.file, table[i].in) == 0,
	      "'%s': '%s' %u-%u", table[i].in, en.id, en.left, en.done);
	CHECK(boot_entry_is_good(&en) == !en.counted, "'%s'", table[i].in);
	CHECK(boot_entry_is_good(&en) + boot_entry_is_bad(&en) + boot_entry_is_indeterminate(&en) ==
		      1,
	      "'%s'", table[i].in);
}

static void test_parse(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		test_one(i);
}

static void test_length(void)
{
	struct boot_entry_name en;
	char s[300];

	memset(s, 'a', sizeof(s));
	memcpy(s + 251, ".efi", 4);
	CHECK(boot_entry_name_parse(s, 255, &en, NULL) == 0 && strlen(en.id) == 251, "255 bytes");
	memcpy(s + 252, ".efi", 4);
	CHECK(boot_entry_name_parse(s, 256, &en, NULL) < 0, "256 bytes");
	CHECK(boot_entry_name_parse("a\0b.efi", 7, &en, NULL) < 0, "NUL");
}

static void format(const char *id, enum boot_entry_type type, bool counted, const char *want)
{
	struct boot_entry_name en = { .type = type, .counted = counted, .left = counted ? 3 : 0 };
	struct err e = ERR_INIT;
	int r;

	(void)snprintf(en.id, sizeof(en.id), "%s", id);
	r = boot_entry_name_format(&en, &e);
	CHECK((r == 0) == (want != NULL), "'%s': %s", id, e.text);
	CHECK(!want || strcmp(en.file, want) == 0, "'%s': '%s'", id, en.file);
}

static void test_format(void)
{
	char longest[256];

	format("proa_1.2.0", BOOT_ENTRY_UKI, true, "proa_1.2.0+3-0.efi");
	format("proa_1.2.0", BOOT_ENTRY_UKI, false, "proa_1.2.0.efi");
	format("os", BOOT_ENTRY_CONF, true, "os+3-0.conf");
	format("os~1", BOOT_ENTRY_UKI, false, NULL);
	format("o s", BOOT_ENTRY_UKI, false, NULL);
	format("os+1", BOOT_ENTRY_UKI, false, NULL); /* would read as counted */
	format("os+1", BOOT_ENTRY_UKI, true, "os+1+3-0.efi");
	format("", BOOT_ENTRY_UKI, false, NULL);
	format(".x", BOOT_ENTRY_UKI, false, NULL);
	memset(longest, 'a', 255);
	longest[255] = '\0';
	format(longest, BOOT_ENTRY_UKI, true, NULL);
}

static void test_called(void)
{
	struct boot_entry_name a, b;

	CHECK(boot_entry_name_parse("proa_1.2.0+2-1.efi", 18, &a, NULL) == 0, "parse");
	CHECK(boot_entry_name_parse("PROA_1.2.0.efi", 14, &b, NULL) == 0, "parse");
	CHECK(boot_entry_same_id(&a, &b), "FAT knows no case");
	CHECK(boot_entry_is_called(&a, "proa_1.2.0") &&
		      boot_entry_is_called(&a, "proa_1.2.0.efi") &&
		      boot_entry_is_called(&a, "proa_1.2.0+3-0.efi"),
	      "called");
	CHECK(!boot_entry_is_called(&a, "proa_1.2") &&
		      !boot_entry_is_called(&a, "proa_1.2.0.conf") && !boot_entry_is_called(&a, ""),
	      "not called");
}

int main(void)
{
	test_parse();
	test_length();
	test_format();
	test_called();
	return 0;
}
