/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "bootctl/secureboot.h"
#include "updater/agent/act_steps.h"
#include "updater/image/patch.h"
#include "updater/image/unpack.h"

#define TELL_STEP   ((uint64_t)1 << 20)
#define STATE_SPARE ((uint64_t)1 << 20) /* for the record and the trust store */

/* What act_uki_peek() asks for at most, in all likelihood: the table and four frames. */
#define PEEK_REQUESTS 4u

void act_uki_done(struct act_uki *u)
{
	image_delta_free(u->delta);
	sys_fd_done(&u->base);
}

/* ---- planning ---- */

/* The UKI waits in the state directory; what an interrupted download left there makes room. */
static int check_state_space(struct act *a, const struct release_manifest *m, struct err *e)
{
	struct host *h = a->host;
	struct sys *sys = h->sys;
	AUTO_SYS_FD part = { .sys = sys, .fd = -1 };
	uint64_t room, left = 0;
	int r = sys->ops->space(sys, h->state, &room);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "free space of %s: %s", h->conf.state,
			       strerror(-r));
	part.fd = sys->ops->open(sys, h->state, ACT_UKI_PART, O_RDONLY, 0);
	if (part.fd >= 0 && sys->ops->size(sys, part.fd, &left) == 0)
		room += left;
	if (room >= m->uki_bytes + STATE_SPARE)
		return 0;
	return err_set(e, ERR_HOST, ENOSPC,
		       "%s has %llu KB free, %s needs %llu KB there while it is staged",
		       h->conf.state, (unsigned long long)room / 1000, m->version,
		       (unsigned long long)(m->uki_bytes + STATE_SPARE) / 1000);
}

int act_uki_is_saved(struct act *a, const struct record_release *t, struct err *e)
{
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	uint8_t got[SHA256_BYTES];
	uint64_t n;
	int r;

	f.fd = sys->ops->open(sys, a->host->state, HOST_SAVED_UKI, O_RDONLY, 0);
	if (f.fd == -ENOENT)
		return 0;
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open " HOST_SAVED_UKI ": %s", strerror(-f.fd));
	r = sys->ops->size(sys, f.fd, &n);
	if (r < 0 || n != t->uki_bytes)
		return 0;
	r = sha256_fd(sys, f.fd, n, got, e);
	if (r < 0)
		return r;
	return memcmp(got, t->uki_sha256, sizeof(got)) == 0;
}

static bool has_any_delta(const struct release_manifest *m)
{
	for (size_t i = 0; i < m->n_blob; i++)
		if (m->blob[i].role == RELEASE_UKI_DELTA)
			return true;
	return false;
}

/* Opens the running UKI and finds the delta from it; *ret NULL when there is none. */
static int find_delta(struct act_uki *u, struct image_whole *base, const struct release_blob **ret,
		      struct err *e)
{
	struct host *h = u->a->host;
	struct act_part *part = &u->res->plan.uki;
	int r;

	*ret = NULL;
	if (h->current == h->n_entries)
		(void)snprintf(part->why, sizeof(part->why), "no UKI of ours runs");
	else
		(void)snprintf(part->why, sizeof(part->why),
			       "there is no delta from the UKI of %.64s", h->version);
	if (h->current == h->n_entries || !has_any_delta(u->m))
		return 0;
	u->base.fd = esp_open_file(h->sys, h->esp, h->entries[h->current].name.file, e);
	if (u->base.fd < 0)
		return u->base.fd;
	r = h->sys->ops->size(h->sys, u->base.fd, &base->bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "size of the running UKI: %s", strerror(-r));
	r = sha256_fd(h->sys, u->base.fd, base->bytes, base->id, e);
	if (r < 0)
		return r;
	*ret = release_blob_find(u->m, RELEASE_UKI_DELTA, base->id);
	return 0;
}

/* Does it take bytes from the new /usr? */
static bool takes_usr(const struct image_delta *d)
{
	for (size_t i = 0; i < d->n_pieces; i++)
		if (d->pieces[i].kind == IMAGE_PIECE_COPY_SECOND)
			return true;
	for (size_t i = 0; i < d->first[d->frames]; i++)
		if (d->extents[i].source == 1)
			return true;
	return false;
}

