/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "updater/audit/eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const uint8_t *p, size_t n, const uint8_t *data, size_t size)
{
	if (n > 0 && (p < data || n > size || (size_t)(p - data) > size - n))
		abort();
}

/* What is read lies within the input, in order; replay of a bank that is there gives it whole. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eventlog *l = NULL;
	struct pcr_bank b, again;
	size_t end = 0;

	if (eventlog_read(data, size, &l, NULL) < 0)
		return 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct eventlog_event *ev = &l->event[i];
		char text[64], type[16];
		struct eventlog_variable v;

		if (ev->at < end)
			abort();
		inside(ev->data, ev->data_n, data, size);
		end = ev->at + 1;
		for (size_t k = 0; k < ev->n_digest; k++)
			inside(ev->digest[k].p, tcg_digest_size(ev->digest[k].alg), data, size);
		if (eventlog_variable(ev, &v))
			inside(v.data, v.n, ev->data, ev->data_n);
		if (strlen(eventlog_text(ev, text, sizeof(text))) >= sizeof(text) ||
		    !eventlog_type(ev->type, type)[0] || eventlog_matches(ev, TCG_SHA256) > 1)
			abort();
	}
	for (size_t i = 0; i < l->n_alg; i++)
		if (eventlog_replay(l, l->alg[i].alg, &b, NULL) >= 0 &&
		    (eventlog_replay(l, l->alg[i].alg, &again, NULL) < 0 ||
		     memcmp(&b, &again, sizeof(b)) != 0))
			abort();
	eventlog_free(l);
	return 0;
}
