/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/frames.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "publisher/blob.h"
#include "publisher/pace.h"

/* Cut leaf hashes of the bases. */
struct known {
	struct image_leaves *base[DELTA_BASES_MAX];
	size_t n;
};

static void known_done(struct known *k)
{
	for (size_t i = 0; i < k->n; i++)
		image_leaves_free(k->base[i]);
}

static void known_add(struct known *k, const struct repo *r, const struct release_manifest *base,
		      const struct image_id *id)
{
	AUTO_FREE uint8_t *p = NULL;
	AUTO_IMAGE_INDEX *x = NULL;

	if (base->salt_n != id->salt_n || memcmp(base->salt, id->salt, id->salt_n) != 0 ||
	    blob_index(r->dir, base, &p, &x, NULL) < 0)
		return;
	if (image_leaves_new(x->leaves, x->id.data_blocks, &k->base[k->n], NULL) >= 0)
		k->n++;
}

int frames_choose(const struct repo *r, const struct delta_bases *bases, int usr,
		  const struct image_id *id, struct image_split *ret, struct err *e)
{
	CLEANUP(known_done) struct known k = { .n = 0 };
	struct image_split_job job = {
		.sys = sys_linux(), .fd = usr, .id = id, .base = k.base, .progress = pace_progress
	};
	int q;

	for (size_t i = 0; i < bases->n; i++)
		known_add(&k, r, &bases->m[i], id);
	job.bases = k.n;
	q = image_split_find(&job, ret, e);
	return q == -ECANCELED ? pace_stopped(e) : q;
}
