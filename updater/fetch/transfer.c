/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

enum { BUFFER = 32768, SWALLOW_MAX = 65536 };

struct fetch_curl {
	CURL *easy;
	struct curl_slist *fields;
	char text[CURL_ERROR_SIZE];
};

static bool is_ranged(const struct fetch_job *j)
{
	return j->next > 0 || j->get.length > 0;
}

/* --- callbacks --- */

static void judge(struct fetch_job *j)
{
	struct fetch_want w = { .get = &j->get,
				.next = j->next,
				.ranged = is_ranged(j),
				.known = j->known,
				.total = j->head.total,
				.etag = j->known ? j->head.etag : "" };

	j->judged = true;
	j->verdict = fetch_answer_judge(&j->answer, &w, &j->body, &j->err);
	if (j->verdict < 0)
		return;
	j->pos = j->body.start;
	if (!j->known) {
		j->known = true;
		j->next = j->body.start;
		j->head.total = j->body.total;
		j->head.offset = j->body.start;
		j->head.ranged = j->body.ranged;
		memcpy(j->head.etag, j->answer.etag, sizeof(j->head.etag));
	}
	/* at once, so that the agent can decide; if the wire is full the first bytes try again */
	(void)!fetch_job_head(j, NULL);
}

/* Once we spoke TLS, no redirect may lead out of it again. */
static void redirect_guard(struct fetch_job *j)
{
	const char *url = NULL;

	if (curl_easy_getinfo(j->go->easy, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url &&
	    strncasecmp(url, "https:", 6) == 0)
		(void)curl_easy_setopt(j->go->easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
}

static int job_cut(struct fetch_job *j, int r)
{
	j->cut = true;
	return r;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct fetch_job *j = arg;

	n *= size;
	fetch_pace_add(j->pace, n);
	if (j->judged) /* trailers */
		return n;
	if (!fetch_answer_line(&j->answer, p, n)) {
		if (j->answer.bytes <= FETCH_HEADERS_MAX)
			return n;
		(void)job_cut(j, err_set(&j->err, ERR_REFUSED, EFBIG,
					 "the server sent more than %u bytes of header",
					 FETCH_HEADERS_MAX));
		return 0;
	}
	if (fetch_answer_redirects(&j->answer))
		redirect_guard(j);
	else if (j->answer.status >= 200)
		judge(j);
	return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct fetch_job *j = arg;
	int r;

	n *= size;
	if (!j->judged || j->verdict < 0) {
		/* a short error page is read to its end, so that the connection can be kept */
		j->swallowed += n;
		fetch_pace_add(j->pace, n);
		return j->swallowed > SWALLOW_MAX ? 0 : n;
	}
	r = fetch_job_take(j, (const uint8_t *)p, n, &j->err);
	if (r == -EAGAIN) {
		j->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	fetch_pace_add(j->pace, n);
	if (r < 0)
		(void)job_cut(j, r);
	if (r > 0)
		j->complete = true;
	return r == 0 ? n : 0;
}

/* libcurl's type */
static int on_request(void *arg, char *there, /* NOLINT(readability-non-const-parameter) */
		      char *here,             /* NOLINT(readability-non-const-parameter) */
		      int there_port, int here_port)
{
	(void)there;
	(void)here;
	(void)there_port;
	(void)here_port;
	((struct fetch_job *)arg)->asked = true;
	return CURL_PREREQFUNC_OK;
}

/* --- asking --- */

static int add_field(struct fetch_curl *go, const char *line, struct err *e)
{
	struct curl_slist *more = curl_slist_append(go->fields, line);

	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	go->fields = more;
	return 0;
}

/*
 * Own Range and If-Range fields: CURLOPT_RANGE would let libcurl judge the answer, which is
 * fetch_answer_judge()'s work.
 */
static int set_fields(struct fetch_job *j, struct err *e)
{
	const char *etag = j->get.etag[0] ? j->get.etag : j->known ? j->head.etag : "";
	char line[WIRE_ETAG_MAX + 64];
	int r;

	if (!is_ranged(j))
		return 0;
	if (j->get.length)
		(void)snprintf(line, sizeof(line), "Range: bytes=%" PRIu64 "-%" PRIu64, j->next,
			       j->get.offset + j->get.length - 1);
	else
		(void)snprintf(line, sizeof(line), "Range: bytes=%" PRIu64 "-", j->next);
	r = add_field(j->go, line, e);
	if (r < 0 || !etag[0])
		return r;
	(void)snprintf(line, sizeof(line), "If-Range: %s", etag);
	return add_field(j->go, line, e);
}

static CURLcode set_transport(CURL *h, const char *url, const struct fetch_settings *s)
{
	CURLcode c = CURLE_OK;

	c |= curl_easy_setopt(h, CURLOPT_URL, url);
	c |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	c |= curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	c |= curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
	c |= curl_easy_setopt(h, CURLOPT_MAXREDIRS, 5L);
	c |= curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	c |= curl_easy_setopt(h, CURLOPT_PIPEWAIT, 1L);
	c |= curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	c |= curl_easy_setopt(h, CURLOPT_USERAGENT, FETCH_AGENT);
	c |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	c |= curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)BUFFER);
	c |= curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	c |= curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)s->connect_s);
	if (s->ca) {
		c |= curl_easy_setopt(h, CURLOPT_CAINFO, s->ca);
		c |= curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
	}
	if (s->cert) {
		c |= curl_easy_setopt(h, CURLOPT_SSLCERT, s->cert);
		c |= curl_easy_setopt(h, CURLOPT_SSLKEY, s->key ? s->key : s->cert);
	}
	return c;
}

