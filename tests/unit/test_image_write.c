/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing images to a slot whose medium, source and caller misbehave at every point there is. The
 * slot is one memory file: data area, a strip, hash area, another strip; strips must stay.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "tests/image_make.h"
#include "tests/image_source.h"
#include "updater/image/write.h"

#define STRIP ((size_t)8192)

#define DISK_BLOCK 512 /* what O_DIRECT wants of buffers, offsets and lengths */
#define FDS_MAX    1024

/*
 * A struct sys over the real one that fails, tears or forges the k-th write or sync. Whatever file
 * system the tests run on, O_DIRECT can be had and is as strict as on a disk.
 */
struct bad_sys {
	struct sys sys; /* first */
	unsigned writes, syncs;
	unsigned fail_write, fail_sync; /* from 1; 0: never */
	unsigned forge_write;           /* this one says it wrote, but one byte came out wrong */
	bool direct[FDS_MAX];           /* descriptors opened with O_DIRECT */
	bool fresh[FDS_MAX];            /* ... and not used yet */
	bool refused[FDS_MAX];          /* ... and no longer able: not to be used again */
	unsigned directs;               /* transfers through them */
	unsigned fail_direct;           /* from 1; 0: never */
	bool fail_on;                   /* and all after it */
	int fail_errno;
	bool fail_probe; /* the one that failed was the first of its descriptor */
};

/* 0, or what the kernel says to a transfer through that descriptor. */
static int direct_gate(struct bad_sys *b, int fd, const void *p, size_t n, uint64_t off)
{
	bool probe = b->fresh[fd];
	int r = (off | (uintptr_t)p | n) % DISK_BLOCK ? -EINVAL : 0;

	if (!b->direct[fd])
		return 0;
	CHECK(!b->refused[fd], "transfer %u: refused before", b->directs);
	b->fresh[fd] = false;
	b->directs++;
	if (b->directs == b->fail_direct)
		b->fail_probe = probe;
	if (b->fail_direct > 0 &&
	    (b->fail_on ? b->directs >= b->fail_direct : b->directs == b->fail_direct))
		r = -b->fail_errno;
	b->refused[fd] = r == -EINVAL || r == -EOPNOTSUPP;
	return r;
}

static ssize_t bad_pread(struct sys *s, int fd, void *p, size_t n, uint64_t off)
{
	struct bad_sys *b = (struct bad_sys *)s;
	int r = direct_gate(b, fd, p, n, off);
	size_t most = b->direct[fd] ? (size_t)200 * DISK_BLOCK : 100000; /* short is legal */

	return r < 0 ? r : sys_linux()->ops->pread(sys_linux(), fd, p, n > most ? most : n, off);
}

static ssize_t bad_pwrite(struct sys *s, int fd, const void *p, size_t n, uint64_t off)
{
	struct bad_sys *b = (struct bad_sys *)s;
	size_t most = b->direct[fd] ? (size_t)400 * DISK_BLOCK : 200000;
	ssize_t r = direct_gate(b, fd, p, n, off);

	if (r < 0)
		return r;
	n = n > most ? most : n; /* short writes are legal */
	b->writes++;
	if (b->writes == b->fail_write) {
		(void)sys_linux()->ops->pwrite(sys_linux(), fd, p, n / 2, off);
		return -EIO;
	}
	r = sys_linux()->ops->pwrite(sys_linux(), fd, p, n, off);
	if (b->writes == b->forge_write) {
		uint8_t wrong = (uint8_t)(((const uint8_t *)p)[n / 2] ^ 1);

		(void)sys_linux()->ops->pwrite(sys_linux(), fd, &wrong, 1, off + n / 2);
	}
	return r;
}

static int bad_sync(struct sys *s, int fd)
{
	struct bad_sys *b = (struct bad_sys *)s;

	(void)fd;
	return ++b->syncs == b->fail_sync ? -EIO : 0;
}

static int bad_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	struct bad_sys *b = (struct bad_sys *)s;
	int fd = sys_linux()->ops->open(sys_linux(), dir, name, flags & ~O_DIRECT, mode);

	CHECK(fd < FDS_MAX, "descriptor %d", fd);
	if (fd >= 0)
		b->direct[fd] = b->fresh[fd] = (flags & O_DIRECT) != 0;
	if (fd >= 0)
		b->refused[fd] = false;
	return fd;
}

