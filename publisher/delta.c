/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/progress.h"
#include "base/sys.h"
#include "base/version.h"
#include "publisher/blob.h"
#include "publisher/pace.h"

/* A UKI's delta from its base alone is good enough up to 1/SMALL of the full blob. */
enum { SMALL = 20, LEAST_SAVED = 10 };

/* ---- which bases ---- */

void delta_bases_done(struct delta_bases *b)
{
	free(b->m);
	b->m = NULL;
	b->n = 0;
}

bool delta_none(const struct delta_wish *w)
{
	return w->n_from == 1 && strcmp(w->from[0], "none") == 0;
}

static int bases_new(struct delta_bases *b, struct err *e)
{
	b->m = calloc(DELTA_BASES_MAX, sizeof(*b->m));
	return b->m ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static int base_add(const struct repo *r, const struct channel *c, const struct release_offer *o,
		    struct delta_bases *b, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int q = channel_manifest(r, c, o->path, &p, &n, e);

	q = q < 0 ? q : release_manifest_parse(p, n, o->path, &b->m[b->n], e);
	if (q >= 0)
		b->n++;
	return q;
}

static int bases_default(const struct repo *r, const struct channel *c,
			 const struct release_manifest *to, struct delta_bases *b, struct err *e)
{
	AUTO_FREE struct release_offer *l = NULL;
	size_t n = 0;
	int q = channel_offers(c, &l, &n, e);

	for (size_t i = 0; q >= 0 && i < n && b->n < DELTA_BASES_DEFAULT; i++)
		if (strcmp(l[i].image, to->image) == 0 && strcmp(l[i].arch, to->arch) == 0 &&
		    version_compare(l[i].version, to->version) < 0)
			q = base_add(r, c, &l[i], b, e);
	return q;
}

/* The channel a version is in: this one if it has it, else any. */
static const struct channel *channel_with(const struct roles *m, const struct channel *c,
					  const char *image, const char *version,
					  struct release_offer *ret)
{
	if (channel_offer(c, image, version, ret, NULL) >= 0)
		return c;
	for (size_t i = 0; i < m->n_channel; i++)
		if (channel_offer(&m->channel[i], image, version, ret, NULL) >= 0)
			return &m->channel[i];
	return NULL;
}

static int base_named(const struct repo *r, const struct roles *m, const struct channel *c,
		      const char *version, const struct release_manifest *to, struct delta_bases *b,
		      struct err *e)
{
	const struct channel *has = NULL;
	struct release_offer o;

	if (!version_valid(version))
		return err_set(e, ERR_INPUT, EINVAL, "--from '%s' is no version", version);
	if (strcmp(version, to->version) == 0)
		return err_set(e, ERR_INPUT, EINVAL, "--from %s is the release itself", version);
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->m[i].version, version) == 0)
			return 0;
	has = channel_with(m, c, to->image, version, &o);
	if (!has)
		return err_set(e, ERR_INPUT, ENOENT, "--from %s: no channel has that version",
			       version);
	if (strcmp(o.arch, to->arch) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "--from %s is for %s, this release is for %s",
			       version, o.arch, to->arch);
	return base_add(r, has, &o, b, e);
}

static int newest_first(const void *a, const void *b)
{
	const struct release_manifest *x = a, *y = b;

	return version_compare(y->version, x->version);
}

int delta_bases_find(const struct repo *r, const struct roles *m, const struct channel *c,
		     const struct delta_wish *w, const struct release_manifest *to,
		     struct delta_bases *ret, struct err *e)
{
	CLEANUP(delta_bases_done) struct delta_bases b = { NULL, 0 };
	bool none = delta_none(w);
	int q = bases_new(&b, e);

	if (q >= 0 && w->n_from == 0)
		q = bases_default(r, c, to, &b, e);
	for (size_t i = 0; q >= 0 && !none && i < w->n_from; i++)
		q = base_named(r, m, c, w->from[i], to, &b, e);
	if (q < 0)
		return q;
	qsort(b.m, b.n, sizeof(*b.m), newest_first);
	*ret = b;
	b = (struct delta_bases){ NULL, 0 };
	return 0;
}

/* ---- a base as files ---- */

struct base {
	const struct delta_job *job;
	const struct release_manifest *m;
	struct delta_report *report;
	struct sys_fd usr, uki;
};

