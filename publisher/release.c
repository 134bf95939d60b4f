/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/release.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/sys.h"
#include "base/version.h"
#include "bootctl/uki.h"
#include "publisher/blob.h"
#include "publisher/build.h"
#include "publisher/delta.h"
#include "publisher/frames.h"
#include "publisher/pace.h"
#include "updater/image/encode.h"
#include "verity/image.h"

/* what an audit reads at most */
#define SBOM_MAX ((size_t)32 << 20)

struct work {
	const struct repo *r;
	struct roles *m;
	const struct release_wish *w;
	struct channel *channel;
	struct release_report *report;
	char usr_path[PATH_MAX], uki_path[PATH_MAX];
	struct sys_fd usr, uki;
	struct image_id id;
	struct release_manifest manifest;
	struct delta_bases bases;
};

static void work_done(struct work *w)
{
	sys_fd_done(&w->usr);
	sys_fd_done(&w->uki);
	delta_bases_done(&w->bases);
}

/* ---- before anything is built ---- */

static int check_wish(const struct repo *r, const struct release_wish *w, struct err *e)
{
	struct release_offer trial = { .published = 0 };

	if (!version_valid(w->version))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be a version: 1 to 64 of A-Z a-z 0-9 . -, a letter or "
			       "digit first",
			       w->version);
	if (w->notes_url && strlen(w->notes_url) > 512)
		return err_set(e, ERR_INPUT, EINVAL, "--notes-url is longer than 512 bytes");
	if (!w->sign_key != !w->sign_cert)
		return err_set(e, ERR_INPUT, EINVAL, "--sign-key and --sign-cert go together");
	/* before anything is built */
	(void)snprintf(trial.version, sizeof(trial.version), "%s", w->version);
	return policy_apply(&w->policy, r->now, &trial, e);
}

static int check_order(struct work *w, struct err *e)
{
	AUTO_FREE struct release_offer *l = NULL;
	size_t n = 0;
	int q = channel_offers(w->channel, &l, &n, e);

	if (q < 0 || n == 0)
		return q;
	(void)snprintf(w->report->was, sizeof(w->report->was), "%s", l[0].version);
	if (!w->w->allow_older && version_compare(w->w->version, l[0].version) < 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s is older than %s, the newest of channel %s: hosts would not "
			       "take it (--allow-older publishes it all the same)",
			       w->w->version, l[0].version, w->channel->name);
	return 0;
}

/* A version is one release for good, in all channels. */
static int check_unique(const struct work *w, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < w->m->n_channel; i++) {
		const struct channel *c = &w->m->channel[i];
		AUTO_FREE char *p = NULL;
		struct release_manifest there;
		struct release_offer o;
		size_t n;

		if (channel_offer(c, w->r->config.image, w->w->version, &o, NULL) < 0)
			continue;
		q = channel_manifest(w->r, c, o.path, &p, &n, e);
		q = q < 0 ? q : release_manifest_parse(p, n, o.path, &there, e);
		if (q >= 0 && memcmp(there.root, w->id.root, SHA256_BYTES) != 0)
			return err_set(e, ERR_INPUT, EEXIST,
				       "version %s is in channel %s already with another /usr: a "
				       "version never changes, give this one a new number",
				       w->w->version, c->name);
		if (q >= 0 && memcmp(there.uki_sha256, w->manifest.uki_sha256, SHA256_BYTES) != 0)
			return err_set(e, ERR_INPUT, EEXIST,
				       "version %s is in channel %s already with another UKI: a "
				       "version never changes, give this one a new number",
				       w->w->version, c->name);
	}
	return q;
}

/* ---- /usr ---- */

/* What the image should lie like; *ret stays without a descriptor when there is nothing. */
static int like_open(struct work *w, struct sys_fd *ret, struct err *e)
{
	const char *like = w->w->like;

	if (like && strcmp(like, "none") == 0)
		return 0;
	if (like) {
		ret->fd = open(like, O_RDONLY | O_CLOEXEC);
		return ret->fd < 0 ? err_set(e, ERR_INPUT, errno, "open '%s': %s", like,
					     strerror(errno))
				   : 0;
	}
	if (w->bases.n == 0)
		return 0;
	(void)snprintf(w->report->like, sizeof(w->report->like), "%s", w->bases.m[0].version);
	return delta_usr_open(w->r, &w->w->delta, &w->bases.m[0], ret, e);
}

