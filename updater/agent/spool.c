/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/sys.h"

enum {
	HEAD = 40,               /* magic, release */
	PIECE = 32 + 32 + 8 + 4, /* before its bytes */
	SYNC = 64 << 10,         /* bytes that a power cut may take */
};

static const char magic[8] = { 'p', 'r', 'o', 'a', '-', 's', 'p', 'l' };

/* Bytes [off, off + n) of a blob lie in the file at `at`. */
struct piece {
	uint8_t blob[SPOOL_ID];
	uint64_t off, at;
	size_t n;
};

struct spool {
	struct sys *sys;
	int fd; /* -1: nothing can be kept */
	uint8_t id[SPOOL_ID];
	uint64_t end; /* of the file, as far as it is good */
	size_t unsynced;
	bool lent; /* some of it was read */
	size_t pieces;
	struct piece piece[SPOOL_PIECES];

	/* the pass */
	uint8_t blob[SPOOL_ID];
	const struct image_source *in;
	const struct image_run *runs;
	size_t n_runs, run;
	uint64_t at; /* the next byte, in runs[run] */
	bool keep;
	bool full;              /* nothing more can be kept */
	struct image_run *rest; /* what `in` gives */
	uint8_t out[PIECE + SPOOL_PIECE_MAX];
};

/* The piece that holds byte `off` of the blob, or NULL; *ret_gap: bytes until one begins. */
static const struct piece *find(const struct spool *s, const uint8_t *blob, uint64_t off,
				uint64_t *ret_gap)
{
	*ret_gap = UINT64_MAX;
	for (size_t i = 0; i < s->pieces; i++) {
		const struct piece *p = &s->piece[i];

		if (memcmp(p->blob, blob, SPOOL_ID) != 0)
			continue;
		if (off >= p->off && off - p->off < p->n)
			return p;
		if (p->off > off && p->off - off < *ret_gap)
			*ret_gap = p->off - off;
	}
	return NULL;
}

static void give_up(struct spool *s)
{
	if (s->fd < 0)
		return;
	if (s->unsynced > 0)
		(void)s->sys->ops->sync(s->sys, s->fd);
	(void)s->sys->ops->close(s->sys, s->fd);
	s->fd = -1;
}

static void begin_anew(struct spool *s)
{
	uint8_t head[HEAD];

	s->pieces = 0;
	s->end = HEAD;
	s->unsynced = HEAD;
	memcpy(head, magic, sizeof(magic));
	memcpy(head + sizeof(magic), s->id, SPOOL_ID);
	if (s->fd >= 0 && (s->sys->ops->truncate(s->sys, s->fd, 0) < 0 ||
			   sys_write_full(s->sys, s->fd, head, sizeof(head), 0) < 0))
		give_up(s);
}

/* One piece at p[0..n), which lies at `at` in the file; its bytes in all, 0: it is not whole. */
static size_t piece_take(struct spool *s, const uint8_t *p, size_t n, uint64_t at)
{
	struct piece *to = &s->piece[s->pieces];
	uint8_t sum[SHA256_BYTES];
	size_t len;

	if (n <= PIECE || s->pieces == SPOOL_PIECES)
		return 0;
	len = le32_get(p + 72);
	if (len == 0 || len > SPOOL_PIECE_MAX || len > n - PIECE)
		return 0;
	sha256(p + SHA256_BYTES, PIECE - SHA256_BYTES + len, sum);
	if (memcmp(sum, p, sizeof(sum)) != 0)
		return 0;
	memcpy(to->blob, p + 32, SPOOL_ID);
	to->off = le64_get(p + 64);
	to->n = len;
	to->at = at + PIECE;
	s->pieces++;
	return PIECE + len;
}

static void load(struct spool *s)
{
	AUTO_FREE uint8_t *p = NULL;
	uint64_t size = 0;
	size_t n = 1;

	if (s->sys->ops->size(s->sys, s->fd, &size) >= 0 && size >= HEAD && size <= SPOOL_MAX)
		p = malloc((size_t)size);
	if (!p || sys_read_full(s->sys, s->fd, p, (size_t)size, 0) < 0 ||
	    memcmp(p, magic, sizeof(magic)) != 0 ||
	    memcmp(p + sizeof(magic), s->id, SPOOL_ID) != 0) {
		begin_anew(s);
		return;
	}
	for (s->end = HEAD; n > 0; s->end += n)
		n = piece_take(s, p + s->end, (size_t)(size - s->end), s->end);
	(void)s->sys->ops->forget(s->sys, s->fd, 0, size);
}

int spool_open(struct sys *sys, int dir, const uint8_t id[SPOOL_ID], struct spool **ret,
	       struct err *e)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	s->sys = sys;
	memcpy(s->id, id, SPOOL_ID);
	s->fd = sys->ops->open(sys, dir, SPOOL_FILE, O_RDWR | O_CREAT, 0600);
	if (s->fd >= 0)
		load(s);
	*ret = s;
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	give_up(s);
	free(s->rest);
	free(s);
}

