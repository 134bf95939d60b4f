/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/digest.h"
#include "base/hex.h"
#include "ignition-lite/check.h"
#include "ignition-lite/url.h"

/* Sources, and what else stands in "ignition" and "kernelArguments". */

/* RFC 9110, 5.6.2 */
static bool is_header_name(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *s))
			return false;
	return true;
}

int ign_check_header(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *name = ign_str(o, "name"), *value = ign_str(o, "value");
	int n = 0;

	if (!name || !is_header_name(name))
		n = ign_say(r, IGN_ERROR, at, "name", e,
			    name && *name ? "is not a name a header may have" : "is missing");
	if (n >= 0 && value && (!*value || ign_has_control(value)))
		n = ign_say(r, IGN_ERROR, at, "value", e,
			    *value ? "holds control characters"
				   : "must not be empty; leave it out to remove the header");
	return n;
}

int ign_check_verification(struct ign_read *r, const struct ign_at *at, const json_t *o,
			   struct err *e)
{
	const char *s = ign_str(o, "hash");
	const char *digits = s ? strchr(s, '-') : NULL;
	enum digest_kind kind = DIGEST_SHA512;
	uint8_t hash[DIGEST_MAX];
	struct err ignored = ERR_INIT;

	if (!s)
		return 0;
	if (r->minor > 0 && strncmp(s, "sha256-", 7) == 0)
		kind = DIGEST_SHA256;
	else if (strncmp(s, "sha512-", 7) != 0)
		return ign_say(r, IGN_ERROR, at, "hash", e,
			       r->minor > 0 ? "must begin with sha512- or sha256-"
					    : "must begin with sha512- (sha256- from spec 3.1.0)");
	if (hex_parse(digits + 1, "hash", hash, digest_size(kind), &ignored) < 0)
		return ign_say(r, IGN_ERROR, at, "hash", e,
			       "must have %zu hexadecimal digits after %s-", 2 * digest_size(kind),
			       digest_name(kind));
	return 0;
}

static int check_source(struct ign_read *r, const struct ign_at *at, const json_t *o,
			enum ign_scheme *ret, struct err *e)
{
	const char *source = ign_str(o, "source");
	struct err why = ERR_INIT;

	*ret = IGN_URL_NONE;
	if (!source || ign_url_check_spec(source, r->minor, ret, &why) >= 0)
		return 0;
	/* a bad URL is told once; what hangs on its scheme is judged as if it were good */
	if (strncasecmp(source, "http", 4) == 0)
		*ret = IGN_URL_HTTP;
	return ign_say(r, IGN_ERROR, at, "source", e, "%s", why.text);
}

int ign_check_resource(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *compression = ign_str_set(o, "compression");
	struct ign_at verification = { .up = at, .key = "verification" };
	enum ign_scheme scheme;
	int n = check_source(r, at, o, &scheme, e);

	if (n >= 0 && compression && strcmp(compression, "gzip") != 0)
		n = ign_say(r, IGN_ERROR, at, "compression", e, "must be gzip, or left out");
	if (n >= 0 && !ign_str(o, "source") && ign_str(json_object_get(o, "verification"), "hash"))
		n = ign_say(r, IGN_ERROR, &verification, "hash", e,
			    "has nothing to verify: there is no source");
	if (n >= 0 && ign_len(o, "httpHeaders") > 0 && scheme != IGN_URL_HTTP &&
	    scheme != IGN_URL_HTTPS)
		n = ign_say(r, IGN_ERROR, at, "httpHeaders", e,
			    "are only for a source of http:// or https://");
	return n;
}

static int check_required(struct ign_read *r, const struct ign_at *up, const json_t *o,
			  const char *list, struct err *e)
{
	struct ign_at at = { .up = up, .key = list };
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(o, list), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };

		if (!ign_str_set(v, "source"))
			n = ign_say(r, IGN_ERROR, &here, "source", e, "is missing");
		if (n < 0)
			return n;
	}
	return 0;
}

int ign_check_ignition_config(struct ign_read *r, const struct ign_at *at, const json_t *o,
			      struct err *e)
{
	return check_required(r, at, o, "merge", e);
}

int ign_check_tls(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	return check_required(r, at, o, "certificateAuthorities", e);
}

int ign_check_timeouts(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const char *const keys[] = { "httpResponseHeaders", "httpTotal" };
	enum { WEEK = 7 * 24 * 3600 };
	json_int_t v;
	int n = 0;

	for (size_t i = 0; i < 2 && n >= 0; i++)
		if (ign_int(o, keys[i], &v) && (v < 0 || v > WEEK))
			n = ign_say(r, IGN_ERROR, at, keys[i], e,
				    "must be from 0 (no limit) to %d seconds", WEEK);
	return n;
}

static int check_proxy_url(struct ign_read *r, const struct ign_at *at, const json_t *o,
			   const char *key, struct err *e)
{
	const char *url = ign_str(o, key);
	enum ign_scheme scheme = IGN_URL_NONE;
	struct err why = ERR_INIT;

	if (!url)
		return 0;
	if (ign_url_check(url, &scheme, &why) < 0)
		return ign_say(r, IGN_ERROR, at, key, e, "%s", why.text);
	if (scheme != IGN_URL_HTTP && scheme != IGN_URL_HTTPS)
		return ign_say(r, IGN_ERROR, at, key, e, "must be http:// or https://");
	if (scheme == IGN_URL_HTTP && strcmp(key, "httpsProxy") == 0)
		return ign_say(r, IGN_WARNING, at, key, e,
			       "is reached without encryption by http://");
	return 0;
}

int ign_check_proxy(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	int n = check_proxy_url(r, at, o, "httpProxy", e);

	return n < 0 ? n : check_proxy_url(r, at, o, "httpsProxy", e);
}

int ign_check_kargs(struct ign_read *r, const struct ign_at *up, const json_t *o, struct err *e)
{
	static const char *const lists[] = { "shouldExist", "shouldNotExist" };
	const json_t *v;
	size_t i;
	int n = 0;

	for (size_t k = 0; k < 2; k++) {
		struct ign_at at = { .up = up, .key = lists[k] };

		json_array_foreach(json_object_get(o, lists[k]), i, v)
		{
			struct ign_at here = { .up = &at, .index = i };

			if (ign_has_control(json_string_value(v)))
				n = ign_say(r, IGN_ERROR, &here, NULL, e,
					    "holds control characters");
			if (n < 0)
				return n;
		}
	}
	return 0;
}
