/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Which scheme a spec knows: 3.since.0. */
static const struct {
	const char *name;
	enum ign_scheme scheme;
	unsigned since;
} schemes[] = {
	{ "data", IGN_URL_DATA, 0 },   { "http", IGN_URL_HTTP, 0 }, { "https", IGN_URL_HTTPS, 0 },
	{ "tftp", IGN_URL_REMOTE, 0 }, { "s3", IGN_URL_REMOTE, 0 }, { "gs", IGN_URL_REMOTE, 2 },
	{ "arn", IGN_URL_REMOTE, 4 },
};

enum { NEWEST = 99 };

/* RFC 3986, 3.1: bytes before the colon; 0 when there is no scheme. */
static size_t scheme_length(const char *url)
{
	size_t n = 0;

	if (!isalpha((unsigned char)url[0]))
		return 0;
	while (isalnum((unsigned char)url[n]) || (url[n] && strchr("+-.", url[n])))
		n++;
	return url[n] == ':' ? n : 0;
}

/* The row of schemes[], or its length. */
static size_t scheme_find(const char *url, unsigned minor)
{
	const size_t count = sizeof(schemes) / sizeof(schemes[0]);
	size_t n = scheme_length(url);

	for (size_t i = 0; i < count && n > 0; i++)
		if (schemes[i].since <= minor && strlen(schemes[i].name) == n &&
		    strncasecmp(url, schemes[i].name, n) == 0)
			return i;
	return count;
}

static bool is_hex_pair(const char *s)
{
	return isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]);
}

static bool escapes_are_whole(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] == '%' && (n - i < 3 || !is_hex_pair(s + i + 1)))
			return false;
	return true;
}

