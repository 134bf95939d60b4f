/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "updater/audit/dsse.h"
#include "updater/audit/sbom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An envelope that reads can be written again and reads the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF b = BUF_INIT;
	AUTO_DSSE *d = NULL, *again = NULL;

	if (dsse_read(data, size, &d, NULL) < 0)
		return 0;
	if (d->n > DSSE_SIGNATURES_MAX || d->n == 0)
		return 0;
	if (strpbrk(d->type, "\"\\") || strpbrk(d->sig[0].keyid, "\"\\"))
		return 0;
	if (dsse_write(d->type, d->payload.p, d->payload.n, &d->sig[0], &b, NULL) < 0 ||
	    dsse_read(b.p, b.n, &again, NULL) < 0 || again->payload.n != d->payload.n ||
	    (d->payload.n && memcmp(again->payload.p, d->payload.p, d->payload.n) != 0) ||
	    memcmp(again->sig[0].sig, d->sig[0].sig, d->sig[0].n) != 0)
		abort();
	return 0;
}
