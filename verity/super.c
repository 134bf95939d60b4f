/* SPDX-License-Identifier: Apache-2.0 */
#include "verity/super.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"

/* Byte offsets in the superblock. */
enum {
	AT_VERSION = 8,
	AT_HASH_TYPE = 12,
	AT_UUID = 16,
	AT_ALGORITHM = 32,
	AT_DATA_BLOCK = 64,
	AT_HASH_BLOCK = 68,
	AT_DATA_BLOCKS = 72,
	AT_SALT_SIZE = 80,
	AT_SALT = 88,
	ALGORITHM_BYTES = 32,
};

static const uint8_t magic[8] = { 'v', 'e', 'r', 'i', 't', 'y', 0, 0 };

static int check_block(uint32_t n, const char *what, struct err *e)
{
	if (n < VERITY_BLOCK_MIN || n > VERITY_BLOCK_MAX || (n & (n - 1)) != 0)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "verity superblock: %s block size %u: only 512, 1024, 2048 and 4096 "
			       "bytes are supported",
			       what, n);
	return 0;
}

int verity_super_check(const struct verity_super *s, struct err *e)
{
	uint64_t bytes;
	int r;

	if (s->hash_type > 1)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "verity superblock: hash type %u: only 0 and 1 exist", s->hash_type);
	r = check_block(s->data_block, "data", e);
	if (r >= 0)
		r = check_block(s->hash_block, "hash", e);
	if (r < 0)
		return r;
	if (s->salt_n > VERITY_SALT_MAX)
		return err_set(e, ERR_INPUT, EINVAL,
			       "verity superblock: salt of %u bytes: at most %d", s->salt_n,
			       VERITY_SALT_MAX);
	if (s->data_blocks == 0)
		return err_set(e, ERR_INPUT, EINVAL, "verity superblock: no data blocks");
	if (!num_mul(s->data_blocks, s->data_block, &bytes) || bytes > INT64_MAX)
		return err_set(
			e, ERR_INPUT, EINVAL,
			"verity superblock: %llu data blocks are more than a device can hold",
			(unsigned long long)s->data_blocks);
	return 0;
}

/* The name field is NUL-padded; cryptsetup reads it case-insensitively, but writes lower case. */
static int read_algorithm(const uint8_t *p, enum digest_kind *ret, struct err *e)
{
	char name[ALGORITHM_BYTES + 1];

	memcpy(name, p, ALGORITHM_BYTES);
	name[ALGORITHM_BYTES] = '\0';
	for (size_t i = 0; name[i]; i++)
		if (name[i] < ' ' || name[i] > '~')
			return err_set(e, ERR_INPUT, EINVAL,
				       "verity superblock: the hash algorithm is not text");
	int r = digest_by_name(name, ret, e);

	return r < 0 ? err_wrap(e, r, "verity superblock") : 0;
}

int verity_super_parse(const uint8_t p[VERITY_SUPER_BYTES], struct verity_super *ret, struct err *e)
{
	struct verity_super s = { .hash_type = le32_get(p + AT_HASH_TYPE) };
	int r;

	if (memcmp(p, magic, sizeof(magic)) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "no verity superblock here");
	if (le32_get(p + AT_VERSION) != 1)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "verity superblock: version %u: only 1 is supported",
			       le32_get(p + AT_VERSION));
	memcpy(s.uuid, p + AT_UUID, sizeof(s.uuid));
	s.data_block = le32_get(p + AT_DATA_BLOCK);
	s.hash_block = le32_get(p + AT_HASH_BLOCK);
	s.data_blocks = le64_get(p + AT_DATA_BLOCKS);
	s.salt_n = le16_get(p + AT_SALT_SIZE);
	r = verity_super_check(&s, e); /* bounds salt_n */
	if (r < 0)
		return r;
	memcpy(s.salt, p + AT_SALT, s.salt_n);
	r = read_algorithm(p + AT_ALGORITHM, &s.algorithm, e);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

void verity_super_format(const struct verity_super *s, uint8_t out[VERITY_SUPER_BYTES])
{
	const char *name = digest_name(s->algorithm);
	size_t n = strlen(name);

	memset(out, 0, VERITY_SUPER_BYTES);
	memcpy(out, magic, sizeof(magic));
	le32_put(out + AT_VERSION, 1);
	le32_put(out + AT_HASH_TYPE, s->hash_type);
	memcpy(out + AT_UUID, s->uuid, sizeof(s->uuid));
	memcpy(out + AT_ALGORITHM, name, n < ALGORITHM_BYTES ? n : ALGORITHM_BYTES);
	le32_put(out + AT_DATA_BLOCK, s->data_block);
	le32_put(out + AT_HASH_BLOCK, s->hash_block);
	le64_put(out + AT_DATA_BLOCKS, s->data_blocks);
	le16_put(out + AT_SALT_SIZE, s->salt_n);
	memcpy(out + AT_SALT, s->salt, s->salt_n <= VERITY_SALT_MAX ? s->salt_n : VERITY_SALT_MAX);
}
