/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/sys.h"
#include "base/text.h"
#include "bootctl/uki.h"
#include "publisher/blob.h"
#include "publisher/export.h"
#include "publisher/prove.h"
#include "publisher/report.h"
#include "updater/image/index.h"
#include "updater/image/unpack.h"
#include "updater/tuf/update.h"
#include "verity/tree.h"

enum { SHORT_HASH = 8 };

struct verify {
	const char *path;
	int dir, meta, targets;
	struct tuf_update *u;
	json_t *export; /* what a part of a repository says it holds; NULL: it is a whole one */
	size_t releases;
	struct release_manifest *known; /* all that are published */
	size_t n_known, cap_known;
	/* the restored bytes of the blob at hand */
	struct verity_tree *tree;
	uint8_t part[IMAGE_BLOCK]; /* a data block not yet whole */
	size_t part_n;
	struct digest *hash;
	int out;
	uint64_t out_n;
	struct progress bar;
};

/* ---- metadata: the client workflow over plain files, nothing kept ---- */

static int answer(struct verify *v, const struct tuf_request *rq, bool local, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n = 0;
	int q = 0;

	if (!local) {
		q = file_read(sys_linux(), v->meta, rq->name, rq->max, &p, &n, e);
		if (q < 0 && q != -ENOENT)
			return err_wrap(e, q, "metadata");
	}
	return tuf_update_answer(v->u, !local && q >= 0, p, n, e);
}

static int run(struct verify *v, struct err *e)
{
	for (;;) {
		struct tuf_request rq;
		int q = tuf_update_next(v->u, &rq, e);

		if (q == TUF_DONE || q < 0)
			return q;
		if (q == TUF_LOAD || q == TUF_FETCH)
			q = answer(v, &rq, q == TUF_LOAD, e);
		if (q < 0)
			return q;
	}
}

/* pin: the root to begin with; NULL: the repository's own word for it. */
static int begin(struct verify *v, const char *pin, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int q = pin ? file_read(sys_linux(), AT_FDCWD, pin, REPO_META_MAX, &p, &n, e)
		    : file_read(sys_linux(), v->meta, "1.root.json", REPO_META_MAX, &p, &n, e);

	if (q < 0)
		return pin ? q : err_wrap(e, q, "'%s/metadata'", v->path);
	q = tuf_update_new(p, n, (int64_t)time(NULL), NULL, &v->u, NULL, e);
	return q < 0 ? q : run(v, e);
}

/* ---- blobs ---- */

/* Bytes come in any sizes; the tree takes whole blocks. */
static int put_tree(void *arg, const void *p, size_t n, struct err *e)
{
	struct verify *v = arg;
	const uint8_t *s = p;
	int q = 0;

	if (v->out >= 0) {
		q = sys_write_full(sys_linux(), v->out, p, n, v->out_n);
		if (q < 0)
			return err_set(e, ERR_HOST, -q, "temporary file in %s (TMPDIR): %s",
				       prove_tmp_dir(), strerror(-q));
	}
	v->out_n += n;
	progress_set(&v->bar, v->out_n, clock_mono_ms());
	if (v->part_n > 0) {
		size_t m = IMAGE_BLOCK - v->part_n < n ? IMAGE_BLOCK - v->part_n : n;

		memcpy(v->part + v->part_n, s, m);
		v->part_n += m;
		s += m;
		n -= m;
		if (v->part_n < IMAGE_BLOCK)
			return 0;
		v->part_n = 0;
		q = verity_tree_add(v->tree, v->part, IMAGE_BLOCK, e);
	}
	if (q >= 0 && n >= IMAGE_BLOCK)
		q = verity_tree_add(v->tree, s, n - n % IMAGE_BLOCK, e);
	if (q >= 0 && n % IMAGE_BLOCK) {
		v->part_n = n % IMAGE_BLOCK;
		memcpy(v->part, s + n - v->part_n, v->part_n);
	}
	return q;
}

