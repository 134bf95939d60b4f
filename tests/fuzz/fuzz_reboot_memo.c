/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/agent/reboot_memo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What reads as a memo is written so that it reads the same, and a decision comes of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reboot_facts f = { .now = 1000, .by = REBOOT_BY_ITSELF, .applied = true };
	static struct reboot_memo m, again;
	struct reboot_next next;
	AUTO_BUF b = BUF_INIT;

	memset(&m, 0, sizeof(m));
	memset(&again, 0, sizeof(again));
	if (reboot_memo_parse(data, size, &m, NULL) < 0)
		return 0;
	if (reboot_memo_format(&m, &b, NULL) < 0)
		abort();
	if (reboot_memo_parse(b.p, b.n, &again, NULL) < 0 || again.lock != m.lock ||
	    again.hooked != m.hooked || again.why != m.why || again.going != m.going ||
	    again.next != m.next || strcmp(again.place.url, m.place.url) != 0 ||
	    strcmp(again.version, m.version) != 0 || strcmp(again.text, m.text) != 0)
		abort();
	reboot_decide(&m, &f, &next);
	if (next.n > REBOOT_REASONS_MAX)
		abort();
	for (size_t i = 0; i < next.n; i++)
		if (memchr(next.reason[i].text, '\0', sizeof(next.reason[i].text)) == NULL)
			abort();
	return 0;
}
