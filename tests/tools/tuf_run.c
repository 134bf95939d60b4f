/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/tuf_run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "updater/tuf/update.h"

enum { ROOT_MAX = 512 << 10, TARGET_MAX = 32 << 20, FILE_NAME_MAX = 200 };

static int step_load(struct tuf_run *c, struct tuf_update *u, const struct tuf_request *rq,
		     struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n = 0;
	int r;

	r = file_read(c->sys, c->dir, rq->name, rq->max, &p, &n, e);
	/* what is too large to be ours is as good as absent */
	if (r < 0 && r != -ENOENT && r != -EFBIG)
		return r;
	return tuf_update_answer(u, r >= 0, p, n, e);
}

static int step_fetch(struct tuf_run *c, struct tuf_update *u, const struct tuf_request *rq,
		      struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	bool found = false;
	int r;

	r = c->get(c->arg, c->metadata_url, rq->name, rq->max, &b, &found, e);
	return r < 0 ? r : tuf_update_answer(u, found, b.p, b.n, e);
}

static int step_drop(struct tuf_run *c, struct err *e)
{
	int r = file_remove(c->sys, c->dir, "timestamp.json", e);

	return r < 0 ? r : file_remove(c->sys, c->dir, "snapshot.json", e);
}

/* Until the next TUF_DONE. */
static int run(struct tuf_run *c, struct tuf_update *u, struct err *e)
{
	for (;;) {
		struct tuf_request rq;
		int r = tuf_update_next(u, &rq, e);

		if (r == TUF_DONE || r < 0)
			return r;
		if (r == TUF_LOAD)
			r = step_load(c, u, &rq, e);
		else if (r == TUF_FETCH)
			r = step_fetch(c, u, &rq, e);
		else if (r == TUF_SAVE)
			r = file_replace(c->sys, c->dir, rq.name, rq.data, rq.n, e);
		else
			r = step_drop(c, e);
		if (r < 0)
			return r;
	}
}

static int begin(struct tuf_run *c, struct tuf_update **ret, enum tuf_reason *why, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	r = file_read(c->sys, c->dir, "root.json", ROOT_MAX, &p, &n, e);
	if (r < 0)
		return err_wrap(e, r, "no trusted root (init first)");
	return tuf_update_new(p, n, c->now, NULL, ret, why, e);
}

/* The file in the target directory: the path in one component. */
static int local_name(const char *path, struct buf *out, struct err *e)
{
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX_MAX];
	int r;

	r = tuf_quote(path, "", out, e);
	if (r < 0)
		return r;
	if (out->n <= FILE_NAME_MAX && out->p[0] != '.')
		return 0;
	sha256(path, strlen(path), sum);
	hex_format(sum, sizeof(sum), hex);
	out->n = 0;
	return buf_add(out, hex, strlen(hex), e);
}

static bool have_target(struct tuf_run *c, int dir, const char *name, const struct tuf_target *t)
{
	AUTO_FREE char *p = NULL;
	size_t n;

	return t->length <= TARGET_MAX &&
	       file_read(c->sys, dir, name, (size_t)t->length, &p, &n, NULL) >= 0 &&
	       tuf_target_check(t, p, n, NULL, NULL) >= 0;
}

static int fetch_target(struct tuf_run *c, struct tuf_update *u, const struct tuf_target *t,
			enum tuf_reason *why, struct err *e)
{
	AUTO_SYS_FD dir = { c->sys, -1 };
	AUTO_BUF local = BUF_INIT;
	AUTO_BUF remote = BUF_INIT;
	AUTO_BUF data = BUF_INIT;
	bool found = false;
	int r;

	dir.fd = c->sys->ops->open(c->sys, AT_FDCWD, c->target_dir, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "cannot open directory '%s'", c->target_dir);
	r = local_name(t->path, &local, e);
	if (r < 0 || have_target(c, dir.fd, local.p, t))
		return r;
	r = tuf_target_remote(t, tuf_update_consistent(u), &remote, e);
	if (r < 0)
		return r;
	if (t->length > TARGET_MAX)
		return err_set(e, ERR_REFUSED, EFBIG, "%s: larger than %d bytes", remote.p,
			       TARGET_MAX);
	r = c->get(c->arg, c->target_url, remote.p, (size_t)t->length, &data, &found, e);
	if (r < 0)
		return r;
	if (!found)
		return err_set(e, ERR_RETRY, ENOENT, "%s: the server does not have it", remote.p);
	r = tuf_target_check(t, data.n > 0 ? data.p : "", data.n, why, e);
	return r < 0 ? r : file_replace(c->sys, dir.fd, local.p, data.p, data.n, e);
}

static int do_update(struct tuf_run *c, enum tuf_reason *why, struct err *e)
{
	AUTO_TUF_UPDATE *u = NULL;
	int r;

	r = begin(c, &u, why, e);
	if (r >= 0)
		r = run(c, u, e);
	for (size_t i = 0; r >= 0 && i < c->names_n; i++) {
		struct tuf_target t;

		r = tuf_update_want_target(u, c->names[i], e);
		if (r >= 0)
			r = run(c, u, e);
		if (r >= 0)
			r = tuf_update_target(u, &t, e);
		if (r >= 0)
			r = fetch_target(c, u, &t, why, e);
	}
	if (u && tuf_update_reason(u) != TUF_REASON_NONE)
		*why = tuf_update_reason(u);
	return r;
}

static int do_init(struct tuf_run *c, const char *file, enum tuf_reason *why, struct err *e)
{
	AUTO_TUF_UPDATE *u = NULL;
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	r = file_read(c->sys, AT_FDCWD, file, ROOT_MAX, &p, &n, e);
	if (r >= 0)
		r = tuf_update_new(p, n, c->now, NULL, &u, why, e);
	return r < 0 ? r : file_replace(c->sys, c->dir, "root.json", p, n, e);
}

int tuf_run(struct tuf_run *c, const char *verb, const char *arg, enum tuf_reason *why,
	    struct err *e)
{
	AUTO_SYS_FD dir = { c->sys, -1 };

	if (!c->metadata_dir || !verb)
		return err_set(e, ERR_INPUT, EINVAL, "give --metadata-dir and a verb (--help)");
	dir.fd = c->sys->ops->open(c->sys, AT_FDCWD, c->metadata_dir, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "cannot open directory '%s'", c->metadata_dir);
	c->dir = dir.fd;
	if (strcmp(verb, "init") == 0 && arg)
		return do_init(c, arg, why, e);
	if (!c->metadata_url)
		return err_set(e, ERR_INPUT, EINVAL, "give --metadata-url (--help)");
	if (strcmp(verb, "refresh") == 0) {
		c->names_n = 0;
		return do_update(c, why, e);
	}
	if (strcmp(verb, "download") == 0 && c->names_n > 0 && c->target_dir && c->target_url)
		return do_update(c, why, e);
	return err_set(e, ERR_INPUT, EINVAL, "'%s' is no verb or lacks an option (--help)", verb);
}
