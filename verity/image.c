/* SPDX-License-Identifier: Apache-2.0 */
#include "verity/image.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "verity/tree.h"

/*
 * Read at once: what a read costs beside its bytes no longer shows at the most; threads share what
 * all of them may hold.
 */
#define BATCH_MIN   ((size_t)256 << 10)
#define BATCH_MAX   ((size_t)1 << 20)
#define BATCHES_ALL ((size_t)4 << 20)
/* So that callers may pass descriptors opened with O_DIRECT for the data. */
#define BUFFER_ALIGN ((size_t)4096)

struct run;

/* What one thread owns. */
struct worker {
	struct run *run;
	struct verity_hasher *h;
	uint8_t *blocks;  /* a batch */
	uint8_t *digests; /* of a batch */
	uint8_t *parents; /* hash blocks that cover a batch */
	struct err e;
};

typedef int (*batch_fn)(struct worker *w, uint64_t first, size_t count);

/* A pass over `blocks` blocks; threads claim batches in order until they run out or one fails. */
struct run {
	struct sys *sys;
	const struct verity_super *s;
	struct verity_geometry g;
	const struct verity_area *data, *hash;
	const uint8_t *root;
	struct verity_tree *tree; /* format and root: fed in order */
	const struct verity_work *work;
	bool of_data; /* the pass hashes data blocks, else hash blocks of `level` */
	unsigned level;

	batch_fn fn;
	uint64_t blocks;
	size_t block_n, batch; /* bytes of a block, blocks in a batch */

	pthread_mutex_t lock; /* all below, and tree */
	pthread_cond_t turned;
	uint64_t next; /* first block nobody has claimed */
	uint64_t turn; /* first block the tree does not have */
	uint64_t done; /* blocks finished, for progress */
	uint64_t bad;  /* lowest block that does not match, or UINT64_MAX */
	int r;         /* first failure */
	struct err *e; /* its error, may be NULL */
};

static int area_read(struct sys *sys, const struct verity_area *a, uint64_t at, void *p, size_t n,
		     struct err *e)
{
	int r;

	if (at > a->bytes || n > a->bytes - at)
		return err_set(e, ERR_INPUT, ENOSPC,
			       "verity: %zu bytes at byte %llu lie behind the end", n,
			       (unsigned long long)at);
	r = sys_read_full(sys, a->fd, p, n, a->offset + at);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "verity: read at byte %llu: %s",
			       (unsigned long long)at, strerror(-r));
	return 0;
}

static int area_write(struct sys *sys, const struct verity_area *a, uint64_t at, const void *p,
		      size_t n, struct err *e)
{
	int r = sys_write_full(sys, a->fd, p, n, a->offset + at);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "verity: write at byte %llu of the hash area: %s",
			       (unsigned long long)at, strerror(-r));
	return 0;
}

int verity_super_read(struct sys *sys, const struct verity_area *hash, struct verity_super *ret,
		      struct err *e)
{
	uint8_t p[VERITY_SUPER_BYTES];
	int r;

	if (hash->bytes < sizeof(p))
		return err_set(e, ERR_INPUT, EINVAL, "no verity superblock here");
	r = area_read(sys, hash, 0, p, sizeof(p), e);
	return r < 0 ? r : verity_super_parse(p, ret, e);
}

static void worker_done(struct worker *w)
{
	verity_hasher_free(w->h);
	free(w->blocks);
	free(w->digests);
	free(w->parents);
}

static int worker_init(struct worker *w)
{
	const struct run *run = w->run;
	size_t parents = run->batch / run->g.per_block + 1;
	int r = verity_hasher_new(run->s, &w->h, &w->e);

	if (r < 0)
		return r;
	w->blocks = aligned_alloc(BUFFER_ALIGN, run->batch * run->block_n);
	w->digests = calloc(run->batch, run->g.digest_bytes);
	w->parents = calloc(parents, run->s->hash_block);
	if (!w->blocks || !w->digests || !w->parents)
		return err_set(&w->e, ERR_HOST, ENOMEM, "verity: out of memory");
	return 0;
}

/* Under the lock. The first failure counts and ends the claiming. */
static void fail(struct run *run, int r, const struct err *e)
{
	if (run->r < 0)
		return;
	run->r = r;
	if (run->e)
		*run->e = *e;
	(void)pthread_cond_broadcast(&run->turned);
}

