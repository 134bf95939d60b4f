/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"
#include "updater/tuf/metadata.h"

/* By the book, over ASCII: m[j] says whether pattern[0..i) matches path[0..j). */
static bool reference(const char *pattern, const char *path)
{
	size_t n = strlen(path);
	bool m[64] = { true };

	CHECK(n < 64, "path too long for the test");
	for (; *pattern; pattern++) {
		bool next[64] = { false };

		next[0] = *pattern == '*' && m[0];
		for (size_t j = 0; j < n; j++) {
			if (*pattern == '*')
				next[j + 1] = m[j + 1] || (next[j] && path[j] != '/');
			else if (*pattern == '?')
				next[j + 1] = m[j] && path[j] != '/';
			else
				next[j + 1] = m[j] && *pattern == path[j];
		}
		memcpy(m, next, sizeof(m));
	}
	return m[n];
}

static void test_table(void)
{
	static const struct {
		const char *pattern, *path;
		bool match;
	} t[] = {
		{ "*", "a", true },
		{ "*", "", true },
		{ "*", "a/b", false },
		{ "*/*", "a/b", true },
		{ "*/", "a/b", false },
		{ "", "", true },
		{ "", "a", false },
		{ "?", "/", false },
		{ "??", "\xc3\xa9x", true },
		{ "?", "\xc3\xa9", true },
		{ "*??", "\xc3\xa9", false },
		{ "a*b*c", "aXbYbZc", true },
		{ "a*b*c", "aXbY/bZc", false },
		{ "[a]", "a", false },
		{ "[a]", "[a]", true },
		{ "A", "a", false },
		{ "stable/*", "stable/web_1.json", true },
		{ "stable/*", "stable/x/web_1.json", false },
		{ "*.json", ".json", true },
		{ "\\*", "\\x", true },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		CHECK(tuf_path_match(t[i].pattern, t[i].path) == t[i].match, "'%s' and '%s'",
		      t[i].pattern, t[i].path);
}

static void test_random(void)
{
	unsigned matched = 0;

	dice_seed();
	for (unsigned k = 0; k < 400000; k++) {
		char pattern[12] = "", path[16] = "";
		unsigned a = dice_below(11), b = dice_below(15);

		for (unsigned i = 0; i < a; i++)
			pattern[i] = "ab/**?"[dice_below(6)];
		for (unsigned i = 0; i < b; i++)
			path[i] = "aab/"[dice_below(4)];
		CHECK(tuf_path_match(pattern, path) == reference(pattern, path), "'%s' and '%s'",
		      pattern, path);
		matched += tuf_path_match(pattern, path);
	}
	printf("%u of 400000 matched\n", matched);
	CHECK(matched > 1000, "the random cases hardly ever match");
}

/* Stars in a row must not cost exponential time. */
static void test_cost(void)
{
	char pattern[TUF_PATH_MAX + 1], path[TUF_PATH_MAX + 1];

	for (size_t i = 0; i < TUF_PATH_MAX; i++) {
		pattern[i] = i % 2 ? 'a' : '*';
		path[i] = 'a';
	}
	pattern[TUF_PATH_MAX - 1] = 'b';
	pattern[TUF_PATH_MAX] = path[TUF_PATH_MAX] = '\0';
	CHECK(!tuf_path_match(pattern, path), "matched");
}

static void test_quote(void)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(tuf_quote("aZ09_.-~/?#%\x01\xc3\xa9 ", "", &b, &e) == 0, "%s", e.text);
	CHECK(strcmp(b.p, "aZ09_.-~%2F%3F%23%25%01%C3%A9%20") == 0, "%s", b.p);
	b.n = 0;
	CHECK(tuf_quote("a/b", "/", &b, &e) == 0 && strcmp(b.p, "a/b") == 0, "%s", b.p);
}

static void test_remote(void)
{
	struct tuf_target t = { .path = "d e/f.json", .hashes = { .present = true } };
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(tuf_target_remote(&t, false, &b, &e) == 0 && strcmp(b.p, "d%20e/f.json") == 0, "%s",
	      b.p);
	CHECK(tuf_target_remote(&t, true, &b, &e) < 0, "no hash");
	t.hashes.has512 = true;
	memset(t.hashes.sha512, 0xab, sizeof(t.hashes.sha512));
	b.n = 0;
	CHECK(tuf_target_remote(&t, true, &b, &e) == 0 && b.n == strlen("d%20e/.f.json") + 128,
	      "%s", b.p);
	t.hashes.has256 = true;
	b.n = 0;
	CHECK(tuf_target_remote(&t, true, &b, &e) == 0 && strncmp(b.p, "d%20e/00000000", 14) == 0 &&
		      b.n == 64 + 13,
	      "%s", b.p);
	t.path = "top";
	b.n = 0;
	CHECK(tuf_target_remote(&t, true, &b, &e) == 0 && b.n == 64 + 4, "%s", b.p);
}

int main(void)
{
	test_table();
	test_random();
	test_cost();
	test_quote();
	test_remote();
	return 0;
}