void spool_remove(struct sys *sys, int dir)
{
	if (sys->ops->unlink(sys, dir, SPOOL_FILE) >= 0)
		(void)sys->ops->sync(sys, dir);
}

bool spool_drop(struct spool *s)
{
	bool lent = s->lent;

	s->lent = false;
	s->run = s->n_runs = 0; /* ends the pass */
	begin_anew(s);
	return lent;
}

/* What is not here of [off, end), appended to s->rest. */
static size_t rest_add(struct spool *s, size_t n, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t gap;
		const struct piece *p = find(s, s->blob, off, &gap);

		if (p) {
			off = p->off + p->n;
			continue;
		}
		gap = gap < end - off ? gap : end - off;
		s->rest[n++] = (struct image_run){ .off = off, .len = gap };
		off += gap;
	}
	return n;
}

int spool_begin(struct spool *s, const uint8_t blob[SPOOL_ID], const struct image_source *in,
		const struct image_run *runs, size_t n, struct err *e)
{
	uint64_t total = 0;
	size_t rest = 0;

	free(s->rest);
	s->rest = calloc(n + s->pieces + 1, sizeof(*s->rest));
	if (!s->rest)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	memcpy(s->blob, blob, SPOOL_ID);
	s->in = in;
	s->runs = runs;
	s->n_runs = n;
	s->run = 0;
	s->at = n ? runs[0].off : 0;
	for (size_t i = 0; i < n; i++) {
		rest = rest_add(s, rest, runs[i].off, runs[i].off + runs[i].len);
		total += runs[i].len;
	}
	s->keep = total <= SPOOL_MAX / 2;
	return rest ? in->begin(in->arg, s->rest, rest, e) : 0;
}

/* A directory that is full is no reason to stop, one that is broken is. */
static int add_failed(struct spool *s, int r, struct err *e)
{
	s->full = true;
	if (r == -ENOSPC || r == -EDQUOT || r == -EFBIG)
		return 0;
	return err_set(e, ERR_HOST, -r, "write " SPOOL_FILE ": %s", strerror(-r));
}

static int add(struct spool *s, const uint8_t *p, size_t n, struct err *e)
{
	int r;

	if (!s->keep || s->full || s->fd < 0 || s->pieces == SPOOL_PIECES ||
	    s->end + PIECE + n > SPOOL_MAX)
		return 0;
	memcpy(s->out + 32, s->blob, SPOOL_ID);
	le64_put(s->out + 64, s->at);
	le32_put(s->out + 72, (uint32_t)n);
	memcpy(s->out + PIECE, p, n);
	sha256(s->out + SHA256_BYTES, PIECE - SHA256_BYTES + n, s->out);
	r = sys_write_full(s->sys, s->fd, s->out, PIECE + n, s->end);
	if (r < 0)
		return add_failed(s, r, e);
	s->end += piece_take(s, s->out, PIECE + n, s->end);
	s->unsynced += n;
	if (s->unsynced < SYNC)
		return 0;
	s->unsynced = 0;
	r = s->sys->ops->sync(s->sys, s->fd);
	return r < 0 ? add_failed(s, r, e) : 0;
}

/* Some of the next n bytes; how many. */
static int read_some(struct spool *s, uint8_t *to, size_t n, uint64_t *ret_fetched, struct err *e)
{
	const struct image_run *run = &s->runs[s->run];
	uint64_t gap, left = run->off + run->len - s->at;
	const struct piece *p = find(s, s->blob, s->at, &gap);
	int r;

	n = n < left ? n : (size_t)left;
	if (p) {
		uint64_t skip = s->at - p->off;

		n = n < p->n - skip ? n : (size_t)(p->n - skip);
		r = sys_read_full(s->sys, s->fd, to, n, p->at + skip);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "read " SPOOL_FILE ": %s", strerror(-r));
		s->lent = true;
	} else {
		n = n < gap ? n : (size_t)gap;
		n = n < SPOOL_PIECE_MAX ? n : SPOOL_PIECE_MAX;
		r = s->in->read(s->in->arg, to, n, e);
		if (r < 0)
			return r;
		*ret_fetched += n;
		r = add(s, to, n, e);
		if (r < 0)
			return r;
	}
	s->at += n;
	if (s->at == run->off + run->len && ++s->run < s->n_runs)
		s->at = s->runs[s->run].off;
	return (int)n;
}

int spool_read(struct spool *s, void *p, size_t n, uint64_t *ret_fetched, struct err *e)
{
	uint8_t *to = p;

	while (n > 0) {
		int r;

		if (s->run == s->n_runs)
			return err_set(e, ERR_BUG, EINVAL, "read past the runs of a blob");
		r = read_some(s, to, n, ret_fetched, e);
		if (r < 0)
			return r;
		to += r;
		n -= (size_t)r;
	}
	return 0;
}