/* "" or ":" and digits */
static bool is_port(const char *s, size_t n)
{
	if (n == 0)
		return true;
	for (size_t i = 1; i < n; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return s[0] == ':';
}

static bool is_user(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-._:~!$&'()*+,;=%@", s[i]))
			return false;
	return escapes_are_whole(s, n);
}

/* A name or an IPv4 address, or an IPv6 address in brackets; then a port. */
static bool is_host(const char *s, size_t n)
{
	const char *end = s + n, *p = s;

	if (n > 0 && *s == '[') {
		p = memrchr(s, ']', n);
		return p && is_port(p + 1, (size_t)(end - p) - 1);
	}
	for (; p < end && *p != ':'; p++)
		if (!isalnum((unsigned char)*p) && !((unsigned char)*p & 0x80) &&
		    !strchr("-_.~!$&'()*+,;=", *p))
			return false;
	return is_port(p, (size_t)(end - p));
}

struct parts {
	const char *authority; /* NULL: there is none */
	size_t authority_n;
	const char *path; /* up to ? or # */
	size_t path_n;
	const char *query; /* NULL: there is none */
	size_t query_n;
	const char *fragment; /* NULL: there is none */
};

/* What follows the colon of the scheme. */
static struct parts split(const char *s)
{
	struct parts u = { .fragment = strchr(s, '#') };
	const char *end = u.fragment ? u.fragment : s + strlen(s);
	const char *question = memchr(s, '?', (size_t)(end - s));

	if (question) {
		u.query = question + 1;
		u.query_n = (size_t)(end - u.query);
		end = question;
	}
	if (strncmp(s, "//", 2) == 0) {
		u.authority = s + 2;
		while (u.authority + u.authority_n < end && u.authority[u.authority_n] != '/')
			u.authority_n++;
		s = u.authority + u.authority_n;
	}
	u.path = s;
	u.path_n = (size_t)(end - s);
	return u;
}

static int invalid(struct err *e, const char *why)
{
	return err_set(e, ERR_INPUT, EINVAL, "is not a valid URL: %s", why);
}

/* RFC 3986, 3.2 to 3.5, as far as it is refused by whom fetches. */
static int check_parts(const char *url, const struct parts *u, struct err *e)
{
	for (const char *p = url; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return invalid(e, "it holds control characters");
	if (u->fragment && !escapes_are_whole(u->fragment, strlen(u->fragment)))
		return invalid(e, "a % in it is not followed by two hexadecimal digits");
	if (u->authority) {
		const char *at = memrchr(u->authority, '@', u->authority_n);
		const char *host = at ? at + 1 : u->authority;

		if (at && !is_user(u->authority, (size_t)(at - u->authority)))
			return invalid(e, "what stands before the @");
		if (!is_host(host, u->authority_n - (size_t)(host - u->authority)))
			return invalid(e, "the host or its port");
	}
	if ((u->authority || u->path[0] == '/') && !escapes_are_whole(u->path, u->path_n))
		return invalid(e, "a % in it is not followed by two hexadecimal digits");
	return 0;
}

/* What libcurl could not fetch. */
static int check_http(const struct parts *u, struct err *e)
{
	const char *at;

	if (!u->authority || u->authority_n == 0)
		return invalid(e, "it names no host");
	at = memrchr(u->authority, '@', u->authority_n);
	if (at ? at + 1 == u->authority + u->authority_n || at[1] == ':' : *u->authority == ':')
		return invalid(e, "it names no host");
	if (memchr(u->path, ' ', u->path_n) || (u->query && memchr(u->query, ' ', u->query_n)))
		return invalid(e, "a blank must be written as %20");
	return 0;
}

/* ?versionId= must not be empty */
static int check_version_id(const struct parts *u, struct err *e)
{
	static const char key[] = "versionId";
	const char *p = u->query, *end = p ? p + u->query_n : NULL;

	while (p && p < end) {
		const char *amp = memchr(p, '&', (size_t)(end - p));
		size_t n = (size_t)((amp ? amp : end) - p);

		if (n >= strlen(key) && memcmp(p, key, strlen(key)) == 0) {
			if (n == strlen(key) || (n == strlen(key) + 1 && p[n - 1] == '='))
				return invalid(e, "versionId is empty");
			if (p[strlen(key)] == '=')
				return 0;
		}
		p += n + 1;
	}
	return 0;
}

/* arn:partition:s3:region:account:resource, the resource being bucket/key or accesspoint/... */
static int check_arn(const char *s, const struct parts *u, struct err *e)
{
	const char *end = u->path + u->path_n, *p = s, *resource;
	size_t slashes = 0;

	for (unsigned i = 0; i < 4; i++) {
		const char *colon = memchr(p, ':', (size_t)(end - p));

		if (!colon)
			return invalid(e, "an ARN has six parts");
		if (i == 1 && (colon - p != 2 || strncmp(p, "s3", 2) != 0))
			return invalid(e, "only ARNs of S3 name a source");
		p = colon + 1;
	}
	resource = p;
	for (p = s; p < end; p++)
		slashes += *p == '/';
	if (slashes < (strncmp(resource, "accesspoint/", 12) == 0 ? 2 : 1))
		return invalid(e, "the ARN names no object");
	return check_version_id(u, e);
}

/* ---- data: (RFC 2397) ---- */

static bool is_token(char c)
{
	return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

static bool has_prefix(const char *s, size_t n, const char *prefix)
{
	return n >= strlen(prefix) && memcmp(s, prefix, strlen(prefix)) == 0;
}

/* The types of RFC 2045 and x-tokens, as Ignition takes them. */
static bool is_type(const char *s, size_t n)
{
	static const char *const types[] = { "text",        "image",   "audio",    "video",
					     "application", "message", "multipart" };

	if (n >= 2 && (s[0] == 'x' || s[0] == 'X') && s[1] == '-')
		return true;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (has_prefix(s, n, types[i]))
			return true;
	return false;
}

static size_t token_length(const char *s)
{
	size_t n = 0;

	while (is_token(s[n]))
		n++;
	return n;
}

/* A parameter's value at s, quoted or a token; its length, or 0 when it is neither. */
static size_t value_length(const char *s)
{
	size_t n = token_length(s);

	if (*s != '"')
		return escapes_are_whole(s, n) ? n : 0;
	for (n = 1; s[n] != '"'; n++) {
		if (s[n] == '\\' && (s[n + 1] == '"' || s[n + 1] == '\\'))
			n++;
		else if (s[n] == '\\' || (unsigned char)s[n] < ' ' || (unsigned char)s[n] > '~')
			return 0;
	}
	return n + 1;
}

struct data_url {
	const char *data;
	bool base64;
};

/* ;attribute=value, or ;base64 as the last one */
static int parse_parameters(const char *s, struct data_url *ret, struct err *e)
{
	while (*s == ';') {
		const char *name = ++s;
		size_t n = token_length(s);

		s += n;
		if (n > 0 && *s == ',') {
			if (n != 6 || memcmp(name, "base64", 6) != 0)
				return invalid(e, "a parameter of a data: URL needs a value");
			ret->base64 = true;
			break;
		}
		n = n > 0 && *s == '=' ? value_length(s + 1) : 0;
		if (n == 0)
			return invalid(e, "a bad parameter before the comma of a data: URL");
		s += 1 + n;
	}
	if (*s != ',')
		return invalid(e, "a data: URL needs a comma before its data");
	ret->data = s + 1;
	return 0;
}

static int parse_data(const char *url, struct data_url *ret, struct err *e)
{
	const char *s = url + strlen("data:");
	size_t n;

	if (strncmp(url, "data:", 5) != 0)
		return invalid(e, "data: must be in lower case");
	*ret = (struct data_url){ 0 };
	if (*s != ';' && *s != ',') {
		n = token_length(s);
		if (s[n] != '/' || !is_type(s, n))
			return invalid(e, "a data: URL needs a media type such as text/plain, or "
					  "none, before its comma");
		s += n + 1;
		s += token_length(s);
	}
	return parse_parameters(s, ret, e);
}

static bool is_data_character(char c)
{
	return c > ' ' && c < 0x7f && !strchr("<>#\"{}|\\^[]`", c);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return tolower((unsigned char)c) - 'a' + 10;
}

/* Into out, which has room for strlen(s) bytes, or only checked when it is NULL. */
static int decode_percent(const char *s, char *out, size_t *ret_n, struct err *e)
{
	size_t n = 0;

	for (; *s; s++) {
		char c = *s;

		if (!is_data_character(c))
			return invalid(e, "a character in its data must be percent-encoded");
		if (c == '%') {
			if (!is_hex_pair(s + 1))
				return invalid(e, "a % in its data is not followed by two "
						  "hexadecimal digits");
			c = (char)(hex_value(s[1]) * 16 + hex_value(s[2]));
			s += 2;
		}
		if (out)
			out[n] = c;
		n++;
	}
	*ret_n = n;
	return 0;
}

static int base64_value(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* RFC 4648, 4: padded, nothing in between. The same about out. */
static int decode_base64(const char *s, char *out, size_t *ret_n, struct err *e)
{
	size_t length = strlen(s), n = 0;
	size_t pad = 0;

	if (length % 4 != 0)
		return invalid(e, "its base64 is cut short or not padded");
	while (length > 0 && pad < 2 && s[length - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < length; i += 4) {
		size_t digits = i + 4 == length ? 4 - pad : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < digits ? base64_value(s[i + k]) : 0;

			if (d < 0)
				return invalid(e, "its base64 holds another character");
			v = v << 6 | (uint32_t)d;
		}
		for (size_t k = 0; k + 1 < digits; k++, n++)
			if (out)
				out[n] = (char)(uint8_t)(v >> (16 - 8 * k));
	}
	*ret_n = n;
	return 0;
}

static int decode(const struct data_url *d, char *out, size_t *ret_n, struct err *e)
{
	return d->base64 ? decode_base64(d->data, out, ret_n, e)
			 : decode_percent(d->data, out, ret_n, e);
}

static int check_data(const char *url, struct err *e)
{
	struct data_url d;
	size_t n;
	int r = parse_data(url, &d, e);

	return r < 0 ? r : decode(&d, NULL, &n, e);
}

int ign_url_data(const char *url, struct buf *b, struct err *e)
{
	struct data_url d;
	size_t n;
	int r = parse_data(url, &d, e);

	if (r >= 0)
		r = decode(&d, NULL, &n, e);
	if (r >= 0)
		r = buf_reserve(b, n, e);
	if (r >= 0)
		r = decode(&d, b->p + b->n, &n, e);
	if (r < 0)
		return r;
	b->n += n;
	b->p[b->n] = '\0';
	return 0;
}

/* ---- all ---- */

int ign_url_check_spec(const char *url, unsigned minor, enum ign_scheme *ret, struct err *e)
{
	size_t i = scheme_find(url, minor);
	struct parts u;
	const char *rest;
	int r;

	if (!*url) {
		if (ret)
			*ret = IGN_URL_NONE;
		return 0;
	}
	if (i == sizeof(schemes) / sizeof(schemes[0]))
		return err_set(e, ERR_INPUT, EINVAL,
			       "is not a URL of a scheme that is known here: use data:, http:// "
			       "or https://");
	rest = url + strlen(schemes[i].name) + 1;
	u = split(rest);
	r = check_parts(url, &u, e);
	if (r >= 0 && schemes[i].scheme == IGN_URL_DATA)
		r = check_data(url, e);
	else if (r >= 0 && schemes[i].scheme != IGN_URL_REMOTE)
		r = check_http(&u, e);
	else if (r >= 0 && strcmp(schemes[i].name, "s3") == 0)
		r = check_version_id(&u, e);
	else if (r >= 0 && strcmp(schemes[i].name, "arn") == 0)
		r = check_arn(rest, &u, e);
	if (r >= 0 && ret)
		*ret = schemes[i].scheme;
	return r < 0 ? r : 0;
}

int ign_url_check(const char *url, enum ign_scheme *ret, struct err *e)
{
	return ign_url_check_spec(url, NEWEST, ret, e);
}

bool ign_url_needs_network(const char *url)
{
	size_t i = scheme_find(url, NEWEST);

	return i < sizeof(schemes) / sizeof(schemes[0]) && schemes[i].scheme != IGN_URL_DATA;
}

char *ign_url_show(const char *url, char *out, size_t cap)
{
	size_t scheme = scheme_length(url), n;
	struct data_url d;
	struct parts u;
	struct err ignored = ERR_INIT;
	char clean[256];
	const char *at;

	if (!*url) {
		(void)snprintf(out, cap, "nothing");
		return out;
	}
	if (strncmp(url, "data:", 5) == 0) {
		if (parse_data(url, &d, &ignored) < 0 || decode(&d, NULL, &n, &ignored) < 0)
			n = 0;
		(void)snprintf(out, cap, "data: (%zu bytes)", n);
		return out;
	}
	u = split(scheme > 0 ? url + scheme + 1 : url);
	at = u.authority ? memrchr(u.authority, '@', u.authority_n) : NULL;
	if (at) {
		u.authority_n -= (size_t)(at + 1 - u.authority);
		u.authority = at + 1;
	}
	n = u.authority ? u.authority_n + u.path_n : u.path_n;
	(void)snprintf(out, cap, "%.*s:%s%s", (int)scheme, url, u.authority ? "//" : "",
		       text_clean(u.authority ? u.authority : u.path, n, clean, sizeof(clean)));
	return out;
}
