/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "bootctl/secureboot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct range {
	const uint8_t *p, *end;
	size_t n;
};

/* Every signature lies within the input, in order, and none overlaps the one before. */
static int inside(void *arg, const struct sb_sig *sig)
{
	struct range *r = arg;

	if (sig->p < r->p || sig->p > r->end || sig->n > (size_t)(r->end - sig->p) || sig->n == 0)
		abort();
	if (sig->kind != SB_SIG_X509 && sig->n < 32)
		abort();
	r->p = sig->p + sig->n;
	r->n++;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct range r = { data, data + size, 0 };

	if (sb_siglist_walk(data, size, inside, &r, NULL) > 0)
		abort();
	return 0;
}
