/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "updater/image/seekable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first 8 bytes are the length of the blob. What parses fills it without a gap. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_SEEKABLE_TABLE *t = NULL;
	uint64_t blob;

	if (size < 8)
		return 0;
	blob = le64_get(data);
	if (seekable_table_parse(data + 8, size - 8, blob, &t, NULL) < 0) {
		/* the same bytes as the entries of an index */
		size_t frames = size / 4;
		uint64_t raw = 0;

		for (size_t i = 0; i < frames; i++)
			raw += (uint64_t)(le32_get(data + 4 * i) >> 22) * SEEKABLE_UNIT;
		if (seekable_table_from_entries(data, frames, raw, &t, NULL) < 0)
			return 0;
		blob = t->packed[frames] + size - 8;
	}
	if (t->frames == 0 || t->frames > SEEKABLE_FRAMES_MAX || t->packed[0] != 0 ||
	    t->raw[0] != 0 || t->packed[t->frames] != blob - (size - 8))
		abort();
	for (size_t i = 0; i < t->frames; i++) {
		if (t->packed[i + 1] <= t->packed[i] || t->raw[i + 1] <= t->raw[i] ||
		    t->raw[i + 1] - t->raw[i] > SEEKABLE_RAW_MAX ||
		    t->packed[i + 1] - t->packed[i] > SEEKABLE_PACKED_MAX(SEEKABLE_RAW_MAX))
			abort();
		if (seekable_find(t->raw, t->frames, t->raw[i]) != i ||
		    seekable_find(t->raw, t->frames, t->raw[i + 1] - 1) != i)
			abort();
	}
	return 0;
}
