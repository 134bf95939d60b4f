/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/hook/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plain(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			abort();
}

/* What one side takes from the other says the same when it is written again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hook_ask a, a2;
	struct hook_answer r, r2;
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF c = BUF_INIT;

	if (hook_ask_parse(data, size, &a, NULL) == 0) {
		plain(a.version);
		plain(a.from);
		plain(a.reason);
		plain(a.outcome);
		if (!hook_dirs_valid(a.dirs) || hook_ask_format(&a, &b, NULL) < 0 ||
		    hook_ask_parse(b.p, b.n, &a2, NULL) < 0 || a2.stage != a.stage ||
		    a2.timeout_s != a.timeout_s || strcmp(a2.dirs, a.dirs) != 0)
			abort();
	}
	if (hook_answer_parse(data, size, &r, NULL) == 0) {
		if (r.ok == (r.text[0] != '\0') || hook_answer_format(&r, &c, NULL) < 0 ||
		    hook_answer_parse(c.p, c.n, &r2, NULL) < 0 || strcmp(r2.text, r.text) != 0)
			abort();
	}
	return 0;
}
