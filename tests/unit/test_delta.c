/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deltas of random images and files: made, read, applied, forged. What is applied must be the
 * target byte for byte, or nothing of it may have reached the slot.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "tests/delta_make.h"
#include "tests/image_source.h"
#include "updater/image/feed.h"
#include "updater/image/patch.h"
#include "updater/image/plan.h"
#include "updater/image/write.h"

/* The real storage, but the k-th write fails. */
struct failing {
	struct sys sys; /* first */
	struct sys_ops ops;
	unsigned writes, fail_at;
};

static ssize_t failing_pwrite(struct sys *s, int fd, const void *p, size_t n, uint64_t off)
{
	struct failing *f = (struct failing *)s;

	return ++f->writes == f->fail_at ? -EIO
					 : sys_linux()->ops->pwrite(sys_linux(), fd, p, n, off);
}

static struct failing failing_new(void)
{
	struct failing f = { .ops = *sys_linux()->ops };

	f.ops.pwrite = failing_pwrite;
	return f;
}

/* Two releases, the delta between them, a running slot with the old one and a slot to fill. */
struct pair {
	struct made from, to;
	struct buf blob;
	struct image_diff_stats diff;
	struct image_delta_want want;
	struct image_delta *d;
	struct image_index *x;
	struct file_source full_file, patch_file;
	struct image_source full, patch;
	struct failing f;
	struct image_job job;
	struct image_stats st;
	struct err e;
	int blob_fd;
	uint8_t *now; /* what the slot holds */
};

static void slot_new(struct verity_area *data, struct verity_area *hash, const struct image_id *id)
{
	data->fd = mem_file(image_data_bytes(id));
	data->bytes = image_data_bytes(id);
	hash->fd = mem_file(image_hash_bytes(id));
	hash->bytes = image_hash_bytes(id);
}

static struct image_index *index_of(const struct made *m)
{
	struct image_index *x = NULL;
	struct err e = ERR_INIT;

	CHECK(image_index_parse((uint8_t *)m->index.p, m->index.n, &m->id, m->full_bytes, &x, &e) ==
		      0,
	      "%s", e.text);
	return x;
}

/* Fills a slot with an image, the plain way. */
static void slot_fill(const struct made *m, struct verity_area *data, struct verity_area *hash)
{
	AUTO_IMAGE_INDEX *x = index_of(m);
	struct file_source fs;
	struct image_source src = file_source(&fs, m->full_fd, m->full_bytes);
	struct image_job job = { .sys = sys_linux(), .index = x, .full = &src, .threads = 1 };
	struct err e = ERR_INIT;

	slot_new(data, hash, &m->id);
	job.data = *data;
	job.hash = *hash;
	CHECK(image_write(&job, NULL, &e) == 0, "%s", e.text);
}

static void pair_slot(struct pair *p)
{
	if (p->job.data.bytes) {
		(void)close(p->job.data.fd);
		(void)close(p->job.hash.fd);
	}
	slot_new(&p->job.data, &p->job.hash, &p->to.id);
}

static void pair_new(struct pair *p, size_t blocks, unsigned changes)
{
	memset(p, 0, sizeof(*p));
	made_new(&p->from, blocks);
	made_next(&p->to, &p->from, changes);
	made_delta(&p->from, &p->to, 1 + (unsigned)image_rnd(3), &p->blob, &p->diff, &p->want);
	p->blob_fd = made_fd(p->blob.p, p->blob.n);
	p->patch = file_source(&p->patch_file, p->blob_fd, p->blob.n);
	p->full = file_source(&p->full_file, p->to.full_fd, p->to.full_bytes);
	p->x = index_of(&p->to);
	p->now = malloc(p->to.n);
	CHECK(p->now, "memory");
	p->f = failing_new();
	p->job = (struct image_job){
		.sys = &p->f.sys, .index = p->x, .full = &p->full, .patch = &p->patch, .threads = 1
	};
	slot_fill(&p->from, &p->job.base_data, &p->job.base_hash);
	pair_slot(p);
}

static void pair_done(struct pair *p)
{
	made_done(&p->from);
	made_done(&p->to);
	buf_done(&p->blob);
	image_delta_free(p->d);
	image_index_free(p->x);
	(void)close(p->blob_fd);
	(void)close(p->job.data.fd);
	(void)close(p->job.hash.fd);
	(void)close(p->job.base_data.fd);
	(void)close(p->job.base_hash.fd);
	free(p->now);
}

