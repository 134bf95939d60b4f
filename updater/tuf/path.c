/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/hex.h"
#include "updater/tuf/metadata.h"

/* The character behind the UTF-8 one at p. */
static const char *next_char(const char *p)
{
	p++;
	while (((unsigned char)*p & 0xc0) == 0x80)
		p++;
	return p;
}

/*
 * As '*' never matches '/', segments of pattern and path pair up one to one, and within a segment
 * only the latest '*' ever needs to take one character more.
 */
bool tuf_path_match(const char *pattern, const char *path)
{
	const char *star = NULL, *resume = NULL;

	while (*path) {
		if (*pattern == '*') {
			star = ++pattern;
			resume = path;
		} else if (*pattern == '?' && *path != '/') {
			pattern++;
			path = next_char(path);
		} else if (*pattern != '?' && *pattern == *path) {
			pattern++;
			path++;
		} else if (star && *resume != '/') {
			pattern = star;
			resume = next_char(resume);
			path = resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

bool tuf_role_covers(const struct tuf_role *delegation, const char *path)
{
	char hex[SHA256_HEX_MAX];
	uint8_t sum[SHA256_BYTES];

	if (!delegation->by_prefix) {
		for (size_t i = 0; i < delegation->paths_n; i++)
			if (tuf_path_match(delegation->paths[i], path))
				return true;
		return false;
	}
	sha256(path, strlen(path), sum);
	hex_format(sum, sizeof(sum), hex);
	for (size_t i = 0; i < delegation->prefixes_n; i++)
		if (strncmp(delegation->prefixes[i], hex, strlen(delegation->prefixes[i])) == 0)
			return true;
	return false;
}

int tuf_quote(const char *s, const char *safe, struct buf *out, struct err *e)
{
	int r = 0;

	for (; r >= 0 && *s; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c < 0x80 && isalnum(c)) || strchr("_.-~", c) || strchr(safe, c))
			r = buf_add(out, s, 1, e);
		else
			r = buf_addf(out, e, "%%%02X", c);
	}
	return r;
}

int tuf_target_remote(const struct tuf_target *t, bool consistent_snapshot, struct buf *out,
		      struct err *e)
{
	const char *slash = strrchr(t->path, '/');
	const char *base = slash ? slash + 1 : t->path;
	AUTO_BUF name = BUF_INIT;
	char hex[2 * sizeof(t->hashes.sha512) + 1];
	int r;

	if (!consistent_snapshot)
		return tuf_quote(t->path, "/", out, e);
	if (t->hashes.has256)
		hex_format(t->hashes.sha256, sizeof(t->hashes.sha256), hex);
	else if (t->hashes.has512)
		hex_format(t->hashes.sha512, sizeof(t->hashes.sha512), hex);
	else
		return err_set(e, ERR_REFUSED, EBADMSG, "the target lists no hash known here");
	r = buf_add(&name, t->path, (size_t)(base - t->path), e);
	if (r >= 0)
		r = buf_addf(&name, e, "%s.%s", hex, base);
	return r < 0 ? r : tuf_quote(name.p, "/", out, e);
}
