/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/repo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/num.h"
#include "base/sys.h"
#include "base/version.h"

#define CONFIG_NAME "proa-publish.json"
#define CONFIG_TMP  ".proa-publish.json.new" /* of file_replace() */
#define LOCK_NAME   ".lock"
#define TMP_NAME    ".tmp"
enum { CONFIG_MAX = 64 << 10, DAYS_MAX = 3650, FORMAT = 1 };

static void close_at(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void repo_done(struct repo *r)
{
	if (r->lock >= 0)
		repo_tmp_clear(r);
	close_at(&r->tmp);
	close_at(&r->blobs);
	close_at(&r->targets);
	close_at(&r->meta);
	close_at(&r->dir);
	close_at(&r->lock);
}

static int open_dir(const struct repo *r, int at, const char *name, bool make, int *ret,
		    struct err *e)
{
	int fd, q;

	q = make ? file_mkdir(sys_linux(), at, name, e) : 0;
	if (q < 0)
		return err_wrap(e, q, "'%s'", r->path);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_INPUT, errno,
			       "'%s' is not a repository of proa-publish: %s: %s", r->path, name,
			       strerror(errno));
	*ret = fd;
	return 0;
}

static int open_tree(struct repo *r, bool make, struct err *e)
{
	int outer = -1, q;

	q = open_dir(r, r->dir, "metadata", make, &r->meta, e);
	if (q >= 0)
		q = open_dir(r, r->dir, "targets", make, &r->targets, e);
	if (q >= 0)
		q = open_dir(r, r->dir, "blobs", make, &outer, e);
	if (q >= 0)
		q = open_dir(r, outer, "sha256", make, &r->blobs, e);
	close_at(&outer);
	return q;
}

