/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/address.h"
#include "tests/test.h"

static void check_read(void)
{
	static const struct {
		const char *url, *host, *port, *field, *path;
		bool tls, literal;
	} table[] = {
		{ "http://h", "h", "80", "h", "/", false, false },
		{ "HTTPS://h:8443/a%20b?c=d#e", "h", "8443", "h:8443", "/a%20b?c=d", true, false },
		{ "https://u:p@h:443?q", "h", "443", "h", "/?q", true, false },
		{ "http://127.0.0.1:/", "127.0.0.1", "80", "127.0.0.1", "/", false, true },
		{ "http://[fe80::1%25eth0]:81/", "fe80::1%eth0", "81", "[fe80::1]:81", "/", false,
		  true },
		{ "http://h/\xc3\xa4 x", "h", "80", "h", "/%C3%A4%20x", false, false },
	};
	static const char *const bad[] = { "ftp://h/",         "http:///x",      "http://[::1/",
					   "http://[::g]/",    "http://h:0/",    "http://h:65536/",
					   "http://h:123456/", "http://h:8a/",   "http://\xc3\xa4/",
					   "http://a b/",      "http://[::1]x/", "http://u@/" };
	struct ign_address a;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_BUF field = BUF_INIT;
		AUTO_BUF path = BUF_INIT;
		struct err e = ERR_INIT;

		CHECK(ign_address_read(table[i].url, &a, &e) == 0, "%s: %s", table[i].url, e.text);
		CHECK(strcmp(a.host, table[i].host) == 0 && strcmp(a.port, table[i].port) == 0,
		      "%s: '%s' '%s'", table[i].url, a.host, a.port);
		CHECK(a.tls == table[i].tls && a.literal == table[i].literal, "%s", table[i].url);
		CHECK(ign_address_host(&a, false, &field, &e) == 0 &&
			      strcmp(field.p, table[i].field) == 0,
		      "%s: '%s'", table[i].url, field.p);
		CHECK(ign_address_path(&a, &path, &e) == 0 && strcmp(path.p, table[i].path) == 0,
		      "%s: '%s'", table[i].url, path.p);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;

		CHECK(ign_address_read(bad[i], &a, &e) < 0 && e.kind == ERR_REFUSED, "%s", bad[i]);
	}
}

static void check_basic(void)
{
	struct ign_address a;
	struct err e = ERR_INIT;
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF one = BUF_INIT;

	/* RFC 7617, 2 */
	CHECK(ign_address_read("http://Aladdin:open%20sesame@h/", &a, &e) == 0 &&
		      ign_address_basic(&a, &b, &e) == 0,
	      "%s", e.text);
	CHECK(strcmp(b.p, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") == 0, "%s", b.p);
	CHECK(ign_address_read("http://me@h/", &a, &e) == 0 &&
		      ign_address_basic(&a, &one, &e) == 0 && strcmp(one.p, "Basic bWU6") == 0,
	      "%s", one.p);
}

/* RFC 3986, 5.4, but for what an http URL cannot be */
static void check_resolve(void)
{
	static const char base[] = "http://a/b/c/d;p?q#f";
	static const struct {
		const char *ref, *want;
	} table[] = {
		{ "https://h/x#y", "https://h/x" },
		{ "g", "http://a/b/c/g" },
		{ "./g", "http://a/b/c/g" },
		{ "g/", "http://a/b/c/g/" },
		{ "/g", "http://a/g" },
		{ "//g", "http://g" },
		{ "?y", "http://a/b/c/d;p?y" },
		{ "g?y", "http://a/b/c/g?y" },
		{ "#s", "http://a/b/c/d;p?q" },
		{ "g#s", "http://a/b/c/g" },
		{ ";x", "http://a/b/c/;x" },
		{ "", "http://a/b/c/d;p?q" },
		{ ".", "http://a/b/c/" },
		{ "..", "http://a/b/" },
		{ "../g", "http://a/b/g" },
		{ "../..", "http://a/" },
		{ "../../../g", "http://a/g" },
		{ "/../g", "http://a/g" },
		{ "g.", "http://a/b/c/g." },
		{ "..g", "http://a/b/c/..g" },
		{ "./g/.", "http://a/b/c/g/" },
		{ "g/../h", "http://a/b/c/h" },
		{ "g?y/../x", "http://a/b/c/g?y/../x" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_BUF b = BUF_INIT;
		struct err e = ERR_INIT;

		CHECK(ign_address_resolve(base, table[i].ref, &b, &e) == 0 &&
			      strcmp(b.p, table[i].want) == 0,
		      "'%s': '%s' %s", table[i].ref, b.p ? b.p : "", e.text);
	}
	for (int c = 1; c <= ' '; c++) {
		const char ref[] = { 'a', (char)c, 'b', '\0' };
		AUTO_BUF b = BUF_INIT;
		struct err e = ERR_INIT;

		CHECK(ign_address_resolve(base, ref, &b, &e) < 0 && e.kind == ERR_REFUSED, "%d", c);
	}
}

static void check_direct(void)
{
	static const struct {
		const char *url, *entry;
		bool direct;
	} table[] = {
		{ "http://a.example.com/", "example.com", true },
		{ "http://example.com/", "EXAMPLE.com", true },
		{ "http://example.com/", ".example.com", false },
		{ "http://a.example.com/", ".example.com", true },
		{ "http://a.example.com/", "*.example.com", true },
		{ "http://notexample.com/", "example.com", false },
		{ "http://example.com:81/", "example.com:80", false },
		{ "http://example.com:81/", "example.com:81", true },
		{ "http://h/", "*", true },
		{ "http://10.1.2.3/", "10.0.0.0/8", true },
		{ "http://11.1.2.3/", "10.0.0.0/8", false },
		{ "http://10.1.2.3/", "10.1.2.3", true },
		{ "http://10.1.2.3/", "10.1.2.0/33", false },
		{ "http://10.1.2.3/", "0.0.0.0/0", true },
		{ "http://[fd00::1]:8080/", "fd00::/7", true },
		{ "http://[fd00::1]:8080/", "[fd00::1]:8080", true },
		{ "http://[fd00::1]:8080/", "[fd00::1]:8081", false },
		{ "http://[fd00::1]/", "10.0.0.0/8", false },
		{ "http://h/", "", false },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char entry[64];
		const char *list[] = { entry };
		const struct ign_strings none = { .s = list, .n = 1 };
		struct ign_address a;

		(void)snprintf(entry, sizeof(entry), "%s", table[i].entry);
		CHECK(ign_address_read(table[i].url, &a, NULL) == 0, "%s", table[i].url);
		CHECK(ign_address_direct(&a, &none) == table[i].direct, "%s %s", table[i].url,
		      table[i].entry);
		CHECK(!ign_address_direct(&a, NULL), "no list");
	}
}

int main(void)
{
	check_read();
	check_basic();
	check_resolve();
	check_direct();
	return 0;
}