static int bad_forget(struct sys *s, int fd, uint64_t off, uint64_t n)
{
	(void)s;
	(void)fd;
	(void)off;
	(void)n;
	return -EOPNOTSUPP;
}

static int bad_close(struct sys *s, int fd)
{
	struct bad_sys *b = (struct bad_sys *)s;

	b->direct[fd] = false;
	return sys_linux()->ops->close(sys_linux(), fd);
}

static int bad_queue_open(struct sys *s, unsigned long *ret)
{
	(void)s;
	*ret = 0;
	return 0;
}

/* Leaves every seventh to be read by itself; after a failure nothing more is done. */
static int bad_queue_read(struct sys *s, unsigned long queue, int fd, struct sys_read *v, size_t n)
{
	(void)queue;
	for (size_t i = 0; i < n; i++) {
		if (i % 7 == 6)
			continue;
		v[i].got = bad_pread(s, fd, v[i].p, v[i].n, v[i].off);
		if (v[i].got < 0) {
			v[0].got = v[i].got;
			return 0;
		}
	}
	return 0;
}

static void bad_queue_close(struct sys *s, unsigned long queue)
{
	(void)s;
	(void)queue;
}

static const struct sys_ops bad_ops = {
	.open = bad_open,
	.pread = bad_pread,
	.pwrite = bad_pwrite,
	.sync = bad_sync,
	.forget = bad_forget,
	.close = bad_close,
	.queue_open = bad_queue_open,
	.queue_read = bad_queue_read,
	.queue_close = bad_queue_close,
};

/* A slot, its bytes before, and a job to fill it. */
struct bench {
	struct made *m;
	struct bad_sys bad;
	struct file_source from;
	struct image_source src;
	struct image_index *x;
	struct image_job job;
	struct image_stats st;
	struct err e;
	uint8_t *before, *now;
	size_t bytes, data_n, hash_n;
	int fd;
	unsigned ticks, cancel_at;
	uint64_t last[4];
};

static int bench_tick(void *arg, enum image_phase phase, uint64_t done, uint64_t total)
{
	struct bench *b = arg;

	CHECK(done <= total && done >= b->last[phase], "phase %d: %llu of %llu", (int)phase,
	      (unsigned long long)done, (unsigned long long)total);
	b->last[phase] = done;
	return ++b->ticks == b->cancel_at ? -1 : 0;
}

static void bench_new(struct bench *b, struct made *m)
{
	struct err e = ERR_INIT;

	memset(b, 0, sizeof(*b));
	b->m = m;
	b->data_n = m->n;
	b->hash_n = (size_t)image_hash_bytes(&m->id);
	b->bytes = b->data_n + b->hash_n + 2 * STRIP;
	b->before = malloc(b->bytes);
	b->now = malloc(b->bytes);
	CHECK(b->before && b->now, "memory");
	image_noise(b->before, b->bytes);
	b->fd = mem_file(0);
	CHECK(sys_write_full(sys_linux(), b->fd, b->before, b->bytes, 0) == 0, "write");
	b->bad.sys.ops = &bad_ops;
	b->src = file_source(&b->from, m->full_fd, m->full_bytes);
	CHECK(image_index_parse((uint8_t *)m->index.p,
				(size_t)image_index_bytes(&m->id, IMAGE_INDEX_FRAMES), &m->id,
				m->full_bytes, &b->x, &e) == 0,
	      "%s", e.text);
	b->job = (struct image_job){
		.sys = &b->bad.sys,
		.data = { b->fd, 0, b->data_n },
		.hash = { b->fd, b->data_n + STRIP, b->hash_n },
		.index = b->x,
		.full = &b->src,
		.threads = 1,
		.progress = bench_tick,
		.arg = b,
	};
}

static void bench_done(struct bench *b)
{
	image_index_free(b->x);
	free(b->before);
	free(b->now);
	(void)close(b->fd);
}

static int bench_run(struct bench *b, bool resume)
{
	int r;

	b->bad.writes = b->bad.syncs = b->bad.directs = 0;
	b->ticks = 0;
	b->from.given = 0;
	b->e = (struct err)ERR_INIT;
	memset(b->last, 0, sizeof(b->last));
	b->job.resume = resume;
	r = image_write(&b->job, &b->st, &b->e);
	CHECK(sys_read_full(sys_linux(), b->fd, b->now, b->bytes, 0) == 0, "read");
	CHECK((r < 0) == (b->e.kind != ERR_NONE), "r=%d kind=%d", r, (int)b->e.kind);
	CHECK(memcmp(b->now + b->data_n, b->before + b->data_n, STRIP) == 0, "strip");
	CHECK(memcmp(b->now + b->bytes - STRIP, b->before + b->bytes - STRIP, STRIP) == 0, "strip");
	CHECK(b->st.fetched == b->from.given, "fetched %llu, given %llu",
	      (unsigned long long)b->st.fetched, (unsigned long long)b->from.given);
	return r;
}