static int take_lock(struct repo *r, struct err *e)
{
	int q;

	r->lock = openat(r->dir, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (r->lock < 0)
		return err_set(e, ERR_HOST, errno, "'%s/%s': %s", r->path, LOCK_NAME,
			       strerror(errno));
	if (flock(r->lock, LOCK_EX | LOCK_NB) < 0) {
		q = errno;
		close_at(&r->lock);
		return err_set(e, ERR_RETRY, EBUSY,
			       "another proa-publish is at work in '%s' (%s): try again when it "
			       "has finished",
			       r->path, strerror(q));
	}
	q = open_dir(r, r->dir, TMP_NAME, true, &r->tmp, e);
	if (q >= 0)
		repo_tmp_clear(r);
	return q;
}

/* ---- configuration ---- */

static int write_config(const struct repo *r, struct err *e)
{
	const struct repo_config *c = &r->config;
	AUTO_JSON *j = json_object();
	AUTO_BUF b = BUF_INIT;
	json_t *days = json_object();
	int q = json_put(j, "expiry_days", days, e);

	q = q < 0 ? q : json_put_u64(j, "proa-publish", FORMAT, e);
	q = q < 0 ? q : json_put_str(j, "image", c->image, e);
	q = q < 0 ? q : json_put_str(j, "architecture", c->arch, e);
	q = q < 0 ? q : json_put_hex(j, "salt", c->salt, c->salt_n, e);
	q = q < 0 ? q : json_put_u64(days, "root", c->root_days, e);
	q = q < 0 ? q : json_put_u64(days, "targets", c->targets_days, e);
	q = q < 0 ? q : json_put_u64(days, "channel", c->channel_days, e);
	q = q < 0 ? q : json_put_u64(days, "snapshot", c->snapshot_days, e);
	q = q < 0 ? q : json_put_u64(days, "timestamp", c->timestamp_days, e);
	q = q < 0 ? q : json_write(j, true, &b, e);
	return q < 0 ? q : file_replace(sys_linux(), r->dir, CONFIG_NAME, b.p, b.n, e);
}

static int read_days(const json_t *j, struct repo_config *c, struct err *e)
{
	const struct {
		const char *key;
		uint64_t *to;
	} days[] = {
		{ "root", &c->root_days },           { "targets", &c->targets_days },
		{ "channel", &c->channel_days },     { "snapshot", &c->snapshot_days },
		{ "timestamp", &c->timestamp_days },
	};
	json_t *o;
	int q = json_get_obj(j, "expiry_days", CONFIG_NAME, &o, e);

	for (size_t i = 0; q >= 0 && i < sizeof(days) / sizeof(days[0]); i++) {
		q = json_get_u64_opt(o, days[i].key, CONFIG_NAME ": expiry_days", DAYS_MAX,
				     *days[i].to, days[i].to, e);
		if (q >= 0 && *days[i].to == 0)
			return err_set(e, ERR_INPUT, ERANGE,
				       CONFIG_NAME ": expiry_days: %s must be 1 to %d", days[i].key,
				       DAYS_MAX);
	}
	return q;
}

static int read_config(struct repo *r, struct err *e)
{
	const struct json_limits lim = { .bytes = CONFIG_MAX, .depth = 4 };
	struct repo_config c = REPO_CONFIG_DEFAULT;
	const char *image = NULL, *arch = NULL, *salt = NULL;
	AUTO_FREE char *p = NULL;
	AUTO_JSON *j = NULL;
	uint64_t format;
	size_t n;
	int q;

	q = file_read(sys_linux(), r->dir, CONFIG_NAME, CONFIG_MAX, &p, &n, e);
	if (q < 0)
		return err_wrap(e, q, "'%s' is not a repository of proa-publish", r->path);
	q = json_read(p, n, &lim, CONFIG_NAME, &j, e);
	q = q < 0 ? q : json_get_u64(j, "proa-publish", CONFIG_NAME, FORMAT, &format, e);
	q = q < 0 ? q : json_get_str(j, "image", CONFIG_NAME, &image, e);
	q = q < 0 ? q : json_get_str(j, "architecture", CONFIG_NAME, &arch, e);
	q = q < 0 ? q : json_get_str(j, "salt", CONFIG_NAME, &salt, e);
	q = q < 0 ? q : read_days(j, &c, e);
	if (q < 0)
		return q;
	if (!image_id_valid(image) || strlen(arch) >= sizeof(c.arch) ||
	    strlen(salt) > 2 * sizeof(c.salt))
		return err_set(e, ERR_INPUT, EINVAL,
			       CONFIG_NAME ": image, architecture or salt is not valid");
	(void)snprintf(c.image, sizeof(c.image), "%s", image);
	(void)snprintf(c.arch, sizeof(c.arch), "%s", arch);
	c.salt_n = strlen(salt) / 2;
	q = hex_parse(salt, CONFIG_NAME ": salt", c.salt, c.salt_n, e);
	if (q >= 0)
		r->config = c;
	return q;
}

/* ---- open, create ---- */

static int open_root(const char *path, struct repo *r, struct err *e)
{
	r->path = path;
	r->now = (int64_t)time(NULL);
	r->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0)
		return err_set(e, ERR_INPUT, errno, "open the repository '%s': %s", path,
			       strerror(errno));
	return 0;
}

int repo_open(const char *path, bool write, struct repo *ret, struct err *e)
{
	AUTO_REPO r = REPO_INIT;
	int q = open_root(path, &r, e);

	q = q < 0 ? q : read_config(&r, e);
	q = q < 0 ? q : open_tree(&r, false, e);
	if (q >= 0 && write)
		q = take_lock(&r, e);
	if (q < 0)
		return q;
	*ret = r;
	r = (struct repo)REPO_INIT;
	return 0;
}

/* What an init that was killed may have left is taken over: nothing names it yet. */
static int foreign_name(void *arg, const char *name)
{
	static const char *const ours[] = { LOCK_NAME, TMP_NAME, "metadata",
					    "targets", "blobs",  CONFIG_TMP };

	(void)arg;
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(name, ours[i]) == 0)
			return 0;
	return 1;
}

