/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/diff.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "updater/image/bsdiff.h"
#include "updater/image/bspatch.h"
#include "updater/image/erofs.h"
#include "updater/image/index.h"
#include "updater/image/match.h"
#include "updater/image/seekable.h"
#include "updater/image/similar.h"

#define THREADS_MAX 64u
#define HINTS_MAX   256u
#define AROUND      ((uint64_t)64 << 10) /* of a hint, on either side, when they are few */
#define AROUND_MIN  ((uint64_t)8 << 10)
#define BESIDE      3u  /* weights of hints: that a copy lies beside it */
#define SAME_FILE   64u /* and that it is the place in the same file */
/*
 * Larger frames are packed better (9 % from 64 to 512 KiB), but what is lost when one is cut off
 * grows with them: small deltas keep to smaller ones.
 */
#define FRAME_SMALL    ((size_t)256 << 10)
#define FRAME_LARGE    IMAGE_DELTA_FRAME_MAX
#define WINDOW_LOG_MIN 16
#define LARGE          ((uint64_t)64 << 20) /* new bytes from which a delta is large */
#define BLOB_MAX       ((size_t)16 << 30)

/* A compressed frame on its way to the blob. */
struct packed {
	uint8_t *p;
	size_t n;
	size_t control; /* bytes; 0: it is plain */
	size_t n_extents;
	struct image_extent extents[IMAGE_EXTENTS_MAX];
};

struct differ {
	const struct image_diff_job *job;
	struct image_match m;
	struct image_similar *similar;
	struct erofs_map *map, *old_map; /* files of target and source 0; NULL: not known */
	struct erofs_index *old;
	struct image_delta d; /* as it will be written */
	size_t *start;        /* the piece in which frame i begins */
	struct packed *packed;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t finished;
	size_t taken, done;
	unsigned running;
	bool stop;
};

/* What one thread works with. */
struct worker {
	struct differ *x;
	ZSTD_CCtx *ctx;
	struct image_bsdiff *bsdiff;
	uint8_t *raw, *prefix, *mixed, *out;
};

static void map_done(struct image_span *s)
{
	union {
		const uint8_t *p;
		void *map;
	} u = { .p = s->p };

	if (s->p)
		(void)munmap(u.map, (size_t)s->n);
}

static int map_new(const struct image_diff_job *job, const struct image_diff_file *f,
		   struct image_span *ret, struct err *e)
{
	uint64_t most = job->unit == 1 && f == &job->target ? IMAGE_DELTA_FILE_MAX
							    : IMAGE_BLOCKS_MAX * IMAGE_BLOCK;
	uint64_t have = 0;
	void *p;
	int r = job->sys->ops->size(job->sys, f->fd, &have);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "size of a file to compare: %s", strerror(-r));
	if (f->whole.bytes == 0 || f->whole.bytes % job->unit != 0 || have < f->whole.bytes)
		return err_set(e, ERR_INPUT, EINVAL,
			       "a file to compare has %llu bytes, %llu in units of %u are needed",
			       (unsigned long long)have, (unsigned long long)f->whole.bytes,
			       job->unit);
	if (f->whole.bytes > most)
		return err_set(e, ERR_INPUT, EFBIG, "%llu bytes are too many for a delta",
			       (unsigned long long)f->whole.bytes);
	p = mmap(NULL, (size_t)f->whole.bytes, PROT_READ, MAP_PRIVATE, f->fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, ERR_HOST, errno, "map a file to compare: %s", strerror(errno));
	*ret = (struct image_span){ p, f->whole.bytes };
	return 0;
}

static void differ_done(struct differ *x)
{
	for (size_t i = 0; x->packed && i < x->d.frames; i++)
		free(x->packed[i].p);
	free(x->packed);
	free(x->start);
	free(x->d.pieces);
	free(x->d.packed);
	free(x->d.control);
	free(x->d.first);
	free(x->d.extents);
	image_similar_free(x->similar);
	erofs_index_free(x->old);
	erofs_map_free(x->map);
	erofs_map_free(x->old_map);
	map_done(&x->m.target);
	for (unsigned s = 0; s < IMAGE_DELTA_SOURCES; s++)
		map_done(&x->m.source[s]);
	(void)pthread_cond_destroy(&x->finished);
	(void)pthread_mutex_destroy(&x->lock);
}

