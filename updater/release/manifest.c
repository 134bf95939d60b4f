/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/release/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/json.h"
#include "base/num.h"
#include "base/version.h"

#define FORMAT    1
#define BYTES_MAX ((uint64_t)1 << 40)

static const char *const role_names[] = {
	[RELEASE_USR_FULL] = "usr-full",   [RELEASE_USR_INDEX] = "usr-index",
	[RELEASE_USR_DELTA] = "usr-delta", [RELEASE_UKI_FULL] = "uki-full",
	[RELEASE_UKI_DELTA] = "uki-delta", [RELEASE_SBOM] = "sbom",
};

static bool role_has_base(enum release_blob_role r)
{
	return r == RELEASE_USR_DELTA || r == RELEASE_UKI_DELTA;
}

static int copy_str(const json_t *o, const char *key, const char *what, char *out, size_t cap,
		    struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	if (r < 0)
		return r;
	if (strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EINVAL, "%s: %s: longer than %zu characters", what,
			       key, cap - 1);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

static int parse_identity(const json_t *o, const char *what, struct release_manifest *m,
			  struct err *e)
{
	uint64_t format;
	int r;

	r = json_get_u64(o, "proa", what, UINT32_MAX, &format, e);
	if (r < 0)
		return r;
	if (format != FORMAT)
		return err_set(
			e, ERR_INPUT, EPROTONOSUPPORT,
			"%s: manifest format %llu, this Proa reads format %d: update Proa first",
			what, (unsigned long long)format, FORMAT);
	r = copy_str(o, "image", what, m->image, sizeof(m->image), e);
	if (r == 0)
		r = copy_str(o, "version", what, m->version, sizeof(m->version), e);
	if (r == 0)
		r = copy_str(o, "architecture", what, m->arch, sizeof(m->arch), e);
	if (r < 0)
		return r;
	if (!image_id_valid(m->image))
		return err_set(e, ERR_INPUT, EINVAL, "%s: image: not a valid image id", what);
	if (!version_valid(m->version))
		return err_set(e, ERR_INPUT, EINVAL, "%s: version: not a valid version", what);
	return 0;
}

static int parse_salt(const json_t *usr, const char *what, struct release_manifest *m,
		      struct err *e)
{
	const char *s;
	int r = json_get_str(usr, "salt", what, &s, e);

	if (r < 0)
		return r;
	m->salt_n = strlen(s) / 2;
	if (m->salt_n > sizeof(m->salt))
		return err_set(e, ERR_INPUT, EINVAL, "%s: salt: longer than %zu bytes", what,
			       sizeof(m->salt));
	return hex_parse(s, "salt", m->salt, m->salt_n, e);
}

static int parse_usr(const json_t *o, const char *what, struct release_manifest *m, struct err *e)
{
	uint64_t block = 0;
	json_t *usr;
	int r;

	r = json_get_obj(o, "usr", what, &usr, e);
	if (r == 0)
		r = json_get_hex(usr, "root_hash", what, m->root, sizeof(m->root), e);
	if (r == 0)
		r = parse_salt(usr, what, m, e);
	if (r == 0)
		r = json_get_u64(usr, "block_size", what, 4096, &block, e);
	if (r == 0)
		r = json_get_u64(usr, "data_blocks", what, BYTES_MAX / 4096, &m->data_blocks, e);
	if (r == 0)
		r = json_get_u64(usr, "hash_bytes", what, BYTES_MAX, &m->hash_bytes, e);
	if (r < 0)
		return r;
	if (block != 4096)
		return err_set(e, ERR_INPUT, EINVAL, "%s: usr: block_size must be 4096", what);
	if (m->data_blocks == 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: usr: data_blocks must not be 0", what);
	m->block_size = (uint32_t)block;
	return 0;
}

/* 1: a blob of a role this version knows was read into *ret. */
static int parse_blob(const json_t *o, const char *what, struct release_blob *ret, struct err *e)
{
	struct release_blob b = { .bytes = 0 };
	const char *role;
	size_t k;
	int r;

	if (!json_is_object(o))
		return err_set(e, ERR_INPUT, EINVAL, "%s: blobs: must hold objects", what);
	r = json_get_str(o, "role", what, &role, e);
	if (r < 0)
		return r;
	for (k = 0; k < sizeof(role_names) / sizeof(role_names[0]); k++)
		if (strcmp(role, role_names[k]) == 0)
			break;
	if (k == sizeof(role_names) / sizeof(role_names[0]))
		return 0;
	b.role = (enum release_blob_role)k;
	r = json_get_hex(o, "sha256", what, b.sha256, sizeof(b.sha256), e);
	if (r == 0)
		r = json_get_u64(o, "bytes", what, BYTES_MAX, &b.bytes, e);
	if (r == 0 && role_has_base(b.role))
		r = json_get_hex(o, "base", what, b.base, sizeof(b.base), e);
	if (r < 0)
		return r;
	if (b.bytes == 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: blobs: %s must not be empty", what, role);
	*ret = b;
	return 1;
}

static int parse_blobs(const json_t *o, const char *what, struct release_manifest *m, struct err *e)
{
	static const enum release_blob_role needed[] = { RELEASE_USR_FULL, RELEASE_USR_INDEX,
							 RELEASE_UKI_FULL };
	json_t *arr;
	int r = json_get_arr(o, "blobs", what, &arr, e);

	if (r < 0)
		return r;
	if (json_array_size(arr) > RELEASE_BLOBS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "%s: blobs: more than %d", what,
			       RELEASE_BLOBS_MAX);
	for (size_t i = 0; i < json_array_size(arr); i++) {
		r = parse_blob(json_array_get(arr, i), what, &m->blob[m->n_blob], e);
		if (r < 0)
			return r;
		m->n_blob += (size_t)r;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!release_blob_find(m, needed[i], NULL))
			return err_set(e, ERR_INPUT, EINVAL, "%s: blobs: no %s", what,
				       role_names[needed[i]]);
	return 0;
}

int release_manifest_parse(const void *p, size_t n, const char *what, struct release_manifest *ret,
			   struct err *e)
{
	const struct json_limits lim = { .bytes = RELEASE_MANIFEST_MAX, .depth = 8 };
	struct release_manifest m = { .n_blob = 0 };
	AUTO_JSON *o = NULL;
	const char *notes = NULL;
	json_t *uki;
	int r;

	r = json_read(p, n, &lim, what, &o, e);
	if (r < 0)
		return r;
	if (!json_is_object(o))
		return err_set(e, ERR_INPUT, EINVAL, "%s: must be an object", what);
	r = parse_identity(o, what, &m, e);
	if (r == 0)
		r = parse_usr(o, what, &m, e);
	if (r == 0)
		r = json_get_obj(o, "uki", what, &uki, e);
	if (r == 0)
		r = json_get_hex(uki, "sha256", what, m.uki_sha256, sizeof(m.uki_sha256), e);
	if (r == 0)
		r = json_get_u64(uki, "bytes", what, BYTES_MAX, &m.uki_bytes, e);
	if (r == 0)
		r = parse_blobs(o, what, &m, e);
	if (r == 0)
		r = json_get_str_opt(o, "notes_url", what, &notes, e);
	if (r < 0)
		return r;
	if (m.uki_bytes == 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: uki: bytes must not be 0", what);
	if (notes && strlen(notes) >= sizeof(m.notes_url))
		return err_set(e, ERR_INPUT, EINVAL, "%s: notes_url: too long", what);
	(void)snprintf(m.notes_url, sizeof(m.notes_url), "%s", notes ? notes : "");
	*ret = m;
	return 0;
}

static int format_usr(const struct release_manifest *m, json_t *o, struct err *e)
{
	json_t *usr = json_object();
	int r = json_put(o, "usr", usr, e);

	if (r == 0)
		r = json_put_hex(usr, "root_hash", m->root, sizeof(m->root), e);
	if (r == 0)
		r = json_put_hex(usr, "salt", m->salt, m->salt_n, e);
	if (r == 0)
		r = json_put_u64(usr, "block_size", m->block_size, e);
	if (r == 0)
		r = json_put_u64(usr, "data_blocks", m->data_blocks, e);
	if (r == 0)
		r = json_put_u64(usr, "hash_bytes", m->hash_bytes, e);
	return r;
}

static int format_blobs(const struct release_manifest *m, json_t *o, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "blobs", arr, e);

	for (size_t i = 0; r == 0 && i < m->n_blob; i++) {
		const struct release_blob *b = &m->blob[i];
		json_t *j = json_object();

		r = json_push(arr, j, e);
		if (r == 0)
			r = json_put_str(j, "role", role_names[b->role], e);
		if (r == 0)
			r = json_put_hex(j, "sha256", b->sha256, sizeof(b->sha256), e);
		if (r == 0)
			r = json_put_u64(j, "bytes", b->bytes, e);
		if (r == 0 && role_has_base(b->role))
			r = json_put_hex(j, "base", b->base, sizeof(b->base), e);
	}
	return r;
}

int release_manifest_format(const struct release_manifest *m, struct buf *b, struct err *e)
{
	AUTO_JSON *o = json_object();
	json_t *uki;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_u64(o, "proa", FORMAT, e);
	if (r == 0)
		r = json_put_str(o, "image", m->image, e);
	if (r == 0)
		r = json_put_str(o, "version", m->version, e);
	if (r == 0)
		r = json_put_str(o, "architecture", m->arch, e);
	if (r == 0)
		r = format_usr(m, o, e);
	uki = json_object();
	if (r == 0)
		r = json_put(o, "uki", uki, e);
	else
		json_decref(uki);
	if (r == 0)
		r = json_put_hex(uki, "sha256", m->uki_sha256, sizeof(m->uki_sha256), e);
	if (r == 0)
		r = json_put_u64(uki, "bytes", m->uki_bytes, e);
	if (r == 0)
		r = format_blobs(m, o, e);
	if (r == 0 && m->notes_url[0])
		r = json_put_str(o, "notes_url", m->notes_url, e);
	return r < 0 ? r : json_write(o, true, b, e);
}

const struct release_blob *release_blob_find(const struct release_manifest *m,
					     enum release_blob_role role, const uint8_t *base)
{
	for (size_t i = 0; i < m->n_blob; i++)
		if (m->blob[i].role == role &&
		    (!base || memcmp(m->blob[i].base, base, SHA256_BYTES) == 0))
			return &m->blob[i];
	return NULL;
}

char *release_blob_path(const uint8_t sha256[SHA256_BYTES], char out[RELEASE_BLOB_PATH_MAX])
{
	char hex[SHA256_HEX_MAX];

	hex_format(sha256, SHA256_BYTES, hex);
	(void)snprintf(out, RELEASE_BLOB_PATH_MAX, "blobs/sha256/%s", hex);
	return out;
}

char *release_name(const struct release_manifest *m, char out[RELEASE_NAME_MAX])
{
	(void)snprintf(out, RELEASE_NAME_MAX, "%s_%s", m->image, m->version);
	return out;
}
