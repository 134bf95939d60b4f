/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"

enum { PREFIX_DIGITS = 3, PORT_LAST = 65535 };

static int refuse(const char *why, struct err *e)
{
	return err_set(e, ERR_REFUSED, EINVAL, "the URL cannot be fetched: %s", why);
}

/* --- reading --- */

static int read_port(const char *s, size_t n, struct ign_address *a, struct err *e)
{
	unsigned value = 0;

	(void)snprintf(a->port, sizeof(a->port), "%d", a->tls ? 443 : 80);
	a->usual_port = true;
	if (n <= 1 && (n == 0 || *s == ':'))
		return 0;
	if (*s != ':' || n > IGN_PORT_MAX)
		return refuse("its port is none", e);
	for (size_t i = 1; i < n; i++) {
		if (!isdigit((unsigned char)s[i]))
			return refuse("its port is none", e);
		value = value * 10 + (unsigned)(s[i] - '0');
	}
	if (value == 0 || value > PORT_LAST)
		return refuse("its port is none", e);
	a->usual_port = value == (a->tls ? 443u : 80u);
	(void)snprintf(a->port, sizeof(a->port), "%u", value);
	return 0;
}

/* An IPv6 address in brackets; a zone stands behind "%25" (RFC 6874). */
static int read_v6(const char *s, size_t n, struct ign_address *a, struct err *e)
{
	uint8_t binary[sizeof(struct in6_addr)];
	char plain[IGN_HOST_MAX + 1];
	const char *zone;
	size_t address;

	if (n > IGN_HOST_MAX)
		return refuse("its host is too long", e);
	(void)snprintf(plain, sizeof(plain), "%.*s", (int)n, s);
	zone = strchr(plain, '%');
	address = zone ? (size_t)(zone - plain) : n;
	(void)snprintf(a->host, sizeof(a->host), "%.*s%s%s", (int)address, plain, zone ? "%" : "",
		       zone ? zone + (strncmp(zone, "%25", 3) == 0 ? 3 : 1) : "");
	plain[address] = '\0';
	if (inet_pton(AF_INET6, plain, binary) != 1)
		return refuse("what stands in brackets is no IPv6 address", e);
	a->literal = a->v6 = true;
	return 0;
}

static int read_host(const char *s, size_t n, struct ign_address *a, struct err *e)
{
	uint8_t binary[sizeof(struct in_addr)];

	if (n == 0)
		return refuse("it names no host", e);
	if (n > IGN_HOST_MAX)
		return refuse("its host is too long", e);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] >= 0x80)
			return refuse("its host must be written in ASCII (xn--...)", e);
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.~!$&'()*+,;=", s[i]))
			return refuse("its host is none", e);
	}
	(void)snprintf(a->host, sizeof(a->host), "%.*s", (int)n, s);
	a->literal = inet_pton(AF_INET, a->host, binary) == 1;
	return 0;
}

int ign_address_read(const char *url, struct ign_address *ret, struct err *e)
{
	struct ign_address a = { .tls = strncasecmp(url, "https://", 8) == 0 };
	const char *at, *colon, *s = url + (a.tls ? 8 : 7);
	size_t n;
	int r;

	if (!a.tls && strncasecmp(url, "http://", 7) != 0)
		return refuse("it is neither http nor https", e);
	n = strcspn(s, "/?#");
	a.path = s + n;
	a.path_n = strcspn(a.path, "#");
	at = memrchr(s, '@', n);
	if (at) {
		a.user = s;
		a.user_n = (size_t)(at - s);
		n -= a.user_n + 1;
		s = at + 1;
	}
	if (*s == '[') {
		colon = memchr(s, ']', n);
		if (!colon)
			return refuse("a bracket is missing", e);
		r = read_v6(s + 1, (size_t)(colon - s) - 1, &a, e);
		colon++;
	} else {
		colon = memchr(s, ':', n);
		colon = colon ? colon : s + n;
		r = read_host(s, (size_t)(colon - s), &a, e);
	}
	if (r == 0)
		r = read_port(colon, n - (size_t)(colon - s), &a, e);
	if (r == 0)
		*ret = a;
	return r;
}

