/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/patch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "updater/image/feed.h"

#define CHUNK ((size_t)64 << 10)

static int piece_put(const struct image_patch_job *job, struct image_feed *f,
		     const struct image_piece *piece, uint8_t *p, struct err *e)
{
	const uint64_t step = CHUNK / job->delta->unit;

	for (uint64_t at = 0; at < piece->len; at += step) {
		uint64_t left = piece->len - at;
		struct image_part part = { piece, job->delta->unit, at, left < step ? left : step };
		int r = image_feed_part(f, &part, p, e);

		if (r >= 0)
			r = image_feed_settle(f, e);
		if (r >= 0)
			r = job->put(job->put_arg, p, (size_t)part.n * part.unit, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int image_patch(const struct image_patch_job *job, uint64_t *ret_fetched, struct err *e)
{
	CLEANUP(image_feed_done) struct image_feed f = { .sys = job->sys };
	AUTO_FREE uint8_t *p = malloc(CHUNK);
	const struct image_delta *d = job->delta;
	const struct image_frames frames = image_frames_delta(d);
	const struct image_run run = { d->packed[0], d->packed[d->frames] - d->packed[0] };
	int r;

	if (ret_fetched)
		*ret_fetched = 0;
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "buffer for a delta");
	for (unsigned s = 0; s < d->sources; s++) {
		f.source[s] = job->source[s];
		if (f.source[s].bytes > d->source[s].bytes)
			f.source[s].bytes = d->source[s].bytes;
	}
	r = image_feed_new(&f, e);
	if (r >= 0)
		r = image_feed_begin(&f, job->src, &frames, &run, d->frames ? 1 : 0, e);
	for (size_t i = 0; r >= 0 && i < d->n_pieces; i++)
		r = piece_put(job, &f, &d->pieces[i], p, e);
	if (ret_fetched)
		*ret_fetched = f.fetched;
	return r < 0 ? r : 0;
}
