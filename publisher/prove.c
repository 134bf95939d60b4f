/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/prove.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "publisher/blob.h"
#include "updater/image/patch.h"
#include "verity/tree.h"

const char *prove_tmp_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir == '/' ? dir : "/var/tmp";
}

int prove_tmp(struct err *e)
{
	int fd = open(prove_tmp_dir(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "temporary file in %s (TMPDIR): %s",
			       prove_tmp_dir(), strerror(errno));
	return fd;
}

static bool is_delta(const struct release_blob *b)
{
	return b->role == RELEASE_USR_DELTA || b->role == RELEASE_UKI_DELTA;
}

bool prove_needed(const struct release_manifest *m)
{
	for (size_t i = 0; i < m->n_blob; i++)
		if (is_delta(&m->blob[i]))
			return true;
	return false;
}

static const struct release_manifest *base_find(const struct prove_job *j,
						const struct release_blob *b)
{
	for (size_t i = 0; i < j->n_known; i++) {
		const struct release_manifest *m = &j->known[i];
		const uint8_t *id = b->role == RELEASE_USR_DELTA ? m->root : m->uki_sha256;

		if (memcmp(id, b->base, SHA256_BYTES) == 0)
			return m;
	}
	return NULL;
}

static struct image_whole usr_whole(const struct release_manifest *m)
{
	struct image_whole w = { .bytes = m->data_blocks * IMAGE_BLOCK };

	memcpy(w.id, m->root, sizeof(w.id));
	return w;
}

static struct image_whole uki_whole(const struct release_manifest *m)
{
	struct image_whole w = { .bytes = m->uki_bytes };

	memcpy(w.id, m->uki_sha256, sizeof(w.id));
	return w;
}

/* Restored into an unnamed file. */
static int base_restore(const struct prove_job *j, const struct release_manifest *base, bool usr,
			struct sys_fd *ret, struct err *e)
{
	const struct release_blob *b =
		release_blob_find(base, usr ? RELEASE_USR_FULL : RELEASE_UKI_FULL, NULL);
	uint64_t bytes = usr ? base->data_blocks * IMAGE_BLOCK : base->uki_bytes;
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct blob_out out = { .n = 0 };
	int q;

	f.fd = out.fd = prove_tmp(e);
	if (f.fd < 0)
		return f.fd;
	q = blob_restore(j->dir, b, bytes, blob_out_put, &out, e);
	q = q < 0 ? q : usr ? blob_check_usr(f.fd, base, e) : blob_check_uki(f.fd, base, e);
	if (q < 0)
		return err_wrap(e, q, "base %s", base->version);
	*ret = f;
	f.fd = -1;
	return 0;
}

static int tree_put(void *arg, const void *p, size_t n, struct err *e)
{
	return verity_tree_add(arg, p, n, e);
}

static int hash_put(void *arg, const void *p, size_t n, struct err *e)
{
	(void)e;
	digest_add(arg, p, n);
	return 0;
}

/* What comes of a delta is hashed as it comes: blocks of /usr into a tree, the UKI's bytes. */
static int usr_apply(struct image_patch_job *patch, const struct release_manifest *m, struct err *e)
{
	AUTO_VERITY_TREE *tree = NULL;
	struct verity_super super;
	uint8_t root[DIGEST_MAX];
	struct image_id id;
	int q;

	blob_image_id(m, &id);
	q = image_super(&id, &super, e);
	q = q < 0 ? q : verity_tree_new(&super, NULL, NULL, &tree, e);
	if (q < 0)
		return q;
	patch->put = tree_put;
	patch->put_arg = tree;
	q = image_patch(patch, NULL, e);
	q = q < 0 ? q : verity_tree_end(tree, root, e);
	if (q < 0)
		return q;
	if (memcmp(root, m->root, SHA256_BYTES) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "it makes another /usr");
	return 0;
}

static int uki_apply(struct image_patch_job *patch, const struct release_manifest *m, struct err *e)
{
	AUTO_DIGEST *hash = NULL;
	uint8_t sum[SHA256_BYTES];
	int q = digest_new(DIGEST_SHA256, NULL, 0, &hash, e);

	if (q < 0)
		return q;
	patch->put = hash_put;
	patch->put_arg = hash;
	q = image_patch(patch, NULL, e);
	if (q < 0)
		return q;
	digest_end(hash, sum);
	if (memcmp(sum, m->uki_sha256, SHA256_BYTES) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "it makes another UKI");
	return 0;
}

/* The UKI's delta from the release's own /usr. */
static bool is_own(const struct prove_job *j, const struct release_blob *b)
{
	return b->role == RELEASE_UKI_DELTA && memcmp(b->base, j->m->root, SHA256_BYTES) == 0;
}

static int delta_apply(const struct prove_job *j, const struct release_blob *b,
		       const struct release_manifest *base, struct err *e)
{
	bool usr = b->role == RELEASE_USR_DELTA, own = is_own(j, b);
	const struct image_whole none = { .bytes = 0 };
	const struct image_delta_want want = {
		.unit = usr ? IMAGE_BLOCK : 1,
		.target = usr ? usr_whole(j->m) : uki_whole(j->m),
		.source = { usr || own ? usr_whole(base) : uki_whole(base),
			    usr || own ? none : usr_whole(j->m) },
		.blob_bytes = b->bytes,
	};
	AUTO_SYS_FD from = { sys_linux(), -1 };
	AUTO_SYS_FD f = { sys_linux(), -1 };
	AUTO_IMAGE_DELTA *d = NULL;
	struct blob_file file;
	struct image_source src;
	struct image_patch_job patch = { .sys = sys_linux(), .src = &src };
	uint64_t fetched = 0;
	int q = blob_open(j->dir, b, &f, e);

	if (q < 0)
		return q;
	src = blob_source(&file, f.fd);
	q = image_delta_fetch(&src, &want, &d, &fetched, e);
	if (q >= 0 && !own)
		q = base_restore(j, base, usr, &from, e);
	if (q < 0)
		return q;
	patch.delta = d;
	patch.source[0] = (struct verity_area){ own ? j->usr : from.fd, 0, want.source[0].bytes };
	if (d->sources > 1)
		patch.source[1] = (struct verity_area){ j->usr, 0, want.source[1].bytes };
	return usr ? usr_apply(&patch, j->m, e) : uki_apply(&patch, j->m, e);
}

int prove_deltas(const struct prove_job *job, size_t *ret_proved, size_t *ret_left, struct err *e)
{
	size_t proved = 0, left = 0;

	for (size_t i = 0; i < job->m->n_blob; i++) {
		const struct release_blob *b = &job->m->blob[i];
		const char *what = b->role == RELEASE_USR_DELTA ? "/usr" : "UKI";
		const struct release_manifest *base = is_own(job, b) ? job->m : base_find(job, b);
		AUTO_SYS_FD f = { sys_linux(), -1 };
		int q;

		if (!is_delta(b))
			continue;
		q = base ? delta_apply(job, b, base, e) : blob_open(job->dir, b, &f, e);
		if (q < 0)
			return err_wrap(e, q, "delta of the %s from %s", what,
					base ? base->version : "a base that is gone");
		proved += base != NULL;
		left += !base;
	}
	*ret_proved = proved;
	*ret_left = left;
	return 0;
}
