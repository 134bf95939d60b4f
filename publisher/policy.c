/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/version.h"

enum { START_MAX = 366 * 24 * 3600 };

static bool none(const char *s)
{
	return strcmp(s, "none") == 0;
}

const char *policy_given(const struct policy_wish *w)
{
	const struct {
		bool given;
		const char *name;
	} all[] = {
		{ w->rollout, "--rollout" },   { w->start, "--rollout-start" },
		{ w->curve, "--curve" },       { w->minimum_from, "--minimum-from" },
		{ w->floor, "--floor" },       { w->dead_end, "--dead-end" },
		{ w->critical, "--critical" }, { w->normal, "--normal" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].given)
			return all[i].name;
	return NULL;
}

static int apply_start(const char *s, int64_t now, struct release_offer *o, struct err *e)
{
	uint64_t later;
	int64_t t;
	int q;

	if (s[0] == '+') {
		q = num_parse_seconds(s + 1, "--rollout-start", &later, e);
		if (q < 0)
			return q;
		t = later > START_MAX ? now + START_MAX + 1 : now + (int64_t)later;
	} else {
		q = num_parse_time(s, "--rollout-start", &t, e);
		if (q < 0)
			return q;
	}
	if (t > now + START_MAX)
		return err_set(e, ERR_INPUT, ERANGE,
			       "--rollout-start %s: more than a year from now", s);
	o->rollout_start = t;
	return 0;
}

static int apply_rollout(const struct policy_wish *w, int64_t now, struct release_offer *o,
			 struct err *e)
{
	int q = 0;

	if (w->rollout && none(w->rollout)) {
		if (w->start || w->curve)
			return err_set(e, ERR_INPUT, EINVAL,
				       "--rollout none goes with neither --rollout-start nor "
				       "--curve");
		o->rollout = o->rollout_slow_start = false;
		o->rollout_start = 0;
		o->rollout_seconds = 0;
		return 0;
	}
	if (w->rollout) {
		if (!o->rollout)
			o->rollout_start = now;
		q = num_parse_seconds(w->rollout, "--rollout", &o->rollout_seconds, e);
		if (q < 0)
			return q;
		o->rollout = true;
	}
	if ((w->start || w->curve) && !o->rollout)
		return err_set(e, ERR_INPUT, EINVAL, "%s needs --rollout TIME",
			       w->start ? "--rollout-start" : "--curve");
	if (o->rollout_seconds > RELEASE_ROLLOUT_MAX)
		return err_set(e, ERR_INPUT, ERANGE, "--rollout %s: longer than a year",
			       w->rollout);
	if (w->start)
		q = apply_start(w->start, now, o, e);
	if (q < 0 || !w->curve)
		return q;
	if (strcmp(w->curve, "slow-start") != 0 && strcmp(w->curve, "straight") != 0)
		return err_set(e, ERR_INPUT, EINVAL, "--curve '%s': straight or slow-start",
			       w->curve);
	o->rollout_slow_start = strcmp(w->curve, "slow-start") == 0;
	return 0;
}

static int apply_version(const char *option, const char *s, char out[RELEASE_VERSION_MAX],
			 struct err *e)
{
	if (!s)
		return 0;
	if (!none(s) && !version_valid(s))
		return err_set(e, ERR_INPUT, EINVAL, "%s '%s' is no version", option, s);
	(void)snprintf(out, RELEASE_VERSION_MAX, "%s", none(s) ? "" : s);
	return 0;
}

static int apply_barrier(const struct policy_wish *w, struct release_offer *o, struct err *e)
{
	int q = apply_version("--minimum-from", w->minimum_from, o->minimum_from, e);

	q = q < 0 ? q : apply_version("--floor", w->floor, o->floor, e);
	if (q < 0)
		return q;
	if (w->minimum_from && o->minimum_from[0] &&
	    version_compare(o->minimum_from, o->version) >= 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "--minimum-from %s is not older than %s: no host could ever take it",
			       o->minimum_from, o->version);
	if (w->floor && o->floor[0] && version_compare(o->floor, o->version) > 0)
		return err_set(
			e, ERR_INPUT, EINVAL,
			"--floor %s is newer than %s, which says it: hosts could not go back "
			"to the release itself",
			o->floor, o->version);
	return 0;
}

static int apply_dead_end(const char *s, struct release_offer *o, struct err *e)
{
	if (!s)
		return 0;
	if (!*s || strlen(s) >= sizeof(o->dead_end))
		return err_set(e, ERR_INPUT, EINVAL, "--dead-end needs a message of 1 to %zu bytes",
			       sizeof(o->dead_end) - 1);
	(void)snprintf(o->dead_end, sizeof(o->dead_end), "%s", none(s) ? "" : s);
	return 0;
}

int policy_apply(const struct policy_wish *w, int64_t now, struct release_offer *o, struct err *e)
{
	struct release_offer n = *o;
	int q = apply_rollout(w, now, &n, e);

	q = q < 0 ? q : apply_barrier(w, &n, e);
	q = q < 0 ? q : apply_dead_end(w->dead_end, &n, e);
	if (q < 0)
		return q;
	if (w->critical && w->normal)
		return err_set(e, ERR_INPUT, EINVAL, "either --critical or --normal");
	n.critical = w->critical || (n.critical && !w->normal);
	*o = n;
	return 0;
}