static uint64_t frames_bytes(const struct image_delta *d)
{
	return d->packed[d->frames] - d->packed[0];
}

static uint64_t peek_bytes(const struct release_manifest *m)
{
	return seekable_table_bytes(
		       (size_t)((m->uki_bytes + SEEKABLE_FILE_RAW - 1) / SEEKABLE_FILE_RAW)) +
	       PEEK_REQUESTS * SEEKABLE_FILE_RAW;
}

/* The recipe is here: is it worth it, and when can it be done? */
static void take_delta(struct act_uki *u, uint64_t full)
{
	struct act_plan *p = &u->res->plan;
	uint64_t cost = frames_bytes(u->delta);
	bool late = (u->from_usr || takes_usr(u->delta)) && u->second.bytes == 0;

	if (late)
		cost += peek_bytes(u->m);
	if (cost >= full) {
		(void)snprintf(p->uki.why, sizeof(p->uki.why),
			       "its delta would not be smaller than all of it");
		image_delta_free(TAKE(u->delta));
		return;
	}
	p->uki = (struct act_part){ .way = ACT_WAY_DELTA,
				    .fetch = cost,
				    .requests = (u->delta->frames ? 1u : 0u) +
						(late ? PEEK_REQUESTS : 0u) };
	p->uki_late = late;
}

/* The recipe of a delta into u->delta; without it, why. */
static int fetch_delta(struct act_uki *u, const struct release_blob *b,
		       struct image_delta_want *want, struct err *e)
{
	struct act_part *part = &u->res->plan.uki;
	struct err mine = ERR_INIT;
	uint64_t fetched = 0;

	act_blob_init(&u->patch, u->a, b);
	want->unit = 1;
	want->blob_bytes = b->bytes;
	want->target.bytes = u->m->uki_bytes;
	memcpy(want->target.id, u->m->uki_sha256, sizeof(want->target.id));
	if (image_delta_fetch(&u->patch.src, want, &u->delta, &fetched, &mine) >= 0)
		return 0;
	if (!act_try_another(&mine))
		return err_set(e, mine.kind, mine.os, "UKI of %s: %s", u->m->version, mine.text);
	(void)snprintf(part->why, sizeof(part->why), "its delta cannot be used: %.200s", mine.text);
	act_note(u->a, "UKI of %s: %s", u->m->version, part->why);
	return 0;
}

static struct image_whole usr_whole(const struct release_manifest *m)
{
	struct image_whole w = { .bytes = m->data_blocks * IMAGE_BLOCK };

	memcpy(w.id, m->root, sizeof(w.id));
	return w;
}

/* The delta from the running UKI; else that from the /usr it belongs to, which any host will have.
 */
static int choose_delta(struct act_uki *u, struct err *e)
{
	struct image_delta_want running = { .source[1] = usr_whole(u->m) };
	struct image_delta_want own = { .source[0] = usr_whole(u->m) };
	const struct release_blob *b;
	int r = find_delta(u, &running.source[0], &b, e);

	if (r >= 0 && b)
		r = fetch_delta(u, b, &running, e);
	b = release_blob_find(u->m, RELEASE_UKI_DELTA, u->m->root);
	if (r < 0 || u->delta || !b)
		return r;
	r = fetch_delta(u, b, &own, e);
	u->from_usr = u->delta != NULL;
	return r;
}

int act_uki_plan(struct act_uki *u, const struct record_release *t, struct err *e)
{
	const struct release_blob *full = release_blob_find(u->m, RELEASE_UKI_FULL, NULL);
	struct act_part *part = &u->res->plan.uki;
	int r = act_uki_is_saved(u->a, t, e);

	u->saved = r > 0;
	if (r != 0)
		return r < 0 ? r : 0;
	part->way = ACT_WAY_FULL;
	part->fetch = full->bytes;
	part->requests = 1;
	r = check_state_space(u->a, u->m, e);
	if (r == 0)
		r = choose_delta(u, e);
	if (r >= 0 && u->delta)
		take_delta(u, full->bytes);
	return r < 0 ? r : 0;
}

/* ---- making ---- */

