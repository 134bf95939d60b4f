/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/url.h"
#include "tests/dice.h"
#include "tests/test.h"

static void check_good(void)
{
	static const struct {
		const char *url;
		enum ign_scheme scheme;
		const char *shown;
	} table[] = {
		{ "", IGN_URL_NONE, "nothing" },
		{ "data:,x", IGN_URL_DATA, "data: (1 bytes)" },
		{ "http://h", IGN_URL_HTTP, "http://h" },
		{ "HTTPS://h:8443/a%20b?token=secret#secret", IGN_URL_HTTPS,
		  "HTTPS://h:8443/a%20b" },
		{ "https://user:secret@[fe80::1]:80/p", IGN_URL_HTTPS, "https://[fe80::1]:80/p" },
		{ "tftp://h/x", IGN_URL_REMOTE, "tftp://h/x" },
		{ "s3://b/k?versionId=1", IGN_URL_REMOTE, "s3://b/k" },
		{ "gs://b/k", IGN_URL_REMOTE, "gs://b/k" },
		{ "arn:aws:s3:::bucket/key", IGN_URL_REMOTE, "arn:aws:s3:::bucket/key" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		enum ign_scheme scheme = IGN_URL_NONE;
		struct err e = ERR_INIT;
		char shown[128];

		CHECK(ign_url_check(table[i].url, &scheme, &e) >= 0, "%s: %s", table[i].url,
		      e.text);
		CHECK(scheme == table[i].scheme, "%s: %d", table[i].url, scheme);
		CHECK(ign_url_needs_network(table[i].url) == (scheme > IGN_URL_DATA), "%s",
		      table[i].url);
		ign_url_show(table[i].url, shown, sizeof(shown));
		CHECK(strcmp(shown, table[i].shown) == 0, "%s: %s", table[i].url, shown);
	}
}

static void check_bad(void)
{
	static const char *const table[] = {
		"x",
		"/etc/passwd",
		"file:///etc/passwd",
		"ftp://h/secret",
		"1http://h",
		"http:",
		"http:h",
		"http:///x",
		"http://:80/",
		"http://u:secret@/",
		"http://h:8o/",
		"http://a b/",
		"http://h/a b",
		"http://h/%zz",
		"http://h/#%z",
		"http://h/\x01",
		"http://[::1/",
		"http://u secret@h/",
		"DATA:,x",
		"data:",
		"data:x",
		"data:text,x",
		"data:font/woff,x",
		"data:;base64,a",
		"data:;base64,aG=k",
		"data:;base64,a===",
		"data:;x,y",
		"data:;x=,y",
		"data:;x=\"y,z",
		"data:,a b",
		"data:,%4",
		"data:,\xc3\xbc",
		"s3://b/k?versionId=",
		"s3://b/k?a=b&versionId",
		"arn:aws:ec2:::a/b",
		"arn:aws:s3:::bucket",
		"arn:aws:s3:::accesspoint/p",
		"arn:aws:s3",
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		enum ign_scheme scheme = IGN_URL_REMOTE;
		struct err e = ERR_INIT;

		CHECK(ign_url_check(table[i], &scheme, &e) < 0, "%s", table[i]);
		CHECK(e.kind == ERR_INPUT && scheme == IGN_URL_REMOTE, "%s", table[i]);
		CHECK(!strstr(e.text, "secret"), "%s: %s", table[i], e.text);
	}
}

static void check_spec(void)
{
	struct err e = ERR_INIT;

	CHECK(ign_url_check_spec("gs://b/k", 1, NULL, &e) < 0, "gs is of 3.2.0");
	CHECK(ign_url_check_spec("gs://b/k", 2, NULL, &e) >= 0, "gs is of 3.2.0");
	CHECK(ign_url_check_spec("arn:aws:s3:::b/k", 3, NULL, &e) < 0, "arn is of 3.4.0");
	CHECK(ign_url_check_spec("arn:aws:s3:::b/k", 4, NULL, &e) >= 0, "arn is of 3.4.0");
}

static const char *const known[][2] = {
	{ "data:,", "" },
	{ "data:,a%20b%2Cc", "a b,c" },
	{ "data:;base64,", "" },
	{ "data:text/plain;charset=utf-8;base64,aGVsbG8=", "hello" },
	{ "data:application/x;a=b;c=\"d,\\\" e\",f", "f" },
};

static void check_data(void)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct err e = ERR_INIT;
		AUTO_BUF b = BUF_INIT;

		CHECK(ign_url_data(known[i][0], &b, &e) >= 0, "%s: %s", known[i][0], e.text);
		CHECK(b.n == strlen(known[i][1]) && memcmp(b.p, known[i][1], b.n) == 0, "%s: %s",
		      known[i][0], b.p);
	}
}

static void encode(const uint8_t *p, size_t n, struct buf *b)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct err e = ERR_INIT;

	CHECK(buf_addf(b, &e, "data:;base64,") >= 0, "%s", e.text);
	for (size_t i = 0; i < n; i += 3) {
		unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? p[i + 1] : 0u) << 8 |
			     (i + 2 < n ? p[i + 2] : 0u);

		CHECK(buf_add(b, &digits[v >> 18], 1, &e) >= 0, "%s", e.text);
		CHECK(buf_add(b, &digits[v >> 12 & 63], 1, &e) >= 0, "%s", e.text);
		CHECK(buf_add(b, i + 1 < n ? &digits[v >> 6 & 63] : "=", 1, &e) >= 0, "%s", e.text);
		CHECK(buf_add(b, i + 2 < n ? &digits[v & 63] : "=", 1, &e) >= 0, "%s", e.text);
	}
}

/* Bytes of every length come back; a limit holds. */
static void check_random(void)
{
	for (size_t n = 0; n < 2000; n++) {
		AUTO_BUF url = BUF_INIT, back = BUF_INIT, small = { .max = n > 0 ? n - 1 : 1 };
		uint8_t bytes[2000];
		struct err e = ERR_INIT;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)dice();
		encode(bytes, n, &url);
		CHECK(ign_url_data(url.p, &back, &e) >= 0, "%zu: %s", n, e.text);
		CHECK(back.n == n && (n == 0 || memcmp(back.p, bytes, n) == 0), "%zu bytes", n);
		CHECK(n < 2 || ign_url_data(url.p, &small, &e) < 0, "%zu in less room", n);
	}
}

int main(void)
{
	dice_seed();
	check_good();
	check_bad();
	check_spec();
	check_data();
	check_random();
	return 0;
}