static int build_usr(struct work *w, struct err *e)
{
	const char *name = w->w->like ? w->w->like : w->report->like;
	AUTO_SYS_FD like = { sys_linux(), -1 };
	char made[PATH_MAX];
	int q = like_open(w, &like, e);

	q = q < 0 ? q : build_erofs(w->r, w->w->usr, made, e);
	q = q < 0 ? q : repo_tmp_path(w->r, "usr.laid.erofs", w->usr_path, e);
	if (q < 0)
		return q;
	q = layout_apply(made, like.fd, name, w->usr_path, &w->report->layout, e);
	if (q == -ENOTSUP && !w->w->like) {
		/* a base of another make: nothing can lie like it */
		w->report->like[0] = '\0';
		q = layout_apply(made, -1, "", w->usr_path, &w->report->layout, e);
	}
	(void)unlink(made);
	return q;
}

static int open_usr(struct work *w, struct err *e)
{
	struct stat st;
	int q = 0;

	if (stat(w->w->usr, &st) < 0)
		return err_set(e, ERR_INPUT, errno, "--usr '%s': %s", w->w->usr, strerror(errno));
	w->report->built = S_ISDIR(st.st_mode);
	if (w->w->like && !w->report->built)
		return err_set(e, ERR_INPUT, EINVAL,
			       "--like is for an image that is built here: '%s' is one already",
			       w->w->usr);
	if (w->report->built)
		q = build_usr(w, e);
	else
		(void)snprintf(w->usr_path, sizeof(w->usr_path), "%s", w->w->usr);
	if (q < 0)
		return q;
	w->usr.fd = open(w->usr_path, O_RDONLY | O_CLOEXEC);
	if (w->usr.fd < 0 || fstat(w->usr.fd, &st) < 0)
		return err_set(e, ERR_INPUT, errno, "open '%s': %s", w->usr_path, strerror(errno));
	w->report->usr_bytes = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size % IMAGE_BLOCK != 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' is no image: a file of a multiple of %u bytes is needed "
			       "(truncate -s %%%u pads it)",
			       w->usr_path, IMAGE_BLOCK, IMAGE_BLOCK);
	w->id.data_blocks = (uint64_t)st.st_size / IMAGE_BLOCK;
	return 0;
}

static void advise(struct work *w, const struct image_facts *facts)
{
	const struct repo_config *c = &w->r->config;
	size_t n = 0, most = sizeof(w->report->advice) / sizeof(w->report->advice[0]);

	if (w->id.salt_n != c->salt_n || memcmp(w->id.salt, c->salt, c->salt_n) != 0)
		w->report->advice[n++] =
			"--salt is not the product's: the leaf hashes of this release compare with "
			"those of no other, so hosts without a delta fetch all of it";
	for (unsigned i = 0; n < most && image_advice(facts, i); i++)
		w->report->advice[n++] = image_advice(facts, i);
}

/* Its root hash, and what is unwise about it. */
static int hash_usr(struct work *w, struct err *e)
{
	struct verity_area data = { .fd = w->usr.fd, .bytes = w->report->usr_bytes };
	struct verity_super super;
	struct image_facts facts;
	uint8_t root[DIGEST_MAX];
	struct progress bar;
	struct verity_work vw = { .progress = pace_progress, .arg = &bar };
	int q;

	w->id.salt_n = (uint16_t)w->r->config.salt_n;
	memcpy(w->id.salt, w->r->config.salt, w->r->config.salt_n);
	if (w->w->salt) {
		w->id.salt_n = (uint16_t)(strlen(w->w->salt) / 2);
		if (w->id.salt_n > SHA256_BYTES)
			return err_set(e, ERR_INPUT, EINVAL, "--salt: at most %d bytes",
				       SHA256_BYTES);
		q = hex_parse(w->w->salt, "--salt", w->id.salt, w->id.salt_n, e);
		if (q < 0)
			return q;
	}
	q = image_super(&w->id, &super, e);
	if (q < 0)
		return q;
	progress_begin(&bar, stderr, "hashing", data.bytes, clock_mono_ms());
	q = verity_root(sys_linux(), &data, &super, &vw, root, e);
	progress_end(&bar);
	if (q == -ECANCELED)
		return pace_stopped(e);
	q = q < 0 ? q : image_inspect(sys_linux(), w->usr.fd, &facts, e);
	if (q < 0)
		return q;
	memcpy(w->id.root, root, SHA256_BYTES);
	memcpy(w->report->root, root, SHA256_BYTES);
	advise(w, &facts);
	return 0;
}

/* ---- UKI ---- */

