/* SPDX-License-Identifier: Apache-2.0 */
#include <fnmatch.h>
#include <string.h>

#include "bootctl/choice.h"
#include "tests/dice.h"
#include "tests/test.h"

/* In the order of the menu; every pair must agree. */
static const struct choice_entry menu[] = {
	{ "os-1+3-0.efi", "a", NULL, "9", true, false, 3, 0, 0 },
	{ "os-2.efi", "proa", "1", "1.0", false, false, 0, 0, 1 },
	{ "proa_1.10.0+1-2.efi", "proa", "2", "1.10.0", true, false, 1, 2, 2 },
	{ "proa_1.9.0.efi", "proa", "2", "1.9.0", false, false, 0, 0, 3 },
	{ "proa_1.9.0~rc1.efi", "proa", "2", "1.9.0~rc1", false, false, 0, 0, 4 },
	/* one id, two counters: the loader's ids are whole names, the higher one first */
	{ "twin+3-0.efi", "twin", NULL, "1", true, false, 3, 0, 5 },
	{ "twin+2-1.efi", "twin", NULL, "1", true, false, 2, 1, 6 },
	{ "TWIN+1-1.efi", "twin", NULL, "1", true, false, 1, 1, 7 },
	/* no sort key: by file name, newest first */
	{ "zz-2.conf", NULL, NULL, "1", false, false, 0, 0, 8 },
	{ "zz-1+9.conf", "", NULL, "5", true, false, 9, 0, 9 },
	/* bad, in the same order among themselves */
	{ "bad-1+0-3.efi", "aaa", NULL, "99", true, false, 0, 3, 10 },
	{ "bad-2+0.conf", NULL, NULL, NULL, true, false, 0, 0, 11 },
};
enum { N = sizeof(menu) / sizeof(menu[0]) };

static void test_order(void)
{
	for (size_t i = 0; i < N; i++)
		for (size_t k = 0; k < N; k++) {
			int r = choice_compare(&menu[i], &menu[k]);

			CHECK(i < k   ? r < 0
			      : i > k ? r > 0
				      : r == 0,
			      "%s, %s: %d", menu[i].file, menu[k].file, r);
		}
	for (unsigned round = 0; round < 500; round++) {
		struct choice_entry e[N];

		memcpy(e, menu, sizeof(e));
		for (unsigned i = N - 1; i > 0; i--) {
			unsigned k = dice_below(i + 1);
			struct choice_entry t = e[i];

			e[i] = e[k];
			e[k] = t;
		}
		choice_sort(e, N);
		for (size_t i = 0; i < N; i++)
			CHECK(e[i].index == i, "round %u: %s", round, e[i].file);
	}
	choice_sort(NULL, 0);
}

static void next(struct choice_wish w, size_t n, size_t want, enum choice_why want_why)
{
	enum choice_why why;
	size_t i = choice_next(menu, n, &w, &why);

	CHECK(i == want && why == want_why, "%s %s %s: %zu, %s", w.oneshot ? w.oneshot : "-",
	      w.var ? w.var : "-", w.conf ? w.conf : "-", i, choice_why_text(why));
}

static void test_next(void)
{
	next((struct choice_wish){ 0 }, N, 0, CHOICE_FIRST);
	next((struct choice_wish){ 0 }, 0, 0, CHOICE_NONE);
	next((struct choice_wish){ .oneshot = "" }, N, 0, CHOICE_FIRST);
	next((struct choice_wish){ .oneshot = "OS-2.efi", .var = "zz*" }, N, 1, CHOICE_ONESHOT);
	/* ids keep their counters in 252 */
	next((struct choice_wish){ .oneshot = "os-1.efi", .var = "zz*" }, N, 8, CHOICE_VAR);
	next((struct choice_wish){ .oneshot = "os-1+*.efi" }, N, 0, CHOICE_ONESHOT);
	next((struct choice_wish){ .conf = "proa_*", .var = "none" }, N, 2, CHOICE_CONF);
	next((struct choice_wish){ .var = "@saved", .saved = "zz-2.conf" }, N, 8, CHOICE_VAR);
	next((struct choice_wish){ .conf = "@saved", .saved = "zz-2.conf" }, N, 8, CHOICE_CONF);
	next((struct choice_wish){ .conf = "@saved" }, N, 0, CHOICE_FIRST);
	next((struct choice_wish){ .saved = "zz-2.conf" }, N, 0, CHOICE_FIRST);
	/* a bad entry boots when it is named */
	next((struct choice_wish){ .conf = "bad-1*" }, N, 10, CHOICE_CONF);
}