static int pair_run(struct pair *p, const struct image_delta *d, bool resume)
{
	int r;

	p->f.sys.ops = &p->f.ops;
	p->f.writes = 0;
	p->e = (struct err)ERR_INIT;
	p->job.delta = d;
	p->job.resume = resume;
	p->patch_file.given = p->full_file.given = 0;
	r = image_write(&p->job, &p->st, &p->e);
	CHECK((r < 0) == (p->e.kind != ERR_NONE), "r=%d %s", r, p->e.text);
	CHECK(sys_read_full(sys_linux(), p->job.data.fd, p->now, p->to.n, 0) == 0, "read");
	CHECK(p->st.fetched == p->patch_file.given + p->full_file.given, "fetched");
	return r;
}

static void check_right(struct pair *p, int r)
{
	CHECK(r == 0, "%s", p->e.text);
	CHECK(memcmp(p->now, p->to.data, p->to.n) == 0, "another image");
	CHECK(image_prove(&p->job, &p->to.id, NULL, &p->e) == 0, "%s", p->e.text);
}

static void pair_parse(struct pair *p)
{
	uint64_t fetched = 0;

	CHECK(image_delta_fetch(&p->patch, &p->want, &p->d, &fetched, &p->e) == 0, "%s", p->e.text);
	CHECK(fetched == p->diff.head && fetched == p->d->packed[0], "head");
}

static bool piece_true(const struct pair *p, const struct image_piece *c, uint64_t fresh)
{
	const uint8_t *t = p->to.data + (size_t)c->at * IMAGE_BLOCK;
	size_t n = (size_t)c->len * IMAGE_BLOCK;

	switch (c->kind) {
	case IMAGE_PIECE_ZERO:
		return t[0] == 0 && memcmp(t, t + 1, n - 1) == 0;
	case IMAGE_PIECE_COPY:
		return (c->from + c->len) * IMAGE_BLOCK <= p->from.n &&
		       memcmp(p->from.data + c->from * IMAGE_BLOCK, t, n) == 0;
	case IMAGE_PIECE_FRAME:
		return c->from * IMAGE_BLOCK == fresh;
	case IMAGE_PIECE_COPY_SECOND:
		break;
	}
	return false;
}

/* The recipe, by the book: no gap, no overlap, nothing outside, and the bytes are equal. */
static void check_recipe(const struct pair *p)
{
	const struct image_delta *d = p->d;
	uint64_t at = 0, sum[4] = { 0 };

	for (size_t i = 0; i < d->n_pieces; i++) {
		const struct image_piece *c = &d->pieces[i];

		CHECK(c->at == at && c->len > 0, "piece %zu", i);
		CHECK(piece_true(p, c, sum[IMAGE_PIECE_FRAME]), "piece %zu", i);
		sum[c->kind] += (uint64_t)c->len * IMAGE_BLOCK;
		at += c->len;
	}
	CHECK(at * IMAGE_BLOCK == p->to.n && sum[IMAGE_PIECE_FRAME] == d->raw_bytes, "covers");
	CHECK(sum[IMAGE_PIECE_ZERO] == p->diff.zero &&
		      sum[IMAGE_PIECE_COPY] == p->diff.in_place + p->diff.moved &&
		      sum[IMAGE_PIECE_FRAME] == p->diff.fresh,
	      "stats");
}

static uint64_t frames_bytes(const struct image_delta *d)
{
	return d->packed[d->frames] - d->packed[0];
}

static void test_apply(void)
{
	for (unsigned k = 0; k < 60; k++) {
		CLEANUP(pair_done) struct pair p;
		AUTO_BUF again = BUF_INIT;
		struct image_diff_stats st;
		struct image_delta_want want;

		pair_new(&p, 2 + image_rnd(k % 12 ? 150 : 900), (unsigned)image_rnd(12));
		pair_parse(&p);
		check_recipe(&p);
		p.job.full = NULL;
		check_right(&p, pair_run(&p, p.d, k % 2));
		CHECK(p.st.fetched == frames_bytes(p.d) && p.st.again == 0 &&
			      p.st.copied == p.diff.in_place + p.diff.moved,
		      "stats: fetched %llu", (unsigned long long)p.st.fetched);
		CHECK(p.full_file.begun == 0, "the full blob was asked for");
		/* the same bytes, whatever the threads */
		made_delta(&p.from, &p.to, 5, &again, &st, &want);
		CHECK(again.n == p.blob.n && memcmp(again.p, p.blob.p, again.n) == 0,
		      "not the same delta");
		check_right(&p, pair_run(&p, p.d, true));
		CHECK(p.st.fetched == 0 && p.st.kept == p.to.n, "second run");
	}
}

