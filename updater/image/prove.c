/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "updater/image/write_core.h"

/* Where reading back goes through the page cache: what may be left in it. */
#define FORGET_STEP ((uint64_t)16 << 20)

struct reading {
	const struct image_job *job;
	uint64_t done, forgot, told;
};

static int prove_progress(void *arg, uint64_t done, uint64_t total)
{
	struct reading *rd = arg;

	rd->done = done;
	if (done - rd->forgot >= FORGET_STEP) {
		image_area_forget(rd->job->sys, &rd->job->data, rd->forgot, done - rd->forgot);
		rd->forgot = done;
	}
	rd->told = done > rd->told ? done : rd->told;
	return rd->job->progress &&
			       rd->job->progress(rd->job->arg, IMAGE_PROVE, rd->told, total) < 0
		       ? -1
		       : 0;
}

static int super_prove(const struct image_job *job, const struct verity_super *s, struct err *e)
{
	uint8_t want[IMAGE_BLOCK], got[IMAGE_BLOCK];
	int r = image_area_read(job->sys, &job->hash, 0, got, sizeof(got), e);

	if (r < 0)
		return r;
	image_super_block(s, want);
	if (memcmp(want, got, sizeof(got)) != 0)
		return err_set(e, ERR_HOST, EIO,
			       "read back from the medium: the verity superblock is not the one "
			       "that was written");
	return 0;
}

/* Past the page cache where that can be had; where it is taken back, all of it once more. */
static int tree_prove(struct reading *rd, const struct image_id *id, const struct verity_super *s,
		      struct err *e)
{
	const struct image_job *job = rd->job;
	AUTO_IMAGE_DIRECT direct = { .fd = -1 };
	struct verity_work work = { job->threads, prove_progress, rd };
	struct verity_check c = {
		.data = job->data, .hash = job->hash, .super = s, .root = id->root
	};
	int r;

	image_direct_open(&direct, job->sys, &job->data, false);
	if (direct.fd >= 0)
		c.data.fd = direct.fd;
	r = verity_verify(job->sys, &c, &work, NULL, e);
	if (image_direct_refused(&direct, r)) {
		c.data.fd = job->data.fd;
		rd->done = rd->forgot = 0;
		*e = (struct err)ERR_INIT;
		r = verity_verify(job->sys, &c, &work, NULL, e);
	}
	return r;
}

int image_prove(const struct image_job *job, const struct image_id *id, struct image_stats *ret,
		struct err *e)
{
	struct err mine = ERR_INIT;
	struct reading rd = { .job = job };
	char what[sizeof(mine.text)];
	struct verity_super s;
	int r = image_super(id, &s, e);

	if (r < 0)
		return r;
	r = image_areas_check(job, id, e);
	if (r < 0)
		return r;
	image_area_forget(job->sys, &job->data, 0, image_data_bytes(id));
	image_area_forget(job->sys, &job->hash, 0, image_hash_bytes(id));
	r = super_prove(job, &s, e);
	if (r < 0)
		return r;
	e = e ? e : &mine;
	r = tree_prove(&rd, id, &s, e);
	image_area_forget(job->sys, &job->data, rd.forgot, rd.done - rd.forgot);
	if (ret)
		*ret = (struct image_stats){ .hashed = rd.done, .bad_group = UINT64_MAX };
	if (r == -EBADMSG) { /* it was proved before it was written: so the medium is to blame */
		memcpy(what, e->text, sizeof(what));
		r = err_set(e, ERR_HOST, EIO, "read back from the medium: %s", what);
	}
	return r;
}