/* Receives the UKI into the state directory. */
struct uki_sink {
	struct act *a;
	int fd;
	uint64_t at, total, told;
	struct digest *sum;
};

static int uki_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct uki_sink *s = arg;
	struct sys *sys = s->a->host->sys;
	int r = sys_write_full(sys, s->fd, p, n, s->at);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "write %s/" ACT_UKI_PART ": %s",
			       s->a->host->conf.state, strerror(-r));
	digest_add(s->sum, p, n);
	s->at += n;
	if (s->at - s->told >= TELL_STEP) {
		s->told = s->at;
		return act_tell(s->a, ACT_UKI, s->at, s->total, e);
	}
	return 0;
}

static int make_by_delta(struct act_uki *u, struct uki_sink *sink, struct err *e)
{
	struct image_patch_job job = {
		.sys = u->a->host->sys,
		.delta = u->delta,
		.src = &u->patch.src,
		.source = { { .fd = u->base.fd, .bytes = u->delta->source[0].bytes }, u->second },
		.put = uki_put,
		.put_arg = sink
	};

	if (u->from_usr)
		job.source[0] = u->second;
	return image_patch(&job, NULL, e);
}

static int make_by_full(struct act_uki *u, struct uki_sink *sink, struct err *e)
{
	const struct release_blob *b = release_blob_find(u->m, RELEASE_UKI_FULL, NULL);
	struct act_blob blob;

	act_blob_init(&blob, u->a, b);
	return image_unpack(&blob.src, b->bytes, u->m->uki_bytes, uki_put, sink, e);
}