static void base_done(struct base *b)
{
	sys_fd_done(&b->usr);
	sys_fd_done(&b->uki);
}

/* One of the two files a base is. */
struct part {
	enum release_blob_role role;
	const uint8_t *id;
	const char *ending;
	uint64_t bytes;
	int (*check)(int fd, const struct release_manifest *m, struct err *e);
};

static struct part part_of(const struct release_manifest *m, bool usr)
{
	struct part usr_part = { RELEASE_USR_FULL, m->root, "usr", m->data_blocks * IMAGE_BLOCK,
				 blob_check_usr };
	struct part uki_part = { RELEASE_UKI_FULL, m->uki_sha256, "efi", m->uki_bytes,
				 blob_check_uki };

	return usr ? usr_part : uki_part;
}

struct restoring {
	struct blob_out out;
	struct progress bar;
};

static int restoring_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct restoring *x = arg;
	int q = blob_out_put(&x->out, p, n, e);

	progress_set(&x->bar, x->out.n, clock_mono_ms());
	return q;
}

/* Restores a part into dir/name and proves it. */
static int part_restore(struct base *b, const struct part *p, int dir, const char *name,
			struct sys_fd *ret, struct err *e)
{
	struct restoring x = { .out.n = 0 };
	AUTO_SYS_FD f = { sys_linux(), -1 };
	int q;

	f.fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, errno, "create a file for the base: %s",
			       strerror(errno));
	x.out.fd = f.fd;
	progress_begin(&x.bar, stderr, "restoring", p->bytes, clock_mono_ms());
	q = blob_restore(b->job->r->dir, release_blob_find(b->m, p->role, NULL), p->bytes,
			 restoring_put, &x, e);
	progress_end(&x.bar);
	q = q < 0 ? q : p->check(f.fd, b->m, e);
	if (q < 0)
		return q;
	b->report->restored += p->bytes;
	*ret = f;
	f.fd = -1;
	return 0;
}

/* In base_dir: what is there and right is used, else it is restored and stays. */
static int part_keep(struct base *b, const struct part *p, struct sys_fd *ret, struct err *e)
{
	const char *path = b->job->wish->base_dir;
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	char hex[SHA256_HEX_MAX], name[SHA256_HEX_MAX + 8], tmp[SHA256_HEX_MAX + 16];
	int q;

	dir.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir.fd < 0)
		return err_set(e, ERR_INPUT, errno, "--base-dir '%s': %s", path, strerror(errno));
	hex_format(p->id, SHA256_BYTES, hex);
	(void)snprintf(name, sizeof(name), "%s.%s", hex, p->ending);
	(void)snprintf(tmp, sizeof(tmp), "%s.part", name);
	ret->fd = openat(dir.fd, name, O_RDONLY | O_CLOEXEC);
	if (ret->fd >= 0 && p->check(ret->fd, b->m, NULL) >= 0)
		return 0;
	sys_fd_done(ret);
	ret->fd = -1;
	q = part_restore(b, p, dir.fd, tmp, ret, e);
	if (q < 0) {
		(void)unlinkat(dir.fd, tmp, 0);
		return err_wrap(e, q, "--base-dir '%s'", path);
	}
	if (renameat(dir.fd, tmp, dir.fd, name) < 0)
		return err_set(e, ERR_HOST, errno, "--base-dir '%s': %s", path, strerror(errno));
	return 0;
}

static int part_open(struct base *b, bool usr, struct sys_fd *ret, struct err *e)
{
	const struct part p = part_of(b->m, usr);
	int q;

	if (b->job->wish->base_dir) {
		q = part_keep(b, &p, ret, e);
	} else {
		q = part_restore(b, &p, b->job->r->tmp, "base", ret, e);
		(void)unlinkat(b->job->r->tmp, "base", 0);
	}
	return q < 0 ? err_wrap(e, q, "base %s (--from names others)", b->m->version) : 0;
}

int delta_usr_open(const struct repo *r, const struct delta_wish *w,
		   const struct release_manifest *m, struct sys_fd *ret, struct err *e)
{
	const struct delta_job job = { .r = r, .wish = w };
	struct delta_report report = { .usr_bytes = 0 };
	struct base b = { .job = &job, .m = m, .report = &report };

	return part_open(&b, true, ret, e);
}

