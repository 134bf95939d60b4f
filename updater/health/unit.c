/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

/* systemd goes through "failed" on its way to a restart; one that stays there is. */
enum { FAILED_FOR_MS = 2000 };

/* "Key=value" -> its value when it is that key. */
static const char *value_of(const char *line, size_t n, const char *key, size_t *ret_n)
{
	size_t k = strlen(key);

	if (n <= k || line[k] != '=' || memcmp(line, key, k) != 0)
		return NULL;
	*ret_n = n - k - 1;
	return line + k + 1;
}

static bool take_text(const char *line, size_t n, const char *key, char *out, size_t cap)
{
	size_t len;
	const char *v = value_of(line, n, key, &len);

	if (!v)
		return false;
	(void)text_clean(v, len, out, cap);
	return true;
}

static int take_number(const char *line, size_t n, const char *key, uint64_t *ret, struct err *e)
{
	size_t len;
	const char *v = value_of(line, n, key, &len);

	/* units of kinds that know no restarts have an empty value, or none */
	if (!v || len == 0)
		return 0;
	return num_parse(v, len, 0, UINT64_MAX, key, ret, e);
}

int health_unit_parse(const char *p, size_t n, struct health_unit_state *ret, struct err *e)
{
	struct health_unit_state s;
	int r = 0;

	memset(&s, 0, sizeof(s));
	if (n > HEALTH_UNIT_BYTES_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "systemctl show: more than %zu bytes",
			       HEALTH_UNIT_BYTES_MAX);
	for (size_t at = 0; r == 0 && at < n;) {
		const char *nl = memchr(p + at, '\n', n - at);
		size_t len = nl ? (size_t)(nl - (p + at)) : n - at;

		if (!take_text(p + at, len, "LoadState", s.load, sizeof(s.load)) &&
		    !take_text(p + at, len, "ActiveState", s.active, sizeof(s.active)) &&
		    !take_text(p + at, len, "SubState", s.sub, sizeof(s.sub)) &&
		    !take_text(p + at, len, "Result", s.result, sizeof(s.result)))
			r = take_number(p + at, len, "ActiveEnterTimestampMonotonic",
					&s.active_since_us, e);
		if (r == 0)
			r = take_number(p + at, len, "NRestarts", &s.restarts, e);
		at += len + 1;
	}
	if (r == 0 && (!s.load[0] || !s.active[0]))
		r = err_set(e, ERR_INPUT, EINVAL, "systemctl show: no LoadState or ActiveState");
	if (r == 0)
		*ret = s;
	return r;
}

void health_unit_text(const struct health_unit_state *s, char text[HEALTH_LINE_MAX])
{
	bool why = s->result[0] && strcmp(s->result, "success") != 0;

	if (strcmp(s->load, "loaded") != 0)
		(void)snprintf(text, HEALTH_LINE_MAX, "cannot be loaded: %s", s->load);
	else
		(void)snprintf(text, HEALTH_LINE_MAX, "is %s%s%s%s%s%s", s->active,
			       s->sub[0] ? " (" : "", s->sub, s->sub[0] ? ")" : "", why ? ", " : "",
			       why ? s->result : "");
}

static enum health_end died(const struct health_watch *w, const struct health_unit_state *s,
			    uint64_t now_ms, char text[HEALTH_LINE_MAX])
{
	uint64_t since = w->active_since_us / 1000;
	char state[HEALTH_LINE_MAX];

	if (strcmp(s->active, "active") == 0)
		(void)snprintf(state, sizeof(state), "was started again");
	else
		health_unit_text(s, state);
	(void)snprintf(text, HEALTH_LINE_MAX,
		       "did not stay active: %.120s %" PRIu64 " s after it had started", state,
		       now_ms > since ? (now_ms - since) / 1000 : 0);
	return HEALTH_FAILED;
}

enum health_end health_watch_step(struct health_watch *w, const struct health_unit_state *s,
				  uint64_t now_ms, char text[HEALTH_LINE_MAX])
{
	bool active = strcmp(s->active, "active") == 0;
	/* systemd's own notion: what reads its configuration anew has not left that state */
	bool up = active || strcmp(s->active, "reloading") == 0 ||
		  strcmp(s->active, "refreshing") == 0;
	bool failed = strcmp(s->active, "failed") == 0;

	if (strcmp(s->load, "loaded") != 0) {
		health_unit_text(s, text);
		return HEALTH_FAILED;
	}
	if (w->active &&
	    (!up || s->active_since_us != w->active_since_us || s->restarts != w->restarts))
		return died(w, s, now_ms, text);
	if (failed && w->failed && now_ms - w->failed_since_ms >= FAILED_FOR_MS) {
		health_unit_text(s, text);
		return HEALTH_FAILED;
	}
	if (failed && !w->failed)
		w->failed_since_ms = now_ms;
	w->failed = failed;
	if (!active)
		return HEALTH_WAITING;
	w->active = true;
	w->active_since_us = s->active_since_us;
	w->restarts = s->restarts;
	if (now_ms < s->active_since_us / 1000 || now_ms - s->active_since_us / 1000 < w->stay_ms)
		return HEALTH_WAITING;
	return HEALTH_PASSED;
}