static void test_glob(void)
{
	static const char letters[] = "ab.-+*?[]\\!";
	unsigned matches = 0;

	CHECK(choice_glob("[a-c]x*", "Bxyz") && !choice_glob("[a-c]x", "dx"), "range");
	CHECK(choice_glob("[]]", "]") && choice_glob("[a-c-f]", "-") &&
		      choice_glob("[a-c-f]", "f") && !choice_glob("[a-c-f]", "e"),
	      "set");
	CHECK(!choice_glob("[ab", "a") && !choice_glob("a\\", "a") && choice_glob("\\*", "*"),
	      "odd");
	CHECK(choice_glob("*", "") && choice_glob("", "") && !choice_glob("", "a"), "empty");
	for (unsigned i = 0; i < 200000; i++) {
		char p[9] = "", s[9] = "";
		unsigned n = dice_below(8), m = dice_below(8);

		for (unsigned k = 0; k < n; k++)
			p[k] = letters[dice_below(9)];
		for (unsigned k = 0; k < m; k++)
			s[k] = letters[dice_below(5)];
		/* sets differ at their edges between C libraries and the loader: tried above */
		if (strpbrk(p, "[]\\"))
			continue;
		CHECK(choice_glob(p, s) == (fnmatch(p, s, 0) == 0), "'%s' '%s'", p, s);
		matches += choice_glob(p, s);
	}
	CHECK(matches > 100, "only %u matches", matches);
}

static void conf(const char *text, const char *want)
{
	char out[32];

	choice_conf_value(text, strlen(text), "default", out, sizeof(out));
	CHECK(strcmp(out, want) == 0, "'%s': '%s'", text, out);
}

static void test_conf(void)
{
	conf("timeout 0\ndefault  proa_*.efi \neditor no\n", "proa_*.efi");
	conf("default a\ndefault b", "b");
	conf("\t default\tx\r\n", "x");
	conf("default \"q\"\n", "q");
	conf("# default a\ndefaults b\ndefault", "");
	conf("default 0123456789012345678901234567890123456789", "");
	conf("", "");
}

/* ---- what is true of several loaders ---- */

static void loader(const char *info, const char *selected, const char *count_path,
		   enum choice_does bare, enum choice_does preferred)
{
	struct choice_loader l = choice_loader(info, selected, count_path);

	CHECK(l.bare == bare && l.preferred == preferred, "%s %s %s: %d %d", info, selected,
	      count_path, (int)l.bare, (int)l.preferred);
}

static void test_loader(void)
{
	static const char path[] = "\\EFI\\Linux\\os_1+2-1.efi";

	loader("", "", "", CHOICE_MAYBE, CHOICE_MAYBE);
	loader("rEFInd 0.14", "os_1.efi", "", CHOICE_MAYBE, CHOICE_MAYBE);
	loader("systemd-boot 252.39-1~deb12u2", "os_1.efi", "", CHOICE_NO, CHOICE_NO);
	loader("systemd-boot 254.26-1~bpo12+1", "", "", CHOICE_NO, CHOICE_NO);
	loader("systemd-boot 256.7", "", "", CHOICE_MAYBE, CHOICE_NO);
	loader("systemd-boot 257.7-1", "", "", CHOICE_NO, CHOICE_NO);
	loader("systemd-boot 257.9", "", "", CHOICE_MAYBE, CHOICE_NO);
	loader("systemd-boot 257.13-1~deb13u1", "", "", CHOICE_YES, CHOICE_NO);
	loader("systemd-boot 258", "", "", CHOICE_MAYBE, CHOICE_NO);
	loader("systemd-boot 258.3", "", "", CHOICE_YES, CHOICE_NO);
	loader("systemd-boot 262-1", "", "", CHOICE_YES, CHOICE_YES);
	/* a counted entry runs: how it is called is what the loader does */
	loader("systemd-boot 258", "os_1.efi", path, CHOICE_YES, CHOICE_NO);
	loader("systemd-boot 258", "os_1+3-0.efi", path, CHOICE_NO, CHOICE_NO);
	loader("", "os_1.efi", path, CHOICE_YES, CHOICE_MAYBE);
	loader("systemd-boot 258", "", path, CHOICE_MAYBE, CHOICE_NO);
}

