/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TUF client as a program, with the command line that TUF test suites drive: the library of
 * updater/tuf over a directory of files and plain HTTP. Exit status 0 or 1, nothing else.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "updater/tuf/update.h"

enum { NAMES_MAX = 64, ROOT_MAX = 512 << 10, TARGET_MAX = 32 << 20, FILE_NAME_MAX = 200 };
enum { TIMEOUT_S = 60 };

struct client {
	const char *metadata_dir, *metadata_url, *target_dir, *target_url;
	const char *names[NAMES_MAX];
	size_t names_n;
	struct sys *sys;
	int dir; /* of the metadata */
	CURL *curl;
};

static const char usage[] =
	"usage: tuf-client --metadata-dir DIR init TRUSTED_ROOT\n"
	"       tuf-client --metadata-url URL --metadata-dir DIR refresh\n"
	"       tuf-client --metadata-url URL --metadata-dir DIR --target-name PATH...\n"
	"                  --target-dir DIR --target-base-url URL download\n"
	"Exit status: 0 done, 1 anything else.\n"
	"Example: tuf-client --metadata-dir /tmp/md init 1.root.json\n";

struct body {
	struct buf b;
	size_t max;
};

/* Keeps one byte more than allowed, so that the library sees that there is too much. */
static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct body *to = arg;
	size_t room = to->max + 1 - to->b.n, len = size * n;

	if (buf_add(&to->b, p, len < room ? len : room, NULL) < 0 || len > room)
		return 0;
	return len;
}

/* ret_found is false for 403 and 404. More than max bytes come as max + 1. */
static int get(struct client *c, const char *base, const char *name, size_t max, struct buf *ret,
	       bool *ret_found, struct err *e)
{
	struct body body = { .max = max };
	AUTO_BUF url = BUF_INIT;
	size_t n = strlen(base);
	long status = 0;
	CURLcode rc;
	int r;

	r = buf_addf(&url, e, "%s%s%s", base, n > 0 && base[n - 1] == '/' ? "" : "/", name);
	if (r < 0)
		return r;
	curl_easy_reset(c->curl);
	(void)curl_easy_setopt(c->curl, CURLOPT_URL, url.p);
	(void)curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
	(void)curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &body);
	rc = curl_easy_perform(c->curl);
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK && !(rc == CURLE_WRITE_ERROR && body.b.n > max)) {
		buf_done(&body.b);
		return err_set(e, ERR_RETRY, EIO, "%s: %s", url.p, curl_easy_strerror(rc));
	}
	if (status != 200 && status != 404 && status != 403) {
		buf_done(&body.b);
		return err_set(e, ERR_RETRY, EIO, "%s: the server answers %ld", url.p, status);
	}
	*ret_found = status == 200;
	*ret = body.b;
	return 0;
}

