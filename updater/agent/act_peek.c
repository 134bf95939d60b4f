/* SPDX-License-Identifier: Apache-2.0 */
/* A look at the parts of a UKI that say whether it would be refused, before the rest is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "bootctl/pe.h"
#include "updater/agent/act_steps.h"
#include "updater/image/seekable.h"

#define FRAMES_MAX 16u /* of the UKI, looked at */

struct peek {
	struct act_uki *u;
	struct act_blob blob;
	struct seekable_table *table;
	struct seekable_decoder *decoder;
	uint8_t *packed, *raw;
	struct sys_fd part;
	size_t n;
	size_t have[FRAMES_MAX]; /* frames that are in the file, rising */
};

static void peek_done(struct peek *p)
{
	seekable_table_free(p->table);
	seekable_decoder_free(p->decoder);
	free(p->packed);
	free(p->raw);
	sys_fd_done(&p->part);
}

static int table_fetch(struct peek *p, struct err *e)
{
	uint64_t blob = p->blob.blob->bytes, raw = p->u->m->uki_bytes;
	size_t frames = (size_t)((raw + SEEKABLE_FILE_RAW - 1) / SEEKABLE_FILE_RAW);
	size_t n = seekable_table_bytes(frames);
	struct image_run run = { .off = blob - n, .len = n };
	AUTO_FREE uint8_t *bytes = NULL;
	int r;

	if (blob <= n)
		return err_set(e, ERR_INPUT, EINVAL, "the blob cannot be that short");
	bytes = malloc(n);
	if (!bytes)
		return err_set(e, ERR_HOST, ENOMEM, "table of a UKI");
	r = p->blob.src.begin(p->blob.src.arg, &run, 1, e);
	if (r >= 0)
		r = p->blob.src.read(p->blob.src.arg, bytes, n, e);
	if (r >= 0)
		r = seekable_table_parse(bytes, n, blob, &p->table, e);
	if (r < 0)
		return r;
	if (p->table->raw[p->table->frames] != raw)
		return err_set(e, ERR_INPUT, EINVAL, "its table is of something else");
	return 0;
}

static int frame_fetch(struct peek *p, size_t f, struct err *e)
{
	const struct seekable_table *t = p->table;
	struct image_run run = { .off = t->packed[f], .len = t->packed[f + 1] - t->packed[f] };
	size_t raw = (size_t)(t->raw[f + 1] - t->raw[f]);
	int r;

	if (raw > SEEKABLE_FILE_RAW || run.len > SEEKABLE_PACKED_MAX(SEEKABLE_FILE_RAW))
		return err_set(e, ERR_INPUT, EINVAL, "a frame is too long");
	r = p->blob.src.begin(p->blob.src.arg, &run, 1, e);
	if (r >= 0)
		r = p->blob.src.read(p->blob.src.arg, p->packed, (size_t)run.len, e);
	if (r >= 0)
		r = seekable_frame_decode(p->decoder, p->packed, (size_t)run.len, p->raw, raw, e);
	if (r < 0)
		return r;
	r = sys_write_full(p->part.sys, p->part.fd, p->raw, raw, t->raw[f]);
	return r < 0 ? err_set(e, ERR_HOST, -r, "write " ACT_UKI_PART ": %s", strerror(-r)) : 0;
}

/* Brings bytes [off, off + n) of the UKI into the file. */
static int range_fetch(struct peek *p, uint64_t off, uint64_t n, struct err *e)
{
	const struct seekable_table *t = p->table;
	int r = 0;

	if (n == 0 || off >= t->raw[t->frames])
		return 0;
	n = n < t->raw[t->frames] - off ? n : t->raw[t->frames] - off;
	for (size_t f = seekable_find(t->raw, t->frames, off); r >= 0 && f < t->frames; f++) {
		bool have = false;

		if (t->raw[f] >= off + n)
			break;
		for (size_t i = 0; i < p->n; i++)
			have |= p->have[i] == f;
		if (have)
			continue;
		if (p->n == FRAMES_MAX)
			return err_set(e, ERR_INPUT, EFBIG, "its own words are spread too widely");
		r = frame_fetch(p, f, e);
		p->have[p->n++] = f;
	}
	return r;
}

static int words_fetch(struct peek *p, struct err *e)
{
	static const char *const names[] = { ".osrel", ".cmdline", ".uname" };
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	int r = pe ? range_fetch(p, 0, IMAGE_BLOCK, e)
		   : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r >= 0)
		r = pe_open(p->part.sys, p->part.fd, pe, e);
	for (size_t i = 0; r >= 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		const struct pe_section *s = pe_section_find(pe, names[i]);

		if (s)
			r = range_fetch(p, s->raw_offset, s->raw_size, e);
	}
	if (r >= 0)
		r = range_fetch(p, pe->cert_off, pe->cert_size, e);
	return r;
}

static int peek_open(struct peek *p, struct err *e)
{
	struct host *h = p->u->a->host;
	int r;

	p->packed = malloc(SEEKABLE_PACKED_MAX(SEEKABLE_FILE_RAW));
	p->raw = malloc(SEEKABLE_FILE_RAW);
	if (!p->packed || !p->raw)
		return err_set(e, ERR_HOST, ENOMEM, "buffers to look at a UKI");
	r = seekable_decoder_new(&p->decoder, e);
	if (r < 0)
		return r;
	p->part.fd =
		h->sys->ops->open(h->sys, h->state, ACT_UKI_PART, O_RDWR | O_CREAT | O_TRUNC, 0600);
	r = p->part.fd < 0 ? p->part.fd
			   : h->sys->ops->truncate(h->sys, p->part.fd, p->u->m->uki_bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "create %s/" ACT_UKI_PART ": %s", h->conf.state,
			       strerror(-r));
	return 0;
}

int act_uki_peek(struct act_uki *u, struct err *e)
{
	CLEANUP(peek_done)
	struct peek p = { .u = u, .part = { .sys = u->a->host->sys, .fd = -1 } };
	int r = peek_open(&p, e);

	act_blob_init(&p.blob, u->a, release_blob_find(u->m, RELEASE_UKI_FULL, NULL));
	if (r >= 0)
		r = table_fetch(&p, e);
	if (r >= 0)
		r = words_fetch(&p, e);
	if (r >= 0)
		r = act_uki_judge_part(u, p.part.fd, e);
	if (p.part.fd >= 0) /* nothing of it stays in the air when its name is gone */
		(void)p.part.sys->ops->sync(p.part.sys, p.part.fd);
	(void)!file_remove(u->a->host->sys, u->a->host->state, ACT_UKI_PART, NULL);
	return r < 0 ? r : 0;
}