/* want: index in menu, N for none. */
static void next_of(const char *info, struct choice_wish w, size_t want, enum choice_why want_why)
{
	struct choice_loader l = choice_loader(info, "", "");
	struct choice_entry e[N];
	enum choice_why why;
	size_t i;

	memcpy(e, menu, sizeof(e));
	i = choice_next_of(&l, e, N, &w, &why);
	CHECK(i == want && why == want_why, "%s: %s %s %s: %zu, %s", info,
	      w.oneshot ? w.oneshot : "-", w.var ? w.var : "-", w.conf ? w.conf : "-", i,
	      choice_why_text(why));
}

static void test_next_of(void)
{
	static const char old[] = "systemd-boot 252", bare[] = "systemd-boot 259",
			  new[] = "systemd-boot 262", mid[] = "systemd-boot 258";
	struct choice_wish id = { .var = "os-1.efi" }, file = { .var = "os-1+*.efi" };
	struct choice_wish bad = { .var = "bad-1.efi" }, good = { .conf = "os-2.efi" };
	struct choice_wish pref = { .preferred_var = "zz*", .var = "os-2.efi" };
	struct choice_wish pref_bad = { .preferred_conf = "bad-1.efi", .conf = "os-2.efi" };

	next_of(old, id, 0, CHOICE_FIRST);
	next_of(bare, id, 0, CHOICE_VAR);
	next_of(mid, id, 0, CHOICE_VAR); /* either way the same entry */
	next_of(old, file, 0, CHOICE_VAR);
	next_of(bare, file, 0, CHOICE_FIRST);
	/* given up, and yet it would boot again */
	next_of(old, bad, 0, CHOICE_FIRST);
	next_of(bare, bad, 10, CHOICE_VAR);
	next_of(mid, bad, N, CHOICE_UNSURE);
	next_of("", bad, N, CHOICE_UNSURE);
	next_of("", good, 1, CHOICE_CONF);
	next_of("", (struct choice_wish){ 0 }, 0, CHOICE_FIRST);
	next_of(new, pref, 8, CHOICE_PREFERRED);
	next_of(bare, pref, 1, CHOICE_VAR);
	next_of("", pref, N, CHOICE_UNSURE);
	next_of(new, pref_bad, 1, CHOICE_CONF);
	next_of(new, (struct choice_wish){ .preferred_var = "@saved", .saved = "zz-2.conf" }, 8,
		CHOICE_PREFERRED);
}

/* The order without counters in the ids. */
static void test_bare(void)
{
	struct choice_entry a = { "os+3-0.efi", NULL, NULL, NULL, true, true, 3, 0, 0 };
	struct choice_entry b = { "os+2-1.efi", NULL, NULL, NULL, true, true, 2, 1, 0 };
	struct choice_entry c = { "OS.efi", NULL, NULL, NULL, false, true, 0, 0, 0 };
	struct choice_entry d = { "os-1.efi", NULL, NULL, NULL, false, true, 0, 0, 0 };

	CHECK(choice_compare(&a, &b) < 0 && choice_compare(&b, &a) > 0, "more tries first");
	CHECK(choice_compare(&a, &c) == 0 && choice_compare(&c, &b) == 0, "one id");
	CHECK(choice_compare(&d, &a) == choice_compare(&d, &c), "the counter does not count");
}

int main(void)
{
	dice_seed();
	test_loader();
	test_next_of();
	test_bare();
	test_order();
	test_next();
	test_glob();
	test_conf();
	return 0;
}