static bool claim(struct run *run, uint64_t *ret_first, size_t *ret_count)
{
	bool got = false;

	(void)pthread_mutex_lock(&run->lock);
	if (run->r >= 0 && run->next < run->blocks) {
		uint64_t left = run->blocks - run->next;

		*ret_first = run->next;
		*ret_count = left < run->batch ? (size_t)left : run->batch;
		run->next += *ret_count;
		got = true;
	}
	(void)pthread_mutex_unlock(&run->lock);
	return got;
}

/* Under the lock. */
static void advance(struct run *run, size_t count, struct err *e)
{
	const struct verity_work *k = run->work;

	run->done += count;
	if (!run->of_data || !k || !k->progress)
		return;
	if (k->progress(k->arg, run->done * run->block_n, run->blocks * run->block_n) != 0)
		fail(run, err_set(e, ERR_HOST, ECANCELED, "verity: cancelled"), e);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;
	uint64_t first;
	size_t count;
	int r = worker_init(w);

	while (r >= 0 && claim(run, &first, &count)) {
		r = run->fn(w, first, count);
		if (r < 0)
			break;
		(void)pthread_mutex_lock(&run->lock);
		advance(run, count, &w->e);
		(void)pthread_mutex_unlock(&run->lock);
	}
	if (r < 0) {
		(void)pthread_mutex_lock(&run->lock);
		fail(run, r, &w->e);
		(void)pthread_mutex_unlock(&run->lock);
	}
	worker_done(w);
	return NULL;
}

static unsigned threads_allowed(const struct run *run)
{
	unsigned n = run->work ? run->work->threads : 0;

	if (n == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		n = cores > 0 && cores < VERITY_THREADS_MAX ? (unsigned)cores : VERITY_THREADS_MAX;
	}
	return n < VERITY_THREADS_MAX ? n : VERITY_THREADS_MAX;
}

static unsigned thread_count(const struct run *run)
{
	uint64_t batches = run->blocks / run->batch + (run->blocks % run->batch != 0);
	unsigned n = threads_allowed(run);

	return batches < n ? (unsigned)batches : n;
}

/* So that every thread gets some of them, and all that are read at once stay in BATCHES_ALL. */
static size_t batch_blocks(const struct run *run)
{
	uint64_t some = run->blocks * run->block_n / 4, threads = threads_allowed(run);
	size_t n = BATCH_MAX;

	while (n > BATCH_MIN && (n * threads > BATCHES_ALL || n * threads > some))
		n /= 2;
	return n / run->block_n;
}

/* One pass. The caller's thread works too, so that a host that refuses threads is only slower. */
static int run_pass(struct run *run, batch_fn fn)
{
	struct worker w[VERITY_THREADS_MAX] = { 0 };
	pthread_t id[VERITY_THREADS_MAX];
	unsigned n = thread_count(run), started = 1;

	run->fn = fn;
	run->next = run->turn = run->done = 0;
	run->bad = UINT64_MAX;
	for (unsigned i = 0; i < VERITY_THREADS_MAX; i++)
		w[i].run = run;
	while (started < n && pthread_create(&id[started], NULL, worker_main, &w[started]) == 0)
		started++;
	(void)worker_main(&w[0]);
	for (unsigned i = 1; i < started; i++)
		(void)pthread_join(id[i], NULL);
	return run->r;
}

static int run_init(struct run *run)
{
	int r = verity_geometry(run->s, &run->g, run->e);

	if (r < 0)
		return r;
	if (pthread_mutex_init(&run->lock, NULL) != 0 || pthread_cond_init(&run->turned, NULL) != 0)
		return err_set(run->e, ERR_HOST, ENOMEM, "verity: out of memory");
	return 0;
}

static void run_done(struct run *run)
{
	(void)pthread_cond_destroy(&run->turned);
	(void)pthread_mutex_destroy(&run->lock);
	verity_tree_free(run->tree);
}

static void pass_data(struct run *run)
{
	run->of_data = true;
	run->blocks = run->s->data_blocks;
	run->block_n = run->s->data_block;
	run->batch = batch_blocks(run);
}

static void pass_level(struct run *run, unsigned level)
{
	run->of_data = false;
	run->level = level;
	run->blocks = run->g.level[level].blocks;
	run->block_n = run->s->hash_block;
	run->batch = batch_blocks(run);
}

