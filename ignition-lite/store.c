/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "ignition-lite/gunzip.h"

enum { CHUNK = 65536, BLOBS_MAX = 1 << 20 };

struct blob {
	bool in_file;
	uint64_t at, n; /* in mem or in the file */
};

struct ign_store {
	int dir, fd; /* fd -1: no file was needed yet */
	uint64_t file_n, max;
	struct buf mem;
	struct blob *blob;
	size_t n, cap;
	/* the one that is being filled */
	bool open;
	struct blob now;
	const struct ign_resource *res;
	struct digest *digest;
	struct ign_gunzip *gunzip;
};

static void now_drop(struct ign_store *s)
{
	digest_free(s->digest);
	ign_gunzip_free(s->gunzip);
	s->digest = NULL;
	s->gunzip = NULL;
	s->open = false;
}

void ign_store_free(struct ign_store *s)
{
	if (!s)
		return;
	now_drop(s);
	if (s->fd >= 0)
		(void)close(s->fd);
	buf_done(&s->mem);
	free(s->blob);
	free(s);
}

int ign_store_new(int dir, uint64_t max, struct ign_store **ret, struct err *e)
{
	struct ign_store *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	s->dir = dir;
	s->max = max;
	s->fd = -1;
	s->mem.max = IGN_STORE_MEM;
	*ret = s;
	return 0;
}

/* --- filling --- */