static bool super_there(const struct bench *b)
{
	return memcmp(b->now + b->data_n + STRIP, "verity", 7) == 0;
}

/* The slot holds the image, and the tree another implementation of it builds. */
static void check_whole(struct bench *b)
{
	int hash = mem_file(b->hash_n);
	struct verity_area data = { b->fd, 0, b->data_n }, tree = { hash, 0, b->hash_n };
	uint8_t root[DIGEST_MAX], *want = malloc(b->hash_n);
	struct err e = ERR_INIT;

	CHECK(memcmp(b->now, b->m->data, b->data_n) == 0, "data");
	CHECK(want && verity_format(sys_linux(), &data, &tree, &b->x->super, NULL, root, &e) == 0,
	      "%s", e.text);
	CHECK(sys_read_full(sys_linux(), hash, want, b->hash_n, 0) == 0, "read");
	CHECK(memcmp(b->now + b->data_n + STRIP, want, b->hash_n) == 0, "tree");
	CHECK(memcmp(root, b->m->id.root, SHA256_BYTES) == 0, "root");
	(void)close(hash);
	free(want);
}

/* What is not right yet is as it was before: nothing unproved ever got to the slot. */
static void check_partial(const struct bench *b, bool torn_allowed)
{
	unsigned torn = 0;

	CHECK(!super_there(b) || memcmp(b->now, b->m->data, b->data_n) == 0,
	      "a slot that is not whole has a superblock");
	for (size_t at = 0; at < b->data_n; at += IMAGE_GROUP) {
		size_t n = b->data_n - at < IMAGE_GROUP ? b->data_n - at : IMAGE_GROUP;

		if (memcmp(b->now + at, b->m->data + at, n) != 0 &&
		    memcmp(b->now + at, b->before + at, n) != 0)
			torn++;
	}
	CHECK(torn <= (torn_allowed ? 1u : 0u), "%u groups are neither old nor new", torn);
}

static uint64_t frames_bytes(const struct bench *b)
{
	return b->x->table->packed[b->x->table->frames];
}

/* What may be fetched twice: the frames of the group under way, gaps. */
static uint64_t slack(const struct bench *b)
{
	return IMAGE_GROUP + SEEKABLE_PACKED_MAX(b->x->table->raw_max) + IMAGE_GAP_MIN;
}

static void test_sizes(void)
{
	static const size_t sizes[] = { 1, 2, 127, 128, 129, 255, 256, 257, 16384 / 16 + 1, 5000 };

	for (size_t i = 0; i < 40; i++) {
		struct made m;
		struct bench b;

		made_new(&m, i < 10 ? sizes[i] : 1 + image_rnd(1500));
		bench_new(&b, &m);
		CHECK(bench_run(&b, i % 2) == 0, "%s", b.e.text);
		check_whole(&b);
		CHECK(b.st.fetched == frames_bytes(&b) && b.st.kept == 0, "stats");
		CHECK(b.st.hashed <= (i % 2 ? 3 : 2) * b.data_n, "hashed %llu",
		      (unsigned long long)b.st.hashed);
		CHECK(b.last[IMAGE_FETCH] == b.st.fetched && b.last[IMAGE_WRITE] == b.data_n &&
			      b.last[IMAGE_PROVE] == b.data_n,
		      "progress");

		CHECK(bench_run(&b, true) == 0, "%s", b.e.text);
		check_whole(&b);
		CHECK(b.st.fetched == 0 && b.st.written == 0 && b.st.kept == b.data_n &&
			      b.st.hashed == 2 * b.data_n && b.bad.writes == 0,
		      "second run: fetched %llu written %llu", (unsigned long long)b.st.fetched,
		      (unsigned long long)b.st.written);
		bench_done(&b);
		made_done(&m);
	}
}

