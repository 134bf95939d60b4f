/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/sbom.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"

/* Where the two formats keep the same things. */
struct dialect {
	const char *list, *version, *hashes, *algorithm, *value;
};
static const struct dialect dialects[] = {
	[SBOM_SPDX] = { "packages", "versionInfo", "checksums", "algorithm", "checksumValue" },
	[SBOM_CYCLONEDX] = { "components", "version", "hashes", "alg", "content" },
};

static void put(char out[SBOM_FIELD_MAX], const char *s)
{
	(void)text_clean(s ? s : "", s ? strlen(s) : 0, out, SBOM_FIELD_MAX);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The SHA-256 of a component, "" without. */
static const char *hash_of(const json_t *c, const struct dialect *d)
{
	const json_t *list = json_object_get(c, d->hashes), *h;
	size_t i;

	json_array_foreach(list, i, h)
	{
		const char *alg = text_of(h, d->algorithm);

		if (strcasecmp(alg, "SHA256") == 0 || strcasecmp(alg, "SHA-256") == 0)
			return text_of(h, d->value);
	}
	return "";
}

static int read_head(const json_t *j, const char *what, struct sbom *s, struct err *e)
{
	const json_t *about = json_object_get(json_object_get(j, "metadata"), "component");

	if (strncmp(text_of(j, "spdxVersion"), "SPDX-2.", 7) == 0) {
		s->kind = SBOM_SPDX;
		put(s->spec, text_of(j, "spdxVersion"));
		put(s->name, text_of(j, "name"));
	} else if (strcmp(text_of(j, "bomFormat"), "CycloneDX") == 0) {
		s->kind = SBOM_CYCLONEDX;
		put(s->spec, text_of(j, "specVersion"));
		put(s->name, text_of(about, "name"));
		put(s->version, text_of(about, "version"));
	} else {
		return err_set(e, ERR_INPUT, EBADMSG, "%s: neither SPDX 2 nor CycloneDX in JSON",
			       what);
	}
	return 0;
}

static int walk(const void *p, size_t n, const char *what, struct sbom *s, sbom_fn fn, void *arg,
		struct err *e)
{
	const struct json_limits lim = { .bytes = SBOM_BYTES_MAX, .depth = 32 };
	const struct dialect *d;
	const json_t *list, *c;
	AUTO_JSON *j = NULL;
	size_t i;
	int r = json_read(p, n, &lim, what, &j, e);

	if (r >= 0)
		r = read_head(j, what, s, e);
	if (r < 0)
		return r;
	d = &dialects[s->kind];
	list = json_object_get(j, d->list);
	if (list && !json_is_array(list))
		return err_set(e, ERR_INPUT, EBADMSG, "%s: %s: must be an array", what, d->list);
	json_array_foreach(list, i, c)
	{
		const char *name = text_of(c, "name"), *version = text_of(c, d->version);

		if (!name[0])
			return err_set(e, ERR_INPUT, EBADMSG, "%s: %s: number %zu has no name",
				       what, d->list, i);
		s->components++;
		s->without_version += !version[0];
		s->without_hash += !hash_of(c, d)[0];
		r = fn ? fn(arg, name, version, hash_of(c, d)) : 0;
		if (r != 0)
			return r;
	}
	sha256(p, n, s->sha256);
	return 0;
}

int sbom_read(const void *p, size_t n, const char *what, struct sbom *ret, struct err *e)
{
	struct sbom s = { .components = 0 };
	int r = walk(p, n, what, &s, NULL, NULL, e);

	if (r >= 0)
		*ret = s;
	return r;
}

int sbom_each(const void *p, size_t n, const char *what, sbom_fn fn, void *arg, struct err *e)
{
	struct sbom s = { .components = 0 };

	return walk(p, n, what, &s, fn, arg, e);
}
