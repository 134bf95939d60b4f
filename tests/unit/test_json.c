/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/test.h"

static const struct json_limits small = { .bytes = 100, .depth = 3 };

static void check_read(void)
{
	static const struct {
		const char *text, *says; /* says NULL: good */
	} table[] = {
		{ "{}", NULL },
		{ " [1, 2.5, true, null, \"\\u00e9\"]\n", NULL },
		{ "[[[]]]", NULL },
		{ "[[[[]]]]", "deeper than 3" },
		{ "{\"a\":{\"b\":{\"c\":{}}}}", "deeper than 3" },
		{ "[\"[[[[[\", \"\\\"[[[[\"]", NULL },
		{ "", "empty" },
		{ "{} {}", "end of file" },
		{ "{\"a\":1,\"a\":2}", "duplicate" },
		{ "{\"a\":1,}", "line 1" },
		{ "{\n\n\"a\" 1}", "line 3" },
		{ "[1] // no", "end of file" },
		{ "[01]", "line 1" },
		{ "[1e999]", "overflow" },
		{ "[99999999999999999999]", "too big" },
		{ "[NaN]", "line 1" },
		{ "[\"\\u0000\"]", "line 1" },
		{ "[\"\\ud800\"]", "line 1" },
		{ "[\"\xff\"]", "line 1" },
		{ "[\"\xc0\xaf\"]", "line 1" },
		{ "[\"\xed\xa0\x80\"]", "line 1" },
		{ "[\"a\nb\"]", "line 1" },
		{ "\xef\xbb\xbf{}", "line 1" },
		{ "[\"a", "line 1" },
		{ "[\"\\", "line 1" },
		{ "]]]]]]", "line 1" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct err e = ERR_INIT;
		AUTO_JSON *j = NULL;
		int r = json_read(table[i].text, strlen(table[i].text), &small, "doc.json", &j, &e);

		CHECK((r == 0) == !table[i].says, "'%s': %d %s", table[i].text, r, e.text);
		if (r == 0)
			continue;
		CHECK(!j && e.kind == ERR_INPUT && strncmp(e.text, "doc.json: ", 10) == 0, "%s",
		      e.text);
		CHECK(strstr(e.text, table[i].says), "'%s': %s", table[i].text, e.text);
	}
}

/* Bytes that a string of C could not hold. */
static void check_nul(void)
{
	static const char table[][8] = {
		"[1\0]", "[\0]", "[1]\0", "\0[1]", "[\"\0\"]", "[\"\\\0\"]"
	};
	static const size_t length[] = { 4, 3, 4, 4, 5, 6 };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct err e = ERR_INIT;
		AUTO_JSON *j = NULL;

		CHECK(json_read(table[i], length[i], NULL, "doc", &j, &e) < 0 && !j, "row %zu", i);
		CHECK(strncmp(e.text, "doc: line 1", 11) == 0, "row %zu: %s", i, e.text);
	}
}

static void check_limits(void)
{
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;
	char text[102];

	memset(text, ' ', sizeof(text));
	memcpy(text, "{}", 2);
	CHECK(json_read(text, 101, &small, "x", &j, &e) == -EFBIG && !j, "101 bytes");
	CHECK(json_read(text, 100, &small, "x", &j, &e) == 0 && j, "100 bytes: %s", e.text);
	CHECK(json_read("[\0]", 3, &small, "x", &j, &e) < 0, "NUL between tokens");
}

static void check_get(void)
{
	static const char text[] =
		"{\"s\":\"v\",\"n\":7,\"neg\":-1,\"big\":9223372036854775807,\"r\":1.0,\"t\":true,"
		"\"o\":{},\"a\":[],\"h\":\"00ff\",\"when\":\"2026-11-20T19:37:00Z\",\"z\":null}";
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;
	const char *s = "before";
	uint64_t n = 77;
	uint8_t h[2] = { 7, 7 };
	bool b = false;
	json_t *v = NULL;
	int64_t t = 0;

	CHECK(json_read(text, sizeof(text) - 1, NULL, "x", &j, &e) == 0, "%s", e.text);
	CHECK(json_get_str(j, "s", "x", &s, &e) == 0 && strcmp(s, "v") == 0, "s");
	CHECK(json_get_str(j, "n", "x", &s, &e) == -EINVAL && strcmp(s, "v") == 0, "type");
	CHECK(strcmp(e.text, "x: n: must be a string") == 0, "%s", e.text);
	CHECK(json_get_str(j, "none", "x", &s, &e) == -EINVAL && strstr(e.text, "missing"), "none");
	CHECK(json_get_str_opt(j, "z", "x", &s, &e) < 0, "null is not absent");
	CHECK(json_get_str_opt(j, "none", "x", &s, &e) == 0 && !s, "absent");
	CHECK(json_get_u64(j, "n", "x", 7, &n, &e) == 0 && n == 7, "n");
	CHECK(json_get_u64(j, "n", "x", 6, &n, &e) == -ERANGE && n == 7, "max");
	CHECK(json_get_u64(j, "neg", "x", UINT64_MAX, &n, &e) == -ERANGE, "negative");
	CHECK(json_get_u64(j, "r", "x", 9, &n, &e) == -EINVAL, "real");
	CHECK(json_get_u64(j, "big", "x", UINT64_MAX, &n, &e) == 0 && n == INT64_MAX, "big");
	CHECK(json_get_u64_opt(j, "none", "x", 9, 5, &n, &e) == 0 && n == 5, "default");
	CHECK(json_get_bool_opt(j, "t", "x", false, &b, &e) == 0 && b, "t");
	CHECK(json_get_bool_opt(j, "n", "x", false, &b, &e) < 0 && b, "1 is not true");
	CHECK(json_get_obj(j, "o", "x", &v, &e) == 0 && json_is_object(v), "o");
	CHECK(json_get_obj(j, "a", "x", &v, &e) < 0, "a is no object");
	CHECK(json_get_arr(j, "a", "x", &v, &e) == 0 && json_is_array(v), "a");
	CHECK(json_get_arr(v, "a", "x", &v, &e) < 0 && strstr(e.text, "object"), "%s", e.text);
	CHECK(json_get_hex(j, "s", "x", h, 2, &e) < 0 && h[0] == 7, "not hex");
	CHECK(json_get_hex(j, "h", "x", h, 2, &e) == 0 && h[1] == 0xff, "hex");
	CHECK(json_get_time(j, "when", "x", &t, &e) == 0 && t == 1795203420, "when");
	CHECK(json_get_time(j, "s", "x", &t, &e) < 0 && strstr(e.text, "x: s"), "%s", e.text);
}

