/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/version.h"
#include "publisher/blob.h"
#include "publisher/verbs.h"
#include "updater/tuf/canon.h"

enum { FORMAT = 1, MARKER_MAX = 1 << 20, CHUNK = 256 << 10, FILE_BYTES = TUF_ROLE_MAX + 32 };
#define TMP_NAME ".export.new"

/* ---- proa-export.json ---- */

int export_read(int dir, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = MARKER_MAX, .depth = 4 };
	AUTO_FREE char *p = NULL;
	AUTO_JSON *j = NULL;
	uint64_t format;
	bool complete = false;
	size_t n;
	int q = file_read(sys_linux(), dir, EXPORT_NAME, MARKER_MAX, &p, &n, e);

	*ret = NULL;
	if (q == -ENOENT)
		return 0;
	q = q < 0 ? q : json_read(p, n, &lim, EXPORT_NAME, &j, e);
	q = q < 0 ? q : json_get_u64(j, "proa-export", EXPORT_NAME, FORMAT, &format, e);
	q = q < 0 ? q : json_get_bool_opt(j, "complete", EXPORT_NAME, false, &complete, e);
	if (q >= 0)
		*ret = TAKE(j);
	if (q >= 0 && !complete)
		return err_set(e, ERR_INPUT, EINPROGRESS,
			       "this export is not complete: run proa-publish export again");
	return q;
}

static bool has(const json_t *arr, const char *s)
{
	for (size_t i = 0; i < json_array_size(arr); i++) {
		const char *x = json_string_value(json_array_get(arr, i));

		if (x && strcmp(x, s) == 0)
			return true;
	}
	return false;
}

bool export_has_channel(const json_t *export, const char *channel)
{
	return !export || has(json_object_get(export, "channels"), channel);
}

bool export_has_release(const json_t *export, const char *version)
{
	const char *since = json_string_value(json_object_get(export, "since"));

	return !since || version_compare(version, since) > 0;
}

bool export_left_out(const json_t *export, const uint8_t sha256[SHA256_BYTES])
{
	char hex[SHA256_HEX_MAX];

	hex_format(sha256, SHA256_BYTES, hex);
	return has(json_object_get(export, "left_out"), hex);
}

/* ---- the work ---- */

struct export
{
	const struct repo *r;
	struct roles *m; /* only looked into */
	const struct export_wish *w;
	const char *path;
	int dir;
	json_t *live;     /* "metadata/x", ... -> true */
	json_t *left_out; /* hex */
	json_t *old,
		*young; /* root hashes and UKI hashes of releases before `since`, and from it on */
	struct export_stats *stats;
	struct progress bar;
	struct err *e;
};

static void export_done(struct export *x)
{
	json_decref(x->live);
	json_decref(x->left_out);
	json_decref(x->old);
	json_decref(x->young);
	if (x->dir >= 0)
		(void)close(x->dir);
}

static int write_marker(struct export *x, bool complete, struct err *e)
{
	AUTO_JSON *channels = json_array();
	AUTO_JSON *j = NULL;
	AUTO_BUF b = BUF_INIT;
	int q = channels ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	for (size_t i = 0; q >= 0 && i < x->w->n_channel; i++)
		q = json_push(channels, json_string(x->w->channel[i]), e);
	if (q < 0)
		return q;
	j = json_pack("{s:i,s:b,s:O,s:O,s:s*}", "proa-export", FORMAT, "complete", complete,
		      "channels", channels, "left_out", x->left_out, "since", x->w->since);
	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = json_write(j, true, &b, e);
	return q < 0 ? q : file_replace(sys_linux(), x->dir, EXPORT_NAME, b.p, b.n, e);
}

static int on_any(void *arg, const char *name)
{
	(void)arg;
	/* what making a file system leaves on a stick, and what a first export that was killed does
	 */
	return strcmp(name, "lost+found") != 0 && strcmp(name, "." EXPORT_NAME ".new") != 0;
}

