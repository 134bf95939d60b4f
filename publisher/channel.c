/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "base/version.h"
#include "publisher/roles.h"

void channel_file_name(const char *path, const uint8_t sha[SHA256_BYTES],
		       char out[CHANNEL_FILE_MAX])
{
	const char *slash = strrchr(path, '/');
	char hex[SHA256_HEX_MAX];

	hex_format(sha, SHA256_BYTES, hex);
	(void)snprintf(out, CHANNEL_FILE_MAX, "%s.%s", hex, slash ? slash + 1 : path);
}

static int parse_entry(const char *path, const json_t *entry, struct release_offer *ret,
		       struct err *e)
{
	return release_offer_parse(path, json_object_get(entry, "custom"), ret, e);
}

int channel_offer(const struct channel *c, const char *image, const char *version,
		  struct release_offer *ret, struct err *e)
{
	json_t *targets = json_object_get(c->body, "targets");
	char path[RELEASE_PATH_MAX];
	const json_t *entry;

	(void)snprintf(path, sizeof(path), "%s/%s_%s.json", c->name, image, version);
	entry = json_object_get(targets, path);
	if (!entry)
		return err_set(e, ERR_INPUT, ENOENT, "channel %s does not have version %s", c->name,
			       version);
	return parse_entry(path, entry, ret, e);
}

static int newest_first(const void *a, const void *b)
{
	const struct release_offer *x = a, *y = b;

	return version_compare(y->version, x->version);
}

int channel_offers(const struct channel *c, struct release_offer **ret, size_t *ret_n,
		   struct err *e)
{
	json_t *targets = json_object_get(c->body, "targets"), *entry;
	AUTO_FREE struct release_offer *l = NULL;
	size_t n = json_object_size(targets), i = 0;
	const char *path;

	if (n > ROLES_OFFERS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "channel %s: more than %d releases", c->name,
			       ROLES_OFFERS_MAX);
	l = calloc(n + 1, sizeof(*l));
	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	json_object_foreach(targets, path, entry)
	{
		int q = parse_entry(path, entry, &l[i++], e);

		if (q < 0)
			return q;
	}
	qsort(l, n, sizeof(*l), newest_first);
	*ret = TAKE(l);
	*ret_n = n;
	return 0;
}

int channel_put(struct channel *c, const struct release_offer *o, const void *manifest, size_t n,
		struct err *e)
{
	json_t *targets = json_object_get(c->body, "targets");
	json_t *entry = json_object_get(targets, o->path), *custom = NULL;
	char hex[SHA256_HEX_MAX];
	uint8_t sum[SHA256_BYTES];
	int q;

	q = release_offer_format(o, &custom, e);
	if (q < 0)
		return q;
	c->changed = true;
	if (!manifest)
		return json_put(entry, "custom", custom, e);
	sha256(manifest, n, sum);
	hex_format(sum, sizeof(sum), hex);
	entry = json_pack("{s:o,s:{s:s},s:I}", "custom", custom, "hashes", "sha256", hex, "length",
			  (json_int_t)n);
	if (!entry)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return json_put(targets, o->path, entry, e);
}

int channel_drop(struct channel *c, const struct release_offer *o, struct err *e)
{
	if (json_object_del(json_object_get(c->body, "targets"), o->path) < 0)
		return err_set(e, ERR_INPUT, ENOENT, "channel %s does not have %s", c->name,
			       o->path);
	c->changed = true;
	return 0;
}

int channel_manifest(const struct repo *r, const struct channel *c, const char *path, char **ret,
		     size_t *ret_n, struct err *e)
{
	const json_t *entry = json_object_get(json_object_get(c->body, "targets"), path);
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	uint8_t want[SHA256_BYTES], sum[SHA256_BYTES];
	char file[CHANNEL_FILE_MAX];
	AUTO_FREE char *p = NULL;
	size_t n;
	int q;

	q = json_get_hex(json_object_get(entry, "hashes"), "sha256", path, want, sizeof(want), e);
	if (q < 0)
		return q;
	dir.fd = repo_channel_dir(r, c->name, false, e);
	if (dir.fd < 0)
		return dir.fd;
	channel_file_name(path, want, file);
	q = file_read(sys_linux(), dir.fd, file, RELEASE_MANIFEST_MAX, &p, &n, e);
	if (q < 0)
		return err_wrap(e, q, "'%s/targets/%s'", r->path, c->name);
	sha256(p, n, sum);
	if (memcmp(sum, want, sizeof(sum)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "'%s/targets/%s/%s' is not the manifest that was signed", r->path,
			       c->name, file);
	*ret = TAKE(p);
	*ret_n = n;
	return 0;
}