/* Fails call k, then goes on: what was proved before is not fetched again. */
static void fail_and_resume(struct made *m, unsigned write, unsigned sync)
{
	struct bench b;
	uint64_t first;
	int r;

	bench_new(&b, m);
	b.bad.fail_write = write;
	b.bad.fail_sync = sync;
	r = bench_run(&b, false);
	CHECK(r == -EIO && b.e.kind == ERR_HOST, "write %u sync %u: r=%d %s", write, sync, r,
	      b.e.text);
	check_partial(&b, write > 0);
	first = b.st.fetched;
	b.bad.fail_write = b.bad.fail_sync = 0;
	CHECK(bench_run(&b, true) == 0, "resume: %s", b.e.text);
	check_whole(&b);
	CHECK(first + b.st.fetched <= frames_bytes(&b) + slack(&b), "%llu + %llu",
	      (unsigned long long)first, (unsigned long long)b.st.fetched);
	CHECK(b.st.kept + slack(&b) >= m->n || first < frames_bytes(&b), "kept %llu",
	      (unsigned long long)b.st.kept);
	bench_done(&b);
}

static void test_failures(void)
{
	for (unsigned round = 0; round < 3; round++) {
		struct made m;
		struct bench b;
		unsigned writes, syncs;

		made_new(&m, round == 0 ? 1 : 500 + image_rnd(500));
		bench_new(&b, &m);
		CHECK(bench_run(&b, false) == 0, "%s", b.e.text);
		writes = b.bad.writes;
		syncs = b.bad.syncs;
		bench_done(&b);
		for (unsigned k = 1; k <= writes; k++)
			fail_and_resume(&m, k, 0);
		for (unsigned k = 1; k <= syncs; k++)
			fail_and_resume(&m, 0, k);
		made_done(&m);
	}
}

static void test_source_dies(void)
{
	struct made m;

	made_new(&m, 1100);
	for (unsigned k = 0; k < 40; k++) {
		struct bench b;
		uint64_t first, dies;
		int r;

		bench_new(&b, &m);
		dies = image_rnd(frames_bytes(&b));
		b.from.dies_at = dies;
		r = bench_run(&b, false);
		CHECK(r == -ECONNRESET && b.e.kind == ERR_RETRY, "r=%d %s", r, b.e.text);
		CHECK(b.st.fetched <= dies && b.st.bad_group == UINT64_MAX, "fetched");
		if (b.st.written)
			check_partial(&b, false);
		else
			CHECK(memcmp(b.now, b.before, b.bytes) == 0, "slot changed for nothing");
		first = b.st.fetched;
		b.from.dies_at = UINT64_MAX;
		CHECK(bench_run(&b, true) == 0, "%s", b.e.text);
		check_whole(&b);
		CHECK(first + b.st.fetched <= frames_bytes(&b) + slack(&b), "again");
		bench_done(&b);
	}
	made_done(&m);
}

static void check_refused(const struct bench *b, int r, size_t group)
{
	size_t at = group * IMAGE_GROUP;

	CHECK(r == -EBADMSG && b->e.kind == ERR_REFUSED, "r=%d %s", r, b->e.text);
	CHECK(b->st.bad_group == group, "group %llu, not %zu", (unsigned long long)b->st.bad_group,
	      group);
	CHECK(strstr(b->e.text, "group ") && strstr(b->e.text, "blob"), "%s", b->e.text);
	if (b->st.written)
		check_partial(b, false);
	CHECK(memcmp(b->now + at, b->before + at, IMAGE_BLOCK) == 0, "the refused group is there");
}

static void test_wrong_byte(void)
{
	struct made m;
	unsigned refused = 0;

	made_new(&m, 500);
	for (unsigned k = 0; k < 100; k++) {
		struct bench b;
		size_t frame = 0;
		int r;

		bench_new(&b, &m);
		b.from.flip_at = image_rnd(frames_bytes(&b));
		while (b.x->table->packed[frame + 1] <= b.from.flip_at)
			frame++;
		r = bench_run(&b, k % 2);
		if (r == 0) /* a bit that zstd ignores */
			check_whole(&b);
		else
			check_refused(&b, r, (size_t)(b.x->table->raw[frame] / IMAGE_GROUP));
		refused += r < 0;
		b.from.flip_at = UINT64_MAX;
		CHECK(bench_run(&b, true) == 0, "good source: %s", b.e.text);
		check_whole(&b);
		bench_done(&b);
	}
	CHECK(refused > 93, "only %u refused", refused);
	made_done(&m);
}

