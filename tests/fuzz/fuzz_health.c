/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/health/unit.h"
#include "updater/health/update.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What systemctl and proactl say is judged without a crash, and every verdict has its words. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[HEALTH_LINE_MAX] = "";
	struct health_watch w = { .stay_ms = 1000 };
	struct health_unit_state s;
	const char *p = (const char *)data;

	if (health_unit_parse(p, size, &s, NULL) == 0) {
		enum health_end end = health_watch_step(&w, &s, 100000, text);

		if (!s.load[0] || !s.active[0] || (end == HEALTH_FAILED && !text[0]) ||
		    (end == HEALTH_PASSED && strcmp(s.active, "active") != 0))
			abort();
	}
	for (int code = 0; code < 2; code++) {
		enum health_update_end end = health_update_judge(true, code, p, size, text);

		/* nothing passes that does not say so */
		if (!text[0] || (end == HEALTH_UPDATE_OK && !memmem(data, size, "decision", 8) &&
				 !memchr(data, '\\', size)))
			abort();
	}
	if (health_update_judge(false, 0, p, size, text) != HEALTH_UPDATE_OURS || !text[0])
		abort();
	return 0;
}