/* From any base: what the running slot has is not fetched. */
static uint64_t counted;

static ssize_t counting_pread(struct sys *s, int fd, void *p, size_t n, uint64_t off)
{
	ssize_t r = sys_linux()->ops->pread(sys_linux(), fd, p, n, off);

	(void)s;
	counted += r > 0 ? (uint64_t)r : 0;
	return r;
}

static bool extents_have(const struct image_delta *d, size_t frame, uint64_t block)
{
	for (size_t i = d->first[frame]; i < d->first[frame + 1]; i++)
		if (block >= d->extents[i].off && block < d->extents[i].off + d->extents[i].len)
			return true;
	return false;
}

/* Blocks that a frame's prefix has and none of those kept when it is gathered, counted one by one.
 * *ret_all: all that it has. */
static uint64_t prefix_lacks(const struct image_delta *d, size_t frame, uint64_t *ret_all)
{
	uint64_t lacks = 0;

	for (size_t i = d->first[frame]; i < d->first[frame + 1]; i++)
		for (uint64_t b = d->extents[i].off; b < d->extents[i].off + d->extents[i].len;
		     b++) {
			size_t seen = 0, had = frame;
			bool kept = false;

			/* a frame without a prefix pushes none out */
			while (had-- > 0 && seen < IMAGE_PREFIXES - 1 && !kept) {
				seen += d->first[had] < d->first[had + 1];
				kept = extents_have(d, had, b);
			}
			lacks += !kept;
			++*ret_all;
		}
	return lacks;
}

static void check_piece(struct pair *p, struct image_feed *f, const struct image_piece *c)
{
	uint8_t got[IMAGE_BLOCK];

	for (uint64_t at = 0; at < c->len; at++) {
		const struct image_part part = { c, IMAGE_BLOCK, at, 1 };

		CHECK(image_feed_part(f, &part, got, &p->e) == 0, "%s", p->e.text);
		CHECK(image_feed_settle(f, &p->e) == 0, "%s", p->e.text);
		CHECK(memcmp(got, p->to.data + (c->at + at) * IMAGE_BLOCK, sizeof(got)) == 0,
		      "block %llu", (unsigned long long)(c->at + at));
	}
}

/* Gives every block of every frame, which must be right; returns the bytes read for that. */
static uint64_t frames_give(struct pair *p)
{
	CLEANUP(image_feed_done) struct image_feed f = { .sys = &p->f.sys };
	const struct image_delta *d = p->d;
	const struct image_frames frames = image_frames_delta(d);
	const struct image_run run = { d->packed[0], frames_bytes(d) };

	p->f.ops.pread = counting_pread;
	p->f.ops.queue_open = NULL;
	p->f.sys.ops = &p->f.ops;
	f.source[0] = p->job.base_data;
	CHECK(image_feed_new(&f, &p->e) == 0, "%s", p->e.text);
	CHECK(image_feed_begin(&f, &p->patch, &frames, &run, d->frames ? 1 : 0, &p->e) == 0, "%s",
	      p->e.text);
	counted = 0;
	for (size_t i = 0; i < d->n_pieces; i++)
		if (d->pieces[i].kind == IMAGE_PIECE_FRAME)
			check_piece(p, &f, &d->pieces[i]);
	return counted;
}

/* Of the base exactly what no kept prefix holds is read. */
static void test_prefixes(void)
{
	uint64_t all = 0, lacking = 0;

	for (unsigned k = 0; k < 24; k++) {
		CLEANUP(pair_done) struct pair p;
		uint64_t want = 0, n;

		pair_new(&p, 300 + image_rnd(900), 1 + (unsigned)image_rnd(40));
		pair_parse(&p);
		n = frames_give(&p);
		for (size_t i = 0; i < p.d->frames; i++)
			want += prefix_lacks(p.d, i, &all);
		CHECK(n == want * IMAGE_BLOCK, "%llu bytes read, %llu blocks wanted",
		      (unsigned long long)n, (unsigned long long)want);
		lacking += want;
	}
	CHECK(lacking < all, "no two prefixes overlapped");
}