static int make_uki(struct work *w, struct err *e)
{
	const struct release_wish *x = w->w;
	const char *arch = w->manifest.arch;
	AUTO_BUF osrel = BUF_INIT;
	AUTO_BUF cmdline = BUF_INIT;
	struct build_uki u = { .stub = x->stub ? x->stub : build_stub_default(arch),
			       .kernel = x->kernel,
			       .initrd = x->initrd,
			       .uname = x->uname,
			       .osrel = &osrel,
			       .cmdline = &cmdline };
	int q;

	if (!u.stub)
		return err_set(e, ERR_INPUT, EINVAL, "no stub is known for %s: give --stub", arch);
	q = build_osrel(x->os_release, w->report->built ? x->usr : NULL, w->r->config.image,
			x->version, &osrel, e);
	q = q < 0 ? q : build_cmdline(x->cmdline, w->id.root, &cmdline, e);
	return q < 0 ? q : build_uki(w->r, &u, w->uki_path, e);
}

/* Does it say what the manifest will say? A host would refuse it otherwise. */
static int check_uki(struct work *w, struct err *e)
{
	AUTO_FREE struct uki *uki = malloc(sizeof(*uki));
	const struct release_manifest *m = &w->manifest;
	char want[SHA256_HEX_MAX], has[SHA256_HEX_MAX] = "nothing";
	const char *p = w->uki_path;
	int q;

	if (!uki)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = uki_read_fd(sys_linux(), w->uki.fd, uki, e);
	if (q < 0)
		return err_wrap(e, q, "'%s'", p);
	if (!uki->has_usrhash || memcmp(uki->usrhash, w->id.root, SHA256_BYTES) != 0) {
		hex_format(w->id.root, SHA256_BYTES, want);
		if (uki->has_usrhash)
			hex_format(uki->usrhash, SHA256_BYTES, has);
		return err_set(e, ERR_INPUT, EBADMSG,
			       "'%s': its usrhash= is %s, but the image's root hash is %s: build "
			       "the UKI for this image (salt in proa-publish.json)",
			       p, has, want);
	}
	if (strcmp(uki->image_id, m->image) != 0 || strcmp(uki->version, m->version) != 0)
		return err_set(e, ERR_INPUT, EBADMSG,
			       "'%s': its os-release says IMAGE_ID=%s IMAGE_VERSION=%s, this is "
			       "release %s of %s",
			       p, uki->image_id, uki->version, m->version, m->image);
	if (strcmp(uki->machine, m->arch) != 0)
		return err_set(e, ERR_INPUT, EBADMSG, "'%s' is for %s, this release is for %s", p,
			       uki->machine, m->arch);
	w->manifest.uki_bytes = uki->bytes;
	w->report->uki_bytes = uki->bytes;
	return sha256_fd(sys_linux(), w->uki.fd, uki->bytes, w->manifest.uki_sha256, e);
}

static int open_uki(struct work *w, struct err *e)
{
	const struct release_wish *x = w->w;
	char unsigned_path[PATH_MAX];
	int q = 0;

	if (x->uki)
		(void)snprintf(w->uki_path, sizeof(w->uki_path), "%s", x->uki);
	else
		q = make_uki(w, e);
	if (q >= 0 && x->sign_key) {
		(void)snprintf(unsigned_path, sizeof(unsigned_path), "%s", w->uki_path);
		q = build_sign(w->r, unsigned_path, x->sign_key, x->sign_cert, w->uki_path, e);
	}
	if (q < 0)
		return q;
	w->uki.fd = open(w->uki_path, O_RDONLY | O_CLOEXEC);
	if (w->uki.fd < 0)
		return err_set(e, ERR_INPUT, errno, "open the UKI '%s': %s", w->uki_path,
			       strerror(errno));
	return check_uki(w, e);
}

/* ---- blobs ---- */

static int store_blob(struct work *w, enum release_blob_role role, blob_fill_fn fill, void *arg,
		      struct err *e)
{
	struct release_blob *b = &w->manifest.blob[w->manifest.n_blob];
	int q = blob_store(w->r, UINT64_MAX, fill, arg, b, e);

	if (q < 0)
		return q;
	b->role = role;
	w->manifest.n_blob++;
	return 0;
}

/* What fills the blobs of /usr: the index comes with the full image. */
struct usr_fill {
	struct work *w;
	const struct image_split *split;
	struct buf *index;
};

static int fill_full(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	struct usr_fill *x = arg;
	struct work *w = x->w;
	struct progress bar;
	struct image_encode_job job = { .sys = sys_linux(),
					.fd = w->usr.fd,
					.bytes = w->report->usr_bytes,
					.level = w->w->delta.level,
					.split = x->split,
					.put = put,
					.put_arg = put_arg,
					.progress = pace_progress,
					.progress_arg = &bar };
	int q;

	progress_begin(&bar, stderr, "compressing", job.bytes, clock_mono_ms());
	q = image_encode(&job, &w->id, x->index, &w->report->full_bytes, e);
	progress_end(&bar);
	if (q >= 0 && memcmp(w->id.root, w->report->root, SHA256_BYTES) != 0)
		return err_set(e, ERR_INPUT, EBUSY, "'%s' changed while it was read", w->usr_path);
	return q;
}