/* ---- the blobs ---- */

static struct image_whole whole(const uint8_t id[SHA256_BYTES], uint64_t bytes)
{
	struct image_whole w = { .bytes = bytes };

	memcpy(w.id, id, sizeof(w.id));
	return w;
}

static struct image_diff_file usr_file(int fd, const struct release_manifest *m)
{
	return (struct image_diff_file){ fd, whole(m->root, m->data_blocks * IMAGE_BLOCK) };
}

static struct image_diff_file uki_file(int fd, const struct release_manifest *m)
{
	return (struct image_diff_file){ fd, whole(m->uki_sha256, m->uki_bytes) };
}

/* What a delta may take to be of use. */
static uint64_t most_bytes(const struct release_manifest *m, enum release_blob_role full)
{
	uint64_t n = release_blob_find(m, full, NULL)->bytes;

	return n - n / LEAST_SAVED;
}

static int run_diff(struct image_diff_job *job, const char *what, struct image_diff_stats *ret,
		    struct err *e)
{
	struct progress bar;
	int q;

	job->sys = sys_linux();
	job->progress = pace_progress;
	/* cppcheck-suppress autoVariables ; the caller does nothing more with job */
	job->progress_arg = &bar;
	progress_begin(&bar, stderr, what, 0, clock_mono_ms());
	q = image_diff(job, ret, e);
	progress_end(&bar);
	return q == -ECANCELED ? pace_stopped(e) : q;
}

struct usr_fill {
	struct base *b;
	struct image_diff_stats *stats;
};

static int fill_usr(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	struct usr_fill *x = arg;
	const struct delta_job *j = x->b->job;
	struct image_diff_job job = { .unit = IMAGE_BLOCK,
				      .target = usr_file(j->usr, j->manifest),
				      .sources = 1,
				      .source = { usr_file(x->b->usr.fd, x->b->m) },
				      .level = j->wish->level,
				      .put = put,
				      .put_arg = put_arg };

	return run_diff(&job, "delta /usr", x->stats, e);
}

static int blob_next(struct release_manifest *m, enum release_blob_role role, const uint8_t *base,
		     struct release_blob **ret, struct err *e)
{
	if (m->n_blob == RELEASE_BLOBS_MAX)
		return err_set(e, ERR_INPUT, E2BIG,
			       "more than %d blobs in a release: name fewer "
			       "bases with --from",
			       RELEASE_BLOBS_MAX);
	*ret = &m->blob[m->n_blob];
	**ret = (struct release_blob){ .role = role };
	memcpy((*ret)->base, base, SHA256_BYTES);
	return 0;
}

/* Not a failure: there is just no delta then. */
static bool too_different(int q, struct err *e)
{
	if (q == -EFBIG && e)
		*e = (struct err)ERR_INIT;
	return q == -EFBIG;
}

static int make_usr(struct base *b, struct err *e)
{
	struct release_manifest *m = b->job->manifest;
	const struct release_blob *have = release_blob_find(m, RELEASE_USR_DELTA, b->m->root);
	struct usr_fill x = { b, &b->report->stats };
	struct release_blob *blob;
	int q;

	b->report->usr = have ? DELTA_MADE : DELTA_SAME;
	b->report->usr_bytes = have ? have->bytes : 0;
	if (have || memcmp(b->m->root, m->root, SHA256_BYTES) == 0)
		return 0;
	q = blob_next(m, RELEASE_USR_DELTA, b->m->root, &blob, e);
	q = q < 0 ? q : part_open(b, true, &b->usr, e);
	q = q < 0 ? q
		  : blob_store(b->job->r, most_bytes(m, RELEASE_USR_FULL), fill_usr, &x, blob, e);
	if (q < 0 && !too_different(q, e))
		return q;
	b->report->usr_bytes = b->report->stats.blob;
	b->report->usr = q > 0 ? DELTA_MADE : DELTA_USELESS;
	m->n_blob += q > 0;
	return 0;
}

