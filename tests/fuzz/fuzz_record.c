/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever parses as a record's body must survive format -> parse, and its lists stay bounded. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "updater/record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct record a, b;
	AUTO_BUF p = BUF_INIT;
	AUTO_BUF q = BUF_INIT;
	struct err e = ERR_INIT;

	if (record_parse(data, size, "r", &a, &e) < 0) {
		if (e.kind == ERR_NONE || e.kind == ERR_BUG)
			abort();
		return 0;
	}
	if (a.n_event > RECORD_EVENTS_MAX || a.n_failure > RECORD_FAILURES_MAX)
		abort();
	if (record_format(&a, &p, &e) < 0 || record_parse(p.p, p.n, "r", &b, &e) < 0 ||
	    record_format(&b, &q, &e) < 0 || p.n != q.n || memcmp(p.p, q.p, p.n) != 0)
		abort();
	for (size_t i = 0; i < a.n_failure; i++)
		if (!record_failed(&a, a.failure[i].version))
			abort();
	return 0;
}
