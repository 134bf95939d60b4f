/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TUF client as a program, with the command line that TUF test suites drive: the library of
 * updater/tuf over a directory of files and plain HTTP. Exit status 0 or 1, nothing else.
 */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "tests/tools/tuf_run.h"

/* A server that is slower than this for so long is given up (slow retrieval). */
enum { TIMEOUT_S = 60, SLOW_S = 15, SLOW_BYTES_PER_S = 100 };

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

/* No such file: 403 and 404. */
static int get(void *arg, const char *base, const char *name, size_t max, struct buf *ret,
	       bool *ret_found, struct err *e)
{
	struct body body = { .max = max };
	AUTO_BUF url = BUF_INIT;
	size_t n = strlen(base);
	CURL *curl = arg;
	long status = 0;
	CURLcode rc;
	int r;

	r = buf_addf(&url, e, "%s%s%s", base, n > 0 && base[n - 1] == '/' ? "" : "/", name);
	if (r < 0)
		return r;
	curl_easy_reset(curl);
	(void)curl_easy_setopt(curl, CURLOPT_URL, url.p);
	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
	(void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
	(void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	rc = curl_easy_perform(curl);
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK && !(rc == CURLE_WRITE_ERROR && body.b.n > max)) {
		buf_done(&body.b);
		return err_set(e, ERR_RETRY, EIO, "%s: %s", url.p, curl_easy_strerror(rc));
	}
	if (status != 200 && status != 404 && status != 403) {
		buf_done(&body.b);
		return err_set(e, ERR_RETRY, EIO, "%s: the server answers %ld", url.p, status);
	}
	*ret_found = status == 200;
	if (*ret_found)
		*ret = body.b;
	else
		buf_done(&body.b);
	return 0;
}

static int parse(int argc, char **argv, struct tuf_run *c)
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
		else if (o == 'n' && c->names_n < TUF_RUN_NAMES_MAX)
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

int main(int argc, char **argv)
{
	struct tuf_run c = { .get = get, .sys = sys_linux(), .now = time(NULL) };
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
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(c.arg = curl_easy_init())) {
		(void)fputs("tuf-client: cannot start libcurl\n", stderr);
		return 1;
	}
	r = tuf_run(&c, argv[optind], argv[optind] ? argv[optind + 1] : NULL, &why, &e);
	if (r < 0)
		(void)fprintf(stderr, "tuf-client: %s [%s]\n", e.text, tuf_reason_name(why));
	curl_easy_cleanup(c.arg);
	curl_global_cleanup();
	return r < 0 ? 1 : 0;
}
