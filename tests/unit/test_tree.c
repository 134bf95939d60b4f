/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Known answers made with cryptsetup's tools, and the ways to one root that must agree: streamed
 * data, ready digests, several threads, proofs of groups; plus what a flipped byte does to each.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/sys.h"
#include "tests/dice.h"
#include "tests/test.h"
#include "verity/image.h"
#include "verity/proof.h"
#include "verity/tree.h"

#define SALT "e48da609055204e89ae53b655ca2216dd983cf3cb829f34f63a297d106d53e2d"

static const struct {
	uint32_t type, block;
	enum digest_kind algorithm;
	const char *salt, *root;
} known[] = {
	/* of 8 MiB of zeros */
	{ 1, 512, DIGEST_SHA256, SALT,
	  "9de18652fe74edfb9b805aaed72ae2aa48f94333f1ba5c452ac33b1c39325174" },
	{ 1, 1024, DIGEST_SHA256, SALT,
	  "54d92778750495d1f80832b486ebd007617d746271511bbf0e295e143da2b3df" },
	{ 1, 4096, DIGEST_SHA256, SALT,
	  "e522df0f97da4febb882ac40f30b37dc0b444bf6df418929463fa25280f09d5c" },
	{ 0, 4096, DIGEST_SHA256, SALT,
	  "cbbf4ebd004ef65e29b935bb635a39cf754d677f3fa10b0126da725bbdf10f7d" },
	{ 1, 4096, DIGEST_SHA256, "",
	  "ef29c902d87350f1da4bfa536e16cebc162a909bf89abe448b81ec500d4fb9bf" },
	{ 1, 1024, DIGEST_SHA1, SALT, "d0e9163ca8844aaa2e88fe5265a8c5d9ee494a99" },
	{ 1, 1024, DIGEST_SHA1, "dadada", "73509e8e868be6b8ac939817a98a3d35121413b2" },
};

static uint64_t rnd_below(uint64_t n)
{
	return dice() % n;
}

/* Where a streamed tree goes; every byte must come once. */
struct sink {
	uint8_t *p;
	uint8_t *seen;
	uint64_t n;
	bool whole; /* the superblock came */
};

static int sink_write(void *arg, uint64_t offset, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	(void)e;
	CHECK(!s->whole, "a write behind the superblock");
	CHECK(offset <= s->n && n <= s->n - offset, "write of %zu bytes at %ju outside", n,
	      (uintmax_t)offset);
	for (size_t i = 0; i < n; i++)
		CHECK(!s->seen[offset + i]++, "byte %ju written twice", (uintmax_t)(offset + i));
	memcpy(s->p + offset, p, n);
	s->whole = offset == 0;
	return 0;
}

static void test_known(void)
{
	static const uint8_t zeros[1 << 16];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct verity_super s = { .hash_type = known[i].type,
					  .algorithm = known[i].algorithm,
					  .data_block = known[i].block,
					  .hash_block = known[i].block,
					  .data_blocks = (8u << 20) / known[i].block,
					  .salt_n = (uint16_t)(strlen(known[i].salt) / 2) };
		AUTO_VERITY_TREE *t = NULL;
		struct err e = ERR_INIT;
		uint8_t root[DIGEST_MAX];
		char hex[2 * DIGEST_MAX + 1];

		CHECK(hex_parse(known[i].salt, "salt", s.salt, s.salt_n, &e) >= 0, "%s", e.text);
		CHECK(verity_tree_new(&s, NULL, NULL, &t, &e) >= 0, "%s", e.text);
		for (size_t done = 0; done < 8u << 20; done += sizeof(zeros))
			CHECK(verity_tree_add(t, zeros, sizeof(zeros), &e) >= 0, "%s", e.text);
		CHECK(verity_tree_add(t, zeros, s.data_block, &e) < 0, "one block too many");
		CHECK(verity_tree_end(t, root, &e) >= 0, "%s", e.text);
		hex_format(root, digest_size(s.algorithm), hex);
		CHECK(strcmp(hex, known[i].root) == 0, "case %zu: %s", i, hex);
	}
}

struct image {
	struct verity_super s;
	struct verity_geometry g;
	uint8_t *data, *hash;
	size_t data_n;
	uint8_t root[DIGEST_MAX];
};