static CURLcode set_job(struct fetch_job *j, int64_t now_ms)
{
	CURL *h = j->go->easy;
	int64_t left = j->deadline_ms - now_ms;
	CURLcode c = CURLE_OK;

	if (left > INT_MAX)
		left = INT_MAX;
	c |= curl_easy_setopt(h, CURLOPT_HTTPHEADER, j->go->fields);
	c |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, j->go->text);
	c |= curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	c |= curl_easy_setopt(h, CURLOPT_HEADERDATA, j);
	c |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	c |= curl_easy_setopt(h, CURLOPT_WRITEDATA, j);
	c |= curl_easy_setopt(h, CURLOPT_PRIVATE, j);
	c |= curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, left > 0 ? (long)left : 1L);
	c |= curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_request);
	c |= curl_easy_setopt(h, CURLOPT_PREREQDATA, j);
	return c;
}

static void go_free(struct fetch_curl *go)
{
	if (!go)
		return;
	curl_easy_cleanup(go->easy);
	curl_slist_free_all(go->fields);
	free(go);
}

static void job_forget_answer(struct fetch_job *j)
{
	j->answer = (struct fetch_answer){ .total = WIRE_UNKNOWN };
	j->asked = j->judged = j->paused = j->complete = j->cut = false;
	j->swallowed = 0;
	j->err = (struct err)ERR_INIT;
}

int fetch_transfer_start(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 int64_t now_ms, struct err *e)
{
	int r;

	job_forget_answer(j);
	j->go = calloc(1, sizeof(*j->go));
	if (!j->go)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	j->go->easy = curl_easy_init();
	if (!j->go->easy)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = set_fields(j, e);
	if (r < 0)
		return r;
	if (set_transport(j->go->easy, j->get.url, s) != CURLE_OK ||
	    set_job(j, now_ms) != CURLE_OK || curl_multi_add_handle(multi, j->go->easy) != CURLM_OK)
		return err_set(e, ERR_HOST, EIO, "libcurl refuses to start a transfer");
	j->requests++;
	j->tries++;
	j->try_from = j->next;
	j->state = JOB_RUN;
	return 0;
}

void fetch_transfer_stop(struct fetch_job *j, CURLM *multi)
{
	if (!j->go)
		return;
	if (j->go->easy)
		(void)curl_multi_remove_handle(multi, j->go->easy);
	go_free(j->go);
	j->go = NULL;
}

void fetch_transfer_resume(struct fetch_job *j)
{
	j->paused = false;
	(void)curl_easy_pause(j->go->easy, CURLPAUSE_CONT);
}

/* --- what came of it --- */

