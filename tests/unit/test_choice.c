/* SPDX-License-Identifier: Apache-2.0 */
#include <fnmatch.h>
#include <string.h>

#include "bootctl/choice.h"
#include "tests/dice.h"
#include "tests/test.h"

/* In the order of the menu; every pair must agree. */
static const struct choice_entry menu[] = {
	{ "os-1+3-0.efi", "a", NULL, "9", true, 3, 0, 0 },
	{ "os-2.efi", "proa", "1", "1.0", false, 0, 0, 1 },
	{ "proa_1.10.0+1-2.efi", "proa", "2", "1.10.0", true, 1, 2, 2 },
	{ "proa_1.9.0.efi", "proa", "2", "1.9.0", false, 0, 0, 3 },
	{ "proa_1.9.0~rc1.efi", "proa", "2", "1.9.0~rc1", false, 0, 0, 4 },
	/* one id, two counters: the loader's ids are whole names, the higher one first */
	{ "twin+3-0.efi", "twin", NULL, "1", true, 3, 0, 5 },
	{ "twin+2-1.efi", "twin", NULL, "1", true, 2, 1, 6 },
	{ "TWIN+1-1.efi", "twin", NULL, "1", true, 1, 1, 7 },
	/* no sort key: by file name, newest first */
	{ "zz-2.conf", NULL, NULL, "1", false, 0, 0, 8 },
	{ "zz-1+9.conf", "", NULL, "5", true, 9, 0, 9 },
	/* bad, in the same order among themselves */
	{ "bad-1+0-3.efi", "aaa", NULL, "99", true, 0, 3, 10 },
	{ "bad-2+0.conf", NULL, NULL, NULL, true, 0, 0, 11 },
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

	choice_conf_default(text, strlen(text), out, sizeof(out));
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

int main(void)
{
	dice_seed();
	test_order();
	test_next();
	test_glob();
	test_conf();
	return 0;
}