static int step_load(struct client *c, struct tuf_update *u, const struct tuf_request *rq,
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

static int step_fetch(struct client *c, struct tuf_update *u, const struct tuf_request *rq,
		      struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	bool found = false;
	int r;

	r = get(c, c->metadata_url, rq->name, rq->max, &b, &found, e);
	return r < 0 ? r : tuf_update_answer(u, found, b.p, b.n, e);
}

static int step_drop(struct client *c, struct err *e)
{
	int r = file_remove(c->sys, c->dir, "timestamp.json", e);

	return r < 0 ? r : file_remove(c->sys, c->dir, "snapshot.json", e);
}

/* Until the next TUF_DONE. */
static int run(struct client *c, struct tuf_update *u, struct err *e)
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

static int begin(struct client *c, struct tuf_update **ret, enum tuf_reason *why, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	r = file_read(c->sys, c->dir, "root.json", ROOT_MAX, &p, &n, e);
	if (r < 0)
		return err_wrap(e, r, "no trusted root (init first)");
	return tuf_update_new(p, n, time(NULL), NULL, ret, why, e);
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

static bool have_target(struct client *c, int dir, const char *name, const struct tuf_target *t)
{
	AUTO_FREE char *p = NULL;
	size_t n;

	return t->length <= TARGET_MAX &&
	       file_read(c->sys, dir, name, (size_t)t->length, &p, &n, NULL) >= 0 &&
	       tuf_target_check(t, p, n, NULL, NULL) >= 0;
}

static int fetch_target(struct client *c, struct tuf_update *u, const struct tuf_target *t,
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
	r = get(c, c->target_url, remote.p, (size_t)t->length, &data, &found, e);
	if (r < 0)
		return r;
	if (!found)
		return err_set(e, ERR_RETRY, ENOENT, "%s: the server does not have it", remote.p);
	r = tuf_target_check(t, data.n > 0 ? data.p : "", data.n, why, e);
	return r < 0 ? r : file_replace(c->sys, dir.fd, local.p, data.p, data.n, e);
}

static int do_update(struct client *c, enum tuf_reason *why, struct err *e)
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

static int do_init(struct client *c, const char *file, enum tuf_reason *why, struct err *e)
{
	AUTO_TUF_UPDATE *u = NULL;
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	r = file_read(c->sys, AT_FDCWD, file, ROOT_MAX, &p, &n, e);
	if (r >= 0)
		r = tuf_update_new(p, n, time(NULL), NULL, &u, why, e);
	return r < 0 ? r : file_replace(c->sys, c->dir, "root.json", p, n, e);
}

static int parse(int argc, char **argv, struct client *c)
{
	static const struct option options[] = {
		{ "metadata-dir", required_argument, NULL, 'd' },
		{ "metadata-url", required_argument, NULL, 'u' },
		{ "target-name", required_argument, NULL, 'n' },
		{ "target-dir", required_argument, NULL, 't' },
		{ "target-base-url", required_argument, NULL, 'b' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (o == 'd')
			c->metadata_dir = optarg;
		else if (o == 'u')
			c->metadata_url = optarg;
		else if (o == 'n' && c->names_n < NAMES_MAX)
			c->names[c->names_n++] = optarg;
		else if (o == 't')
			c->target_dir = optarg;
		else if (o == 'b')
			c->target_url = optarg;
		else
			return o;
	}
	return 0;
}

static int command(struct client *c, char **arg, enum tuf_reason *why, struct err *e)
{
	AUTO_SYS_FD dir = { c->sys, -1 };

	if (!c->metadata_dir || !arg[0])
		return err_set(e, ERR_INPUT, EINVAL, "give --metadata-dir and a verb (--help)");
	dir.fd = c->sys->ops->open(c->sys, AT_FDCWD, c->metadata_dir, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "cannot open directory '%s'", c->metadata_dir);
	c->dir = dir.fd;
	if (strcmp(arg[0], "init") == 0 && arg[1])
		return do_init(c, arg[1], why, e);
	if (!c->metadata_url)
		return err_set(e, ERR_INPUT, EINVAL, "give --metadata-url (--help)");
	if (strcmp(arg[0], "refresh") == 0) {
		c->names_n = 0;
		return do_update(c, why, e);
	}
	if (strcmp(arg[0], "download") == 0 && c->names_n > 0 && c->target_dir && c->target_url)
		return do_update(c, why, e);
	return err_set(e, ERR_INPUT, EINVAL, "'%s' is no verb or lacks an option (--help)", arg[0]);
}

int main(int argc, char **argv)
{
	struct client c = { .sys = sys_linux(), .dir = -1 };
	enum tuf_reason why = TUF_REASON_NONE;
	struct err e = ERR_INIT;
	int r;

	r = parse(argc, argv, &c);
	if (r == 'h' || r == 'v') {
		(void)fputs(r == 'h' ? usage : "tuf-client " PROA_VERSION "\n", stdout);
		return 0;
	}
	if (r != 0)
		return 1;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(c.curl = curl_easy_init())) {
		(void)fputs("tuf-client: cannot start libcurl\n", stderr);
		return 1;
	}
	r = command(&c, argv + optind, &why, &e);
	if (r < 0)
		(void)fprintf(stderr, "tuf-client: %s [%s]\n", e.text, tuf_reason_name(why));
	curl_easy_cleanup(c.curl);
	curl_global_cleanup();
	return r < 0 ? 1 : 0;
}
