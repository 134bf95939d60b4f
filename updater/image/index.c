/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define INDEX_VERSION 2u

/* Offsets in the header, as index.h lists them. */
enum {
	AT_VERSION = 8,
	AT_HASH_TYPE = 12,
	AT_DATA_BLOCK = 16,
	AT_HASH_BLOCK = 20,
	AT_FRAME_RAW = 24,
	AT_CUT = 28,
	AT_BLOCKS = 32,
	AT_FULL = 40,
	AT_PARTS = 48, /* three pairs of offset and length */
	AT_SALT_N = 96,
	AT_ALGORITHM = 100,
	AT_SALT = 132,
	ALGORITHM_BYTES = 32,
};

static const char magic[8] = { 'p', 'r', 'o', 'a', '-', 'i', 'd', 'x' };
static const char algorithm[] = "sha256";

/* Lengths of the three parts, and of all up to the end of each. */
struct layout {
	uint64_t frames;
	uint64_t bytes[3], end[3];
};

static bool id_fits(const struct image_id *id)
{
	return id->data_blocks >= 1 && id->data_blocks <= IMAGE_BLOCKS_MAX &&
	       id->salt_n <= VERITY_SALT_MAX;
}

int image_super(const struct image_id *id, struct verity_super *ret, struct err *e)
{
	struct verity_super s = {
		.hash_type = 1,
		.algorithm = DIGEST_SHA256,
		.data_block = IMAGE_BLOCK,
		.hash_block = IMAGE_BLOCK,
		.data_blocks = id->data_blocks,
		.salt_n = id->salt_n,
	};

	if (!id_fits(id))
		return err_set(
			e, ERR_INPUT, ERANGE,
			"image of %llu blocks with %u bytes of salt: 1 to %llu blocks and at "
			"most %d bytes are possible",
			(unsigned long long)id->data_blocks, (unsigned)id->salt_n,
			(unsigned long long)IMAGE_BLOCKS_MAX, VERITY_SALT_MAX);
	memcpy(s.uuid, id->root, sizeof(s.uuid));
	memcpy(s.salt, id->salt, id->salt_n);
	*ret = s;
	return 0;
}

/* False when id is out of bounds. */
static bool id_geometry(const struct image_id *id, struct verity_geometry *ret)
{
	struct verity_super s;

	return image_super(id, &s, NULL) == 0 && verity_geometry(&s, ret, NULL) == 0;
}

uint64_t image_data_bytes(const struct image_id *id)
{
	return id_fits(id) ? id->data_blocks * IMAGE_BLOCK : 0;
}

uint64_t image_hash_bytes(const struct image_id *id)
{
	struct verity_geometry g;

	return id_geometry(id, &g) ? g.bytes : 0;
}

static struct layout layout_of(uint64_t data_blocks, const struct verity_geometry *g,
			       uint64_t frames)
{
	struct layout l = { .frames = frames };
	uint64_t at = IMAGE_INDEX_HEADER;

	l.bytes[IMAGE_INDEX_UPPER] = verity_upper_bytes(g);
	l.bytes[IMAGE_INDEX_FRAMES] = 4 * l.frames;
	l.bytes[IMAGE_INDEX_LEAVES] = IMAGE_LEAF_CUT * data_blocks;
	for (int i = 0; i < 3; i++)
		l.end[i] = at += l.bytes[i];
	return l;
}

/* Of the index that an id speaks of. False: there is none of that length. */
static bool id_layout(const struct image_id *id, const struct verity_geometry *g,
		      struct layout *ret)
{
	uint64_t rest = layout_of(id->data_blocks, g, 0).end[IMAGE_INDEX_LEAVES];
	uint64_t frames = id->index_bytes > rest ? (id->index_bytes - rest) / 4 : 0;

	if (frames < 1 || frames > SEEKABLE_FRAMES_MAX || frames > id->data_blocks)
		return false;
	*ret = layout_of(id->data_blocks, g, frames);
	return ret->end[IMAGE_INDEX_LEAVES] == id->index_bytes;
}