int fetch_curl_err(CURLcode code, const char *detail, struct err *e)
{
	const char *why = detail[0] ? detail : curl_easy_strerror(code);
	static const struct {
		CURLcode code;
		enum err_kind kind;
		int os;
	} table[] = {
		{ CURLE_COULDNT_RESOLVE_PROXY, ERR_RETRY, EAGAIN },
		{ CURLE_COULDNT_RESOLVE_HOST, ERR_RETRY, EAGAIN },
		{ CURLE_COULDNT_CONNECT, ERR_RETRY, EAGAIN },
		{ CURLE_PARTIAL_FILE, ERR_RETRY, EAGAIN },
		{ CURLE_OPERATION_TIMEDOUT, ERR_RETRY, EAGAIN },
		{ CURLE_GOT_NOTHING, ERR_RETRY, EAGAIN },
		{ CURLE_SEND_ERROR, ERR_RETRY, EAGAIN },
		{ CURLE_RECV_ERROR, ERR_RETRY, EAGAIN },
		{ CURLE_SSL_CONNECT_ERROR, ERR_RETRY, EAGAIN },
		{ CURLE_HTTP2, ERR_RETRY, EAGAIN },
		{ CURLE_HTTP2_STREAM, ERR_RETRY, EAGAIN },
		{ CURLE_AGAIN, ERR_RETRY, EAGAIN },
		{ CURLE_NO_CONNECTION_AVAILABLE, ERR_RETRY, EAGAIN },
		{ CURLE_OUT_OF_MEMORY, ERR_HOST, ENOMEM },
		{ CURLE_SSL_CACERT_BADFILE, ERR_HOST, ENOENT },
		{ CURLE_SSL_CERTPROBLEM, ERR_HOST, EACCES },
		{ CURLE_FAILED_INIT, ERR_HOST, EIO },
		{ CURLE_URL_MALFORMAT, ERR_INPUT, EINVAL },
		{ CURLE_PEER_FAILED_VERIFICATION, ERR_REFUSED, EACCES },
		{ CURLE_TOO_MANY_REDIRECTS, ERR_REFUSED, ELOOP },
		{ CURLE_UNSUPPORTED_PROTOCOL, ERR_REFUSED, EPROTONOSUPPORT },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return err_set(e, table[i].kind, table[i].os, "%s", why);
	return err_set(e, ERR_REFUSED, EPROTO, "%s", why);
}

/* 0 the file is here; -EAGAIN ask again; else the end. */
static int outcome(struct fetch_job *j, CURLcode code, int64_t now_ms, struct err *e)
{
	if (j->cut || (j->judged && j->verdict < 0)) {
		*e = j->err;
		return -j->err.os;
	}
	if (j->complete)
		return 0;
	if (code == CURLE_OPERATION_TIMEDOUT && now_ms >= j->deadline_ms)
		return err_set(e, ERR_RETRY, ETIMEDOUT, "not done before the deadline");
	if (code == CURLE_OUT_OF_MEMORY && !j->judged)
		return err_set(e, ERR_REFUSED, EFBIG,
			       "a header line of the server is too long (or out of memory)");
	if (code == CURLE_UNSUPPORTED_PROTOCOL)
		return err_set(e, ERR_REFUSED, EPROTONOSUPPORT,
			       "the server redirects to where it may not (from https out of "
			       "https, or to what is neither http nor https)");
	/* an address that cannot be used is a mistake here, unless it came with an answer */
	if (code == CURLE_URL_MALFORMAT && j->answer.status > 0)
		return err_set(e, ERR_REFUSED, EPROTO, "the server redirects to what is no URL");
	if (code != CURLE_OK)
		return fetch_curl_err(code, j->go->text, e);
	if (!j->judged)
		return err_set(e, ERR_REFUSED, EPROTO, "the server's answer has no file in it");
	if (!fetch_job_full(j))
		return err_set(e, ERR_RETRY, EAGAIN, "the answer ended too early");
	return 0;
}

/* Decides whether a passing failure is tried once more, and when. */
static int again(struct fetch_job *j, const struct fetch_settings *s, int64_t now_ms, struct err *e)
{
	unsigned tries = j->get.tries ? j->get.tries : s->tries;
	curl_off_t after = 0, most = FETCH_RETRY_AFTER_MAX;
	uint64_t wait;
	uint32_t random;

	if (j->next - j->try_from >= FETCH_PROGRESS && j->next > j->try_from)
		j->tries = 1;
	if (j->tries >= tries)
		return err_wrap(e, -EAGAIN, "gave up after %u tries", j->tries);
	if (j->judged && curl_easy_getinfo(j->go->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK &&
	    after > (j->get.tries ? FETCH_RETRY_AFTER_FEW : most))
		return err_set(e, ERR_RETRY, EBUSY,
			       "the server says %u and asks to come back in %" PRIu64 " s",
			       j->answer.status, (uint64_t)after);
	random_bytes(&random, sizeof(random));
	wait = fetch_backoff_ms(j->tries + 1, after > 0 ? (uint64_t)after : 0, random);
	if (now_ms + (int64_t)wait >= j->deadline_ms)
		return err_wrap(e, -ETIMEDOUT, "not done before the deadline");
	fetch_job_note(j, "trying again in %" PRIu64 ".%" PRIu64 " s (try %u of %u): %s",
		       wait / 1000, wait % 1000 / 100, j->tries + 1, tries, e->text);
	j->retries++;
	j->retry_ms = now_ms + (int64_t)wait;
	j->state = JOB_WAIT;
	return 0;
}

void fetch_transfer_done(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 CURLcode code, int64_t now_ms)
{
	struct err e = ERR_INIT;
	int r = outcome(j, code, now_ms, &e);

	if (r == 0)
		fetch_job_end(j);
	else if (r != -EAGAIN || again(j, s, now_ms, &e) < 0)
		fetch_job_fail(j, &e);
	fetch_transfer_stop(j, multi);
}

void fetch_transfer_slow(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 int64_t now_ms)
{
	struct err e = ERR_INIT;

	(void)!err_set(&e, ERR_RETRY, EAGAIN,
		       "slower than %" PRIu64 " bytes a second for %" PRIu64 " s", j->pace->least,
		       j->pace->least_ms / 1000);
	if (again(j, s, now_ms, &e) < 0)
		fetch_job_fail(j, &e);
	fetch_transfer_stop(j, multi);
}

void fetch_transfer_defer(struct fetch_job *j, CURLM *multi, int64_t now_ms)
{
	fetch_transfer_stop(j, multi);
	j->requests--;
	j->tries--;
	j->retry_ms = now_ms;
	j->state = JOB_WAIT;
}
