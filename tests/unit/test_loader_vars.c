/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "bootctl/loader_vars.h"
#include "tests/test.h"

static void test_utf(void)
{
	const char *text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\xa2";
	uint8_t wide[64];
	char back[64];
	int n = utf8_to_utf16(text, wide, sizeof(wide), NULL);

	CHECK(n == 10 && memcmp(wide, "a\0\xe4\0\xac\x20\x3d\xd8\xa2\xde", 10) == 0, "%d", n);
	CHECK(utf16_to_utf8(wide, (size_t)n, back, sizeof(back), NULL) == 10 &&
		      strcmp(back, text) == 0,
	      "'%s'", back);
	CHECK(utf16_to_utf8(wide, (size_t)n, back, 10, NULL) == -EFBIG, "cap");
	CHECK(utf8_to_utf16(text, wide, 9, NULL) == -EFBIG, "cap");
	CHECK(utf16_to_utf8((const uint8_t *)"\x3d\xd8", 2, back, 64, NULL) == -EILSEQ,
	      "lone high");
	CHECK(utf16_to_utf8((const uint8_t *)"\xa2\xde", 2, back, 64, NULL) == -EILSEQ, "lone low");
	CHECK(utf16_to_utf8((const uint8_t *)"a", 1, back, 64, NULL) == -EILSEQ, "odd");
	CHECK(utf8_to_utf16("\xc0\x80", wide, 64, NULL) == -EILSEQ, "overlong");
	CHECK(utf8_to_utf16("\xed\xa0\x80", wide, 64, NULL) == -EILSEQ, "surrogate");
	CHECK(utf8_to_utf16("\xe2\x82", wide, 64, NULL) == -EILSEQ, "cut");
	CHECK(utf8_to_utf16("\xf4\x90\x80\x80", wide, 64, NULL) == -EILSEQ, "too high");
}

static void test_vars(int dir)
{
	struct sys *sys = sys_linux();
	char s[LOADER_VAR_MAX] = "kept", *raw = NULL;
	struct err e = ERR_INIT;
	size_t n;

	CHECK(loader_var_read(sys, dir, LOADER_ENTRY_ONE_SHOT, s, &e) == -ENOENT &&
		      e.kind == ERR_HOST && strcmp(s, "kept") == 0,
	      "absent: %s", e.text);
	CHECK(loader_var_read(sys, -1, LOADER_INFO, s, &e) == -ENOENT, "no EFI");
	CHECK(loader_var_write(sys, dir, LOADER_ENTRY_ONE_SHOT, "os_1+*.efi", &e) == 0, "%s",
	      e.text);
	CHECK(loader_var_read(sys, dir, LOADER_ENTRY_ONE_SHOT, s, &e) == 0 &&
		      strcmp(s, "os_1+*.efi") == 0,
	      "'%s' %s", s, e.text);
	/* shorter: nothing of the longer value stays */
	CHECK(loader_var_write(sys, dir, LOADER_ENTRY_ONE_SHOT, "b", &e) == 0, "%s", e.text);
	CHECK(file_read(sys, dir, "LoaderEntryOneShot-" LOADER_GUID, 64, &raw, &n, &e) == 0 &&
		      n == 8 && memcmp(raw, "\7\0\0\0b\0\0\0", 8) == 0,
	      "%zu bytes", n);
	free(raw);
	for (int i = 0; i < 2; i++)
		CHECK(loader_var_write(sys, dir, LOADER_ENTRY_ONE_SHOT, NULL, &e) == 0, "%s",
		      e.text);
	CHECK(loader_var_read(sys, dir, LOADER_ENTRY_ONE_SHOT, s, &e) == -ENOENT, "still there");
	CHECK(loader_var_write(sys, dir, LOADER_INFO, "x", &e) < 0 && e.kind == ERR_BUG, "ours?");
	CHECK(file_replace(sys, dir, "LoaderInfo-" LOADER_GUID, "\7\0\0", 3, &e) == 0, "%s",
	      e.text);
	CHECK(loader_var_read(sys, dir, LOADER_INFO, s, &e) == -EBADMSG, "cut");
	CHECK(file_replace(sys, dir, "LoaderInfo-" LOADER_GUID, "\7\0\0\0a", 5, &e) == 0, "%s",
	      e.text);
	CHECK(loader_var_read(sys, dir, LOADER_INFO, s, &e) == -EILSEQ, "odd");
	CHECK(unlinkat(dir, "LoaderInfo-" LOADER_GUID, 0) == 0, "unlink");
}

static void pattern(const char *file, const char *want)
{
	struct boot_entry_name en;
	char s[LOADER_VAR_MAX];
	int r;

	CHECK(boot_entry_name_parse(file, strlen(file), &en, NULL) == 0, "%s", file);
	r = loader_var_pattern(&en, s, NULL);
	CHECK((r == 0) == (want != NULL) && (!want || strcmp(s, want) == 0), "%s: '%s'", file, s);
}

int main(void)
{
	char path[] = "/tmp/proa-vars-XXXXXX";
	struct err e = ERR_INIT;
	int dir = -2;

	test_utf();
	pattern("os_1.0.efi", "os_1.0.efi");
	pattern("os_1.0+3-0.efi", "os_1.0+*.efi");
	pattern("os+2-1.conf", "os+*.conf");
	pattern("o*s.efi", NULL);
	CHECK(efivars_open(sys_linux(), "/nonexistent/efivars", &dir, &e) == 0 && dir == -1,
	      "none");
	CHECK(mkdtemp(path), "mkdtemp");
	CHECK(efivars_open(sys_linux(), path, &dir, &e) == 0 && dir >= 0, "%s", e.text);
	test_vars(dir);
	(void)close(dir);
	CHECK(rmdir(path) == 0, "left something in %s", path);
	return 0;
}
