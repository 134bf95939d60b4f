/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "updater/agent/report.h"

static int put_text(json_t *o, const char *key, const char *s, struct err *e)
{
	return s[0] ? json_put_str(o, key, s, e) : json_put(o, key, json_null(), e);
}

/* The member `key`: {what: value, "where"} or null. */
static int put_said(json_t *status, const char *key, const char *what, const char *value,
		    const char *where, bool said, struct err *e)
{
	json_t *o = said ? json_object() : json_null();
	int r = json_put(status, key, o, e);

	if (r < 0 || !said)
		return r;
	r = put_text(o, what, value, e);
	return r < 0 ? r : put_text(o, "where", where, e);
}

int report_policy(const struct config *conf, json_t *status, struct err *e)
{
	const struct release_policy *p = &conf->policy;
	int r = put_said(status, "pin", "version", p->pin, conf->pin_where, p->pin[0] != '\0', e);

	if (r == 0)
		r = put_said(status, "hold", "reason", conf->hold_reason, conf->hold_where, p->hold,
			     e);
	return r;
}

int report_next_check(int64_t when, json_t *status, struct err *e)
{
	return when > 0 ? json_put_time(status, "next_check", when, e)
			: json_put(status, "next_check", json_null(), e);
}

struct collect {
	json_t *to;
	int failed;
};

static void add_problem(void *arg, const char *text)
{
	struct collect *c = arg;
	char clean[1024];

	if (json_push(c->to, json_string(text_clean(text, strlen(text), clean, sizeof(clean))),
		      NULL) < 0)
		c->failed = -ENOMEM;
}

static int add_setting(void *arg, const struct config_setting *s, struct err *e)
{
	json_t *o = json_object();
	char clean[4200];
	int r = json_push(arg, o, e);

	if (r == 0)
		r = json_put_str(o, "section", s->section, e);
	if (r == 0)
		r = json_put_str(o, "key", s->key, e);
	if (r == 0)
		r = put_text(o, "value",
			     text_clean(s->value, strlen(s->value), clean, sizeof(clean)), e);
	if (r == 0)
		r = put_text(o, "file",
			     s->path ? text_clean(s->path, strlen(s->path), clean, sizeof(clean))
				     : "",
			     e);
	if (r == 0)
		r = s->path ? json_put_u64(o, "line", s->line, e)
			    : json_put(o, "line", json_null(), e);
	return r;
}

int report_config(const char *file, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	json_t *settings = json_array();
	struct collect c = { .to = json_array() };
	struct err bad = ERR_INIT;
	size_t n;
	int r = json_put(o, "problems", c.to, e);

	if (r < 0) {
		json_decref(settings);
		return r;
	}
	r = json_put(o, "settings", settings, e);
	if (r == 0)
		r = config_check(file, add_problem, &c, &n, e);
	if (r == 0 && c.failed)
		r = err_set(e, ERR_HOST, ENOMEM, "out of memory");
	/* of files that cannot be read nothing is in force */
	if (r == 0)
		r = config_each(file, add_setting, settings, &bad);
	if (r < 0 && bad.kind == ERR_INPUT)
		r = json_array_clear(settings);
	else if (r < 0 && bad.kind != ERR_NONE)
		r = err_set(e, bad.kind, -r, "%s", bad.text);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}
