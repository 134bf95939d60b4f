/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/sys.h"
#include "publisher/report.h"

/*
 * Mark and sweep over names. What is reachable: per role the metadata that is current and `keep`
 * versions before it; the manifests any of those channel files names; the blobs those manifests
 * name. A file that cannot be read while marking stops it: nothing is removed on a guess.
 */
struct gc {
	const struct repo *r;
	const struct roles *m;
	uint64_t keep;
	bool dry_run;
	json_t *live; /* object: "metadata/x", "targets/c/x", "blobs/sha256/x" -> true */
	struct gc_stats stats;
	struct err *e;
	/* the sweep at hand */
	int dir;
	const char *prefix;
};

static int mark(struct gc *g, const char *prefix, const char *name)
{
	AUTO_BUF b = BUF_INIT;
	int q = buf_addf(&b, g->e, "%s/%s", prefix, name);

	return q < 0 ? q : json_put(g->live, b.p, json_true(), g->e);
}

static int mark_blobs(struct gc *g, int dir, const char *file)
{
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	AUTO_FREE char *p = NULL;
	char hex[SHA256_HEX_MAX];
	size_t n;
	int q;

	if (!m)
		return err_set(g->e, ERR_HOST, ENOMEM, "out of memory");
	q = file_read(sys_linux(), dir, file, RELEASE_MANIFEST_MAX, &p, &n, g->e);
	q = q < 0 ? q : release_manifest_parse(p, n, file, m, g->e);
	for (size_t i = 0; q >= 0 && i < m->n_blob; i++) {
		hex_format(m->blob[i].sha256, SHA256_BYTES, hex);
		q = mark(g, "blobs/sha256", hex);
	}
	return q;
}

/* Everything a channel's metadata names; old versions may name what an earlier gc took. */
static int mark_targets(struct gc *g, const char *channel, const json_t *body, bool current)
{
	json_t *targets = json_object_get(body, "targets"), *entry;
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	char prefix[64], file[CHANNEL_FILE_MAX];
	uint8_t sum[SHA256_BYTES];
	const char *path;
	int q = 0;

	if (json_object_size(targets) == 0)
		return 0;
	dir.fd = repo_channel_dir(g->r, channel, false, g->e);
	if (dir.fd < 0)
		return dir.fd;
	(void)snprintf(prefix, sizeof(prefix), "targets/%s", channel);
	json_object_foreach(targets, path, entry)
	{
		q = json_get_hex(json_object_get(entry, "hashes"), "sha256", path, sum, sizeof(sum),
				 g->e);
		if (q < 0)
			return q;
		channel_file_name(path, sum, file);
		if (!current && faccessat(dir.fd, file, F_OK, 0) < 0)
			continue;
		q = mark(g, prefix, file);
		q = q < 0 ? q : mark_blobs(g, dir.fd, file);
		if (q < 0)
			return q;
	}
	return q;
}

static int read_body(struct gc *g, const char *file, json_t **ret)
{
	const struct json_limits lim = { .bytes = REPO_META_MAX, .depth = 32 };
	AUTO_FREE char *p = NULL;
	AUTO_JSON *doc = NULL;
	size_t n;
	int q = file_read(sys_linux(), g->r->meta, file, REPO_META_MAX, &p, &n, g->e);

	q = q < 0 ? q : json_read(p, n, &lim, file, &doc, g->e);
	if (q >= 0)
		*ret = json_incref(json_object_get(doc, "signed"));
	return q;
}

static int mark_role(struct gc *g, const char *role, const json_t *body, bool channel)
{
	uint64_t now = (uint64_t)json_integer_value(json_object_get(body, "version"));
	uint64_t v = now, kept = 0;
	char file[TUF_ROLE_MAX + 32];
	int q = 0;

	for (; q >= 0 && v > 0 && kept <= g->keep; kept++) {
		AUTO_JSON *old = NULL;

		(void)snprintf(file, sizeof(file), "%" PRIu64 ".%s.json", v, role);
		q = mark(g, "metadata", file);
		if (q >= 0 && channel && v != now)
			q = read_body(g, file, &old);
		if (q >= 0 && channel)
			q = mark_targets(g, role, old ? old : body, v == now);
		q = q < 0 ? q : repo_highest(g->r, role, v, &v, g->e); /* the one before */
	}
	return q;
}

static int mark_all(struct gc *g)
{
	const struct roles *m = g->m;
	int q = mark(g, "metadata", "timestamp.json");

	q = q < 0 ? q : mark_role(g, "snapshot", m->snapshot, false);
	q = q < 0 ? q : mark_role(g, "targets", m->targets, false);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		q = mark_role(g, m->channel[i].name, m->channel[i].body, true);
	return q;
}

/* ---- sweep ---- */

static bool is_root(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot && strcmp(dot, ".root.json") == 0;
}

static int sweep_one(void *arg, const char *name)
{
	struct gc *g = arg;
	AUTO_BUF b = BUF_INIT;
	struct stat st;
	int q = buf_addf(&b, g->e, "%s/%s", g->prefix, name);

	if (q < 0)
		return q;
	if (json_object_get(g->live, b.p) || is_root(name))
		return 0;
	if (fstatat(g->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (!g->dry_run && unlinkat(g->dir, name, 0) < 0)
		return err_set(g->e, ERR_HOST, errno, "remove '%s/%s': %s", g->r->path, b.p,
			       strerror(errno));
	g->stats.files++;
	g->stats.bytes += (uint64_t)st.st_size;
	printf("%s %s\n", g->dry_run ? "would remove" : "removed    ", b.p);
	return 0;
}

static int sweep(struct gc *g, int dir, const char *prefix)
{
	int q;

	g->dir = dir;
	g->prefix = prefix;
	q = sys_linux()->ops->list(sys_linux(), dir, sweep_one, g);
	if (q < 0 && (!g->e || g->e->kind == ERR_NONE))
		return err_set(g->e, ERR_HOST, -q, "list '%s/%s': %s", g->r->path, prefix,
			       strerror(-q));
	return q;
}

static int sweep_channel(void *arg, const char *name)
{
	struct gc *g = arg;
	struct gc sub = *g;
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	char prefix[300];
	int q;

	dir.fd = openat(g->r->targets, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir.fd < 0)
		return 0;
	(void)snprintf(prefix, sizeof(prefix), "targets/%s", name);
	q = sweep(&sub, dir.fd, prefix);
	g->stats = sub.stats;
	return q;
}

int gc_run(const struct repo *r, const struct roles *m, uint64_t keep, bool dry_run,
	   struct gc_stats *ret, struct err *e)
{
	AUTO_JSON *live = json_object();
	struct gc g = { .r = r, .m = m, .keep = keep, .dry_run = dry_run, .live = live, .e = e };
	int q = mark_all(&g);

	if (q < 0)
		return err_wrap(e, q, "nothing was removed");
	/* from what names to what is named, so that a kill in between leaves nothing dangling */
	q = sweep(&g, r->meta, "metadata");
	if (q >= 0)
		q = sys_linux()->ops->list(sys_linux(), r->targets, sweep_channel, &g);
	q = q < 0 ? q : sweep(&g, r->blobs, "blobs/sha256");
	if (q < 0)
		return q;
	*ret = g.stats;
	return 0;
}