static void image_random(struct image *im)
{
	struct verity_super *s = &im->s;
	struct err e = ERR_INIT;
	uint64_t most = rnd_below(4) == 0 ? 600 : 40;

	memset(im, 0, sizeof(*im));
	s->hash_type = rnd_below(4) != 0;
	s->algorithm = (enum digest_kind)rnd_below(3);
	s->data_block = 512u << rnd_below(4);
	s->hash_block = 512u << rnd_below(4);
	s->data_blocks = 1 + rnd_below(most);
	s->salt_n = (uint16_t)rnd_below(VERITY_SALT_MAX + 1);
	for (size_t i = 0; i < s->salt_n; i++)
		s->salt[i] = (uint8_t)dice();
	for (size_t i = 0; i < sizeof(s->uuid); i++)
		s->uuid[i] = (uint8_t)dice();
	CHECK(verity_geometry(s, &im->g, &e) >= 0, "%s", e.text);
	im->data_n = (size_t)(s->data_blocks * s->data_block);
	im->data = malloc(im->data_n);
	im->hash = calloc(1, im->g.bytes);
	CHECK(im->data && im->hash, "out of memory");
	for (size_t i = 0; i < im->data_n; i += 8) {
		uint64_t v = dice();

		memcpy(im->data + i, &v, 8);
	}
}

static void image_done(struct image *im)
{
	free(im->data);
	free(im->hash);
}

/* Streams the image in pieces of random size, as data or as digests. */
static void image_build(struct image *im)
{
	AUTO_VERITY_TREE *t = NULL;
	AUTO_VERITY_HASHER *h = NULL;
	struct sink sink = { .p = im->hash, .n = im->g.bytes };
	struct err e = ERR_INIT;
	uint8_t *digests = malloc(im->s.data_blocks * im->g.digest_bytes);

	sink.seen = calloc(1, im->g.bytes);
	CHECK(sink.seen && digests, "out of memory");
	CHECK(verity_tree_new(&im->s, sink_write, &sink, &t, &e) >= 0, "%s", e.text);
	CHECK(verity_hasher_new(&im->s, &h, &e) >= 0, "%s", e.text);
	for (uint64_t at = 0; at < im->s.data_blocks;) {
		uint64_t n = 1 + rnd_below(im->s.data_blocks - at);
		const uint8_t *p = im->data + at * im->s.data_block;
		int r;

		if (rnd_below(2)) {
			r = verity_tree_add(t, p, n * im->s.data_block, &e);
		} else {
			verity_hash_blocks(h, p, im->s.data_block, n, digests);
			r = verity_tree_add_digests(t, digests, n, &e);
		}
		CHECK(r >= 0, "%s", e.text);
		at += n;
		if (at < im->s.data_blocks)
			CHECK(verity_tree_end(t, im->root, &e) < 0, "an unfinished tree ended");
	}
	CHECK(verity_tree_end(t, im->root, &e) >= 0, "%s", e.text);
	for (uint64_t i = 0; i < im->g.bytes; i++)
		CHECK(sink.seen[i] == 1, "byte %ju not written", (uintmax_t)i);
	free(sink.seen);
	free(digests);
}

/* One group is proved; with a bit flipped at byte bad_at of it, it is not. */
static void check_group(struct verity_proof *p, uint64_t group, uint8_t *data, size_t n,
			uint64_t bad_at)
{
	struct err e = ERR_INIT;

	CHECK(verity_proof_data(p, group, data, n, &e) >= 0, "%s", e.text);
	if (bad_at >= n)
		return;
	data[bad_at] ^= 1;
	CHECK(verity_proof_data(p, group, data, n, &e) == -EBADMSG, "byte %ju", (uintmax_t)bad_at);
	data[bad_at] ^= 1;
}

