/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "updater/audit/quote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No bytes pass as quote and signature of a key that they bring along and that did not sign. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pcr_bank bank = { .alg = TCG_SHA256, .have = 0xffffff };
	AUTO_QUOTE_KEY k = { .pkey = NULL };
	struct quote q;

	if (quote_read(data, size, &q, NULL) >= 0) {
		if (q.nonce_n > QUOTE_NONCE_MAX || q.n_bank > QUOTE_BANKS_MAX ||
		    q.digest_n > TCG_DIGEST_MAX)
			abort();
		(void)!quote_check(&q, &bank, 0, NULL);
	}
	if (quote_key_read(data, size, &k, NULL) >= 0 &&
	    (!k.pkey || quote_verify(&k, data, size, data, size, NULL) >= 0))
		abort();
	return 0;
}
