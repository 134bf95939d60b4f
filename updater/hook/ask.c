/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/hook/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

static const char *const stages[] = {
	[HOOK_PRE_STAGE] = "pre-stage", [HOOK_PRE_REBOOT] = "pre-reboot",
	[HOOK_POST_BOOT] = "post-boot", [HOOK_POST_FALLBACK] = "post-fallback",
	[HOOK_SENTINEL] = "sentinel",
};

const char *hook_stage_name(enum hook_stage s)
{
	return stages[s];
}

static bool plain(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

bool hook_dirs_valid(const char *s)
{
	if (!s[0] || strlen(s) >= HOOK_DIRS_MAX || !plain(s))
		return false;
	for (const char *p = s; p; p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL)
		if (*p != '/')
			return false;
	return true;
}

int hook_ask_format(const struct hook_ask *a, struct buf *b, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r;

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_str(j, "stage", stages[a->stage], e);
	if (r == 0)
		r = json_put_str(j, "dirs", a->dirs, e);
	if (r == 0)
		r = json_put_u64(j, "timeout", a->timeout_s, e);
	if (r == 0)
		r = json_put_str(j, "version", a->version, e);
	if (r == 0)
		r = json_put_str(j, "from", a->from, e);
	if (r == 0)
		r = json_put_str(j, "reason", a->reason, e);
	if (r == 0)
		r = json_put_str(j, "outcome", a->outcome, e);
	return r < 0 ? r : json_write(j, false, b, e);
}

static int parse(const void *p, size_t n, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = HOOK_PACKET_MAX, .depth = 2 };

	return json_read(p, n, &lim, "hook message", ret, e);
}

static int take(const json_t *j, const char *key, char *out, size_t cap, struct err *e)
{
	const char *s;
	int r = json_get_str(j, key, "hook message", &s, e);

	if (r < 0)
		return r;
	if (strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EINVAL, "hook message: %s is too long", key);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

/* A value that becomes part of an environment. */
static int take_value(const json_t *j, const char *key, char out[HOOK_VALUE_MAX], struct err *e)
{
	int r = take(j, key, out, HOOK_VALUE_MAX, e);

	if (r == 0 && !plain(out))
		return err_set(e, ERR_INPUT, EINVAL, "hook message: %s is not printable ASCII",
			       key);
	return r;
}

static int take_stage(const json_t *j, enum hook_stage *ret, struct err *e)
{
	const char *s;
	int r = json_get_str(j, "stage", "hook message", &s, e);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		if (strcmp(s, stages[i]) == 0) {
			*ret = (enum hook_stage)i;
			return 0;
		}
	}
	return err_set(e, ERR_INPUT, EINVAL, "hook message: no such stage");
}

int hook_ask_parse(const void *p, size_t n, struct hook_ask *ret, struct err *e)
{
	struct hook_ask a = { .timeout_s = 0 };
	AUTO_JSON *j = NULL;
	uint64_t timeout = 0;
	int r = parse(p, n, &j, e);

	if (r == 0)
		r = take_stage(j, &a.stage, e);
	if (r == 0)
		r = take(j, "dirs", a.dirs, sizeof(a.dirs), e);
	if (r == 0)
		r = json_get_u64(j, "timeout", "hook message", HOOK_SECONDS_MAX, &timeout, e);
	if (r == 0)
		r = take_value(j, "version", a.version, e);
	if (r == 0)
		r = take_value(j, "from", a.from, e);
	if (r == 0)
		r = take_value(j, "reason", a.reason, e);
	if (r == 0)
		r = take_value(j, "outcome", a.outcome, e);
	if (r < 0)
		return r;
	if (timeout == 0 || !hook_dirs_valid(a.dirs))
		return err_set(e, ERR_INPUT, EINVAL, "hook message: %s is wrong",
			       timeout ? "dirs" : "timeout");
	a.timeout_s = (uint32_t)timeout;
	*ret = a;
	return 0;
}

int hook_answer_format(const struct hook_answer *a, struct buf *b, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r;

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put(j, "ok", json_boolean(a->ok), e);
	if (r == 0)
		r = json_put_u64(j, "ran", a->ran, e);
	if (r == 0)
		r = json_put_str(j, "name", a->name, e);
	if (r == 0)
		r = json_put_str(j, "text", a->text, e);
	return r < 0 ? r : json_write(j, false, b, e);
}

int hook_answer_parse(const void *p, size_t n, struct hook_answer *ret, struct err *e)
{
	struct hook_answer a = { .ok = false };
	AUTO_JSON *j = NULL;
	uint64_t ran = 0;
	int r = parse(p, n, &j, e);

	if (r == 0)
		r = json_get_bool_opt(j, "ok", "hook message", false, &a.ok, e);
	if (r == 0)
		r = json_get_u64(j, "ran", "hook message", UINT32_MAX, &ran, e);
	if (r == 0)
		r = take(j, "name", a.name, sizeof(a.name), e);
	if (r == 0)
		r = take(j, "text", a.text, sizeof(a.text), e);
	if (r < 0)
		return r;
	if (a.ok == (a.text[0] != '\0'))
		return err_set(e, ERR_INPUT, EINVAL,
			       "hook message: a failure has a text, a success none");
	a.ran = (uint32_t)ran;
	*ret = a;
	return 0;
}
