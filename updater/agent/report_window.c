/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "updater/agent/report.h"
#include "updater/agent/window.h"

int report_window(const struct config *conf, int64_t now, json_t *status, struct err *e)
{
	struct window_state s = { .open = false };
	struct err bad = ERR_INIT;
	const struct window *w;
	char span[64], text[WINDOW_WHEN_MAX + 80];
	json_t *o;
	int r;

	if (conf->reboot != CONFIG_REBOOT_WINDOW)
		return 0;
	o = json_object();
	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put(status, "reboot_window", o, e);
	if (r < 0)
		return r;
	if (window_look(&conf->windows, now, window_next, NULL, &s, &bad) < 0)
		return json_put_str(o, "error", bad.text, e);
	w = &conf->windows.w[s.which];
	(void)snprintf(text, sizeof(text), "%s for %s", w->when,
		       text_duration(w->seconds, span, sizeof(span)));
	r = json_put_str(o, "when", text, e);
	if (r == 0)
		r = json_put(o, "open", json_boolean(s.open), e);
	if (r == 0 && s.changes)
		r = json_put_time(o, "changes", s.changes, e);
	else if (r == 0)
		r = json_put(o, "changes", json_null(), e);
	return r;
}