int repo_create(const char *path, const struct repo_config *config, struct repo *ret, struct err *e)
{
	AUTO_REPO r = REPO_INIT;
	struct sys *sys = sys_linux();
	int q;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make directory '%s': %s", path,
			       strerror(errno));
	q = open_root(path, &r, e);
	if (q < 0)
		return q;
	q = sys->ops->list(sys, r.dir, foreign_name, NULL);
	if (q > 0 || faccessat(r.dir, "metadata/timestamp.json", F_OK, 0) == 0)
		return err_set(e, ERR_INPUT, ENOTEMPTY,
			       "'%s' is not empty: a new repository needs a directory of its own",
			       path);
	r.config = *config;
	q = take_lock(&r, e);
	q = q < 0 ? q : open_tree(&r, true, e);
	if (q < 0)
		return q;
	*ret = r;
	r = (struct repo)REPO_INIT;
	return 0;
}

int repo_finish(const struct repo *r, struct err *e)
{
	return write_config(r, e);
}

/* ---- temporary files, blobs, channels ---- */

int repo_tmp_path(const struct repo *r, const char *name, char *out, struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s/" TMP_NAME "/%s", r->path, name);

	if (n < 0 || n >= PATH_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG,
			       "the path of the repository is too long");
	return 0;
}

static int unlink_name(void *arg, const char *name)
{
	const struct repo *r = arg;

	(void)unlinkat(r->tmp, name, 0);
	return 0;
}

void repo_tmp_clear(const struct repo *r)
{
	struct repo copy = *r;

	if (r->tmp >= 0)
		(void)sys_linux()->ops->list(sys_linux(), r->tmp, unlink_name, &copy);
}

int repo_blob_adopt(const struct repo *r, const char *tmp, const uint8_t sha[SHA256_BYTES],
		    struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	char hex[SHA256_HEX_MAX];
	int q;

	hex_format(sha, SHA256_BYTES, hex);
	if (faccessat(r->blobs, hex, F_OK, 0) == 0) {
		(void)unlinkat(r->tmp, tmp, 0);
		return 0;
	}
	f.fd = openat(r->tmp, tmp, O_RDONLY | O_CLOEXEC);
	q = f.fd < 0 ? -errno : f.sys->ops->sync(f.sys, f.fd);
	if (q >= 0 && renameat(r->tmp, tmp, r->blobs, hex) < 0)
		q = -errno;
	if (q >= 0)
		q = f.sys->ops->sync(f.sys, r->blobs);
	return q < 0 ? err_set(e, ERR_HOST, -q, "store blob %s: %s", hex, strerror(-q)) : 0;
}

int repo_channel_dir(const struct repo *r, const char *channel, bool make, struct err *e)
{
	int fd = -1, q = open_dir(r, r->targets, channel, make, &fd, e);

	return q < 0 ? q : fd;
}

struct highest {
	const char *role;
	uint64_t n, below;
};

static int see_name(void *arg, const char *name)
{
	struct highest *h = arg;
	const char *dot = strchr(name, '.');
	size_t len = strlen(h->role);
	uint64_t n;

	if (dot && strncmp(dot + 1, h->role, len) == 0 && strcmp(dot + 1 + len, ".json") == 0 &&
	    num_parse(name, (size_t)(dot - name), 1, (uint64_t)1 << 52, "", &n, NULL) >= 0 &&
	    n < h->below && n > h->n)
		h->n = n;
	return 0;
}

int repo_highest(const struct repo *r, const char *role, uint64_t below, uint64_t *ret,
		 struct err *e)
{
	struct highest h = { .role = role, .below = below };
	int q = sys_linux()->ops->list(sys_linux(), r->meta, see_name, &h);

	if (q < 0)
		return err_set(e, ERR_HOST, -q, "list '%s/metadata': %s", r->path, strerror(-q));
	*ret = h.n;
	return 0;
}