/* A copy beside a new piece says where the new piece's like should be. */
static bool hint_beside(const struct differ *x, size_t i, uint64_t skip, struct image_hint *ret)
{
	const struct image_piece *p = &x->d.pieces[i], *before = i ? p - 1 : NULL;
	const struct image_piece *behind = i + 1 < x->d.n_pieces ? p + 1 : NULL;
	unsigned unit = x->d.unit;

	if (before &&
	    (before->kind == IMAGE_PIECE_COPY || before->kind == IMAGE_PIECE_COPY_SECOND)) {
		ret->source = before->kind == IMAGE_PIECE_COPY_SECOND;
		ret->off = (before->from + before->len + skip) * unit;
		return true;
	}
	if (behind &&
	    (behind->kind == IMAGE_PIECE_COPY || behind->kind == IMAGE_PIECE_COPY_SECOND) &&
	    behind->from + skip >= p->len) {
		ret->source = behind->kind == IMAGE_PIECE_COPY_SECOND;
		ret->off = (behind->from + skip - p->len) * unit;
		return true;
	}
	return false;
}

struct hints {
	struct image_hint h[HINTS_MAX];
	size_t n;
};

static void hint_add(struct hints *o, const struct image_hint *h)
{
	if (o->n < HINTS_MAX && h->len > 0)
		o->h[o->n++] = *h;
}

/* Where the files that blocks [b, end) of the target belong to lie in the base. */
static void hints_of_files(const struct differ *x, uint64_t b, uint64_t end, struct hints *o)
{
	while (x->old && b < end) {
		const struct erofs_file *f = erofs_map_at(x->map, b);
		const struct erofs_file *was = f ? erofs_index_find(x->old, f) : NULL;
		uint64_t at = f ? b - f->block : 0;
		uint64_t stop = f ? (uint64_t)f->block + f->blocks : b + 1, n;

		n = (stop < end ? stop : end) - b;
		b += n;
		if (!was)
			continue;
		if (at >= was->blocks)
			at = was->blocks - 1;
		n = n < was->blocks - at ? n : was->blocks - at;
		hint_add(o, &(struct image_hint){ 0, SAME_FILE, (was->block + at) * IMAGE_BLOCK,
						  n * IMAGE_BLOCK });
	}
}

/* What is known of units [skip, skip + n) of piece i, which are new. */
static void hints_of_part(const struct differ *x, size_t i, uint64_t skip, uint64_t n,
			  struct hints *o)
{
	const struct image_piece *p = &x->d.pieces[i];
	struct image_hint h = { .weight = BESIDE, .len = n * x->d.unit };

	if (hint_beside(x, i, skip, &h))
		hint_add(o, &h);
	hints_of_files(x, p->at + skip, p->at + skip + n, o);
}

/* The fewer hints, the further around them it is looked; together they do not fill the prefix. */
static void hints_widen(struct hints *o, size_t raw)
{
	uint64_t sum = 0, room = 2 * (uint64_t)raw, around;

	for (size_t i = 0; i < o->n; i++)
		sum += o->h[i].len;
	around = o->n && sum < room ? (room - sum) / (2 * o->n) : 0;
	around = around < AROUND ? around : AROUND;
	around = around < AROUND_MIN ? AROUND_MIN : around;
	for (size_t i = 0; i < o->n; i++) {
		uint64_t back = o->h[i].off < around ? o->h[i].off : around;

		o->h[i].off -= back;
		o->h[i].len += back + around;
	}
}

/* Gathers the raw bytes of a frame, and hints for each of the parts it is made of. */
static size_t frame_gather(const struct differ *x, size_t frame, uint8_t *raw, struct hints *hints)
{
	size_t n = image_delta_frame_bytes(&x->d, frame), got = 0;
	uint64_t off = (uint64_t)frame * x->d.frame / x->d.unit;

	hints->n = 0;
	for (size_t i = x->start[frame]; got < n; i++) {
		const struct image_piece *p = &x->d.pieces[i];
		uint64_t skip, len;

		if (p->kind != IMAGE_PIECE_FRAME)
			continue;
		skip = off + got / x->d.unit - p->from;
		len = (p->len - skip) * x->d.unit;
		len = len < n - got ? len : n - got;
		memcpy(raw + got, x->m.target.p + (p->at + skip) * x->d.unit, (size_t)len);
		hints_of_part(x, i, skip, len / x->d.unit, hints);
		got += (size_t)len;
	}
	hints_widen(hints, n);
	return n;
}

