/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/encode.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "updater/image/split.h"
#include "verity/tree.h"

#define THREADS_MAX 64u
#define PER_THREAD  4u /* frames read ahead for each thread */

/* One frame on its way: read by the caller's thread, packed by any, put by the caller's again. */
struct cell {
	uint8_t *raw, *packed;
	size_t raw_n, packed_n; /* packed_n 0: zstd failed */
	bool done;
};

struct packer {
	const struct image_encode_job *job;
	size_t raw;         /* bytes of a frame, or of the longest with job->split */
	struct cell *cells; /* frame i is in cells[i % n_cells] */
	size_t n_cells;
	uint64_t frames;
	struct buf sizes;  /* of the packed frames, u32 */
	struct buf sums;   /* their checksums, u32 */
	uint64_t packed_n; /* bytes put */
	uint64_t read_n;   /* bytes of the input read */
	uint64_t done_n;   /* and packed */
	/* takes the raw bytes of each frame in order; may be NULL */
	int (*raw_fn)(void *arg, const void *p, size_t n, struct err *e);
	void *raw_arg;

	pthread_mutex_t lock; /* all below, and `done` of the cells */
	pthread_cond_t work, finished;
	uint64_t submitted, taken;
	bool stop;
};

static int level_of(const struct image_encode_job *job)
{
	return job->level ? job->level : IMAGE_LEVEL;
}

/* The content checksum at the end of a frame is what the seek table asks for (low half of XXH64).
 */
static ZSTD_CCtx *compressor_new(int level)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();

	if (c && (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level)) ||
		  ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)))) {
		(void)ZSTD_freeCCtx(c);
		return NULL;
	}
	return c;
}

static struct cell *cell_of(const struct packer *k, uint64_t frame)
{
	assert(k->n_cells > 0);
	return &k->cells[frame % k->n_cells];
}

static struct cell *cell_take(struct packer *k)
{
	struct cell *c = NULL;

	(void)pthread_mutex_lock(&k->lock);
	while (k->taken == k->submitted && !k->stop)
		(void)pthread_cond_wait(&k->work, &k->lock);
	if (!k->stop)
		c = cell_of(k, k->taken++);
	(void)pthread_mutex_unlock(&k->lock);
	return c;
}

static void *worker_main(void *arg)
{
	struct packer *k = arg;
	ZSTD_CCtx *ctx = compressor_new(level_of(k->job));
	struct cell *c;

	while ((c = cell_take(k))) {
		size_t n = ctx ? ZSTD_compress2(ctx, c->packed, SEEKABLE_PACKED_MAX(k->raw), c->raw,
						c->raw_n)
			       : 0;

		(void)pthread_mutex_lock(&k->lock);
		c->packed_n = ZSTD_isError(n) ? 0 : n;
		c->done = true;
		(void)pthread_cond_signal(&k->finished);
		(void)pthread_mutex_unlock(&k->lock);
	}
	(void)ZSTD_freeCCtx(ctx);
	return NULL;
}

static int put(struct packer *k, const void *p, size_t n, struct err *e)
{
	int r = k->job->put(k->job->put_arg, p, n, e);

	if (r < 0)
		return r;
	k->packed_n += n;
	return 0;
}

static size_t frame_raw(const struct packer *k, uint64_t i)
{
	uint64_t left;

	if (k->job->split)
		return (size_t)k->job->split->blocks[i] * IMAGE_BLOCK;
	left = k->job->bytes - i * k->raw;
	return left < k->raw ? (size_t)left : k->raw;
}

/* Waits for the frame and hands it on. */
static int frame_put(struct packer *k, uint64_t i, struct err *e)
{
	struct cell *c = cell_of(k, i);
	uint8_t size[4];
	int r;

	(void)pthread_mutex_lock(&k->lock);
	while (!c->done)
		(void)pthread_cond_wait(&k->finished, &k->lock);
	(void)pthread_mutex_unlock(&k->lock);
	if (c->packed_n == 0)
		return err_set(e, ERR_HOST, ENOMEM, "zstd could not compress frame %llu",
			       (unsigned long long)i);
	le32_put(size, (uint32_t)c->packed_n);
	r = buf_add(&k->sizes, size, sizeof(size), e);
	if (r < 0)
		return r;
	r = buf_add(&k->sums, c->packed + c->packed_n - 4, 4, e);
	if (r < 0)
		return r;
	k->done_n += c->raw_n;
	return put(k, c->packed, c->packed_n, e);
}

