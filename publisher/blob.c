/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "publisher/pace.h"
#include "verity/image.h"

/* ---- writing ---- */

struct sink {
	struct blob_out out;
	struct digest *hash;
};

int blob_out_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct blob_out *o = arg;
	int q = sys_write_full(sys_linux(), o->fd, p, n, o->n);

	if (q < 0)
		return err_set(e, ERR_HOST, -q, "write a file of %llu bytes and more: %s",
			       (unsigned long long)o->n, strerror(-q));
	o->n += n;
	return pace_stop_asked() ? pace_stopped(e) : 0;
}

static int sink_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	digest_add(s->hash, p, n);
	return blob_out_put(&s->out, p, n, e);
}

int blob_store(const struct repo *r, uint64_t most, blob_fill_fn fill, void *arg,
	       struct release_blob *b, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	AUTO_DIGEST *hash = NULL;
	struct sink s = { .out.n = 0 };
	int q = digest_new(DIGEST_SHA256, NULL, 0, &hash, e);

	if (q < 0)
		return q;
	f.fd = openat(r->tmp, "blob", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, errno, "create a blob in '%s': %s", r->path,
			       strerror(errno));
	s.out.fd = f.fd;
	s.hash = hash;
	q = fill(arg, sink_put, &s, e);
	if (q == -ECANCELED)
		return pace_stopped(e);
	if (q < 0)
		return err_wrap(e, q, "blob in '%s'", r->path);
	if (s.out.n > most) {
		(void)unlinkat(r->tmp, "blob", 0);
		return 0;
	}
	digest_end(hash, b->sha256);
	b->bytes = s.out.n;
	q = repo_blob_adopt(r, "blob", b->sha256, e);
	return q < 0 ? q : 1;
}

/* ---- reading ---- */

static int source_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct blob_file *b = arg;

	if (n != 1)
		return err_set(e, ERR_BUG, EINVAL, "a blob is read in one go here");
	b->at = runs[0].off;
	return 0;
}

static int source_read(void *arg, void *p, size_t n, struct err *e)
{
	struct blob_file *b = arg;
	int q = sys_read_full(sys_linux(), b->fd, p, n, b->at);

	if (q < 0)
		return err_set(e, ERR_HOST, -q, "read a blob: %s", strerror(-q));
	b->at += n;
	return 0;
}

struct image_source blob_source(struct blob_file *f, int fd)
{
	*f = (struct blob_file){ .fd = fd };
	return (struct image_source){ .begin = source_begin, .read = source_read, .arg = f };
}

int blob_open(int dir, const struct release_blob *b, struct sys_fd *ret, struct err *e)
{
	char path[RELEASE_BLOB_PATH_MAX];
	AUTO_SYS_FD f = { sys_linux(), -1 };
	uint8_t sum[SHA256_BYTES];
	uint64_t n = 0;
	int q;

	release_blob_path(b->sha256, path);
	f.fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	if (f.fd < 0)
		return err_set(e, ERR_REFUSED, errno, "%s: %s", path, strerror(errno));
	q = f.sys->ops->size(f.sys, f.fd, &n);
	if (q >= 0 && n != b->bytes)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: %llu bytes, the manifest says %llu: restore it, or publish "
			       "the release again",
			       path, (unsigned long long)n, (unsigned long long)b->bytes);
	q = q < 0 ? q : sha256_fd(f.sys, f.fd, n, sum, e);
	if (q < 0)
		return q;
	if (memcmp(sum, b->sha256, sizeof(sum)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: its content has another SHA-256: restore it, or publish the "
			       "release again",
			       path);
	*ret = f;
	f.fd = -1;
	return 0;
}

int blob_restore(int dir, const struct release_blob *b, uint64_t raw, image_put_fn put, void *arg,
		 struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct image_source src;
	struct blob_file file;
	int q = blob_open(dir, b, &f, e);

	if (q < 0)
		return q;
	src = blob_source(&file, f.fd);
	return image_unpack(&src, b->bytes, raw, put, arg, e);
}

/* ---- is it what the manifest says? ---- */

void blob_image_id(const struct release_manifest *m, struct image_id *ret)
{
	*ret = (struct image_id){ .data_blocks = m->data_blocks,
				  .index_bytes =
					  release_blob_find(m, RELEASE_USR_INDEX, NULL)->bytes,
				  .salt_n = (uint16_t)m->salt_n };
	memcpy(ret->root, m->root, SHA256_BYTES);
	memcpy(ret->salt, m->salt, m->salt_n);
}

int blob_index(int dir, const struct release_manifest *m, uint8_t **ret_bytes,
	       struct image_index **ret, struct err *e)
{
	const struct release_blob *b = release_blob_find(m, RELEASE_USR_INDEX, NULL);
	AUTO_SYS_FD f = { sys_linux(), -1 };
	AUTO_FREE uint8_t *p = NULL;
	struct image_id id;
	int q = blob_open(dir, b, &f, e);

	if (q < 0)
		return q;
	blob_image_id(m, &id);
	if (image_index_bytes(&id, IMAGE_INDEX_LEAVES) == 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "the index has a wrong length");
	p = malloc((size_t)b->bytes);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = sys_read_full(f.sys, f.fd, p, (size_t)b->bytes, 0);
	if (q < 0)
		return err_set(e, ERR_HOST, -q, "read the index: %s", strerror(-q));
	q = image_index_parse(p, (size_t)b->bytes, &id,
			      release_blob_find(m, RELEASE_USR_FULL, NULL)->bytes, ret, e);
	if (q >= 0)
		*ret_bytes = TAKE(p);
	return q;
}

static int check_length(int fd, uint64_t want, struct err *e)
{
	uint64_t n = 0;
	int q = sys_linux()->ops->size(sys_linux(), fd, &n);

	if (q < 0)
		return err_set(e, ERR_HOST, -q, "length of a file: %s", strerror(-q));
	if (n != want)
		return err_set(e, ERR_REFUSED, EBADMSG, "%llu bytes instead of %llu",
			       (unsigned long long)n, (unsigned long long)want);
	return 0;
}

int blob_check_usr(int fd, const struct release_manifest *m, struct err *e)
{
	struct verity_work work = { .progress = pace_progress };
	struct verity_area data = { .fd = fd };
	struct verity_super super;
	uint8_t root[DIGEST_MAX];
	struct image_id id;
	int q;

	blob_image_id(m, &id);
	data.bytes = image_data_bytes(&id);
	q = check_length(fd, data.bytes, e);
	q = q < 0 ? q : image_super(&id, &super, e);
	q = q < 0 ? q : verity_root(sys_linux(), &data, &super, &work, root, e);
	if (q == -ECANCELED)
		return pace_stopped(e);
	if (q < 0)
		return q;
	if (memcmp(root, m->root, SHA256_BYTES) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "it has another root hash than the manifest says");
	return 0;
}

int blob_check_uki(int fd, const struct release_manifest *m, struct err *e)
{
	uint8_t sum[SHA256_BYTES];
	int q = check_length(fd, m->uki_bytes, e);

	q = q < 0 ? q : sha256_fd(sys_linux(), fd, m->uki_bytes, sum, e);
	if (q < 0)
		return q;
	if (memcmp(sum, m->uki_sha256, sizeof(sum)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "it has another SHA-256 than the manifest says");
	return 0;
}