uint64_t image_index_bytes(const struct image_id *id, enum image_index_part through)
{
	struct verity_geometry g;
	struct layout l;

	return id_geometry(id, &g) && id_layout(id, &g, &l) ? l.end[through] : 0;
}

uint64_t image_index_length(const struct image_id *id, size_t frames)
{
	struct verity_geometry g;

	if (!id_geometry(id, &g))
		return 0;
	return layout_of(id->data_blocks, &g, frames).end[IMAGE_INDEX_LEAVES];
}

static void header_format(const struct image_id *id, uint64_t full_bytes, const struct layout *l,
			  uint8_t h[IMAGE_INDEX_HEADER])
{
	memset(h, 0, IMAGE_INDEX_HEADER);
	memcpy(h, magic, sizeof(magic));
	le32_put(h + AT_VERSION, INDEX_VERSION);
	le32_put(h + AT_HASH_TYPE, 1);
	le32_put(h + AT_DATA_BLOCK, IMAGE_BLOCK);
	le32_put(h + AT_HASH_BLOCK, IMAGE_BLOCK);
	le32_put(h + AT_FRAME_RAW, SEEKABLE_RAW_MAX);
	le32_put(h + AT_CUT, IMAGE_LEAF_CUT);
	le64_put(h + AT_BLOCKS, id->data_blocks);
	le64_put(h + AT_FULL, full_bytes);
	for (size_t i = 0; i < 3; i++) {
		le64_put(h + AT_PARTS + 16 * i, l->end[i] - l->bytes[i]);
		le64_put(h + AT_PARTS + 16 * i + 8, l->bytes[i]);
	}
	le32_put(h + AT_SALT_N, id->salt_n);
	memcpy(h + AT_ALGORITHM, algorithm, sizeof(algorithm));
	memcpy(h + AT_SALT, id->salt, id->salt_n);
}

/*
 * Every byte of the header follows from the id and the length of the full blob: so the check is
 * to make the header and compare. What differs is only looked for to say it.
 */
static int header_check(const uint8_t *p, const struct image_id *id, const struct layout *l,
			struct err *e)
{
	uint8_t want[IMAGE_INDEX_HEADER];
	size_t at;

	header_format(id, le64_get(p + AT_FULL), l, want);
	for (at = 0; at < sizeof(want) && p[at] == want[at];)
		at++;
	if (at == sizeof(want))
		return 0;
	if (at < AT_VERSION)
		return err_set(e, ERR_INPUT, EINVAL, "not an image index");
	if (at < AT_HASH_TYPE)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "image index of version %u, only %u is known",
			       le32_get(p + AT_VERSION), INDEX_VERSION);
	if (le64_get(p + AT_BLOCKS) != id->data_blocks)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "image index is of an image of %llu blocks, not %llu",
			       (unsigned long long)le64_get(p + AT_BLOCKS),
			       (unsigned long long)id->data_blocks);
	if (at >= AT_SALT_N && at < AT_SALT + VERITY_SALT_MAX &&
	    !(at >= AT_ALGORITHM && at < AT_SALT))
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "image index is of an image with another salt");
	return err_set(e, ERR_INPUT, EINVAL, "image index has an unexpected value at byte %zu", at);
}

void image_index_free(struct image_index *x)
{
	if (!x)
		return;
	verity_proof_free(x->proof);
	seekable_table_free(x->table);
	free(x);
}

/* The frames must fill the full blob up to its own table, as image_pack() writes it. */
static int table_load(struct image_index *x, const uint8_t *entries, size_t frames, struct err *e)
{
	int r = seekable_table_from_entries(entries, frames, x->id.data_blocks * IMAGE_BLOCK,
					    &x->table, e);

	if (r < 0)
		return err_wrap(e, r, "image index");
	if (x->table->packed[frames] + seekable_table_bytes(frames) != x->full_bytes)
		return err_set(e, ERR_INPUT, EINVAL,
			       "image index names frames of %llu bytes in a full image of %llu",
			       (unsigned long long)x->table->packed[frames],
			       (unsigned long long)x->full_bytes);
	return 0;
}