static int open_target(struct export *x, struct err *e)
{
	AUTO_JSON *was = NULL;
	int q;

	if (mkdir(x->path, 0755) < 0 && errno != EEXIST)
		return err_set(e, ERR_INPUT, errno, "make directory '%s': %s", x->path,
			       strerror(errno));
	x->dir = open(x->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0)
		return err_set(e, ERR_INPUT, errno, "open '%s': %s", x->path, strerror(errno));
	if (flock(x->dir, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, ERR_RETRY, EBUSY, "another export is at work in '%s'", x->path);
	q = export_read(x->dir, &was, e);
	if (q == -EINPROGRESS || (q >= 0 && was))
		return 0;
	if (q < 0)
		return err_wrap(e, q, "'%s'", x->path);
	if (sys_linux()->ops->list(sys_linux(), x->dir, on_any, NULL) != 0)
		return err_set(e, ERR_INPUT, ENOTEMPTY,
			       "'%s' is neither empty nor an export: give a directory of its own",
			       x->path);
	return 0;
}

static int open_sub(struct export *x, const char *name, struct sys_fd *ret, struct err *e)
{
	int q = file_mkdir(sys_linux(), x->dir, name, e);

	if (q < 0)
		return err_wrap(e, q, "'%s'", x->path);
	ret->fd = openat(x->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return ret->fd < 0 ? err_set(e, ERR_HOST, errno, "open '%s/%s': %s", x->path, name,
				     strerror(errno))
			   : 0;
}

static int mark(struct export *x, const char *dir, const char *name, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int q = buf_addf(&b, e, "%s/%s", dir, name);

	return q < 0 ? q : json_put(x->live, b.p, json_true(), e);
}

/* A small file: written unless it is there with just these bytes. */
static int put_small(struct export *x, const char *dir, const char *name, const void *p, size_t n,
		     struct err *e)
{
	AUTO_SYS_FD d = { sys_linux(), -1 };
	AUTO_FREE char *was = NULL;
	size_t was_n = 0;
	int q = open_sub(x, dir, &d, e);

	q = q < 0 ? q : mark(x, dir, name, e);
	if (q < 0)
		return q;
	if (file_read(d.sys, d.fd, name, n, &was, &was_n, NULL) >= 0 && was_n == n &&
	    memcmp(was, p, n) == 0) {
		x->stats->kept++;
		x->stats->kept_bytes += n;
		return 0;
	}
	x->stats->files++;
	x->stats->bytes += n;
	return file_replace(d.sys, d.fd, name, p, n, e);
}

/* ---- blobs ---- */

static bool is_there(int dir, const char *hex, const struct release_blob *b)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	uint8_t sum[SHA256_BYTES];
	uint64_t n = 0;

	f.fd = openat(dir, hex, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return f.fd >= 0 && f.sys->ops->size(f.sys, f.fd, &n) >= 0 && n == b->bytes &&
	       sha256_fd(f.sys, f.fd, n, sum, NULL) >= 0 &&
	       memcmp(sum, b->sha256, sizeof(sum)) == 0;
}

static int copy(struct export *x, int from, int to, uint64_t n, struct err *e)
{
	AUTO_FREE char *p = malloc(CHUNK);
	int q = p ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	for (uint64_t at = 0; q >= 0 && at < n;) {
		size_t m = n - at < CHUNK ? (size_t)(n - at) : CHUNK;

		q = sys_read_full(sys_linux(), from, p, m, at);
		q = q < 0 ? q : sys_write_full(sys_linux(), to, p, m, at);
		if (q < 0)
			return err_set(e, ERR_HOST, -q, "copy a blob to '%s': %s", x->path,
				       strerror(-q));
		at += m;
		progress_set(&x->bar, at, clock_mono_ms());
	}
	return q;
}

/* blob_open() proves the origin; what was written is read back, as sticks lie. */
static int copy_blob(struct export *x, int dir, const char *hex, const struct release_blob *b,
		     struct err *e)
{
	AUTO_SYS_FD from = { sys_linux(), -1 };
	AUTO_SYS_FD to = { sys_linux(), -1 };
	int q = blob_open(x->r->dir, b, &from, e);

	if (q < 0)
		return q;
	to.fd = openat(dir, TMP_NAME, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (to.fd < 0)
		return err_set(e, ERR_HOST, errno, "write in '%s': %s", x->path, strerror(errno));
	progress_begin(&x->bar, stderr, "exporting", b->bytes, clock_mono_ms());
	q = copy(x, from.fd, to.fd, b->bytes, e);
	progress_end(&x->bar);
	if (q < 0)
		return q;
	q = to.sys->ops->sync(to.sys, to.fd);
	if (q >= 0)
		(void)to.sys->ops->forget(to.sys, to.fd, 0, b->bytes);
	if (q < 0)
		return err_set(e, ERR_HOST, -q, "sync in '%s': %s", x->path, strerror(-q));
	if (!is_there(dir, TMP_NAME, b))
		return err_set(e, ERR_HOST, EIO,
			       "'%s' does not hold what was written to it: use another medium",
			       x->path);
	q = to.sys->ops->rename(to.sys, dir, TMP_NAME, hex);
	q = q < 0 ? q : to.sys->ops->sync(to.sys, dir);
	return q < 0 ? err_set(e, ERR_HOST, -q, "store blob %s: %s", hex, strerror(-q)) : 0;
}

static int put_blob(struct export *x, const struct release_blob *b, struct err *e)
{
	AUTO_SYS_FD outer = { sys_linux(), -1 };
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	char hex[SHA256_HEX_MAX];
	int q = open_sub(x, "blobs", &outer, e);

	q = q < 0 ? q : open_sub(x, "blobs/sha256", &dir, e);
	if (q < 0)
		return q;
	hex_format(b->sha256, SHA256_BYTES, hex);
	q = mark(x, "blobs/sha256", hex, e);
	if (q < 0)
		return q;
	if (is_there(dir.fd, hex, b)) {
		x->stats->kept++;
		x->stats->kept_bytes += b->bytes;
		return 0;
	}
	q = copy_blob(x, dir.fd, hex, b, e);
	x->stats->files += q >= 0;
	x->stats->bytes += q >= 0 ? b->bytes : 0;
	return q;
}

/* ---- releases ---- */

static int put_id(json_t *set, const uint8_t id[SHA256_BYTES], struct err *e)
{
	char hex[SHA256_HEX_MAX];

	hex_format(id, SHA256_BYTES, hex);
	return json_put(set, hex, json_true(), e);
}

static bool in(const json_t *set, const uint8_t id[SHA256_BYTES])
{
	char hex[SHA256_HEX_MAX];

	hex_format(id, SHA256_BYTES, hex);
	return json_object_get(set, hex) != NULL;
}

/* Called for a release of a channel with its manifest, parsed and as bytes. */
typedef int (*release_fn)(struct export *x, const struct channel *c, const struct release_offer *o,
			  const struct release_manifest *m, const void *p, size_t n);

static int each_release(struct export *x, const struct channel *c, release_fn fn, struct err *e)
{
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	AUTO_FREE struct release_offer *l = NULL;
	size_t count = 0;
	int q = m ? channel_offers(c, &l, &count, e)
		  : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	for (size_t i = 0; q >= 0 && i < count; i++) {
		AUTO_FREE char *p = NULL;
		size_t n;

		q = channel_manifest(x->r, c, l[i].path, &p, &n, e);
		q = q < 0 ? q : release_manifest_parse(p, n, l[i].path, m, e);
		q = q < 0 ? q : fn(x, c, &l[i], m, p, n);
	}
	return q;
}

static bool wanted(const struct export *x, const char *version)
{
	return !x->w->since || version_compare(version, x->w->since) > 0;
}

/* Which bases do hosts that are served here run? */
static int note_base(struct export *x, const struct channel *c, const struct release_offer *o,
		     const struct release_manifest *m, const void *p, size_t n)
{
	bool old = x->w->since && version_compare(o->version, x->w->since) < 0;
	json_t *set = old ? x->old : x->young;
	int q;

	(void)c;
	(void)p;
	(void)n;
	q = put_id(set, m->root, x->e);
	return q < 0 ? q : put_id(set, m->uki_sha256, x->e);
}

static int put_release(struct export *x, const struct channel *c, const struct release_offer *o,
		       const struct release_manifest *m, const void *p, size_t n)
{
	char dir[64], file[CHANNEL_FILE_MAX], hex[SHA256_HEX_MAX];
	uint8_t sum[SHA256_BYTES];
	int q = 0;

	if (!wanted(x, o->version))
		return 0;
	for (size_t i = 0; q >= 0 && i < m->n_blob; i++) {
		const struct release_blob *b = &m->blob[i];
		bool delta = b->role == RELEASE_USR_DELTA || b->role == RELEASE_UKI_DELTA;

		if (delta && in(x->old, b->base) && !in(x->young, b->base)) {
			hex_format(b->sha256, SHA256_BYTES, hex);
			if (!has(x->left_out, hex))
				q = json_push(x->left_out, json_string(hex), x->e);
			continue;
		}
		q = put_blob(x, b, x->e);
	}
	if (q < 0)
		return q;
	sha256(p, n, sum);
	channel_file_name(o->path, sum, file);
	(void)snprintf(dir, sizeof(dir), "targets/%s", c->name);
	q = put_small(x, dir, file, p, n, x->e);
	x->stats->releases += q >= 0;
	return q;
}

static int put_channels(struct export *x, struct err *e)
{
	AUTO_SYS_FD d = { sys_linux(), -1 };
	int q = open_sub(x, "targets", &d, e);

	for (size_t i = 0; q >= 0 && x->w->since && i < x->m->n_channel; i++)
		q = each_release(x, &x->m->channel[i], note_base, e);
	for (size_t i = 0; q >= 0 && i < x->m->n_channel; i++)
		for (size_t k = 0; q >= 0 && k < x->w->n_channel; k++)
			if (strcmp(x->m->channel[i].name, x->w->channel[k]) == 0)
				q = each_release(x, &x->m->channel[i], put_release, e);
	return q;
}

/* ---- metadata ---- */

/* Byte for byte; body, when given, is what was verified and must be what the bytes say. */
static int put_metadata(struct export *x, const char *file, const json_t *body, struct err *e)
{
	const struct json_limits lim = { .bytes = REPO_META_MAX, .depth = TUF_DEPTH_MAX };
	AUTO_FREE char *p = NULL;
	AUTO_JSON *doc = NULL;
	size_t n;
	int q = file_read(sys_linux(), x->r->meta, file, REPO_META_MAX, &p, &n, e);

	q = q < 0 ? q : json_read(p, n, &lim, file, &doc, e);
	if (q >= 0 && body && !json_equal(json_object_get(doc, "signed"), body))
		return err_set(e, ERR_RETRY, EBUSY,
			       "%s changed while it was exported: run export again", file);
	return q < 0 ? err_wrap(e, q, "'%s/metadata'", x->r->path)
		     : put_small(x, "metadata", file, p, n, e);
}

static int put_role(struct export *x, const char *role, const json_t *body, struct err *e)
{
	json_int_t v = json_integer_value(json_object_get(body, "version"));
	char file[FILE_BYTES];

	(void)snprintf(file, sizeof(file), "%" JSON_INTEGER_FORMAT ".%s.json", v, role);
	return put_metadata(x, file, body, e);
}

static int put_roots(struct export *x, struct err *e)
{
	char file[FILE_BYTES];
	int q = 0;

	for (uint64_t v = 1; q >= 0 && v <= x->m->root->version; v++) {
		(void)snprintf(file, sizeof(file), "%" PRIu64 ".root.json", v);
		if (faccessat(x->r->meta, file, F_OK, 0) < 0 && v < x->m->root->version)
			continue; /* before the pinned one; no host can need it if it is gone */
		q = put_metadata(x, file, v == x->m->root->version ? x->m->root->body : NULL, e);
	}
	return q;
}

static int put_all_metadata(struct export *x, struct err *e)
{
	const struct roles *m = x->m;
	int q = put_role(x, "targets", m->targets, e);

	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		for (size_t k = 0; q >= 0 && k < x->w->n_channel; k++)
			if (strcmp(m->channel[i].name, x->w->channel[k]) == 0)
				q = put_role(x, m->channel[i].name, m->channel[i].body, e);
	q = q < 0 ? q : put_role(x, "snapshot", m->snapshot, e);
	q = q < 0 ? q : put_roots(x, e);
	return q < 0 ? q : put_metadata(x, "timestamp.json", m->timestamp, e);
}

/* ---- what an earlier export left ---- */

struct sweep {
	struct export *x;
	int dir;
	const char *prefix;
};

static int sweep_one(void *arg, const char *name)
{
	struct sweep *s = arg;
	AUTO_BUF b = BUF_INIT;
	struct stat st;
	int q = buf_addf(&b, s->x->e, "%s/%s", s->prefix, name);

	if (q < 0 || json_object_get(s->x->live, b.p) ||
	    fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return q;
	if (unlinkat(s->dir, name, 0) < 0)
		return err_set(s->x->e, ERR_HOST, errno, "remove '%s/%s': %s", s->x->path, b.p,
			       strerror(errno));
	s->x->stats->removed++;
	return 0;
}

static int sweep(struct export *x, const char *prefix, struct err *e)
{
	AUTO_SYS_FD d = { sys_linux(), -1 };
	struct sweep s = { .x = x, .prefix = prefix };
	int q = open_sub(x, prefix, &d, e);

	s.dir = d.fd;
	return q < 0 ? q : d.sys->ops->list(d.sys, d.fd, sweep_one, &s);
}

static int sweep_channel(void *arg, const char *name)
{
	struct export *x = arg;
	char prefix[300];

	(void)snprintf(prefix, sizeof(prefix), "targets/%s", name);
	return sweep(x, prefix, x->e);
}

static int sweep_all(struct export *x, struct err *e)
{
	AUTO_SYS_FD d = { sys_linux(), -1 };
	int q = sweep(x, "metadata", e);

	q = q < 0 ? q : open_sub(x, "targets", &d, e);
	q = q < 0 ? q : d.sys->ops->list(d.sys, d.fd, sweep_channel, x);
	if (q >= 0 && faccessat(x->dir, "blobs/sha256", F_OK, 0) == 0)
		q = sweep(x, "blobs/sha256", e);
	return q;
}

static int check_wish(const struct export *x, struct err *e)
{
	struct channel *c;
	int q = 0;

	for (size_t i = 0; q >= 0 && i < x->w->n_channel; i++)
		q = roles_channel(x->m, x->w->channel[i], &c, e);
	if (q >= 0 && x->w->since && !version_valid(x->w->since))
		return err_set(e, ERR_INPUT, EINVAL, "--since '%s' is no version", x->w->since);
	return q;
}

int export_run(const struct repo *r, struct roles *m, const struct export_wish *w, const char *dir,
	       struct export_stats *ret, struct err *e)
{
	CLEANUP(export_done)
	struct export x = { .r = r, .m = m, .w = w, .path = dir, .dir = -1, .stats = ret, .e = e };
	AUTO_SYS_FD meta = { sys_linux(), -1 };
	int q;

	*ret = (struct export_stats){ .files = 0 };
	x.live = json_object();
	x.left_out = json_array();
	x.old = json_object();
	x.young = json_object();
	if (!x.live || !x.left_out || !x.old || !x.young)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = check_wish(&x, e);
	q = q < 0 ? q : open_target(&x, e);
	q = q < 0 ? q : write_marker(&x, false, e);
	q = q < 0 ? q : open_sub(&x, "metadata", &meta, e);
	q = q < 0 ? q : put_channels(&x, e);
	q = q < 0 ? q : put_all_metadata(&x, e);
	q = q < 0 ? q : sweep_all(&x, e);
	return q < 0 ? q : write_marker(&x, true, e);
}

/* ---- the verb ---- */

int verb_export(const struct opts *o, struct err *e)
{
	const struct export_wish w = { o->channel, o->n_channel, o->since };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	struct export_stats st;
	char path[PATH_MAX], a[32], b[32], t[48];
	const char *pin = NULL;
	int q;

	if (o->n_word != 3 || o->n_channel == 0)
		return verb_misused("export needs REPO, DIR and --channel C", e);
	q = verb_pin(o, false, path, &pin, e);
	q = q < 0 ? q : repo_open(o->word[1], false, &r, e);
	if (q < 0)
		return q;
	r.pin = pin;
	q = roles_load(&r, &m, e);
	q = q < 0 ? q : export_run(&r, &m, &w, o->word[2], &st, e);
	if (q < 0)
		return q;
	printf("exported    %zu release%s", st.releases, st.releases == 1 ? "" : "s");
	for (size_t i = 0; i < o->n_channel; i++)
		printf("%s%s", i ? ", " : " of ", o->channel[i]);
	printf("%s%s: %" PRIu64 " files copied, %s; %" PRIu64 " there already, %s; %" PRIu64
	       " removed\n",
	       o->since ? " after " : "", o->since ? o->since : "", st.files,
	       text_bytes(st.bytes, a, sizeof(a)), st.kept, text_bytes(st.kept_bytes, b, sizeof(b)),
	       st.removed);
	printf("            timestamp valid until %s. Check it: proa-publish verify %s\n",
	       text_time(roles_expires(m.timestamp), r.now, t, sizeof(t)), o->word[2]);
	if (roles_expires(m.timestamp) <= r.now)
		(void)fprintf(stderr, "proa-publish: warning: the timestamp has expired, so hosts "
				      "refuse this copy: refresh, and export again\n");
	return 0;
}