static size_t prefix_gather(const struct differ *x, const struct packed *f, uint8_t *prefix)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_extents; i++) {
		const struct image_extent *xt = &f->extents[i];
		size_t len = (size_t)xt->len * x->d.unit;

		memcpy(prefix + n, x->m.source[xt->source].p + xt->off * x->d.unit, len);
		n += len;
	}
	return n;
}

/*
 * What a level means for 256 KiB is not enough with a prefix in front: the window must reach back
 * to its start, and low levels keep too few places in mind.
 */
static bool window_set(ZSTD_CCtx *ctx, size_t n)
{
	int log = WINDOW_LOG_MIN;

	while ((size_t)1 << log < n)
		log++;
	return !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, log)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_hashLog, log)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_chainLog, log));
}

/* Compresses p[0..n) behind the prefix and keeps it when it is the smallest so far. */
static bool packed_try(struct worker *w, struct packed *f, const uint8_t *p, size_t n,
		       size_t prefix, size_t control)
{
	size_t packed;
	uint8_t *keep;

	if (!window_set(w->ctx, prefix + n) ||
	    ZSTD_isError(ZSTD_CCtx_refPrefix(w->ctx, prefix ? w->prefix : NULL, prefix)))
		return false;
	packed = ZSTD_compress2(w->ctx, w->out, SEEKABLE_PACKED_MAX(n), p, n);
	if (ZSTD_isError(packed))
		return false;
	if (f->p && packed >= f->n)
		return true;
	keep = realloc(f->p, packed);
	if (!keep)
		return false;
	memcpy(keep, w->out, packed);
	f->p = keep;
	f->n = packed;
	f->control = control;
	return true;
}

/* As it is, or as differences from its prefix. False when zstd or memory fails. */
static bool frame_pack(struct worker *w, size_t frame)
{
	struct packed *f = &w->x->packed[frame];
	struct hints hints;
	size_t prefix, control, n = frame_gather(w->x, frame, w->raw, &hints);

	f->n_extents = image_similar_find(w->x->similar, w->raw, n, hints.h, hints.n, f->extents);
	prefix = prefix_gather(w->x, f, w->prefix);
	if (!packed_try(w, f, w->raw, n, prefix, 0))
		return false;
	control = image_bsdiff(w->bsdiff, w->raw, n, w->prefix, prefix, w->mixed);
	return control == 0 || packed_try(w, f, w->mixed, n + control, prefix, control);
}

static bool worker_new(struct worker *w)
{
	const struct image_diff_job *job = w->x->job;
	const size_t raw = w->x->d.frame, mixed = raw + IMAGE_CONTROL_MAX(raw);

	w->ctx = ZSTD_createCCtx();
	w->bsdiff = image_bsdiff_new(raw);
	w->raw = malloc(raw);
	w->prefix = malloc(IMAGE_PREFIX_MAX);
	w->mixed = malloc(mixed);
	w->out = malloc(SEEKABLE_PACKED_MAX(mixed));
	return w->ctx && w->bsdiff && w->raw && w->prefix && w->mixed && w->out &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(w->ctx, ZSTD_c_compressionLevel,
						    job->level ? job->level : IMAGE_LEVEL));
}

static void worker_done(struct worker *w)
{
	(void)ZSTD_freeCCtx(w->ctx);
	image_bsdiff_free(w->bsdiff);
	free(w->raw);
	free(w->prefix);
	free(w->mixed);
	free(w->out);
}

static void *worker_main(void *arg)
{
	CLEANUP(worker_done) struct worker w = { .x = arg };
	struct differ *x = w.x;
	bool good = worker_new(&w);

	(void)pthread_mutex_lock(&x->lock);
	while (good && !x->stop && x->taken < x->d.frames) {
		size_t frame = x->taken++;

		(void)pthread_mutex_unlock(&x->lock);
		good = frame_pack(&w, frame);
		(void)pthread_mutex_lock(&x->lock);
		x->done += good;
		(void)pthread_cond_signal(&x->finished);
	}
	x->running--;
	x->stop |= !good;
	(void)pthread_cond_signal(&x->finished);
	(void)pthread_mutex_unlock(&x->lock);
	return NULL;
}

