/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/version.h"
#include "updater/agent/report.h"

/* What is in force now, which another file may have a say in too. */
static int answer(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct config conf;
	int r = config_load(a->config_file, NULL, NULL, &conf, e);

	if (r == 0 && !o)
		r = err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (r == 0)
		r = report_policy(&conf, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int store(struct agent *a, const struct config_override *o, json_t **ret, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = config_override_format(o, &b, e);

	if (r == 0)
		r = b.n > 0 ? file_replace(a->sys, a->host->state, CONFIG_OVERRIDE, b.p, b.n, e)
			    : file_remove(a->sys, a->host->state, CONFIG_OVERRIDE, e);
	if (r == 0)
		r = agent_last_drop(a, e);
	return r < 0 ? r : answer(a, ret, e);
}

int agent_run_pin(struct agent *a, const char *version, json_t **ret, struct err *e)
{
	struct config_override o;
	int r = config_override_load(a->host->conf.state, &o, e);

	if (r < 0)
		return r;
	if (version[0] && !version_valid(version))
		return err_set(e, ERR_INPUT, EINVAL,
			       "a host can be pinned to a version, or to the begin of one, as 1.4");
	(void)snprintf(o.pin, sizeof(o.pin), "%s", version);
	return store(a, &o, ret, e);
}

int agent_run_hold(struct agent *a, bool hold, const char *reason, json_t **ret, struct err *e)
{
	struct config_override o;
	int r = config_override_load(a->host->conf.state, &o, e);

	if (r < 0)
		return r;
	o.hold = hold;
	(void)snprintf(o.reason, sizeof(o.reason), "%s", hold ? reason : "");
	return store(a, &o, ret, e);
}