/* The whole UKI in ACT_UKI_PART, durable, its hash that of the manifest. */
static int make(struct act_uki *u, bool by_delta, struct err *e)
{
	struct sys *sys = u->a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	AUTO_DIGEST *sum = NULL;
	struct uki_sink sink = { .a = u->a, .total = u->m->uki_bytes };
	uint8_t got[SHA256_BYTES];
	int r = digest_new(DIGEST_SHA256, NULL, 0, &sum, e);

	if (r < 0)
		return r;
	f.fd = sys->ops->open(sys, u->a->host->state, ACT_UKI_PART, O_RDWR | O_CREAT | O_TRUNC,
			      0600);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "create %s/" ACT_UKI_PART ": %s",
			       u->a->host->conf.state, strerror(-f.fd));
	sink.fd = f.fd;
	sink.sum = sum;
	r = by_delta ? make_by_delta(u, &sink, e) : make_by_full(u, &sink, e);
	if (r == 0)
		r = act_tell(u->a, ACT_UKI, u->m->uki_bytes, u->m->uki_bytes, e);
	if (r < 0)
		return err_wrap(e, r, "UKI of %s", u->m->version);
	digest_end(sum, got);
	if (memcmp(got, u->m->uki_sha256, sizeof(got)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "UKI of %s: %s is not what the signed manifest says (tell the "
			       "publisher)",
			       u->m->version, by_delta ? "what its delta makes" : "its blob");
	r = sys->ops->sync(sys, f.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync " ACT_UKI_PART ": %s", strerror(-r));
	(void)sys->ops->forget(sys, f.fd, 0, u->m->uki_bytes);
	if (u->delta && !u->from_usr)
		(void)sys->ops->forget(sys, u->base.fd, 0, u->delta->source[0].bytes);
	return 0;
}

static int make_full_somewhere(struct act_uki *u, struct err *e)
{
	const struct release_blob *b = release_blob_find(u->m, RELEASE_UKI_FULL, NULL);
	int r = -EBADMSG;

	for (unsigned i = 0; i < ACT_MIRRORS_MAX; i++) {
		r = make(u, false, e);
		if (r != -EBADMSG || !act_elsewhere(u->a, b))
			break;
	}
	return r;
}

static int make_any(struct act_uki *u, struct err *e)
{
	const struct release_blob *full = release_blob_find(u->m, RELEASE_UKI_FULL, NULL);
	struct act_plan *p = &u->res->plan;
	struct err mine = ERR_INIT;
	int r;

	if (u->delta) {
		r = make(u, true, &mine);
		if (r == 0)
			return 0;
		if (!act_try_another(&mine))
			return err_set(e, mine.kind, mine.os, "%s", mine.text);
		(void)snprintf(p->uki.why, sizeof(p->uki.why), "its delta cannot be used: %.200s",
			       mine.text);
		act_note(u->a, "%s", p->uki.why);
		p->uki.way = ACT_WAY_FULL;
		r = act_allow(u->a, full->bytes + (p->uki_late ? 0 : p->usr.fetch), p->uki.why,
			      u->res, e);
		if (r < 0)
			return r;
	}
	return make_full_somewhere(u, e);
}

/* ---- judging ---- */

static int judge_identity(struct act *a, int fd, const char *version, const uint8_t root[32],
			  struct err *e)
{
	AUTO_FREE struct uki *uki = malloc(sizeof(*uki));
	int r;

	if (!uki)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = uki_read_fd(a->host->sys, fd, uki, e);
	if (r < 0)
		return err_wrap(e, r, "UKI of %s", version);
	if (!uki->has_usrhash || memcmp(uki->usrhash, root, 32) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the UKI of %s would mount another /usr: its usrhash= is not the "
			       "release's root hash (tell the publisher)",
			       version);
	if (strcmp(uki->image_id, a->host->conf.image) != 0 || strcmp(uki->version, version) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the UKI of %s calls itself %s %s (tell the publisher)", version,
			       uki->image_id, uki->version);
	return 0;
}

static int judge(struct act *a, int fd, bool whole, const char *version, const uint8_t root[32],
		 struct err *e)
{
	struct host *h = a->host;
	struct sb_verdict v;
	int r = judge_identity(a, fd, version, root, e);

	if (r < 0)
		return r;
	r = whole ? sb_check(h->sys, h->efivars, fd, &v, e)
		  : sb_check_signer(h->sys, h->efivars, fd, &v, e);
	if (r < 0)
		return err_wrap(e, r, "UKI of %s", version);
	if (!v.accepted)
		return err_set(
			e, ERR_REFUSED, EKEYREJECTED,
			"%s would not start here: %s. Nothing was changed. Enrol the key, or "
			"ask the publisher.",
			version, v.text);
	return 0;
}

int act_uki_judge(struct act *a, int fd, const char *version, const uint8_t root[32], struct err *e)
{
	return judge(a, fd, true, version, root, e);
}

static int judge_file(struct act_uki *u, const char *file, struct err *e)
{
	struct host *h = u->a->host;
	AUTO_SYS_FD f = { .sys = h->sys, .fd = -1 };
	struct err mine = ERR_INIT;
	int r;

	f.fd = h->sys->ops->open(h->sys, h->state, file, O_RDONLY, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open %s/%s: %s", h->conf.state, file,
			       strerror(-f.fd));
	r = act_uki_judge(u->a, f.fd, u->m->version, u->m->root, &mine);
	if (r < 0 && u->res->plan.uki_late) /* the slot was written meanwhile */
		return err_set(e, mine.kind, mine.os,
			       "%.300s (What runs is untouched; slot %c holds nothing that boots.)",
			       mine.text, slot_letter(u->res->slot));
	return r < 0 ? err_set(e, mine.kind, mine.os, "%s", mine.text) : 0;
}

int act_uki_save(struct act_uki *u, struct err *e)
{
	struct sys *sys = u->a->host->sys;
	int state = u->a->host->state, r;

	if (u->saved)
		return judge_file(u, HOST_SAVED_UKI, e);
	r = make_any(u, e);
	if (r == 0)
		r = judge_file(u, ACT_UKI_PART, e);
	if (r < 0) {
		/* that it stays is no second failure: settling removes it */
		(void)!file_remove(sys, state, ACT_UKI_PART, NULL);
		return r;
	}
	r = sys->ops->rename(sys, state, ACT_UKI_PART, HOST_SAVED_UKI);
	if (r == 0)
		r = sys->ops->sync(sys, state);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "keep the UKI in %s: %s", u->a->host->conf.state,
			       strerror(-r));
	return 0;
}

int act_uki_judge_part(struct act_uki *u, int fd, struct err *e)
{
	return judge(u->a, fd, false, u->m->version, u->m->root, e);
}