static int check_data_room(const struct run *run)
{
	uint64_t need =
		run->s->data_blocks * run->s->data_block; /* verity_super_check() bounds it */

	if (run->data->bytes < need)
		return err_set(run->e, ERR_INPUT, ENOSPC,
			       "verity: the data is %llu bytes, the superblock says %llu",
			       (unsigned long long)run->data->bytes, (unsigned long long)need);
	return 0;
}

static int check_hash_room(const struct run *run)
{
	if (run->hash->bytes < run->g.bytes)
		return err_set(run->e, ERR_INPUT, ENOSPC,
			       "verity: the hash area is %llu bytes, the tree needs %llu",
			       (unsigned long long)run->hash->bytes,
			       (unsigned long long)run->g.bytes);
	return 0;
}

/* Hashes a batch beside the others, then waits its turn to give the digests to the tree. */
static int batch_build(struct worker *w, uint64_t first, size_t count)
{
	struct run *run = w->run;
	int r = area_read(run->sys, run->data, first * run->block_n, w->blocks,
			  count * run->block_n, &w->e);

	if (r < 0)
		return err_wrap(&w->e, r, "data");
	verity_hash_blocks(w->h, w->blocks, run->block_n, count, w->digests);

	(void)pthread_mutex_lock(&run->lock);
	while (run->turn != first && run->r >= 0)
		(void)pthread_cond_wait(&run->turned, &run->lock);
	if (run->r >= 0) {
		r = verity_tree_add_digests(run->tree, w->digests, count, &w->e);
		run->turn += count;
		(void)pthread_cond_broadcast(&run->turned);
	}
	(void)pthread_mutex_unlock(&run->lock);
	return r;
}

static int write_tree(void *arg, uint64_t offset, const void *p, size_t n, struct err *e)
{
	const struct run *run = arg;

	return area_write(run->sys, run->hash, offset, p, n, e);
}

static int build(struct run *run, uint8_t ret_root[DIGEST_MAX])
{
	static const uint8_t nothing[VERITY_BLOCK_MAX];
	int r = run_init(run);

	if (r < 0)
		return r;
	r = check_data_room(run);
	if (r >= 0 && run->hash)
		r = check_hash_room(run);
	if (r >= 0)
		r = verity_tree_new(run->s, run->hash ? write_tree : NULL, run, &run->tree, run->e);
	if (r >= 0 && run->hash)
		r = area_write(run->sys, run->hash, 0, nothing, run->s->hash_block, run->e);
	if (r >= 0) {
		pass_data(run);
		r = run_pass(run, batch_build);
	}
	if (r >= 0)
		r = verity_tree_end(run->tree, ret_root, run->e);
	run_done(run);
	return r;
}

int verity_format(struct sys *sys, const struct verity_area *data, const struct verity_area *hash,
		  const struct verity_super *s, const struct verity_work *w,
		  uint8_t ret_root[DIGEST_MAX], struct err *e)
{
	struct run run = { .sys = sys, .s = s, .data = data, .hash = hash, .work = w, .e = e };

	return build(&run, ret_root);
}

int verity_root(struct sys *sys, const struct verity_area *data, const struct verity_super *s,
		const struct verity_work *w, uint8_t ret_root[DIGEST_MAX], struct err *e)
{
	struct run run = { .sys = sys, .s = s, .data = data, .work = w, .e = e };

	return build(&run, ret_root);
}

/* Reads the hash blocks that hold the digests of a batch; first is a multiple of the batch size. */
static int read_parents(struct worker *w, unsigned level, uint64_t first, size_t count)
{
	const struct run *run = w->run;
	uint64_t from = first / run->g.per_block;
	uint64_t to = (first + count - 1) / run->g.per_block + 1;
	int r = area_read(run->sys, run->hash,
			  run->g.level[level].offset + from * run->s->hash_block, w->parents,
			  (size_t)(to - from) * run->s->hash_block, &w->e);

	return r < 0 ? err_wrap(&w->e, r, "hash area") : 0;
}

/* The digest block `first + i` must have, out of the parents read for a batch from `first` on. */
static const uint8_t *wanted(const struct worker *w, uint64_t first, size_t i)
{
	const struct run *run = w->run;
	uint64_t in = first % run->g.per_block + i;

	return w->parents + in / run->g.per_block * run->s->hash_block +
	       in % run->g.per_block * run->g.slot;
}

static void note_bad(struct run *run, uint64_t block)
{
	(void)pthread_mutex_lock(&run->lock);
	if (block < run->bad)
		run->bad = block;
	run->next = run->blocks; /* what lies before was claimed before, and is still looked at */
	(void)pthread_mutex_unlock(&run->lock);
}