static void check_write(void)
{
	static const uint8_t bytes[] = { 0xab, 0x01 };
	struct err e = ERR_INIT;
	AUTO_JSON *o = json_object();
	AUTO_BUF b = BUF_INIT;
	struct buf tiny CLEANUP(buf_done) = { .max = 10 };
	json_t *a = json_array();

	CHECK(o && a, "out of memory");
	CHECK(json_put_str(o, "z", "\xc3\xa9", &e) == 0 && json_put_u64(o, "a", 5, &e) == 0, "%s",
	      e.text);
	CHECK(json_put_u64(o, "b", UINT64_MAX, &e) == -ERANGE && e.kind == ERR_BUG, "too large");
	CHECK(json_put_hex(o, "h", bytes, 2, &e) == 0 && json_put_time(o, "t", 0, &e) == 0, "%s",
	      e.text);
	CHECK(json_push(a, json_true(), &e) == 0 && json_put(o, "l", a, &e) == 0, "%s", e.text);
	CHECK(json_put(o, "n", NULL, &e) == -ENOMEM, "NULL is a failed allocation");
	CHECK(json_put_str(o, "bad", "x\xff\ny", &e) == 0, "%s", e.text);
	CHECK(json_write(o, false, &b, &e) == 0, "%s", e.text);
	CHECK(strcmp(b.p,
		     "{\"z\":\"\xc3\xa9\",\"a\":5,\"h\":\"ab01\",\"t\":\"1970-01-01T00:00:00Z\","
		     "\"l\":[true],\"bad\":\"x??y\"}") == 0,
	      "%s", b.p);
	CHECK(buf_add(&tiny, "keep", 4, &e) == 0, "%s", e.text);
	CHECK(json_write(o, true, &tiny, &e) == -EFBIG && strcmp(tiny.p, "keep") == 0, "%s",
	      tiny.p);
}

static void check_locate(void)
{
	static const char doc[] =
		"\n{\"a\": [1, \"]}\", {\"b\\u0063\": \"\xc3\xbc\", \"d\":\n  true}],\n"
		"\t\"e\" : {}}";
	static const struct {
		struct json_step step[4];
		size_t steps;
		unsigned line, column;
	} table[] = {
		{ { { NULL, 0 } }, 0, 2, 1 },
		{ { { "a", 0 } }, 1, 2, 7 },
		{ { { "a", 0 }, { NULL, 0 } }, 2, 2, 8 },
		{ { { "a", 0 }, { NULL, 1 } }, 2, 2, 11 },
		{ { { "a", 0 }, { NULL, 2 }, { "bc", 0 } }, 3, 2, 29 },
		{ { { "a", 0 }, { NULL, 2 }, { "d", 0 } }, 3, 3, 3 },
		{ { { "e", 0 } }, 1, 4, 8 },
		/* not there: the deepest that is */
		{ { { "a", 0 }, { NULL, 3 } }, 2, 2, 7 },
		{ { { "a", 0 }, { NULL, 2 }, { "x", 0 } }, 3, 2, 17 },
		{ { { "a", 0 }, { "a", 0 } }, 2, 2, 7 },
		{ { { NULL, 0 } }, 1, 2, 1 },
		{ { { "e", 0 }, { "f", 0 } }, 2, 4, 8 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		unsigned line = 0, column = 0;

		json_locate(doc, strlen(doc), table[i].step, table[i].steps, &line, &column);
		CHECK(line == table[i].line && column == table[i].column, "row %zu: %u:%u", i, line,
		      column);
	}
}

int main(void)
{
	check_read();
	check_limits();
	check_get();
	check_write();
	check_nul();
	check_locate();
	return 0;
}
