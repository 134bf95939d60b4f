/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/file.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static void curl_freep(char **p)
{
	curl_free(*p);
}

static void url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static int url_path(const char *url, char **ret, struct err *e)
{
	CLEANUP(url_freep) CURLU *u = curl_url();
	CURLUcode c;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	c = curl_url_set(u, CURLUPART_URL, url, 0);
	if (c == CURLUE_OK)
		c = curl_url_get(u, CURLUPART_PATH, ret, CURLU_URLDECODE);
	if (c != CURLUE_OK)
		return err_set(e, ERR_INPUT, EINVAL, "bad URL: %s", curl_url_strerror(c));
	return 0;
}

static void etag_make(const struct stat *st, char out[WIRE_ETAG_MAX + 1])
{
	(void)snprintf(out, WIRE_ETAG_MAX + 1, "\"%jx-%jx-%jx.%jx\"", (uintmax_t)st->st_ino,
		       (uintmax_t)st->st_size, (uintmax_t)st->st_mtim.tv_sec,
		       (uintmax_t)st->st_mtim.tv_nsec);
}

static int path_err(struct fetch_job *j, int os, struct err *e)
{
	/* the agent knows a missing file by its status, wherever it is missing */
	if (os == ENOENT || os == ENOTDIR)
		j->answer.status = 404;
	return err_set(e, ERR_REFUSED, os, "cannot open it: %s", strerror(os));
}

static int file_open(struct fetch_job *j, struct stat *ret, struct err *e)
{
	CLEANUP(curl_freep) char *path = NULL;
	int r = url_path(j->get.url, &path, e);

	if (r < 0)
		return r;
	/* looked at before it is opened, as opening alone can wake a device */
	if (stat(path, ret) < 0)
		return path_err(j, errno, e);
	if (!S_ISREG(ret->st_mode))
		return err_set(e, ERR_REFUSED, EINVAL, "not a regular file");
	j->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (j->fd < 0)
		return path_err(j, errno, e);
	if (fstat(j->fd, ret) < 0 || !S_ISREG(ret->st_mode))
		return err_set(e, ERR_REFUSED, EINVAL, "not a regular file");
	return 0;
}

static int file_begin(struct fetch_job *j, struct err *e)
{
	uint64_t size, end;
	struct stat st;
	int r = file_open(j, &st, e);

	if (r < 0)
		return r;
	size = (uint64_t)st.st_size;
	end = j->get.length ? j->get.offset + j->get.length : size;
	if (size > j->get.max_bytes)
		return err_set(e, ERR_REFUSED, EFBIG,
			       "the file has %" PRIu64 " bytes, at most %" PRIu64 " are allowed",
			       size, j->get.max_bytes);
	if (end > size || j->get.offset > size)
		return err_set(e, ERR_REFUSED, ERANGE,
			       "the file has %" PRIu64 " bytes and ends before the range asked for",
			       size);
	j->head = (struct wire_head){ .total = size, .offset = j->get.offset, .ranged = true };
	etag_make(&st, j->head.etag);
	if (j->get.etag[0] && strcmp(j->get.etag, j->head.etag) != 0)
		return err_set(e, ERR_REFUSED, ESTALE, "the file is another one: its tag is %s",
			       j->head.etag);
	j->known = true;
	j->next = j->pos = j->get.offset;
	j->body = (struct fetch_body){ .start = j->next, .stop = end, .total = size };
	j->requests = 1;
	return 0;
}

void fetch_file_start(struct fetch_job *j)
{
	struct err e = ERR_INIT;

	j->fd = -1;
	j->state = JOB_FILE;
	if (file_begin(j, &e) < 0) {
		fetch_file_stop(j);
		fetch_job_fail(j, &e);
	}
}

void fetch_file_stop(struct fetch_job *j)
{
	if (j->fd >= 0)
		(void)close(j->fd);
	j->fd = -1;
}

static void file_over(struct fetch_job *j, struct err *e)
{
	if (e)
		fetch_job_fail(j, e);
	else
		fetch_job_end(j);
	fetch_file_stop(j);
}

/* The bytes sent belong to one file only if nobody wrote it meanwhile. */
static void file_finish(struct fetch_job *j)
{
	char etag[WIRE_ETAG_MAX + 1];
	struct err e = ERR_INIT;
	struct stat st;

	if (fstat(j->fd, &st) == 0) {
		etag_make(&st, etag);
		if (strcmp(etag, j->head.etag) == 0) {
			file_over(j, NULL);
			return;
		}
	}
	(void)!err_set(&e, ERR_RETRY, ESTALE, "the file changed while it was read");
	file_over(j, &e);
}

int fetch_file_pump(struct fetch_job *j, size_t budget, struct err *e)
{
	uint8_t buf[32768];
	int r = fetch_job_head(j, e);

	while (r == 0 && budget > 0 && j->next < j->body.stop) {
		uint64_t left = j->body.stop - j->next;
		size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = pread(j->fd, buf, want, (off_t)j->next);

		if (n <= 0) {
			struct err why = ERR_INIT;

			/* as one that cannot be opened: the medium is the repository's */
			(void)!err_set(&why, n < 0 ? ERR_REFUSED : ERR_RETRY,
				       n < 0 ? errno : ESTALE,
				       n < 0 ? "cannot read it: %s" : "it became shorter%.0s",
				       n < 0 ? strerror(errno) : "");
			file_over(j, &why);
			return 0;
		}
		r = fetch_job_take(j, buf, (size_t)n, e);
		budget = budget > (size_t)n ? budget - (size_t)n : 0;
		j->pos = j->next;
		if (r > 0)
			r = 0;
	}
	if (r < 0)
		return r;
	if (j->next >= j->body.stop)
		file_finish(j);
	return 0;
}