static int frames_tell(const struct differ *x, size_t done, struct err *e)
{
	const struct image_diff_job *job = x->job;
	uint64_t n = (uint64_t)done * x->d.frame;

	if (job->progress &&
	    job->progress(job->progress_arg, n < x->d.raw_bytes ? n : x->d.raw_bytes,
			  x->d.raw_bytes) < 0)
		return err_set(e, ERR_HOST, ECANCELED, "comparing was cancelled");
	return 0;
}

/* Tells how far the threads are until they have ended. */
static int workers_watch(struct differ *x, struct err *e)
{
	size_t told = 0;
	int r = 0;

	(void)pthread_mutex_lock(&x->lock);
	while (x->running > 0 || (r >= 0 && x->done > told)) {
		size_t done = x->done;

		if (done == told || r < 0) {
			(void)pthread_cond_wait(&x->finished, &x->lock);
			continue;
		}
		told = done;
		(void)pthread_mutex_unlock(&x->lock);
		r = frames_tell(x, done, e);
		(void)pthread_mutex_lock(&x->lock);
		x->stop |= r < 0;
	}
	(void)pthread_mutex_unlock(&x->lock);
	if (r >= 0 && x->done < x->d.frames)
		r = err_set(e, ERR_HOST, ENOMEM, "zstd could not compress the new bytes");
	return r;
}

static unsigned threads_of(const struct differ *x)
{
	unsigned n = x->job->threads;

	if (n == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		n = cores > 0 ? (unsigned)cores : 1;
	}
	n = n < THREADS_MAX ? n : THREADS_MAX;
	return x->d.frames < n ? (unsigned)x->d.frames : n;
}

static int frames_pack(struct differ *x, struct err *e)
{
	pthread_t id[THREADS_MAX];
	unsigned n = threads_of(x), started = 0;
	int r;

	x->running = n;
	while (started < n && pthread_create(&id[started], NULL, worker_main, x) == 0)
		started++;
	(void)pthread_mutex_lock(&x->lock);
	x->running -= n - started;
	(void)pthread_mutex_unlock(&x->lock);
	r = workers_watch(x, e);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(id[i], NULL);
	return r;
}

/* Where frames begin, and how many there are. */
static int frames_lay(struct differ *x, struct err *e)
{
	struct image_delta *d = &x->d;
	uint64_t fresh = 0;
	size_t f = 0;

	for (size_t i = 0; i < d->n_pieces; i++)
		if (d->pieces[i].kind == IMAGE_PIECE_FRAME)
			fresh += (uint64_t)d->pieces[i].len * d->unit;
	d->raw_bytes = fresh;
	d->frame = x->job->frame ? x->job->frame : fresh < LARGE ? FRAME_SMALL : FRAME_LARGE;
	d->frames = (size_t)((fresh + d->frame - 1) / d->frame);
	x->start = calloc(d->frames + 1, sizeof(*x->start));
	x->packed = calloc(d->frames + 1, sizeof(*x->packed));
	d->packed = calloc(d->frames + 1, sizeof(*d->packed));
	d->control = calloc(d->frames + 1, sizeof(*d->control));
	d->first = calloc(d->frames + 1, sizeof(*d->first));
	if (!x->start || !x->packed || !d->packed || !d->control || !d->first)
		return err_set(e, ERR_HOST, ENOMEM, "frames of a delta");
	for (size_t i = 0; i < d->n_pieces; i++) {
		const struct image_piece *p = &d->pieces[i];

		if (p->kind != IMAGE_PIECE_FRAME)
			continue;
		while (f < d->frames && (uint64_t)f * d->frame < (p->from + p->len) * d->unit)
			x->start[f++] = i;
	}
	return 0;
}

/* The tables of the recipe from what the threads made. */
static int tables_make(struct differ *x, struct err *e)
{
	struct image_delta *d = &x->d;
	size_t n = 0;

	for (size_t i = 0; i < d->frames; i++)
		n += x->packed[i].n_extents;
	d->extents = calloc(n + 1, sizeof(*d->extents));
	if (!d->extents)
		return err_set(e, ERR_HOST, ENOMEM, "prefixes of a delta");
	n = 0;
	for (size_t i = 0; i < d->frames; i++) {
		const struct packed *f = &x->packed[i];

		d->packed[i + 1] = d->packed[i] + f->n;
		d->control[i] = (uint32_t)f->control;
		d->first[i] = (uint32_t)n;
		memcpy(d->extents + n, f->extents, f->n_extents * sizeof(*d->extents));
		n += f->n_extents;
	}
	d->first[d->frames] = (uint32_t)n;
	return 0;
}