/* --- writing --- */

int ign_address_host(const struct ign_address *a, bool port, struct buf *b, struct err *e)
{
	size_t zone = strcspn(a->host, "%"); /* is nobody else's business */
	int r = buf_addf(b, e, a->v6 ? "[%.*s]" : "%.*s", (int)zone, a->host);

	if (r >= 0 && (port || !a->usual_port))
		r = buf_addf(b, e, ":%s", a->port);
	return r < 0 ? r : 0;
}

int ign_address_path(const struct ign_address *a, struct buf *b, struct err *e)
{
	int r = a->path_n == 0 || *a->path != '/' ? buf_add(b, "/", 1, e) : 0;

	for (size_t i = 0; r >= 0 && i < a->path_n; i++) {
		unsigned char c = (unsigned char)a->path[i];

		r = c > ' ' && c < 0x7f ? buf_add(b, &c, 1, e) : buf_addf(b, e, "%%%02X", c);
	}
	return r < 0 ? r : 0;
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

int ign_address_basic(const struct ign_address *a, struct buf *b, struct err *e)
{
	AUTO_BUF plain = BUF_INIT;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < a->user_n; i++) {
		char c = a->user[i];

		if (c == '%' && a->user_n - i > 2 && isxdigit((unsigned char)a->user[i + 1]) &&
		    isxdigit((unsigned char)a->user[i + 2])) {
			c = (char)(hex_digit(a->user[i + 1]) * 16 + hex_digit(a->user[i + 2]));
			i += 2;
		}
		r = buf_add(&plain, &c, 1, e);
	}
	if (r >= 0 && !memchr(a->user, ':', a->user_n))
		r = buf_add(&plain, ":", 1, e);
	if (r >= 0)
		r = buf_addf(b, e, "Basic ");
	return r < 0 ? r : base64_put(plain.p, plain.n, b, e);
}

/* --- redirects --- */

/* RFC 3986, 5.2.4, on the path that begins at `from` in b and begins with a slash. */
static void remove_dots(struct buf *b, size_t from)
{
	size_t query = from + strcspn(b->p + from, "?"), out = from, in = from;

	while (in < query) {
		size_t n = 1 + strcspn(b->p + in + 1, "/?");
		bool last = in + n >= query;

		if (n == 3 && memcmp(b->p + in, "/..", 3) == 0) {
			while (out > from && b->p[--out] != '/')
				;
			if (last)
				b->p[out++] = '/';
		} else if (n == 2 && b->p[in + 1] == '.') {
			if (last)
				b->p[out++] = '/';
		} else {
			memmove(b->p + out, b->p + in, n);
			out += n;
		}
		in += n;
	}
	memmove(b->p + out, b->p + query, b->n - query + 1);
	b->n -= query - out;
}

static int resolve(const char *base, const char *ref, size_t ref_n, struct buf *b, struct err *e)
{
	const char *rest = strstr(base, "://");
	const char *path = rest ? rest + 3 + strcspn(rest + 3, "/?#") : base;
	size_t dir = strcspn(path, "?#"), from = b->n + (size_t)(path - base);
	int r;

	if (!rest)
		return refuse("it is neither http nor https", e);
	if (ref_n > 1 && ref[0] == '/' && ref[1] == '/') {
		r = buf_add(b, base, (size_t)(rest - base) + 1, e);
		return r < 0 ? r : buf_add(b, ref, ref_n, e);
	}
	r = buf_add(b, base, (size_t)(path - base), e);
	if (r >= 0 && ref_n == 0) /* the same document */
		return buf_add(b, path, strcspn(path, "#"), e);
	if (ref[0] == '/')
		dir = 0;
	else if (ref[0] != '?')
		while (dir > 0 && path[dir - 1] != '/')
			dir--;
	if (r >= 0 && ref[0] != '/' && (dir == 0 || path[0] != '/'))
		r = buf_add(b, "/", 1, e);
	if (r >= 0)
		r = buf_add(b, path, dir, e);
	if (r >= 0)
		r = buf_add(b, ref, ref_n, e);
	if (r < 0)
		return r;
	remove_dots(b, from);
	return 0;
}