/* Bytes [at, at + n) of one index replaced by those of another one of the same shape. */
static void index_graft(struct made *to, const struct made *from, size_t at, size_t n)
{
	memcpy(to->index.p + at, from->index.p + at, n);
}

/*
 * A flawless blob of another image: every frame decodes, every checksum and size fits. Only the
 * tree can tell, and it must before the group is written.
 */
static void test_forged_blob(void)
{
	for (unsigned k = 0; k < 30; k++) {
		struct made good, evil;
		struct bench b;
		size_t at, sizes, n, group;
		int r;

		made_new(&good, 1 + image_rnd(700));
		made_copy(&evil, &good);
		at = (size_t)image_rnd(good.n);
		group = at / IMAGE_GROUP;
		evil.data[at] ^= 1;
		made_again(&evil);
		sizes = (size_t)image_index_bytes(&good.id, IMAGE_INDEX_UPPER);
		n = (size_t)image_index_bytes(&good.id, IMAGE_INDEX_FRAMES) - sizes;
		index_graft(&evil, &good, IMAGE_INDEX_HEADER, sizes - IMAGE_INDEX_HEADER);
		CHECK(n > 0 && memcmp(evil.id.root, good.id.root, SHA256_BYTES) != 0, "not evil");
		evil.id = good.id; /* what the manifest says */
		bench_new(&b, &evil);
		r = bench_run(&b, k % 2);
		CHECK(b.bad.writes == 0 || group > 0, "wrote before anything was proved");
		check_refused(&b, r, group);
		bench_done(&b);
		made_done(&good);
		made_done(&evil);
	}
}

/* A slot that was whole and is half overwritten never looks whole. */
static void test_overwrite(void)
{
	unsigned halves = 0;

	for (unsigned k = 0; k < 10; k++) {
		struct made old, now;
		struct bench b, c;
		int r;

		made_new(&old, 600);
		made_new(&now, 600);
		bench_new(&b, &old);
		CHECK(bench_run(&b, false) == 0 && super_there(&b), "%s", b.e.text);
		bench_new(&c, &now);
		CHECK(c.bytes == b.bytes, "shape");
		memcpy(c.before, b.now, b.bytes);
		CHECK(sys_write_full(sys_linux(), c.fd, b.now, b.bytes, 0) == 0, "write");
		c.from.dies_at = frames_bytes(&c) / 2 + image_rnd(frames_bytes(&c) / 2);
		r = bench_run(&c, k % 2);
		CHECK(r == -ECONNRESET, "r=%d", r);
		CHECK(c.st.written == 0 || !super_there(&c), "half a tree, and a superblock");
		halves += c.st.written > 0;
		c.from.dies_at = UINT64_MAX;
		CHECK(bench_run(&c, true) == 0, "%s", c.e.text);
		check_whole(&c);
		bench_done(&b);
		bench_done(&c);
		made_done(&old);
		made_done(&now);
	}
	CHECK(halves > 2, "only %u were half written", halves);
}

/* Sizes in the index that do not fit the frames, and upper levels of another image. */
static void test_lying_index(void)
{
	for (unsigned k = 0; k < 20; k++) {
		struct made m;
		struct bench b;
		size_t at, i, frames;
		int r;

		made_new(&m, 200 + image_rnd(600));
		at = (size_t)image_index_bytes(&m.id, IMAGE_INDEX_UPPER);
		frames = ((size_t)image_index_bytes(&m.id, IMAGE_INDEX_FRAMES) - at) / 4;
		if (frames < 2) {
			made_done(&m);
			continue;
		}
		i = image_rnd(frames - 1);
		le32_put(m.index.p + at + 4 * i, le32_get(m.index.p + at + 4 * i) - 1);
		le32_put(m.index.p + at + 4 * i + 4, le32_get(m.index.p + at + 4 * i + 4) + 1);
		bench_new(&b, &m);
		r = bench_run(&b, false);
		CHECK(r == -EBADMSG && b.e.kind == ERR_REFUSED, "r=%d %s", r, b.e.text);
		CHECK(b.st.bad_group == b.x->table->raw[i] / IMAGE_GROUP, "group");
		bench_done(&b);
		made_done(&m);
	}
}