static int frame_read(struct packer *k, uint64_t i, struct err *e)
{
	const struct image_encode_job *job = k->job;
	struct cell *c = cell_of(k, i);
	uint64_t at = k->read_n;
	int r;

	c->raw_n = frame_raw(k, i);
	k->read_n += c->raw_n;
	r = sys_read_full(job->sys, job->fd, c->raw, c->raw_n, at);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the image at byte %llu: %s",
			       (unsigned long long)at, strerror(-r));
	r = k->raw_fn ? k->raw_fn(k->raw_arg, c->raw, c->raw_n, e) : 0;
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&k->lock);
	c->done = false;
	k->submitted++;
	(void)pthread_cond_signal(&k->work);
	(void)pthread_mutex_unlock(&k->lock);
	return 0;
}

static int pack_frames(struct packer *k, struct err *e)
{
	const struct image_encode_job *job = k->job;
	uint64_t ahead = k->n_cells;

	for (uint64_t i = 0; i < k->frames + ahead; i++) {
		int r = 0;

		if (i >= ahead && i - ahead < k->frames) {
			r = frame_put(k, i - ahead, e);
			if (r >= 0 && job->progress &&
			    job->progress(job->progress_arg, k->done_n, job->bytes) < 0)
				r = err_set(e, ERR_HOST, ECANCELED, "compressing was cancelled");
		}
		if (r >= 0 && i < k->frames)
			r = frame_read(k, i, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_table(struct packer *k, struct err *e)
{
	size_t frames = (size_t)k->frames, n = seekable_table_bytes(frames);
	AUTO_FREE uint8_t *t = malloc(n);

	if (!t)
		return err_set(e, ERR_HOST, ENOMEM, "seek table");
	le32_put(t, 0x184D2A5Eu);
	le32_put(t + 4, (uint32_t)(n - 8));
	for (size_t i = 0; i < frames; i++) {
		uint8_t *at = t + 8 + 12 * i;

		memcpy(at, k->sizes.p + 4 * i, 4);
		le32_put(at + 4, (uint32_t)frame_raw(k, i));
		memcpy(at + 8, k->sums.p + 4 * i, 4);
	}
	le32_put(t + n - 9, (uint32_t)frames);
	t[n - 5] = 0x80; /* with checksums */
	le32_put(t + n - 4, 0x8F92EAB1u);
	return put(k, t, n, e);
}

static unsigned threads_of(const struct packer *k)
{
	unsigned n = k->job->threads;

	if (n == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		n = cores > 0 ? (unsigned)cores : 1;
	}
	n = n < THREADS_MAX ? n : THREADS_MAX;
	n = k->frames < n ? (unsigned)k->frames : n;
	return n > 0 ? n : 1;
}

static int cells_new(struct packer *k, unsigned threads, struct err *e)
{
	k->n_cells = (size_t)threads * PER_THREAD;
	k->cells = calloc(k->n_cells, sizeof(*k->cells));
	if (!k->cells)
		return err_set(e, ERR_HOST, ENOMEM, "buffers to compress with");
	for (size_t i = 0; i < k->n_cells; i++) {
		k->cells[i].raw = malloc(k->raw);
		k->cells[i].packed = malloc(SEEKABLE_PACKED_MAX(k->raw));
		if (!k->cells[i].raw || !k->cells[i].packed)
			return err_set(e, ERR_HOST, ENOMEM, "buffers to compress with");
	}
	return 0;
}

static void packer_done(struct packer *k)
{
	for (size_t i = 0; k->cells && i < k->n_cells; i++) {
		free(k->cells[i].raw);
		free(k->cells[i].packed);
	}
	free(k->cells);
	buf_done(&k->sizes);
	buf_done(&k->sums);
	(void)pthread_cond_destroy(&k->work);
	(void)pthread_cond_destroy(&k->finished);
	(void)pthread_mutex_destroy(&k->lock);
}

static int packer_init(struct packer *k, struct err *e)
{
	const struct image_encode_job *job = k->job;

	if (pthread_mutex_init(&k->lock, NULL) != 0 || pthread_cond_init(&k->work, NULL) != 0 ||
	    pthread_cond_init(&k->finished, NULL) != 0)
		return err_set(e, ERR_HOST, ENOMEM, "locks to compress with");
	if (job->bytes == 0)
		return err_set(e, ERR_INPUT, EINVAL, "nothing to compress: the file is empty");
	if (level_of(job) < 1 || level_of(job) > ZSTD_maxCLevel())
		return err_set(e, ERR_INPUT, EINVAL, "compression level %d, 1 to %d are possible",
			       job->level, ZSTD_maxCLevel());
	if (job->bytes > (uint64_t)SEEKABLE_FRAMES_MAX * k->raw)
		return err_set(e, ERR_INPUT, EFBIG, "%llu bytes are too many for a blob",
			       (unsigned long long)job->bytes);
	k->frames = job->split ? job->split->n : (job->bytes - 1) / k->raw + 1;
	return 0;
}

static int packer_run(struct packer *k, struct err *e)
{
	pthread_t id[THREADS_MAX];
	unsigned n, started = 0;
	int r = packer_init(k, e);

	if (r < 0)
		return r;
	n = threads_of(k);
	r = cells_new(k, n, e);
	if (r < 0)
		return r;
	while (started < n && pthread_create(&id[started], NULL, worker_main, k) == 0)
		started++;
	r = started > 0 ? pack_frames(k, e)
			: err_set(e, ERR_HOST, EAGAIN, "no thread to compress with");
	(void)pthread_mutex_lock(&k->lock);
	k->stop = true;
	(void)pthread_cond_broadcast(&k->work);
	(void)pthread_mutex_unlock(&k->lock);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(id[i], NULL);
	return r < 0 ? r : put_table(k, e);
}

int image_pack(const struct image_encode_job *job, uint64_t *ret_bytes, struct err *e)
{
	CLEANUP(packer_done) struct packer k = { .job = job, .raw = SEEKABLE_FILE_RAW };
	int r = packer_run(&k, e);

	if (r < 0)
		return r;
	*ret_bytes = k.packed_n;
	return 0;
}

/* What the index needs of the tree, caught as the tree is built. */
struct catch
{
	struct verity_geometry g;
	struct verity_tree *tree;
	uint64_t data_blocks;
	uint8_t *upper, *leaves;
	size_t upper_n, leaves_n;
};

static void catch_done(struct catch *c)
{
	verity_tree_free(c->tree);
	free(c->upper);
	free(c->leaves);
}

static int catch_block(void *arg, uint64_t offset, const void *p, size_t n, struct err *e)
{
	struct catch *c = arg;
	uint64_t upper = verity_upper_offset(&c->g), leaves = upper + c->upper_n;
	uint64_t first;

	(void)e;
	if (c->g.levels == 0 || offset < IMAGE_BLOCK) /* the superblock */
		return 0;
	if (offset < leaves) {
		memcpy(c->upper + (offset - upper), p, n);
		return 0;
	}
	first = (offset - leaves) / SHA256_BYTES;
	for (size_t i = 0; i < n / SHA256_BYTES && first + i < c->data_blocks; i++)
		memcpy(c->leaves + IMAGE_LEAF_CUT * (first + i),
		       (const uint8_t *)p + SHA256_BYTES * i, IMAGE_LEAF_CUT);
	return 0;
}

static int catch_raw(void *arg, const void *p, size_t n, struct err *e)
{
	struct catch *c = arg;

	return verity_tree_add(c->tree, p, n, e);
}

static int catch_new(struct catch *c, const struct image_id *id, struct err *e)
{
	struct verity_super s;
	int r = image_super(id, &s, e);

	if (r < 0)
		return r;
	r = verity_geometry(&s, &c->g, e);
	if (r < 0)
		return r;
	c->data_blocks = id->data_blocks;
	c->upper_n = (size_t)verity_upper_bytes(&c->g);
	c->leaves_n = (size_t)id->data_blocks * IMAGE_LEAF_CUT;
	c->upper = calloc(1, c->upper_n ? c->upper_n : 1);
	c->leaves = calloc(1, c->leaves_n);
	if (!c->upper || !c->leaves)
		return err_set(e, ERR_HOST, ENOMEM, "image index");
	return verity_tree_new(&s, catch_block, c, &c->tree, e);
}

/* The frames of the split, which must fill the image. */
static int split_take(struct packer *k, struct image_id *id, struct err *e)
{
	const struct image_split *s = k->job->split;
	uint64_t blocks = 0;
	uint32_t most = 0;

	for (size_t i = 0; i < s->n; i++) {
		blocks += s->blocks[i];
		most = s->blocks[i] > most ? s->blocks[i] : most;
	}
	if (blocks != id->data_blocks || most > IMAGE_SPLIT_NEW)
		return err_set(e, ERR_BUG, EINVAL, "frames that do not fit the image");
	k->raw = (size_t)most * IMAGE_BLOCK;
	id->index_bytes = image_index_length(id, s->n);
	return 0;
}

static int index_make(const struct packer *k, const struct catch *c, const struct image_id *id,
		      struct buf *out, struct err *e)
{
	AUTO_FREE uint8_t *entries = malloc(4 * (size_t)k->frames);
	struct image_index_parts parts = { .id = id,
					   .full_bytes = k->packed_n,
					   .upper = c->upper,
					   .upper_n = c->upper_n,
					   .frames = entries,
					   .frames_n = 4 * (size_t)k->frames,
					   .leaves = c->leaves,
					   .leaves_n = c->leaves_n };

	if (!entries)
		return err_set(e, ERR_HOST, ENOMEM, "image index");
	for (size_t i = 0; i < k->frames; i++)
		le32_put(entries + 4 * i,
			 seekable_entry(le32_get(k->sizes.p + 4 * i), frame_raw(k, i)));
	out->max = out->n + (size_t)id->index_bytes;
	return image_index_format(&parts, out, e);
}

int image_encode(const struct image_encode_job *job, struct image_id *id, struct buf *index_out,
		 uint64_t *ret_bytes, struct err *e)
{
	CLEANUP(packer_done) struct packer k = { .job = job };
	CLEANUP(catch_done) struct catch c = { .tree = NULL };
	struct image_id done = *id;
	uint8_t root[DIGEST_MAX];
	int r;

	if (job->bytes == 0 || job->bytes % IMAGE_BLOCK)
		return err_set(e, ERR_INPUT, EINVAL,
			       "the image is %llu bytes long, not a whole number of %u-byte blocks",
			       (unsigned long long)job->bytes, IMAGE_BLOCK);
	done.data_blocks = job->bytes / IMAGE_BLOCK;
	if (done.data_blocks > IMAGE_BLOCKS_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "the image is larger than 64 GiB");
	r = catch_new(&c, &done, e);
	if (r < 0)
		return r;
	r = split_take(&k, &done, e);
	if (r < 0)
		return r;
	k.raw_fn = catch_raw;
	k.raw_arg = &c;
	r = packer_run(&k, e);
	if (r < 0)
		return r;
	r = verity_tree_end(c.tree, root, e);
	if (r < 0)
		return r;
	memcpy(done.root, root, sizeof(done.root));
	if (c.g.levels == 0)
		memcpy(c.leaves, root, IMAGE_LEAF_CUT);
	r = index_make(&k, &c, &done, index_out, e);
	if (r < 0)
		return r;
	*id = done;
	*ret_bytes = k.packed_n;
	return 0;
}