static int fill_index(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	struct usr_fill *x = arg;

	return put(put_arg, x->index->p, x->index->n, e);
}

static int fill_uki(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	struct work *w = arg;
	struct image_encode_job job = { .sys = sys_linux(),
					.fd = w->uki.fd,
					.bytes = w->manifest.uki_bytes,
					.level = w->w->delta.level,
					.put = put,
					.put_arg = put_arg,
					.progress = pace_progress };

	return image_pack(&job, &w->report->uki_packed_bytes, e);
}

static int fill_sbom(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	const struct buf *b = arg;

	return put(put_arg, b->p, b->n, e);
}

/* As published: its SHA-256 is what an audit compares with the file in /usr. */
static int store_sbom(struct work *w, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON *doc = NULL;
	const struct json_limits lim = { .bytes = SBOM_MAX, .depth = 64 };
	struct buf b = { .p = NULL };
	int q;

	if (!w->w->sbom)
		return 0;
	q = file_read(sys_linux(), AT_FDCWD, w->w->sbom, SBOM_MAX, &text, &b.n, e);
	if (q < 0)
		return err_wrap(e, q, "--sbom '%s'", w->w->sbom);
	b.p = text;
	q = json_read(b.p, b.n, &lim, "--sbom", &doc, e);
	if (q < 0)
		return q;
	if (!json_object_get(doc, "spdxVersion") && !json_object_get(doc, "bomFormat"))
		return err_set(e, ERR_INPUT, EINVAL,
			       "--sbom '%s' is neither SPDX nor CycloneDX in JSON", w->w->sbom);
	return store_blob(w, RELEASE_SBOM, fill_sbom, &b, e);
}

static int store_blobs(struct work *w, struct err *e)
{
	AUTO_BUF index = BUF_INIT;
	AUTO_IMAGE_SPLIT split = { NULL, 0 };
	struct usr_fill x = { w, &split, &index };
	int q = frames_choose(w->r, &w->bases, w->usr.fd, &w->id, &split, e);

	q = q < 0 ? q : store_blob(w, RELEASE_USR_FULL, fill_full, &x, e);
	q = q < 0 ? q : store_blob(w, RELEASE_USR_INDEX, fill_index, &x, e);
	q = q < 0 ? q : store_blob(w, RELEASE_UKI_FULL, fill_uki, w, e);
	return q < 0 ? q : store_sbom(w, e);
}

static int store_deltas(struct work *w, struct err *e)
{
	const struct delta_job job = { .r = w->r,
				       .wish = &w->w->delta,
				       .usr = w->usr.fd,
				       .uki = w->uki.fd,
				       .manifest = &w->manifest };
	int q = 0;

	for (size_t i = 0; q >= 0 && i < w->bases.n; i++)
		q = delta_make(&job, &w->bases.m[i], &w->report->delta[w->report->n_delta++], e);
	if (q >= 0 && !delta_none(&w->w->delta))
		q = delta_make_own(&job, &w->report->uki_own_bytes, e);
	return q;
}

/* ---- manifest and channel ---- */

static int save_manifest(const struct repo *r, struct channel *c, const struct release_offer *o,
			 const void *p, size_t n, struct err *e)
{
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	uint8_t sum[SHA256_BYTES];
	char file[CHANNEL_FILE_MAX];
	int q;

	dir.fd = repo_channel_dir(r, c->name, true, e);
	if (dir.fd < 0)
		return dir.fd;
	sha256(p, n, sum);
	channel_file_name(o->path, sum, file);
	q = file_replace(dir.sys, dir.fd, file, p, n, e);
	return q < 0 ? q : channel_put(c, o, p, n, e);
}

/* A rollout is of one channel, and begins with it. */
static int publish_now(const struct repo *r, const struct release_wish *w, struct release_offer *o,
		       struct err *e)
{
	o->published = r->now;
	o->rollout = o->rollout_slow_start = false;
	o->rollout_start = 0;
	o->rollout_seconds = 0;
	return policy_apply(&w->policy, r->now, o, e);
}