/* usr: where to keep what is restored, or -1. */
static int check_full(struct verify *v, const struct release_manifest *m, const struct image_id *id,
		      int usr, struct err *e)
{
	const struct release_blob *b = release_blob_find(m, RELEASE_USR_FULL, NULL);
	AUTO_VERITY_TREE *tree = NULL;
	struct verity_super super;
	uint8_t root[DIGEST_MAX];
	int q = image_super(id, &super, e);

	q = q < 0 ? q : verity_tree_new(&super, NULL, NULL, &tree, e);
	if (q < 0)
		return q;
	v->tree = tree;
	v->part_n = 0;
	v->out_n = 0;
	v->out = usr;
	progress_begin(&v->bar, stderr, "verifying", image_data_bytes(id), clock_mono_ms());
	q = blob_restore(v->dir, b, image_data_bytes(id), put_tree, v, e);
	progress_end(&v->bar);
	q = q < 0 ? q : verity_tree_end(tree, root, e);
	if (q < 0)
		return err_wrap(e, q, "full image");
	if (memcmp(root, m->root, SHA256_BYTES) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the full image has another root hash than the manifest says");
	return 0;
}

static int check_index(const struct verify *v, const struct release_manifest *m, struct err *e)
{
	AUTO_FREE uint8_t *p = NULL;
	AUTO_IMAGE_INDEX *x = NULL;

	return blob_index(v->dir, m, &p, &x, e);
}

/* The restored UKI goes into an unnamed file: reading it needs random access. */
static int put_file(void *arg, const void *p, size_t n, struct err *e)
{
	struct verify *v = arg;
	int q = sys_write_full(sys_linux(), v->out, p, n, v->out_n);

	if (q < 0)
		return err_set(e, ERR_HOST, -q, "temporary file: %s", strerror(-q));
	digest_add(v->hash, p, n);
	v->out_n += n;
	return 0;
}

static int check_uki_says(const struct verify *v, const struct release_manifest *m, struct err *e)
{
	AUTO_FREE struct uki *uki = malloc(sizeof(*uki));
	int q;

	if (!uki)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = uki_read_fd(sys_linux(), v->out, uki, e);
	if (q < 0)
		return q;
	if (!uki->has_usrhash || memcmp(uki->usrhash, m->root, SHA256_BYTES) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the UKI's usrhash= is not the release's root hash");
	if (strcmp(uki->image_id, m->image) != 0 || strcmp(uki->version, m->version) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "the UKI says it is %s %s", uki->image_id,
			       uki->version);
	return 0;
}

static int check_uki(struct verify *v, const struct release_manifest *m, struct err *e)
{
	const struct release_blob *b = release_blob_find(m, RELEASE_UKI_FULL, NULL);
	AUTO_SYS_FD out = { sys_linux(), -1 };
	AUTO_DIGEST *hash = NULL;
	uint8_t sum[SHA256_BYTES];
	int q = digest_new(DIGEST_SHA256, NULL, 0, &hash, e);
	if (q < 0)
		return q;
	out.fd = prove_tmp(e);
	if (out.fd < 0)
		return out.fd;
	v->out = out.fd;
	v->out_n = 0;
	v->hash = hash;
	q = blob_restore(v->dir, b, m->uki_bytes, put_file, v, e);
	if (q < 0)
		return err_wrap(e, q, "UKI");
	digest_end(hash, sum);
	if (memcmp(sum, m->uki_sha256, sizeof(sum)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the restored UKI has another SHA-256 than the manifest says");
	return check_uki_says(v, m, e);
}

/* Blobs of other roles: as bytes only. */
static int check_others(struct verify *v, const struct release_manifest *m, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < m->n_blob; i++) {
		enum release_blob_role role = m->blob[i].role;
		AUTO_SYS_FD f = { sys_linux(), -1 };

		if (role == RELEASE_USR_FULL || role == RELEASE_USR_INDEX ||
		    role == RELEASE_UKI_FULL || role == RELEASE_USR_DELTA ||
		    role == RELEASE_UKI_DELTA)
			continue;
		q = blob_open(v->dir, &m->blob[i], &f, e);
	}
	return q;
}

/* ---- releases ---- */

static int read_manifest(struct verify *v, const struct tuf_target *t, struct release_manifest *ret,
			 struct err *e)
{
	AUTO_BUF remote = BUF_INIT;
	AUTO_FREE char *p = NULL;
	size_t n;
	int q = tuf_target_remote(t, tuf_update_consistent(v->u), &remote, e);

	if (q >= 0 && t->length > RELEASE_MANIFEST_MAX)
		return err_set(e, ERR_REFUSED, EFBIG, "a manifest of %llu bytes",
			       (unsigned long long)t->length);
	q = q < 0 ? q : file_read(sys_linux(), v->targets, remote.p, (size_t)t->length, &p, &n, e);
	q = q < 0 ? q : tuf_target_check(t, p, n, NULL, e);
	q = q < 0 ? q : release_manifest_parse(p, n, t->path, ret, e);
	for (size_t i = q < 0 ? 0 : ret->n_blob; i > 0; i--)
		if (export_left_out(v->export, ret->blob[i - 1].sha256))
			ret->blob[i - 1] = ret->blob[--ret->n_blob];
	return q;
}

/* Is it in this export? Older releases are not. */
static bool is_here(const struct verify *v, const struct tuf_target *t)
{
	struct release_offer o;

	return release_offer_parse(t->path, t->custom, &o, NULL) < 0 ||
	       export_has_release(v->export, o.version);
}

/* Takes note of what is published, once: bases of deltas are looked for there. */
static int note_release(struct verify *v, const struct tuf_target *t, struct err *e)
{
	struct release_manifest *m;
	int q;

	m = array_room(v->known, v->n_known, &v->cap_known, sizeof(*m));
	if (!m)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	v->known = m;
	m = &v->known[v->n_known];
	q = read_manifest(v, t, m, e);
	for (size_t i = 0; q >= 0 && i < v->n_known; i++)
		if (memcmp(v->known[i].root, m->root, SHA256_BYTES) == 0 &&
		    memcmp(v->known[i].uki_sha256, m->uki_sha256, SHA256_BYTES) == 0)
			return 0;
	v->n_known += q >= 0;
	return q;
}

static void print_good(const struct tuf_target *t, const struct release_manifest *m,
		       const struct release_offer *o, size_t proved, size_t left)
{
	char hex[SHA256_HEX_MAX], a[32], b[32];

	hex_format(m->root, SHA256_BYTES, hex);
	printf("good        %s: %s, root %.*s, /usr %s, UKI %s", t->role, m->version, SHORT_HASH,
	       hex, text_bytes(m->data_blocks * IMAGE_BLOCK, a, sizeof(a)),
	       text_bytes(m->uki_bytes, b, sizeof(b)));
	if (proved)
		printf(", %zu delta%s applied", proved, proved == 1 ? "" : "s");
	if (left)
		printf(", %zu from bases that are gone", left);
	puts(o->paused ? ", paused" : "");
}

static int check_blobs(struct verify *v, const struct release_manifest *m, size_t *ret_proved,
		       size_t *ret_left, struct err *e)
{
	struct prove_job job = { v->dir, m, -1, v->known, v->n_known };
	AUTO_SYS_FD usr = { sys_linux(), -1 };
	struct image_id id;
	int q = 0;

	blob_image_id(m, &id);
	if (prove_needed(m))
		q = usr.fd = job.usr = prove_tmp(e);
	q = q < 0 ? q : check_full(v, m, &id, usr.fd, e);
	q = q < 0 ? q : check_index(v, m, e);
	q = q < 0 ? q : check_uki(v, m, e);
	q = q < 0 ? q : check_others(v, m, e);
	return q < 0 ? q : prove_deltas(&job, ret_proved, ret_left, e);
}

static int check_release(struct verify *v, const struct tuf_target *t, struct err *e)
{
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	size_t proved = 0, left = 0;
	struct release_offer o;
	int q;

	if (!m)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = release_offer_parse(t->path, t->custom, &o, e);
	q = q < 0 ? q : read_manifest(v, t, m, e);
	if (q < 0)
		return q;
	if (strcmp(o.image, m->image) != 0 || strcmp(o.version, m->version) != 0 ||
	    strcmp(o.arch, m->arch) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the channel says %s %s %s, the manifest %s %s %s", o.image,
			       o.version, o.arch, m->image, m->version, m->arch);
	q = check_blobs(v, m, &proved, &left, e);
	if (q < 0)
		return q;
	print_good(t, m, &o, proved, left);
	v->releases++;
	return 0;
}

struct each {
	struct verify *v;
	int (*fn)(struct verify *v, const struct tuf_target *t, struct err *e);
	struct err *e;
};

static int on_target(void *arg, const struct tuf_target *t)
{
	struct each *x = arg;
	int q = is_here(x->v, t) ? x->fn(x->v, t, x->e) : 0;

	return q < 0 ? err_wrap(x->e, q, "%s", t->path) : 0;
}

static int each_release(struct each *x, const char *name, struct err *e)
{
	struct verify *v = x->v;
	int q;

	if (!export_has_channel(v->export, name))
		return 0;
	q = tuf_update_want_role(v->u, name, e);
	q = q < 0 ? q : run(v, e);
	q = q < 0 ? q : tuf_update_role_each(v->u, on_target, x, e);
	return q < 0 ? err_wrap(e, q, "channel %s", name) : 0;
}

/* The delegations, from the targets file the workflow has just verified. */
static int check_channels(struct verify *v, struct err *e)
{
	AUTO_FREE char *p = NULL;
	AUTO_TUF_MD *md = NULL;
	struct each note = { v, note_release, e }, check = { v, check_release, e };
	struct tuf_role_info info;
	char file[64];
	size_t n;
	int q = tuf_update_role_info(v->u, "targets", &info, e);

	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%llu.targets.json", (unsigned long long)info.version);
	q = file_read(sys_linux(), v->meta, file, REPO_META_MAX, &p, &n, e);
	q = q < 0 ? q : tuf_md_read(p, n, TUF_TARGETS, file, &md, NULL, e);
	for (size_t i = 0; q >= 0 && i < md->roles_n; i++)
		q = each_release(&note, md->roles[i].name, e);
	for (size_t i = 0; q >= 0 && i < md->roles_n; i++)
		q = each_release(&check, md->roles[i].name, e);
	return q;
}

static int open_tree(struct verify *v, struct err *e)
{
	v->dir = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dir >= 0) { /* one that was broken off may not have the folders yet */
		int q = export_read(v->dir, &v->export, e);

		if (q < 0)
			return q;
	}
	if (v->dir >= 0)
		v->meta = openat(v->dir, "metadata", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->meta >= 0)
		v->targets = openat(v->dir, "targets", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->targets < 0)
		return err_set(e, ERR_INPUT, errno, "'%s' is not a repository: %s", v->path,
			       strerror(errno));
	return 0;
}

static void verify_done(struct verify *v)
{
	tuf_update_free(v->u);
	free(v->known);
	json_decref(v->export);
	if (v->targets >= 0)
		(void)close(v->targets);
	if (v->meta >= 0)
		(void)close(v->meta);
	if (v->dir >= 0)
		(void)close(v->dir);
}

int verify_run(const char *path, const char *pin, struct err *e)
{
	CLEANUP(verify_done)
	struct verify v = { .path = path, .dir = -1, .meta = -1, .targets = -1 };
	struct tuf_role_info info;
	char t[48];
	int q = open_tree(&v, e);

	q = q < 0 ? q : begin(&v, pin, e);
	q = q < 0 ? q : check_channels(&v, e);
	q = q < 0 ? q : tuf_update_role_info(v.u, "timestamp", &info, e);
	if (q < 0)
		return q;
	printf("verified    %s: %zu release%s as a client sees them; timestamp valid until %s.\n",
	       path, v.releases, v.releases == 1 ? "" : "s",
	       text_time(info.expires, (int64_t)time(NULL), t, sizeof(t)));
	return 0;
}