static void test_any_base(void)
{
	for (unsigned k = 0; k < 60; k++) {
		CLEANUP(pair_done) struct pair p;
		bool tree;

		pair_new(&p, 2 + image_rnd(k % 12 ? 150 : 900), (unsigned)image_rnd(8));
		tree = p.from.n > IMAGE_BLOCK && p.to.n > IMAGE_BLOCK;
		check_right(&p, pair_run(&p, NULL, k % 2));
		CHECK(!tree || p.st.copied == p.diff.in_place + p.diff.moved, "copied %llu of %llu",
		      (unsigned long long)p.st.copied,
		      (unsigned long long)(p.diff.in_place + p.diff.moved));
		CHECK(p.diff.fresh > 0 || !tree || p.st.fetched == 0, "nothing is new");
		/* no base: all is fetched */
		pair_slot(&p);
		p.job.base_hash.bytes = 0;
		check_right(&p, pair_run(&p, NULL, false));
		CHECK(p.st.copied == 0, "no base");
	}
}

static void rot(int fd, const uint8_t *is, uint64_t below)
{
	uint64_t at = image_rnd(below);
	uint8_t wrong = is[at] ^ 0x20;

	CHECK(pwrite(fd, &wrong, 1, (off_t)at) == 1, "write");
}

/* Bytes of the base that rotted are seen before they are used, and fetched instead. */
static void test_rotten_base(void)
{
	unsigned fell = 0, refused = 0;

	for (unsigned k = 0; k < 54; k++) {
		CLEANUP(pair_done) struct pair p;
		int r;

		pair_new(&p, 100 + image_rnd(k % 18 ? 60 : 500), 1 + (unsigned)image_rnd(6));
		pair_parse(&p);
		for (unsigned i = 0; i < 3; i++)
			rot(p.job.base_data.fd, p.from.data, p.from.n);
		check_right(&p, pair_run(&p, k % 3 ? p.d : NULL, k % 2));
		fell += p.st.again > 0;
		if (k % 3 == 0 || p.st.again == 0)
			continue;
		pair_slot(&p);
		p.job.full = NULL;
		r = pair_run(&p, p.d, false);
		CHECK(r < 0 && p.e.kind == ERR_REFUSED && p.st.bad_group != UINT64_MAX, "r=%d %s",
		      r, p.e.text);
		CHECK(image_prove(&p.job, &p.to.id, NULL, NULL) < 0, "half a slot is proved");
		p.job.full = &p.full;
		check_right(&p, pair_run(&p, p.d, true));
		refused++;
	}
	CHECK(fell > 33 && refused > 20, "only %u fell, %u were refused", fell, refused);
}

static void fail_and_resume(struct pair *p, unsigned write)
{
	uint64_t first;

	pair_slot(p);
	p->f.fail_at = write;
	CHECK(pair_run(p, p->d, false) == -EIO, "write %u", write);
	first = p->st.fetched;
	p->f.fail_at = 0;
	check_right(p, pair_run(p, p->d, true));
	CHECK(first + p->st.fetched <= frames_bytes(p->d) + IMAGE_GROUP + IMAGE_GAP * 2,
	      "%llu + %llu of %llu", (unsigned long long)first, (unsigned long long)p->st.fetched,
	      (unsigned long long)frames_bytes(p->d));
}

/* Writes fail one after another; what was proved is not fetched again. */
static void test_resume(void)
{
	for (unsigned k = 0; k < 6; k++) {
		CLEANUP(pair_done) struct pair p;
		unsigned writes;

		pair_new(&p, 200 + image_rnd(200), 4);
		pair_parse(&p);
		check_right(&p, pair_run(&p, p.d, false));
		writes = p.f.writes;
		for (unsigned i = 1; i <= writes; i++)
			fail_and_resume(&p, i);
	}
}

/* A slot with the base in it and room for both; gives the bytes that may stay as they are. */
static uint64_t slot_old(struct pair *p)
{
	uint64_t same = 0, end = p->to.n < p->from.n ? p->to.n : p->from.n;

	(void)close(p->job.data.fd);
	(void)close(p->job.hash.fd);
	slot_fill(&p->from, &p->job.data, &p->job.hash);
	p->job.data.bytes = p->to.n + p->from.n;
	p->job.hash.bytes = 1 << 20;
	CHECK(ftruncate(p->job.data.fd, (off_t)p->job.data.bytes) == 0 &&
		      ftruncate(p->job.hash.fd, (off_t)p->job.hash.bytes) == 0,
	      "room");
	for (uint64_t at = 0; at < end; at += IMAGE_BLOCK)
		if (memcmp(p->to.data + at, p->from.data + at, IMAGE_BLOCK) == 0)
			same += IMAGE_BLOCK;
	return same;
}