int ign_address_resolve(const char *base, const char *ref, struct buf *b, struct err *e)
{
	size_t n = strcspn(ref, "#"), scheme = strcspn(ref, ":/?#");

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)ref[i] <= ' ' || ref[i] == 0x7f)
			return err_set(e, ERR_REFUSED, EPROTO,
				       "the server redirects to what is no URL");
	if (scheme > 0 && ref[scheme] == ':')
		return buf_add(b, ref, n, e);
	return resolve(base, ref, n, b, e);
}

/* --- proxies --- */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, b, bytes) != 0)
		return false;
	return rest == 0 || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

/* An IP address, or a prefix of some. */
static bool in_network(const struct ign_address *a, const char *entry)
{
	uint8_t ours[sizeof(struct in6_addr)], theirs[sizeof(struct in6_addr)];
	int family = a->v6 ? AF_INET6 : AF_INET;
	unsigned all = a->v6 ? 128 : 32, bits = all;
	const char *slash = strchr(entry, '/');
	char plain[IGN_HOST_MAX + 1];

	if (slash) {
		size_t n = strspn(slash + 1, "0123456789");

		if (n == 0 || n > PREFIX_DIGITS || slash[1 + n])
			return false;
		bits = 0;
		for (size_t i = 1; i <= n; i++)
			bits = bits * 10 + (unsigned)(slash[i] - '0');
	}
	(void)snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(entry, "/"), entry);
	return bits <= all && inet_pton(family, a->host, ours) == 1 &&
	       inet_pton(family, plain, theirs) == 1 && same_bits(ours, theirs, bits);
}

static bool in_domain(const struct ign_address *a, const char *entry)
{
	size_t host = strlen(a->host), n = strlen(entry);

	if (strncmp(entry, "*.", 2) == 0)
		entry++, n--;
	if (strcasecmp(a->host, entry) == 0)
		return true;
	if (n == 0 || host <= n || strcasecmp(a->host + host - n, entry) != 0)
		return false;
	return entry[0] == '.' || a->host[host - n - 1] == '.';
}

/* Splits a port off; brackets go too. */
static void without_port(const char *entry, char host[IGN_HOST_MAX + 1], const char **ret_port)
{
	const char *colon = strrchr(entry, ':');
	size_t n = strlen(entry);

	*ret_port = NULL;
	if (entry[0] == '[' && strchr(entry, ']')) {
		const char *end = strchr(entry, ']');

		n = (size_t)(end - entry) - 1;
		*ret_port = end[1] == ':' ? end + 2 : NULL;
		entry++;
	} else if (colon && strchr(entry, ':') == colon) {
		n = (size_t)(colon - entry);
		*ret_port = colon + 1;
	}
	(void)snprintf(host, IGN_HOST_MAX + 1, "%.*s", (int)(n > IGN_HOST_MAX ? IGN_HOST_MAX : n),
		       entry);
}

bool ign_address_direct(const struct ign_address *a, const struct ign_strings *none)
{
	for (size_t i = 0; none && i < none->n; i++) {
		char host[IGN_HOST_MAX + 1];
		const char *port;

		without_port(none->s[i], host, &port);
		if (port && strcmp(port, a->port) != 0)
			continue;
		if (strcmp(host, "*") == 0 ||
		    (a->literal ? in_network(a, host) : in_domain(a, host)))
			return true;
	}
	return false;
}