static void check_proofs(const struct image *im)
{
	AUTO_VERITY_PROOF *p = NULL;
	struct err e = ERR_INIT;
	size_t upper_n = verity_upper_bytes(&im->g);
	uint8_t *upper = malloc(upper_n + 1);
	uint64_t at = 0, group = 0;
	uint64_t bad_at = rnd_below(im->data_n);

	CHECK(upper, "out of memory");
	memcpy(upper, im->hash + verity_upper_offset(&im->g), upper_n);
	CHECK(verity_proof_new(&im->s, upper, upper_n, im->root, &p, &e) >= 0, "%s", e.text);
	for (; group < verity_groups(&im->s, &im->g); group++) {
		size_t n = verity_group_blocks(&im->s, &im->g, group) * im->s.data_block;

		check_group(p, group, im->data + at, n, bad_at - at);
		at += n;
	}
	CHECK(at == im->data_n, "groups cover %ju of %zu bytes", (uintmax_t)at, im->data_n);
	CHECK(verity_proof_data(p, group, im->data, im->s.data_block, &e) < 0, "a group too many");

	verity_proof_free(p);
	p = NULL;
	CHECK(verity_proof_new(&im->s, upper, upper_n + 1, im->root, &p, &e) == -EMSGSIZE, "size");
	if (upper_n > 0) {
		upper[rnd_below(upper_n)] ^= 0x80;
		CHECK(verity_proof_new(&im->s, upper, upper_n, im->root, &p, &e) == -EBADMSG,
		      "a flipped bit in the upper levels passed");
	}
	free(upper);
}

static int temp_file(const void *p, size_t n, uint64_t offset)
{
	char name[] = "/tmp/proa-test-tree-XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0 && unlink(name) == 0, "no temporary file");
	CHECK(pwrite(fd, p, n, (off_t)offset) == (ssize_t)n, "short write");
	return fd;
}

static void flip(int fd, uint64_t at)
{
	uint8_t b;

	CHECK(pread(fd, &b, 1, (off_t)at) == 1, "read");
	b ^= 0x10;
	CHECK(pwrite(fd, &b, 1, (off_t)at) == 1, "write");
}

/* Threads and areas inside files agree with the stream, and find the one wrong byte. */
static void check_files(const struct image *im)
{
	uint64_t off = rnd_below(3) * UINT64_C(512);
	struct verity_work w = { .threads = 1 + (unsigned)rnd_below(4) };
	struct err e = ERR_INIT;
	struct verity_bad bad;
	uint8_t root[DIGEST_MAX], *got = malloc(im->g.bytes);
	struct verity_area data = { temp_file(im->data, im->data_n, off), off, im->data_n };
	struct verity_area hash = { temp_file("x", 1, 0), off, im->g.bytes };
	struct verity_check c = { data, hash, &im->s, im->root };
	uint64_t at;

	CHECK(got, "out of memory");
	CHECK(verity_format(sys_linux(), &data, &hash, &im->s, &w, root, &e) >= 0, "%s", e.text);
	CHECK(memcmp(root, im->root, im->g.digest_bytes) == 0, "roots differ");
	CHECK(pread(hash.fd, got, im->g.bytes, (off_t)off) == (ssize_t)im->g.bytes, "read");
	CHECK(memcmp(got, im->hash, im->g.bytes) == 0, "hash areas differ");
	CHECK(verity_verify(sys_linux(), &c, &w, &bad, &e) >= 0, "%s", e.text);
	CHECK(bad.kind == VERITY_BAD_NONE, "good, but bad");

	at = rnd_below(im->data_n);
	flip(data.fd, off + at);
	if (at + UINT64_C(2) * im->s.data_block <
	    im->data_n) /* a later one must not be named instead */
		flip(data.fd, off + im->data_n - 1);
	CHECK(verity_verify(sys_linux(), &c, &w, &bad, &e) == -EBADMSG, "flipped data passed");
	CHECK(bad.kind == VERITY_BAD_DATA && bad.block == at / im->s.data_block, "wrong block %ju",
	      (uintmax_t)bad.block);
	CHECK(bad.at == bad.block * im->s.data_block, "wrong place");
	CHECK(e.kind == ERR_REFUSED, "kind %d", (int)e.kind);

	if (im->g.levels > 0) {
		at = im->s.hash_block + rnd_below(im->g.bytes - im->s.hash_block);
		flip(hash.fd, off + at);
		CHECK(verity_verify(sys_linux(), &c, &w, &bad, &e) == -EBADMSG, "flipped hash");
		CHECK(bad.kind == VERITY_BAD_HASH &&
			      bad.at == at / im->s.hash_block * im->s.hash_block,
		      "flipped byte %ju of the hash area, named %ju", (uintmax_t)at,
		      (uintmax_t)bad.at);
	}
	flip(hash.fd, off + 72); /* the number of data blocks */
	CHECK(verity_verify(sys_linux(), &c, &w, &bad, &e) == -EBADMSG, "another superblock");
	CHECK(bad.kind == VERITY_BAD_SUPER, "kind %d", (int)bad.kind);
	data.bytes--;
	CHECK(verity_root(sys_linux(), &data, &im->s, &w, root, &e) == -ENOSPC, "data too short");
	(void)close(data.fd);
	(void)close(hash.fd);
	free(got);
}