/* Bytes of the tree in a hash area, past its superblock. */
static void rot_tree(const struct verity_area *hash, uint64_t below)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at = IMAGE_BLOCK + image_rnd(below - IMAGE_BLOCK);
		uint8_t byte;

		CHECK(pread(hash->fd, &byte, 1, (off_t)at) == 1, "read");
		byte ^= 0x20;
		CHECK(pwrite(hash->fd, &byte, 1, (off_t)at) == 1, "write");
	}
}

/*
 * The slot holds the base: its blocks that stay are neither made, hashed before they are read back,
 * nor written; unless a tree lied about them, its own or that of the base.
 */
static void test_spared(void)
{
	for (unsigned k = 0; k < 60; k++) {
		CLEANUP(pair_done) struct pair p;
		uint64_t same, tree;
		bool wrong_slot = k % 3 == 1, wrong_base = k % 3 == 2, resume = k % 12 > 8;

		pair_new(&p, 130 + image_rnd(k % 8 ? 100 : 500), 3);
		pair_parse(&p);
		same = slot_old(&p);
		tree = image_hash_bytes(&p.from.id);
		if (wrong_slot)
			rot(p.job.data.fd, p.from.data, p.to.n < p.from.n ? p.to.n : p.from.n);
		if (wrong_slot && k % 2)
			rot_tree(&p.job.hash, tree);
		if (wrong_base)
			rot_tree(&p.job.base_hash, tree);
		check_right(&p, pair_run(&p, p.d, resume));
		CHECK(p.st.again == 0 && p.full_file.given == 0, "another way was taken");
		if (wrong_slot)
			continue;
		CHECK(p.st.spared == same || resume, "spared %llu of %llu",
		      (unsigned long long)p.st.spared, (unsigned long long)same);
		CHECK(wrong_base || resume || p.st.hashed == 2 * p.to.n - same, "hashed %llu",
		      (unsigned long long)p.st.hashed);
	}
}

/* Every byte of header and recipe, and many of the frames. */
static void test_flips(void)
{
	CLEANUP(pair_done) struct pair p;
	unsigned refused = 0;

	pair_new(&p, 60, 8);
	pair_parse(&p);
	for (size_t i = 0; i < p.diff.head; i++) {
		AUTO_IMAGE_DELTA *d = NULL;
		struct err e = ERR_INIT;
		int r;

		p.blob.p[i] = (char)((uint8_t)p.blob.p[i] ^ 1u << image_rnd(8));
		r = image_delta_parse((uint8_t *)p.blob.p, p.diff.head, &p.want, &d, &e);
		CHECK(r == 0 || e.kind == ERR_REFUSED, "byte %zu: %d %s", i, r, e.text);
		CHECK(r < 0 || i >= IMAGE_DELTA_HEADER, "byte %zu of the header", i);
		if (r == 0) { /* a recipe that is well-formed, and wrong */
			pair_slot(&p);
			check_right(&p, pair_run(&p, d, false));
		}
		refused += r < 0;
		CHECK(pread(p.blob_fd, p.blob.p + i, 1, (off_t)i) == 1, "read");
	}
	CHECK(refused > p.diff.head / 2, "only %u", refused);
	for (size_t i = 0; i < p.diff.head; i++) {
		AUTO_IMAGE_DELTA *d = NULL;

		CHECK(image_delta_parse((uint8_t *)p.blob.p, i, &p.want, &d, NULL) == -EBADMSG,
		      "cut at %zu", i);
	}
	for (unsigned k = 0; k < 60 && p.d->frames; k++) {
		pair_slot(&p);
		p.patch_file.flip_at = p.d->packed[0] + image_rnd(frames_bytes(p.d));
		check_right(&p, pair_run(&p, p.d, k % 2));
	}
}

/* A recipe with one thing changed, written anew: what must be refused, and in which words. */
struct forgery {
	const char *says;
	void (*forge)(struct image_delta *d);
};

static size_t find_kind(const struct image_delta *d, enum image_piece_kind kind)
{
	for (size_t i = 0; i < d->n_pieces; i++)
		if (d->pieces[i].kind == kind)
			return i;
	CHECK(false, "no such piece");
	return 0;
}

