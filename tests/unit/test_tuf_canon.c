/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/test.h"
#include "updater/tuf/canon.h"

static json_t *parse(const char *text)
{
	json_error_t je;
	json_t *j = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);

	CHECK(j, "%s: %s", text, je.text);
	return j;
}

static void expect(const char *text, const char *want)
{
	AUTO_JSON *j = parse(text);
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;
	int r = tuf_canon(j, &out, &e);

	if (!want) {
		CHECK(r < 0 && e.kind == ERR_INPUT && e.text[0], "%s was accepted", text);
		return;
	}
	CHECK(r == 0, "%s: %s", text, e.text);
	CHECK(out.n == strlen(want) && memcmp(out.p, want, out.n) == 0, "%s gives %s, not %s", text,
	      out.p, want);
}

static void test_table(void)
{
	expect("{}", "{}");
	expect(" [ ] ", "[]");
	expect("[1, -2, 0, -0, 9223372036854775807, -9223372036854775808]",
	       "[1,-2,0,0,9223372036854775807,-9223372036854775808]");
	expect("[true, false, null]", "[true,false,null]");
	expect("\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\"");
	/* control characters stay raw: the newlines of PEM keys, and DEL */
	expect("\"\\n\\t\\r\\u0001\\u007f\\/\"", "\"\n\t\r\001\177/\"");
	expect("\"\\u20ac\\ud83d\\ude00\"", "\"\xe2\x82\xac\xf0\x9f\x98\x80\"");
	/* by code point, where UTF-16 order would put the astral character first */
	expect("{\"\\ud83d\\ude00\": 1, \"\\ufb01\": 2, \"b\": 3, \"a\": 4, \"B\": 5, \"\": 6, "
	       "\"aa\": 7}",
	       "{\"\":6,\"B\":5,\"a\":4,\"aa\":7,\"b\":3,\"\xef\xac\x81\":2,"
	       "\"\xf0\x9f\x98\x80\":1}");
	expect("{\"a\\\"\\n\": [{\"z\": [], \"y\": {}}]}", "{\"a\\\"\n\":[{\"y\":{},\"z\":[]}]}");
	expect("1.0", NULL);
	expect("[1e3]", NULL);
	expect("{\"a\": {\"b\": 0.5}}", NULL);
}

static void test_depth(void)
{
	char text[2 * TUF_DEPTH_MAX + 4];

	for (size_t n = 1; n <= TUF_DEPTH_MAX + 1; n++) {
		memset(text, '[', n);
		memset(text + n, ']', n);
		text[2 * n] = '\0';
		expect(text, n <= TUF_DEPTH_MAX ? text : NULL);
	}
}

static void test_limit(void)
{
	AUTO_JSON *j = parse("{\"a\": \"0123456789\"}");
	struct err e = ERR_INIT;

	for (size_t max = 1; max < 18; max++) {
		AUTO_BUF out = { .max = max };

		CHECK(tuf_canon(j, &out, &e) < 0, "%zu bytes were enough", max);
	}
}

int main(void)
{
	test_table();
	test_depth();
	test_limit();
	return 0;
}