static void test_room(void)
{
	struct made m;
	struct bench b;

	made_new(&m, 300);
	bench_new(&b, &m);
	b.job.data.bytes--;
	CHECK(bench_run(&b, false) == -ENOSPC && b.e.kind == ERR_INPUT, "%s", b.e.text);
	CHECK(b.bad.writes == 0 && b.from.begun == 0, "touched");
	b.job.data.bytes++;
	b.job.hash.bytes--;
	CHECK(bench_run(&b, true) == -ENOSPC && b.e.kind == ERR_INPUT, "%s", b.e.text);
	CHECK(b.bad.writes == 0 && b.from.begun == 0, "touched");
	CHECK(memcmp(b.now, b.before, b.bytes) == 0, "changed");
	b.job.hash.bytes++;
	b.job.threads = 0;
	CHECK(bench_run(&b, false) == 0, "%s", b.e.text);
	check_whole(&b);
	bench_done(&b);
	made_done(&m);
}

static void test_cancel(void)
{
	struct made m;
	struct bench b;
	unsigned ticks;

	made_new(&m, 600);
	bench_new(&b, &m);
	CHECK(bench_run(&b, true) == 0, "%s", b.e.text);
	ticks = b.ticks;
	bench_done(&b);
	CHECK(ticks > 12, "%u ticks", ticks);
	for (unsigned k = 1; k <= ticks; k++) {
		int r;

		bench_new(&b, &m);
		b.cancel_at = k;
		r = bench_run(&b, true);
		CHECK(r == -ECANCELED && b.e.kind == ERR_HOST, "tick %u: r=%d %s", k, r, b.e.text);
		CHECK(b.ticks == k, "went on after the cancel");
		b.cancel_at = 0;
		CHECK(bench_run(&b, true) == 0, "%s", b.e.text);
		check_whole(&b);
		bench_done(&b);
	}
	made_done(&m);
}

/* A medium that says it wrote: caught by reading back, whatever byte it is. */
static void test_lying_medium(void)
{
	struct made m;
	struct bench b;
	unsigned writes;

	made_new(&m, 400);
	bench_new(&b, &m);
	CHECK(bench_run(&b, false) == 0, "%s", b.e.text);
	writes = b.bad.writes;
	bench_done(&b);
	for (unsigned k = 2; k <= writes; k++) { /* the first only wipes the old superblock */
		int r;

		bench_new(&b, &m);
		b.bad.forge_write = k;
		r = bench_run(&b, false);
		CHECK(r == -EIO && b.e.kind == ERR_HOST, "write %u of %u: r=%d %s", k, writes, r,
		      b.e.text);
		b.bad.forge_write = 0;
		CHECK(bench_run(&b, true) == 0, "%s", b.e.text);
		check_whole(&b);
		bench_done(&b);
	}
	made_done(&m);
}

static void test_prove(void)
{
	struct made m;
	struct bench b;

	made_new(&m, 900);
	bench_new(&b, &m);
	CHECK(bench_run(&b, false) == 0, "%s", b.e.text);
	b.job.progress = NULL;
	CHECK(image_prove(&b.job, &m.id, &b.st, &b.e) == 0, "%s", b.e.text);
	for (unsigned k = 0; k < 120; k++) {
		bool tree = image_rnd(2);
		size_t at = (size_t)image_rnd(tree ? b.hash_n : b.data_n);
		uint8_t wrong;
		int r;

		if (tree && at < IMAGE_BLOCK)
			at %= VERITY_SUPER_BYTES;
		at += tree ? b.data_n + STRIP : 0;
		wrong = b.now[at] ^ (uint8_t)(1u << image_rnd(8));
		CHECK(pwrite(b.fd, &wrong, 1, (off_t)at) == 1, "write");
		b.e = (struct err)ERR_INIT;
		r = image_prove(&b.job, &m.id, &b.st, &b.e);
		CHECK(r == -EIO && b.e.kind == ERR_HOST, "byte %zu: r=%d %s", at, r, b.e.text);
		CHECK(image_prove(&b.job, &m.id, NULL, NULL) == -EIO, "without error object");
		CHECK(pwrite(b.fd, b.now + at, 1, (off_t)at) == 1, "write");
	}
	CHECK(image_prove(&b.job, &m.id, &b.st, &b.e) == 0, "%s", b.e.text);
	bench_done(&b);
	made_done(&m);
}

enum direct_use { USE_WRITE, USE_SCAN, USE_PROVE };