static void forge_outside(struct image_delta *d)
{
	struct image_piece *p = &d->pieces[find_kind(d, IMAGE_PIECE_COPY)];

	p->from = d->source[0].bytes / IMAGE_BLOCK - p->len + 1;
}

static void forge_before(struct image_delta *d)
{
	d->pieces[find_kind(d, IMAGE_PIECE_COPY)].from = UINT64_MAX;
}

static void forge_second(struct image_delta *d)
{
	d->pieces[find_kind(d, IMAGE_PIECE_COPY)].kind = IMAGE_PIECE_COPY_SECOND;
}

static void forge_short(struct image_delta *d)
{
	d->n_pieces--;
}

static void forge_long(struct image_delta *d)
{
	d->pieces[0].len++;
}

static void forge_huge(struct image_delta *d)
{
	d->pieces[d->n_pieces - 1].len = UINT32_MAX;
}

static void forge_empty(struct image_delta *d)
{
	d->pieces[0].len = 0;
}

static void forge_fresh(struct image_delta *d)
{
	d->pieces[find_kind(d, IMAGE_PIECE_FRAME)].kind = IMAGE_PIECE_ZERO;
}

static void forge_frame_size(struct image_delta *d)
{
	d->packed[d->frames] += IMAGE_DELTA_FRAME_MAX * 2;
}

static void forge_frame_less(struct image_delta *d)
{
	d->packed[d->frames]--;
}

static void forge_prefix_outside(struct image_delta *d)
{
	d->extents[0].off = d->source[0].bytes / IMAGE_BLOCK;
}

static void forge_prefix_source(struct image_delta *d)
{
	d->extents[0].source = 1;
}

static void forge_prefix_long(struct image_delta *d)
{
	d->extents[0].len = IMAGE_PREFIX_MAX / IMAGE_BLOCK + 1;
}

static void forge_prefix_sum(struct image_delta *d)
{
	for (size_t i = 0; i < 3; i++)
		d->extents[i] = (struct image_extent){ 0, 200, 0 };
	for (size_t i = 1; i <= d->frames; i++)
		d->first[i] = 3;
}

static void forge_prefix_many(struct image_delta *d)
{
	for (size_t i = 0; i < IMAGE_EXTENTS_MAX + 1; i++)
		d->extents[i] = (struct image_extent){ 2 * i, 1, 0 };
	for (size_t i = 1; i <= d->frames; i++)
		d->first[i] = IMAGE_EXTENTS_MAX + 1;
}

static void forge_control(struct image_delta *d)
{
	d->control[0] = IMAGE_DELTA_FRAME_MAX;
}

static void forge_target(struct image_delta *d)
{
	d->target.id[31] ^= 1;
}

static void forge_base(struct image_delta *d)
{
	d->source[0].id[0] ^= 1;
}

static void forge_sources(struct image_delta *d)
{
	d->sources = 3;
}

static void forge_unit(struct image_delta *d)
{
	d->unit = 512;
}

static void forge_frame_odd(struct image_delta *d)
{
	d->frame = 3 * IMAGE_DELTA_FRAME_MIN;
}

static void forge_frame_long(struct image_delta *d)
{
	d->frame = 2 * IMAGE_DELTA_FRAME_MAX;
}

static const struct forgery forgeries[] = {
	{ "outside of its source", forge_outside },
	{ "outside of its source", forge_before },
	{ "outside of its source", forge_second },
	{ "refused", forge_short },
	{ "refused", forge_long },
	{ "not those of the target", forge_huge },
	{ "not those of the target", forge_empty },
	{ "do not hold what its pieces take", forge_fresh },
	{ "impossible size", forge_frame_size },
	{ "do not fill the blob", forge_frame_less },
	{ "outside of its source", forge_prefix_outside },
	{ "outside of its source", forge_prefix_source },
	{ "impossible length", forge_prefix_long },
	{ "longer than 2 MiB", forge_prefix_sum },
	{ "too many parts", forge_prefix_many },
	{ "too much control", forge_control },
	{ "makes something else", forge_target },
	{ "from another base", forge_base },
	{ "no possible sources", forge_sources },
	{ "malformed", forge_unit },
	{ "malformed", forge_frame_odd },
	{ "malformed", forge_frame_long },
};

