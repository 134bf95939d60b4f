/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "verity/proof.h"
#include "verity/super.h"
#include "verity/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

/* Levels lie behind one another, top first, and end where the hash area ends. */
static void check_geometry(const struct verity_super *s)
{
	struct verity_geometry g;
	uint64_t at = s->hash_block, n = s->data_blocks;

	if (verity_geometry(s, &g, NULL) < 0)
		return;
	for (unsigned l = g.levels; l-- > 0;) {
		must(g.level[l].offset == at);
		at += g.level[l].blocks * s->hash_block;
	}
	must(at == g.bytes && g.bytes <= INT64_MAX);
	for (unsigned l = 0; l < g.levels; l++) {
		must(g.level[l].blocks == (n - 1) / g.per_block + 1);
		n = g.level[l].blocks;
	}
	must(n == 1);
	must((uint64_t)g.per_block * g.slot <= s->hash_block);
	must(verity_upper_bytes(&g) < g.bytes);
	must(verity_group_blocks(s, &g, verity_groups(s, &g) - 1) <= g.per_block);
}

/* Whatever parses must survive format -> parse unchanged. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verity_super a, b;
	uint8_t out[VERITY_SUPER_BYTES];

	if (size < VERITY_SUPER_BYTES || verity_super_parse(data, &a, NULL) < 0)
		return 0;
	verity_super_format(&a, out);
	must(verity_super_parse(out, &b, NULL) == 0);
	must(a.hash_type == b.hash_type && a.algorithm == b.algorithm);
	must(a.data_block == b.data_block && a.hash_block == b.hash_block);
	must(a.data_blocks == b.data_blocks && a.salt_n == b.salt_n);
	must(memcmp(a.uuid, b.uuid, sizeof(a.uuid)) == 0);
	must(memcmp(a.salt, b.salt, sizeof(a.salt)) == 0);
	check_geometry(&a);
	return 0;
}
