/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"

static int put_text(json_t *o, const char *key, const char *s, struct err *e)
{
	return s && s[0] ? json_put_str(o, key, s, e) : json_put(o, key, json_null(), e);
}

/* Lines stay lines; what a terminal would obey, and what is no UTF-8, does not stay. */
static int put_output(json_t *o, const struct buf *b, size_t *left, struct err *e)
{
	AUTO_FREE char *clean = NULL;
	size_t n = b && b->n < *left ? b->n : 0;

	if (n == 0)
		return json_put(o, "output", json_null(), e);
	clean = malloc(n + 1);
	if (!clean)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t at = 0; at < n;) {
		const char *nl = memchr(b->p + at, '\n', n - at);
		size_t len = nl ? (size_t)(nl - (b->p + at)) : n - at;

		(void)text_clean(b->p + at, len, clean + at, len + 1);
		/* never longer than it was; what is shorter is filled up */
		for (size_t k = strlen(clean + at); k < len; k++)
			clean[at + k] = ' ';
		at += len;
		clean[at] = '\n';
		at++;
	}
	clean[n] = '\0';
	*left -= n;
	return json_put_str(o, "output", clean, e);
}

static int put_how(json_t *o, const struct health_check *c, struct err *e)
{
	bool ran = c->source == HEALTH_SCRIPT || c->source == HEALTH_GREENBOOT;
	bool code = ran && !c->barred && (c->end == HEALTH_PASSED || c->end == HEALTH_FAILED);
	int r = 0;

	if (code && c->code >= 0)
		r = json_put_u64(o, c->by_signal ? "signal" : "exit", (uint64_t)c->code, e);
	if (r == 0)
		r = json_put_u64(o, "took_ms", c->took_ms, e);
	return r == 0 ? put_text(o, "says", c->last, e) : r;
}

static int put_check(json_t *arr, const struct health_check *c, const struct buf *output,
		     size_t *left, struct err *e)
{
	json_t *o = json_object();
	char name[HEALTH_NAME_MAX], reason[HEALTH_NAME_MAX + HEALTH_LINE_MAX];
	int r = json_push(arr, o, e);

	health_reason(c, reason, sizeof(reason));
	if (r == 0)
		r = json_put_str(o, "name",
				 text_clean(c->name, strlen(c->name), name, sizeof(name)), e);
	if (r == 0)
		r = json_put_str(o, "source", health_source_name(c->source), e);
	if (r == 0)
		r = json_put(o, "required", json_boolean(c->required), e);
	if (r == 0)
		r = json_put_str(o, "end", health_end_name(c->end), e);
	if (r == 0)
		r = json_put_str(o, "reason", reason, e);
	if (r == 0)
		r = put_how(o, c, e);
	return r == 0 ? put_output(o, c->end == HEALTH_PASSED ? NULL : output, left, e) : r;
}

static int put_head(json_t *o, const struct health_result *r, struct err *e)
{
	int res = put_text(o, "version", r->version, e);

	if (res == 0)
		res = put_text(o, "boot_id", r->boot_id, e);
	if (res == 0)
		res = json_put_time(o, "when", r->when, e);
	if (res == 0)
		res = json_put_str(o, "verdict", r->verdict, e);
	if (res == 0)
		res = put_text(o, "reason", r->reason, e);
	if (res == 0)
		res = put_text(o, "stays", r->stays, e);
	if (res == 0)
		res = json_put_u64(o, "took", r->took_s, e);
	if (res == 0)
		res = json_put_u64(o, "deadline", r->deadline_s, e);
	return res;
}

int health_result_format(const struct health_result *r, struct buf *ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	json_t *arr;
	size_t left = HEALTH_RESULT_OUTPUT_MAX;
	int res;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	res = put_head(o, r, e);
	if (res < 0)
		return res;
	arr = json_array();
	res = json_put(o, "checks", arr, e);
	for (size_t i = 0; res == 0 && i < r->n; i++)
		res = put_check(arr, &r->check[i], r->output ? &r->output[i] : NULL, &left, e);
	return res < 0 ? res : json_write(o, true, ret, e);
}

int health_result_store(struct sys *sys, const char *state, const struct health_result *r,
			struct err *e)
{
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	AUTO_BUF b = BUF_INIT;
	int res = health_result_format(r, &b, e);

	if (res < 0)
		return res;
	dir.fd = sys->ops->open(sys, AT_FDCWD, state, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "state directory %s: %s", state,
			       strerror(-dir.fd));
	res = file_replace(sys, dir.fd, HEALTH_RESULT, b.p, b.n, e);
	if (res == 0 && strcmp(r->verdict, "healthy") != 0)
		res = file_replace(sys, dir.fd, HEALTH_RESULT_BAD, b.p, b.n, e);
	return res;
}