static void try_forgery(const struct pair *p, const struct forgery *f)
{
	AUTO_IMAGE_DELTA *got = NULL;
	AUTO_BUF out = BUF_INIT;
	struct image_delta d = *p->d;
	struct image_delta_want want = p->want;
	struct err e = ERR_INIT;
	size_t extents = d.first[d.frames] + IMAGE_EXTENTS_MAX + 1;

	d.pieces = calloc(d.n_pieces, sizeof(*d.pieces));
	d.packed = calloc(d.frames + 1, sizeof(*d.packed));
	d.control = calloc(d.frames + 1, sizeof(*d.control));
	d.first = calloc(d.frames + 1, sizeof(*d.first));
	d.extents = calloc(extents, sizeof(*d.extents));
	CHECK(d.pieces && d.packed && d.control && d.first && d.extents, "memory");
	memcpy(d.pieces, p->d->pieces, d.n_pieces * sizeof(*d.pieces));
	memcpy(d.packed, p->d->packed, (d.frames + 1) * sizeof(*d.packed));
	memcpy(d.control, p->d->control, d.frames * sizeof(*d.control));
	memcpy(d.first, p->d->first, (d.frames + 1) * sizeof(*d.first));
	memcpy(d.extents, p->d->extents, p->d->first[d.frames] * sizeof(*d.extents));
	f->forge(&d);
	CHECK(image_delta_format(&d, &out, &e) == 0, "%s", e.text);
	want.blob_bytes = out.n + d.packed[d.frames] - d.packed[0];
	if (f->forge == forge_frame_less)
		want.blob_bytes++; /* as the header says */
	if (f->forge == forge_frame_less)
		le64_put(out.p + 88, le64_get(out.p + 88) + 1);
	CHECK(image_delta_parse((uint8_t *)out.p, out.n, &want, &got, &e) == -EBADMSG &&
		      e.kind == ERR_REFUSED && strstr(e.text, f->says),
	      "'%s' expected, not '%s'", f->says, e.text);
	free(d.pieces);
	free(d.packed);
	free(d.control);
	free(d.first);
	free(d.extents);
}

static void test_forgeries(void)
{
	CLEANUP(pair_done) struct pair p;

	for (;;) { /* one with everything in it */
		unsigned kinds = 0;

		pair_new(&p, 400, 10);
		pair_parse(&p);
		for (size_t i = 0; i < p.d->n_pieces; i++)
			kinds |= 1u << p.d->pieces[i].kind;
		if (kinds == 7 && p.d->first[1] > 0 && p.d->pieces[p.d->n_pieces - 1].at > 0)
			break;
		pair_done(&p);
	}
	for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++)
		try_forgery(&p, &forgeries[i]);
}

/* What image_patch() gives, compared as it comes. */
struct expected {
	const uint8_t *p;
	size_t n, at, wrong;
};

static int expected_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct expected *x = arg;

	(void)e;
	CHECK(n <= x->n - x->at, "more than the target");
	x->wrong += memcmp(x->p + x->at, p, n) != 0;
	x->at += n;
	return 0;
}

static size_t file_next(const uint8_t *from, size_t n, const uint8_t *second, size_t second_n,
			uint8_t *to)
{
	size_t at = 0;

	for (unsigned parts = 1 + (unsigned)image_rnd(6); parts > 0; parts--) {
		size_t off = (size_t)image_rnd(n), len = 1 + (size_t)image_rnd(n - off);

		if (image_rnd(3) == 0 && second_n) {
			off = (size_t)image_rnd(second_n);
			len = 1 + (size_t)image_rnd(second_n - off);
			from = second;
		}
		len = len < 60000 ? len : 60000;
		memcpy(to + at, from + off, len);
		if (image_rnd(3) == 0)
			to[at + image_rnd(len)] ^= 0x11;
		at += len;
		len = (size_t)image_rnd(3000) & ~(size_t)7;
		if (image_rnd(2))
			image_noise(to + at, len);
		else
			memset(to + at, 0, len);
		at += len;
		from = image_rnd(2) ? from : to; /* bytes that are new in this very file */
		n = from == to ? at : n;
		if (from == second)
			n = second_n;
	}
	return at;
}