static int batch_check(struct worker *w, uint64_t first, size_t count)
{
	struct run *run = w->run;
	const struct verity_area *a = run->of_data ? run->data : run->hash;
	uint64_t base = run->of_data ? 0 : run->g.level[run->level].offset;
	unsigned parent = run->of_data ? 0 : run->level + 1;
	int r = area_read(run->sys, a, base + first * run->block_n, w->blocks, count * run->block_n,
			  &w->e);

	if (r < 0)
		return err_wrap(&w->e, r, run->of_data ? "data" : "hash area");
	if (parent < run->g.levels) {
		r = read_parents(w, parent, first, count);
		if (r < 0)
			return r;
	}
	verity_hash_blocks(w->h, w->blocks, run->block_n, count, w->digests);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *want = parent < run->g.levels ? wanted(w, first, i) : run->root;

		if (memcmp(w->digests + i * run->g.digest_bytes, want, run->g.digest_bytes) != 0) {
			note_bad(run, first + i);
			break;
		}
	}
	return 0;
}

static bool same_parameters(const struct verity_super *a, const struct verity_super *b)
{
	return a->hash_type == b->hash_type && a->algorithm == b->algorithm &&
	       a->data_block == b->data_block && a->hash_block == b->hash_block &&
	       a->data_blocks == b->data_blocks && a->salt_n == b->salt_n &&
	       memcmp(a->salt, b->salt, a->salt_n) == 0;
}

static int check_super(const struct run *run, struct verity_bad *bad)
{
	struct verity_super there = { 0 };
	int r = verity_super_read(run->sys, run->hash, &there, run->e);

	if (r < 0 && (!run->e || run->e->kind != ERR_INPUT))
		return r;
	if (r >= 0 && same_parameters(&there, run->s))
		return 0;
	bad->kind = VERITY_BAD_SUPER;
	return err_set(run->e, ERR_REFUSED, EBADMSG,
		       "the superblock of the hash area is not the expected one");
}

static int say_bad(const struct run *run, struct verity_bad *bad)
{
	bad->kind = run->of_data ? VERITY_BAD_DATA : VERITY_BAD_HASH;
	bad->level = run->of_data ? 0 : run->level;
	bad->block = run->bad;
	bad->at = run->bad * run->block_n + (run->of_data ? 0 : run->g.level[run->level].offset);
	if (run->of_data)
		return err_set(run->e, ERR_REFUSED, EBADMSG,
			       "data block %llu (byte %llu) does not match the hash tree",
			       (unsigned long long)bad->block, (unsigned long long)bad->at);
	if (run->level + 1 == run->g.levels)
		return err_set(
			run->e, ERR_REFUSED, EBADMSG,
			"the hash tree (top block at byte %llu) does not match the root hash",
			(unsigned long long)bad->at);
	return err_set(run->e, ERR_REFUSED, EBADMSG,
		       "hash block %llu of level %u (byte %llu of the hash area) does not match "
		       "the tree above it",
		       (unsigned long long)bad->block, bad->level, (unsigned long long)bad->at);
}

static int verify(struct run *run, struct verity_bad *bad)
{
	int r = check_data_room(run);

	if (r >= 0)
		r = check_hash_room(run);
	if (r >= 0)
		r = check_super(run, bad);
	for (unsigned l = run->g.levels; r >= 0 && l-- > 0;) {
		pass_level(run, l);
		r = run_pass(run, batch_check);
		if (r >= 0 && run->bad != UINT64_MAX)
			return say_bad(run, bad);
	}
	if (r < 0)
		return r;
	pass_data(run);
	r = run_pass(run, batch_check);
	if (r >= 0 && run->bad != UINT64_MAX)
		return say_bad(run, bad);
	return r;
}

int verity_verify(struct sys *sys, const struct verity_check *c, const struct verity_work *w,
		  struct verity_bad *ret_bad, struct err *e)
{
	struct err mine = ERR_INIT;
	struct run run = { .sys = sys,
			   .s = c->super,
			   .data = &c->data,
			   .hash = &c->hash,
			   .root = c->root,
			   .work = w,
			   .e = e ? e : &mine };
	struct verity_bad bad = { .kind = VERITY_BAD_NONE };
	int r = run_init(&run);

	if (r < 0)
		return r;
	r = verify(&run, &bad);
	run_done(&run);
	if (ret_bad)
		*ret_bad = bad;
	return r;
}