static int file_open(struct ign_store *s, struct err *e)
{
	if (s->fd >= 0)
		return 0;
	s->fd = openat(s->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->fd < 0) {
		/* an overlay or a network file system may have no nameless files */
		s->fd = openat(s->dir, ".ignition-lite-fetched",
			       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (s->fd >= 0)
			(void)unlinkat(s->dir, ".ignition-lite-fetched", 0);
	}
	if (s->fd < 0)
		return err_set(e, ERR_HOST, errno, "keep what is fetched on the root: %s",
			       strerror(errno));
	return 0;
}

static int file_put(struct ign_store *s, const uint8_t *p, size_t n, struct err *e)
{
	while (n > 0) {
		ssize_t r = pwrite(s->fd, p, n, (off_t)s->file_n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_set(e, ERR_HOST, r < 0 ? errno : EIO,
				       "keep what is fetched on the root: %s",
				       strerror(r < 0 ? errno : EIO));
		p += r;
		n -= (size_t)r;
		s->file_n += (uint64_t)r;
	}
	return 0;
}

/* What no longer fits into memory goes to the file, with what of the blob is there already. */
static int now_move(struct ign_store *s, struct err *e)
{
	uint64_t at;
	int r = file_open(s, e);

	if (r < 0)
		return r;
	at = s->file_n;
	r = file_put(s, (const uint8_t *)s->mem.p + s->now.at, s->now.n, e);
	if (r < 0)
		return r;
	s->mem.n = s->now.at;
	s->now.at = at;
	s->now.in_file = true;
	return 0;
}

static int put(void *arg, const void *p, size_t n, struct err *e)
{
	struct ign_store *s = arg;
	int r = 0;

	if (n > s->max - s->now.n)
		return err_set(e, ERR_INPUT, EFBIG, "it is larger than %" PRIu64 " bytes", s->max);
	if (s->digest)
		digest_add(s->digest, p, n);
	if (!s->now.in_file && s->mem.n + n > IGN_STORE_MEM)
		r = now_move(s, e);
	if (r == 0)
		r = s->now.in_file ? file_put(s, p, n, e) : buf_add(&s->mem, p, n, e);
	if (r == 0)
		s->now.n += n;
	return r;
}

int ign_store_begin(struct ign_store *s, const struct ign_resource *res, struct err *e)
{
	int r = 0;

	if (s->open && s->now.in_file)
		s->file_n = s->now.at;
	else if (s->open)
		s->mem.n = s->now.at;
	now_drop(s);
	if (s->n == BLOBS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d things are fetched", BLOBS_MAX);
	s->res = res;
	s->now = (struct blob){ .at = s->mem.n };
	if (res->has_hash)
		r = digest_new(res->hash_kind, "", 0, &s->digest, e);
	if (r == 0 && res->gzip)
		r = ign_gunzip_new(s->max, put, s, &s->gunzip, e);
	s->open = r == 0;
	return r;
}

int ign_store_add(struct ign_store *s, const void *p, size_t n, struct err *e)
{
	return s->gunzip ? ign_gunzip_add(s->gunzip, p, n, e) : put(s, p, n, e);
}

static int verify(struct ign_store *s, struct err *e)
{
	uint8_t got[DIGEST_MAX];
	char hex[2 * DIGEST_MAX + 1];
	size_t n;

	if (!s->digest)
		return 0;
	n = digest_size(s->res->hash_kind);
	digest_end(s->digest, got);
	if (memcmp(got, s->res->hash, n) == 0)
		return 0;
	hex_format(got, 8, hex);
	return err_set(e, ERR_REFUSED, EBADMSG,
		       "its %s is %s..., which is not the hash in the config: it is not what the "
		       "config was written for",
		       digest_name(s->res->hash_kind), hex);
}

int ign_store_end(struct ign_store *s, struct err *e)
{
	int r = s->gunzip ? ign_gunzip_end(s->gunzip, e) : 0;
	struct blob *more;

	if (r == 0)
		r = verify(s, e);
	if (r < 0)
		return r;
	more = array_room(s->blob, s->n, &s->cap, sizeof(*more));
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	s->blob = more;
	s->blob[s->n++] = s->now;
	now_drop(s);
	return 0;
}

/* --- using --- */

size_t ign_store_count(const struct ign_store *s)
{
	return s->n;
}

uint64_t ign_store_size(const struct ign_store *s, size_t blob)
{
	return s->blob[blob].n;
}

/* p[0..n) to the end of fd. */
static int write_all(int fd, const char *p, size_t n, const char *what, struct err *e)
{
	while (n > 0) {
		ssize_t r = write(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_set(e, ERR_HOST, r < 0 ? errno : EIO, "write '%s': %s", what,
				       strerror(r < 0 ? errno : EIO));
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

static int read_part(const struct ign_store *s, const struct blob *b, uint64_t done, char *to,
		     size_t n, size_t *ret, struct err *e)
{
	ssize_t r;

	do
		r = pread(s->fd, to, n, (off_t)(b->at + done));
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return err_set(e, ERR_HOST, r < 0 ? errno : EIO, "read what was fetched: %s",
			       strerror(r < 0 ? errno : EIO));
	*ret = (size_t)r;
	return 0;
}

int ign_store_write(const struct ign_store *s, size_t blob, int fd, const char *what, struct err *e)
{
	const struct blob *b = &s->blob[blob];
	AUTO_FREE char *chunk = NULL;

	if (!b->in_file)
		return b->n > 0 ? write_all(fd, s->mem.p + b->at, b->n, what, e) : 0;
	chunk = malloc(CHUNK);
	if (!chunk)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (uint64_t done = 0; done < b->n;) {
		size_t n = b->n - done < CHUNK ? (size_t)(b->n - done) : CHUNK;
		int r = read_part(s, b, done, chunk, n, &n, e);

		if (r == 0)
			r = write_all(fd, chunk, n, what, e);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

int ign_store_read(const struct ign_store *s, size_t blob, struct buf *out, struct err *e)
{
	const struct blob *b = &s->blob[blob];

	if (!b->in_file)
		return b->n > 0 ? buf_add(out, s->mem.p + b->at, b->n, e) : 0;
	for (uint64_t done = 0; done < b->n;) {
		size_t n = b->n - done < CHUNK ? (size_t)(b->n - done) : CHUNK;
		int r = buf_reserve(out, n, e);

		if (r == 0)
			r = read_part(s, b, done, out->p + out->n, n, &n, e);
		if (r < 0)
			return r;
		out->n += n;
		done += n;
	}
	return buf_add(out, "", 0, e);
}