static int buf_put(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* The UKI's delta from its base, and from the new /usr when sources is 2. */
static int diff_uki(struct base *b, unsigned sources, struct buf *ret, struct err *e)
{
	const struct delta_job *j = b->job;
	struct image_diff_job job = { .unit = 1,
				      .target = uki_file(j->uki, j->manifest),
				      .sources = sources,
				      .source = { uki_file(b->uki.fd, b->m),
						  usr_file(j->usr, j->manifest) },
				      .level = j->wish->level,
				      .put = buf_put,
				      .put_arg = ret };

	return run_diff(&job, "delta UKI", NULL, e);
}

static int fill_buf(void *arg, image_put_fn put, void *put_arg, struct err *e)
{
	const struct buf *b = arg;

	return put(put_arg, b->p, b->n, e);
}

static int store_uki(struct base *b, struct err *e)
{
	struct release_manifest *m = b->job->manifest;
	uint64_t full = release_blob_find(m, RELEASE_UKI_FULL, NULL)->bytes;
	AUTO_BUF one = { .max = IMAGE_DELTA_FILE_MAX };
	AUTO_BUF two = { .max = IMAGE_DELTA_FILE_MAX };
	struct release_blob *blob;
	bool both = false;
	int q = blob_next(m, RELEASE_UKI_DELTA, b->m->uki_sha256, &blob, e);

	q = q < 0 ? q : part_open(b, false, &b->uki, e);
	q = q < 0 ? q : diff_uki(b, 1, &one, e);
	if (q >= 0 && one.n > full / SMALL) {
		q = diff_uki(b, 2, &two, e);
		both = q >= 0 && two.n < one.n - one.n / LEAST_SAVED;
	}
	b->report->uki_from_usr = both;
	b->report->uki_bytes = both ? two.n : one.n;
	q = q < 0 ? q
		  : blob_store(b->job->r, most_bytes(m, RELEASE_UKI_FULL), fill_buf,
			       both ? &two : &one, blob, e);
	m->n_blob += q > 0;
	return q;
}

static int make_uki(struct base *b, struct err *e)
{
	struct release_manifest *m = b->job->manifest;
	const struct release_blob *have = release_blob_find(m, RELEASE_UKI_DELTA, b->m->uki_sha256);
	int q;

	b->report->uki = have ? DELTA_MADE : DELTA_SAME;
	b->report->uki_bytes = have ? have->bytes : 0;
	if (have || memcmp(b->m->uki_sha256, m->uki_sha256, SHA256_BYTES) == 0)
		return 0;
	q = store_uki(b, e);
	if (q < 0 && !too_different(q, e))
		return q;
	b->report->uki = q > 0 ? DELTA_MADE : DELTA_USELESS;
	return 0;
}

int delta_make(const struct delta_job *job, const struct release_manifest *base,
	       struct delta_report *ret, struct err *e)
{
	struct delta_report report = { .usr_bytes = 0 };
	CLEANUP(base_done)
	struct base b = { .job = job,
			  .m = base,
			  .report = &report,
			  .usr = { sys_linux(), -1 },
			  .uki = { sys_linux(), -1 } };
	int q;

	(void)snprintf(report.version, sizeof(report.version), "%s", base->version);
	q = make_usr(&b, e);
	q = q < 0 ? q : make_uki(&b, e);
	if (q < 0)
		return q;
	*ret = report;
	return 0;
}

int delta_make_own(const struct delta_job *job, uint64_t *ret, struct err *e)
{
	struct release_manifest *m = job->manifest;
	const struct release_blob *have = release_blob_find(m, RELEASE_UKI_DELTA, m->root);
	AUTO_BUF out = { .max = IMAGE_DELTA_FILE_MAX };
	struct image_diff_job diff = { .unit = 1,
				       .target = uki_file(job->uki, m),
				       .sources = 1,
				       .source = { usr_file(job->usr, m) },
				       .level = job->wish->level,
				       .put = buf_put,
				       .put_arg = &out };
	struct release_blob *blob;
	int q;

	*ret = have ? have->bytes : 0;
	if (have)
		return 0;
	q = blob_next(m, RELEASE_UKI_DELTA, m->root, &blob, e);
	q = q < 0 ? q : run_diff(&diff, "delta UKI", NULL, e);
	q = q < 0 ? q
		  : blob_store(job->r, most_bytes(m, RELEASE_UKI_FULL), fill_buf, &out, blob, e);
	if (q < 0 && !too_different(q, e))
		return q;
	*ret = q > 0 ? out.n : 0;
	m->n_blob += q > 0;
	return 0;
}
