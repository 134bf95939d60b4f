/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/buf.h"
#include "bootctl/pe.h"
#include "bootctl/secureboot.h"
#include "bootctl/uki.h"
#include "tests/fuzz/mem_sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sections(const struct pe *pe)
{
	for (size_t i = 0; i < pe->n_sections; i++) {
		const struct pe_section *s = &pe->section[i];
		char *text = NULL;
		size_t n = 0;

		if ((uint64_t)s->raw_offset + s->raw_size > pe->size)
			abort();
		if (pe_section_read(pe, s, 1 << 20, &text, &n, NULL) < 0)
			abort(); /* what was accepted can be read */
		if (n > s->raw_size || text[n] != '\0')
			abort();
		free(text);
	}
}

/* An image that opens can be hashed and judged; nothing is accepted by an empty db. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem_sys m = { .sys = { .ops = &mem_ops }, .p = data, .n = size };
	uint8_t hash[SHA256_BYTES], again[SHA256_BYTES];
	struct pe_cert certs[PE_CERTS_MAX];
	struct sb_verdict v;
	struct uki uki;
	struct pe pe;
	size_t n = 0;

	if (pe_open_lax(&m.sys, 3, &pe, NULL) < 0 && pe_open(&m.sys, 3, &pe, NULL) >= 0)
		abort(); /* strict asks for more */
	if (pe_open(&m.sys, 3, &pe, NULL) < 0) {
		if (uki_read_fd(&m.sys, 3, &uki, NULL) >= 0)
			abort();
		return 0;
	}
	check_sections(&pe);
	if (pe_hash(&pe, hash, NULL) < 0 || pe_hash(&pe, again, NULL) < 0 ||
	    memcmp(hash, again, sizeof(hash)) != 0)
		abort();
	if (pe_certs(&pe, certs, &n, NULL) >= 0)
		for (size_t i = 0; i < n; i++)
			if (certs[i].off + certs[i].bytes > size)
				abort();
	if (sb_judge(&pe, NULL, 0, NULL, 0, &v, NULL) >= 0 && v.accepted)
		abort();
	if (uki_read_fd(&m.sys, 3, &uki, NULL) >= 0 && !uki.pretty[0])
		abort();
	return 0;
}
