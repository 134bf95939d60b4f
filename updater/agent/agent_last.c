/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "updater/agent/report.h"

#define LAST_FILE "why.json"
#define LAST_MAX  ((size_t)256 << 10)

int agent_last_save(struct agent *a, const struct agent_check *c, const struct err *bad,
		    struct err *e)
{
	AUTO_JSON *o = json_object();
	json_t *decision = NULL;
	AUTO_BUF b = BUF_INIT;
	int r = o ? json_put_time(o, "looked", agent_now(a), e)
		  : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r == 0 && bad)
		r = agent_check_put_error(c, bad, o, e);
	else if (r == 0)
		r = agent_check_json(a, c, &decision, e);
	if (r == 0 && decision)
		r = json_put(o, "decision", decision, e);
	if (r == 0)
		r = json_write(o, true, &b, e);
	return r < 0 ? r : file_replace(a->sys, a->host->state, LAST_FILE, b.p, b.n, e);
}

int agent_last_drop(struct agent *a, struct err *e)
{
	return file_remove(a->sys, a->host->state, LAST_FILE, e);
}

int agent_last_load(struct agent *a, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = LAST_MAX, .depth = 8 };
	AUTO_FREE char *text = NULL;
	AUTO_JSON *o = NULL;
	size_t n = 0;
	int r = file_read(a->sys, a->host->state, LAST_FILE, LAST_MAX, &text, &n, e);

	if (r == -ENOENT)
		return err_set(e, ERR_INPUT, ENOENT,
			       "this host has not looked for releases yet (proactl check)");
	if (r == 0)
		r = json_read(text, n, &lim, LAST_FILE, &o, e);
	if (r == 0 && !json_is_object(o))
		r = err_set(e, ERR_INPUT, EINVAL, LAST_FILE ": not an object (proactl check)");
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}