/* A slot to be written, one that is whole to be looked at, or one to be proved. */
static int direct_do(struct bench *b, enum direct_use use)
{
	int r;

	if (use != USE_PROVE)
		return bench_run(b, use == USE_SCAN);
	b->bad.directs = 0;
	memset(b->last, 0, sizeof(b->last));
	b->e = (struct err)ERR_INIT;
	r = image_prove(&b->job, &b->m->id, &b->st, &b->e);
	CHECK((r < 0) == (b->e.kind != ERR_NONE), "r=%d kind=%d", r, (int)b->e.kind);
	return r;
}

static void direct_fails(struct made *m, enum direct_use use, unsigned at, int os, bool on)
{
	struct bench b;
	int r;

	bench_new(&b, m);
	CHECK(use == USE_WRITE || bench_run(&b, false) == 0, "%s", b.e.text);
	b.bad.fail_direct = at;
	b.bad.fail_errno = os;
	b.bad.fail_on = on;
	r = direct_do(&b, use);
	if (os == EIO && !b.bad.fail_probe) { /* the medium, not the way to it */
		CHECK(r == -EIO && b.e.kind == ERR_HOST, "call %u: r=%d %s", at, r, b.e.text);
		b.bad.fail_direct = 0;
		r = direct_do(&b, USE_SCAN);
	}
	CHECK(r == 0, "use %d, call %u, %s: %s", (int)use, at, strerror(os), b.e.text);
	CHECK(use == USE_PROVE || b.last[IMAGE_PROVE] == b.data_n, "progress");
	check_whole(&b);
	bench_done(&b);
}

/*
 * A kernel that takes back at any transfer that it goes past the page cache: once or for good, all
 * goes through the cache then. Another failure stays one.
 */
static void test_direct(void)
{
	static const int os[] = { EINVAL, EOPNOTSUPP, EIO };
	struct made m;

	made_new(&m, 150);
	for (int use = USE_WRITE; use <= USE_PROVE; use++) {
		struct bench b;
		unsigned calls;

		bench_new(&b, &m);
		CHECK(use == USE_WRITE || bench_run(&b, false) == 0, "%s", b.e.text);
		CHECK(direct_do(&b, (enum direct_use)use) == 0, "%s", b.e.text);
		calls = b.bad.directs;
		CHECK(calls > m.n / 200 / DISK_BLOCK, "use %d: %u transfers", use, calls);
		bench_done(&b);
		for (unsigned k = 1; k <= calls; k++)
			for (size_t i = 0; i < 3; i++)
				direct_fails(&m, (enum direct_use)use, k, os[i], (k + i) % 2);
	}
	made_done(&m);
}

static void rot(struct bench *b, size_t at)
{
	uint8_t wrong = b->now[at] ^ 0x10;

	CHECK(pwrite(b->fd, &wrong, 1, (off_t)at) == 1, "write");
}

static void check_repair(struct bench *b, unsigned rotten, bool tree)
{
	uint8_t bad[64] = { 0 };
	uint64_t kept = 0;

	while (rotten-- > 0) {
		size_t at = (size_t)image_rnd(b->data_n);

		bad[at / IMAGE_GROUP] = 1;
		rot(b, at);
	}
	if (tree)
		rot(b, b->data_n + STRIP + (size_t)image_rnd(b->hash_n));
	for (size_t at = 0; at < b->data_n; at += IMAGE_GROUP)
		if (!bad[at / IMAGE_GROUP])
			kept += b->data_n - at < IMAGE_GROUP ? b->data_n - at : IMAGE_GROUP;
	CHECK(bench_run(b, true) == 0, "%s", b->e.text);
	check_whole(b);
	CHECK(b->st.kept == kept, "kept %llu, not %llu", (unsigned long long)b->st.kept,
	      (unsigned long long)kept);
}

/* Rot anywhere in a finished slot: only the groups that need it are fetched, none for the tree. */
static void test_repair(void)
{
	struct made m;
	struct bench b;

	made_new(&m, 3000);
	bench_new(&b, &m);
	CHECK(bench_run(&b, false) == 0, "%s", b.e.text);
	for (unsigned k = 0; k < 40; k++)
		check_repair(&b, (unsigned)image_rnd(4), k % 3 == 0);
	bench_done(&b);
	made_done(&m);
}

int main(void)
{
	dice_seed();
	test_sizes();
	test_failures();
	test_source_dies();
	test_wrong_byte();
	test_forged_blob();
	test_overwrite();
	test_lying_index();
	test_room();
	test_cancel();
	test_lying_medium();
	test_prove();
	test_direct();
	test_repair();
	return 0;
}