static int stop_half(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *last = arg;

	CHECK(done > *last && done <= total, "progress went from %ju to %ju of %ju",
	      (uintmax_t)*last, (uintmax_t)done, (uintmax_t)total);
	*last = done;
	return done >= total / 2;
}

/* Cancelled half-way: no superblock, even where one was. */
static void test_cancel(void)
{
	static const uint64_t blocks = 1024;
	uint8_t *zeros = calloc(blocks, 4096), super[VERITY_SUPER_BYTES], root[DIGEST_MAX];
	struct verity_super s = { .hash_type = 1,
				  .algorithm = DIGEST_SHA256,
				  .data_block = 4096,
				  .hash_block = 4096,
				  .data_blocks = blocks };
	uint64_t last = 0;
	struct verity_work w = { .threads = 3, .progress = stop_half, .arg = &last };
	struct err e = ERR_INIT;

	CHECK(zeros, "out of memory");
	verity_super_format(&s, super);
	struct verity_area data = { temp_file(zeros, blocks * 4096, 0), 0, blocks * 4096 };
	struct verity_area hash = { temp_file(super, sizeof(super), 0), 0, UINT32_MAX };

	CHECK(verity_super_read(sys_linux(), &hash, &s, &e) >= 0, "%s", e.text);
	CHECK(verity_format(sys_linux(), &data, &hash, &s, &w, root, &e) == -ECANCELED, "went on");
	CHECK(verity_super_read(sys_linux(), &hash, &s, &e) < 0, "half a tree looks whole");
	(void)close(data.fd);
	(void)close(hash.fd);
	free(zeros);
}

static void test_super(void)
{
	struct verity_super s = { .hash_type = 1,
				  .algorithm = DIGEST_SHA1,
				  .data_block = 4096,
				  .hash_block = 512,
				  .data_blocks = UINT64_MAX / 4096 / 2 };
	struct verity_geometry g;
	struct err e = ERR_INIT;

	CHECK(verity_super_check(&s, &e) >= 0, "%s", e.text);
	CHECK(verity_geometry(&s, &g, &e) >= 0, "%s", e.text);
	s.data_block = 512;
	s.data_blocks = UINT64_MAX / 512 / 2;
	s.hash_block = 512;
	s.algorithm = DIGEST_SHA512;
	CHECK(verity_geometry(&s, &g, &e) >= 0, "2^54 blocks in %u levels: %s", g.levels, e.text);
	s.data_blocks++;
	CHECK(verity_geometry(&s, &g, &e) < 0, "more than 2^63 bytes");
	s.data_blocks = 0;
	CHECK(verity_super_check(&s, &e) == -EINVAL, "no blocks");
	s.data_blocks = 1;
	for (uint32_t b = 0; b < 10000; b++) {
		bool ok = b == 512 || b == 1024 || b == 2048 || b == 4096;

		s.data_block = b;
		CHECK((verity_super_check(&s, &e) >= 0) == ok, "data block size %u", b);
		s.data_block = 512;
		s.hash_block = b;
		CHECK((verity_super_check(&s, &e) >= 0) == ok, "hash block size %u", b);
		s.hash_block = 512;
	}
}

int main(void)
{
	unsigned images = 1500;

	dice_seed();
	test_known();
	test_super();
	test_cancel();
	for (unsigned i = 0; i < images; i++) {
		struct image im;

		image_random(&im);
		image_build(&im);
		check_proofs(&im);
		check_files(&im);
		image_done(&im);
	}
	printf("%u images\n", images);
	return 0;
}