static void describe_usr(struct work *w)
{
	struct release_manifest *m = &w->manifest;

	memcpy(m->root, w->id.root, SHA256_BYTES);
	memcpy(m->salt, w->id.salt, w->id.salt_n);
	m->salt_n = w->id.salt_n;
	m->block_size = IMAGE_BLOCK;
	m->data_blocks = w->id.data_blocks;
	m->hash_bytes = image_hash_bytes(&w->id);
	(void)snprintf(m->notes_url, sizeof(m->notes_url), "%s",
		       w->w->notes_url ? w->w->notes_url : "");
}

static int offer_release(struct work *w, struct err *e)
{
	struct release_manifest *m = &w->manifest;
	struct release_offer o = { .published = 0 };
	AUTO_BUF text = BUF_INIT;
	int q;

	(void)snprintf(o.image, sizeof(o.image), "%s", m->image);
	(void)snprintf(o.version, sizeof(o.version), "%s", m->version);
	(void)snprintf(o.arch, sizeof(o.arch), "%s", m->arch);
	(void)snprintf(o.path, sizeof(o.path), "%s/%s_%s.json", w->channel->name, m->image,
		       m->version);
	q = publish_now(w->r, w->w, &o, e);
	q = q < 0 ? q : release_manifest_format(m, &text, e);
	return q < 0 ? q : save_manifest(w->r, w->channel, &o, text.p, text.n, e);
}

int release_make(const struct repo *r, struct roles *m, const struct keys *k,
		 const struct release_wish *wish, struct release_report *ret, struct err *e)
{
	struct release_report report = { .usr_bytes = 0 };
	CLEANUP(work_done)
	struct work w = { .r = r,
			  .m = m,
			  .w = wish,
			  .report = &report,
			  .usr = { sys_linux(), -1 },
			  .uki = { sys_linux(), -1 } };
	struct release_manifest *f = &w.manifest;
	int q = check_wish(r, wish, e);

	q = q < 0 ? q : roles_channel(m, wish->channel, &w.channel, e);
	if (q < 0)
		return q;
	(void)snprintf(f->image, sizeof(f->image), "%s", r->config.image);
	(void)snprintf(f->version, sizeof(f->version), "%s", wish->version);
	(void)snprintf(f->arch, sizeof(f->arch), "%s", wish->arch ? wish->arch : r->config.arch);
	w.channel->changed = true;
	q = roles_check_keys(m, k, e);
	q = q < 0 ? q : check_order(&w, e);
	q = q < 0 ? q : delta_bases_find(r, m, w.channel, &wish->delta, f, &w.bases, e);
	q = q < 0 ? q : open_usr(&w, e);
	q = q < 0 ? q : hash_usr(&w, e);
	q = q < 0 ? q : open_uki(&w, e);
	q = q < 0 ? q : check_unique(&w, e);
	if (q >= 0 && pace_stop_asked())
		return pace_stopped(e);
	q = q < 0 ? q : store_blobs(&w, e);
	if (q < 0)
		return q;
	describe_usr(&w);
	q = store_deltas(&w, e);
	q = q < 0 ? q : offer_release(&w, e);
	q = q < 0 ? q : roles_commit(r, m, k, e);
	if (q >= 0)
		*ret = report;
	return q;
}

int release_promote(const struct repo *r, struct roles *m, const char *from, const char *to,
		    const struct release_wish *wish, struct err *e)
{
	struct release_report report = { .usr_bytes = 0 };
	struct work w = { .r = r, .m = m, .w = wish, .report = &report };
	AUTO_FREE char *p = NULL;
	struct channel *source;
	struct release_offer o;
	size_t n;
	int q = check_wish(r, wish, e);

	q = q < 0 ? q : roles_channel(m, from, &source, e);
	q = q < 0 ? q : roles_channel(m, to, &w.channel, e);
	if (q >= 0 && source == w.channel)
		return err_set(e, ERR_INPUT, EINVAL, "--from and --to are the same channel");
	q = q < 0 ? q : channel_offer(source, r->config.image, wish->version, &o, e);
	q = q < 0 ? q : channel_manifest(r, source, o.path, &p, &n, e);
	q = q < 0 ? q : release_manifest_parse(p, n, o.path, &w.manifest, e);
	if (q < 0)
		return q;
	memcpy(w.id.root, w.manifest.root, SHA256_BYTES);
	q = check_unique(&w, e);
	q = q < 0 ? q : check_order(&w, e);
	if (q < 0)
		return q;
	(void)snprintf(o.path, sizeof(o.path), "%s/%s_%s.json", to, o.image, o.version);
	o.paused = false;
	q = publish_now(r, wish, &o, e);
	return q < 0 ? q : save_manifest(r, w.channel, &o, p, n, e);
}