static void stats_make(const struct differ *x, size_t head, struct image_diff_stats *st)
{
	const struct image_delta *d = &x->d;

	*st = (struct image_diff_stats){ .head = head, .pieces = d->n_pieces, .frames = d->frames };
	st->blob = head + d->packed[d->frames];
	st->fresh = d->raw_bytes;
	for (size_t i = 0; i < d->n_pieces; i++) {
		const struct image_piece *p = &d->pieces[i];
		uint64_t n = (uint64_t)p->len * d->unit;

		if (p->kind == IMAGE_PIECE_ZERO)
			st->zero += n;
		else if (p->kind == IMAGE_PIECE_COPY && p->from == p->at)
			st->in_place += n;
		else if (p->kind != IMAGE_PIECE_FRAME)
			st->moved += n;
	}
}

static int blob_put(struct differ *x, struct image_diff_stats *ret, struct err *e)
{
	const struct image_diff_job *job = x->job;
	AUTO_BUF head = { .max = BLOB_MAX };
	int r = tables_make(x, e);

	if (r >= 0)
		r = image_delta_format(&x->d, &head, e);
	if (r >= 0)
		r = job->put(job->put_arg, head.p, head.n, e);
	for (size_t i = 0; r >= 0 && i < x->d.frames; i++)
		r = job->put(job->put_arg, x->packed[i].p, x->packed[i].n, e);
	if (r < 0)
		return r;
	if (ret)
		stats_make(x, head.n, ret);
	return 0;
}

static int differ_open(struct differ *x, struct err *e)
{
	const struct image_diff_job *job = x->job;
	int r;

	if (pthread_mutex_init(&x->lock, NULL) != 0 || pthread_cond_init(&x->finished, NULL) != 0)
		return err_set(e, ERR_HOST, ENOMEM, "locks to compare with");
	if ((job->unit != 1 && job->unit != IMAGE_BLOCK) || job->sources < 1 ||
	    job->sources > (job->unit == 1 ? IMAGE_DELTA_SOURCES : 1u))
		return err_set(e, ERR_BUG, EINVAL, "no delta in units of %u from %u sources",
			       job->unit, job->sources);
	if (job->frame && !image_delta_frame_fits(job->frame))
		return err_set(e, ERR_BUG, EINVAL, "no delta with frames of %zu bytes", job->frame);
	if (job->level < 0 || job->level > ZSTD_maxCLevel())
		return err_set(e, ERR_INPUT, EINVAL, "compression level %d, 1 to %d are possible",
			       job->level, ZSTD_maxCLevel());
	x->m.unit = x->d.unit = job->unit;
	x->m.sources = x->d.sources = job->sources;
	x->d.target = job->target.whole;
	r = map_new(job, &job->target, &x->m.target, e);
	for (unsigned s = 0; r >= 0 && s < job->sources; s++) {
		x->d.source[s] = job->source[s].whole;
		r = map_new(job, &job->source[s], &x->m.source[s], e);
	}
	return r;
}

/* Which file lies where, when both are images that tell. */
static int files_map(struct differ *x, struct err *e)
{
	int r = 0;

	if (x->d.unit != IMAGE_BLOCK)
		return 0;
	r = erofs_map_new(x->m.target.p, x->m.target.n, &x->map, e);
	if (r >= 0 && x->map)
		r = erofs_map_new(x->m.source[0].p, x->m.source[0].n, &x->old_map, e);
	if (r >= 0 && x->old_map)
		r = erofs_index_new(x->old_map, &x->old, e);
	return r;
}

int image_diff(const struct image_diff_job *job, struct image_diff_stats *ret, struct err *e)
{
	CLEANUP(differ_done) struct differ x = { .job = job };
	int r = differ_open(&x, e);

	if (r >= 0)
		r = image_match(&x.m, &x.d.pieces, &x.d.n_pieces, e);
	if (r >= 0)
		r = frames_lay(&x, e);
	if (r >= 0)
		r = files_map(&x, e);
	if (r >= 0 && x.d.frames > 0)
		r = image_similar_new(&x.m, &x.similar, e);
	if (r >= 0)
		r = frames_pack(&x, e);
	return r < 0 ? r : blob_put(&x, ret, e);
}