static int index_load(struct image_index *x, const uint8_t *p, size_t n, uint64_t full_bytes,
		      struct err *e)
{
	struct layout l;
	int r;

	if (!id_layout(&x->id, &x->geometry, &l))
		return err_set(e, ERR_INPUT, EMSGSIZE,
			       "the index of an image of %llu blocks cannot be %llu bytes long",
			       (unsigned long long)x->id.data_blocks,
			       (unsigned long long)x->id.index_bytes);
	if (n != l.end[IMAGE_INDEX_UPPER] && n != l.end[IMAGE_INDEX_FRAMES] &&
	    n != l.end[IMAGE_INDEX_LEAVES])
		return err_set(e, ERR_INPUT, EMSGSIZE,
			       "image index of %zu bytes, %llu or a known prefix of it expected", n,
			       (unsigned long long)l.end[IMAGE_INDEX_LEAVES]);
	r = header_check(p, &x->id, &l, e);
	if (r < 0)
		return r;
	x->full_bytes = le64_get(p + AT_FULL);
	if (full_bytes != 0 && x->full_bytes != full_bytes)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "image index is of a full image of %llu bytes, not %llu",
			       (unsigned long long)x->full_bytes, (unsigned long long)full_bytes);
	x->upper = p + IMAGE_INDEX_HEADER;
	x->upper_n = (size_t)l.bytes[IMAGE_INDEX_UPPER];
	r = verity_proof_new(&x->super, x->upper, x->upper_n, x->id.root, &x->proof, e);
	if (r < 0)
		return err_wrap(e, r, "image index");
	if (n >= l.end[IMAGE_INDEX_FRAMES]) {
		r = table_load(x, p + l.end[IMAGE_INDEX_UPPER], (size_t)l.frames, e);
		if (r < 0)
			return r;
	}
	if (n == l.end[IMAGE_INDEX_LEAVES])
		x->leaves = p + l.end[IMAGE_INDEX_FRAMES];
	return 0;
}

int image_index_parse(const uint8_t *p, size_t n, const struct image_id *id, uint64_t full_bytes,
		      struct image_index **ret, struct err *e)
{
	AUTO_IMAGE_INDEX *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return err_set(e, ERR_HOST, ENOMEM, "image index");
	x->id = *id;
	r = image_super(id, &x->super, e);
	if (r < 0)
		return r;
	r = verity_geometry(&x->super, &x->geometry, e);
	if (r < 0)
		return r;
	r = index_load(x, p, n, full_bytes, e);
	if (r < 0)
		return r;
	*ret = TAKE(x);
	return 0;
}

int image_index_format(const struct image_index_parts *parts, struct buf *out, struct err *e)
{
	uint8_t header[IMAGE_INDEX_HEADER];
	struct verity_geometry g;
	struct layout l;
	int r;

	if (!id_geometry(parts->id, &g))
		return err_set(e, ERR_BUG, EINVAL, "image index of an impossible image");
	if (!id_layout(parts->id, &g, &l) || parts->upper_n != l.bytes[IMAGE_INDEX_UPPER] ||
	    parts->frames_n != l.bytes[IMAGE_INDEX_FRAMES] ||
	    parts->leaves_n != l.bytes[IMAGE_INDEX_LEAVES])
		return err_set(e, ERR_BUG, EINVAL, "image index from parts of wrong lengths");
	header_format(parts->id, parts->full_bytes, &l, header);
	r = buf_add(out, header, sizeof(header), e);
	if (r < 0)
		return r;
	r = buf_add(out, parts->upper, parts->upper_n, e);
	if (r < 0)
		return r;
	r = buf_add(out, parts->frames, parts->frames_n, e);
	if (r < 0)
		return r;
	return buf_add(out, parts->leaves, parts->leaves_n, e);
}