static void test_files(void)
{
	static uint8_t from[400000], second[300000], to[1000000];

	for (unsigned k = 0; k < 200; k++) {
		AUTO_IMAGE_DELTA *d = NULL;
		AUTO_BUF blob = BUF_INIT;
		struct err e = ERR_INIT;
		size_t n = 1 + (size_t)image_rnd(k % 5 ? sizeof(from) / 8 : sizeof(from)) / 8 * 8;
		size_t n2 = k % 2 ? 8 + (size_t)image_rnd(sizeof(second) / 8 - 1) * 8 : 0, nt;
		struct image_diff_job job = { .sys = sys_linux(),
					      .unit = 1,
					      .sources = n2 ? 2 : 1,
					      .level = 3,
					      .threads = 2,
					      .put = buf_put,
					      .put_arg = &blob };
		struct image_diff_stats st;
		struct image_delta_want want = { .unit = 1 };
		struct file_source fs;
		struct image_source src;
		struct expected x = { .p = to };
		struct image_patch_job patch = {
			.sys = sys_linux(), .src = &src, .put = expected_put, .put_arg = &x
		};

		image_fill(from, (n + 4095) / 4096 * 4096 <= sizeof(from)
					 ? (n + 4095) / 4096 * 4096
					 : sizeof(from) / 4096 * 4096);
		image_noise(second, n2);
		nt = file_next(from, n, second, n2, to);
		x.n = nt;
		job.target = (struct image_diff_file){ made_fd(to, nt), { { 1 }, nt } };
		job.source[0] = (struct image_diff_file){ made_fd(from, n), { { 2 }, n } };
		if (n2)
			job.source[1] =
				(struct image_diff_file){ made_fd(second, n2), { { 3 }, n2 } };
		CHECK(image_diff(&job, &st, &e) == 0, "%s", e.text);
		CHECK(st.fresh + st.zero + st.in_place + st.moved == nt, "stats");
		want.target = job.target.whole;
		for (unsigned s = 0; s < job.sources; s++) {
			want.source[s] = job.source[s].whole;
			patch.source[s] = (struct verity_area){ job.source[s].fd, 0,
								job.source[s].whole.bytes };
		}
		want.blob_bytes = blob.n;
		int fd = made_fd(blob.p, blob.n);

		src = file_source(&fs, fd, blob.n);
		CHECK(image_delta_fetch(&src, &want, &d, &(uint64_t){ 0 }, &e) == 0, "%s", e.text);
		patch.delta = d;
		CHECK(image_patch(&patch, NULL, &e) == 0, "%s", e.text);
		CHECK(x.at == nt && x.wrong == 0, "another file");
		(void)close(fd);
		(void)close(job.target.fd);
		for (unsigned s = 0; s < job.sources; s++)
			(void)close(job.source[s].fd);
	}
}

static int cancel(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	CHECK(done <= total, "%llu", (unsigned long long)done);
	return -1;
}

static void test_refusals(void)
{
	uint8_t block[IMAGE_BLOCK] = { 1 };
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;
	struct image_diff_job job = { .sys = sys_linux(),
				      .unit = IMAGE_BLOCK,
				      .sources = 1,
				      .put = buf_put,
				      .put_arg = &out,
				      .progress = cancel };
	int fd = made_fd(block, sizeof(block)), zero = mem_file(IMAGE_BLOCK);

	job.target = (struct image_diff_file){ fd, { { 0 }, IMAGE_BLOCK } };
	job.source[0] = (struct image_diff_file){ zero, { { 0 }, IMAGE_BLOCK } };
	CHECK(image_diff(&job, NULL, &e) == -ECANCELED && e.kind == ERR_HOST, "%s", e.text);
	job.progress = NULL;
	job.target.whole.bytes = 100;
	CHECK(image_diff(&job, NULL, &e) == -EINVAL && e.kind == ERR_INPUT, "%s", e.text);
	job.target.whole.bytes = (uint64_t)2 * IMAGE_BLOCK;
	CHECK(image_diff(&job, NULL, &e) == -EINVAL && e.kind == ERR_INPUT, "%s", e.text);
	job.target.whole.bytes = IMAGE_BLOCK;
	job.level = 99;
	CHECK(image_diff(&job, NULL, &e) == -EINVAL && e.kind == ERR_INPUT, "%s", e.text);
	job.level = 0;
	job.sources = 2;
	CHECK(image_diff(&job, NULL, &e) == -EINVAL && e.kind == ERR_BUG, "%s", e.text);
	CHECK(out.n == 0, "something was put");
	(void)close(fd);
	(void)close(zero);
}

int main(void)
{
	dice_seed();
	test_apply();
	test_prefixes();
	test_any_base();
	test_rotten_base();
	test_resume();
	test_spared();
	test_flips();
	test_forgeries();
	test_files();
	test_refusals();
	return 0;
}
