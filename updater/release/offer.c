/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/release/offer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"

static int copy_opt(const json_t *o, const char *key, const char *what, char *out, size_t cap,
		    struct err *e)
{
	const char *s;
	int r = json_get_str_opt(o, key, what, &s, e);

	if (r < 0)
		return r;
	if (s && strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EINVAL, "%s: %s: longer than %zu characters", what,
			       key, cap - 1);
	(void)snprintf(out, cap, "%s", s ? s : "");
	return 0;
}

/* A curve this Proa does not know is a straight line: the last host's turn comes at the same time.
 */
static int parse_curve(const json_t *rollout, const char *what, struct release_offer *o,
		       struct err *e)
{
	const char *s;
	int r = json_get_str_opt(rollout, "curve", what, &s, e);

	if (r == 0)
		o->rollout_slow_start = s && strcmp(s, "slow-start") == 0;
	return r;
}

static int parse_rollout(const json_t *custom, const char *what, struct release_offer *o,
			 struct err *e)
{
	json_t *ro;
	int r;

	if (!json_object_get(custom, "rollout"))
		return 0;
	r = json_get_obj(custom, "rollout", what, &ro, e);
	if (r == 0)
		r = json_get_time(ro, "start", what, &o->rollout_start, e);
	if (r == 0)
		r = json_get_u64(ro, "seconds", what, RELEASE_ROLLOUT_MAX, &o->rollout_seconds, e);
	if (r == 0)
		r = parse_curve(ro, what, o, e);
	o->rollout = r == 0;
	return r;
}

static int parse_severity(const json_t *custom, const char *what, struct release_offer *o,
			  struct err *e)
{
	const char *s;
	int r = json_get_str_opt(custom, "severity", what, &s, e);

	if (r < 0)
		return r;
	if (s && strcmp(s, "critical") != 0 && strcmp(s, "normal") != 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: severity: neither normal nor critical",
			       what);
	o->critical = s && strcmp(s, "critical") == 0;
	return 0;
}

static int check_names(const struct release_offer *o, struct err *e)
{
	char name[RELEASE_NAME_MAX];
	const char *slash = strrchr(o->path, '/');

	if (!image_id_valid(o->image) || !version_valid(o->version))
		return err_set(e, ERR_INPUT, EINVAL, "%s: not a valid image id or version",
			       o->path);
	if (o->minimum_from[0] && !version_valid(o->minimum_from))
		return err_set(e, ERR_INPUT, EINVAL, "%s: minimum_from: not a valid version",
			       o->path);
	if (o->floor[0] && !version_valid(o->floor))
		return err_set(e, ERR_INPUT, EINVAL, "%s: floor: not a valid version", o->path);
	(void)snprintf(name, sizeof(name), "%s_%s.json", o->image, o->version);
	if (strcmp(slash ? slash + 1 : o->path, name) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: the path does not say %s", o->path, name);
	return 0;
}

int release_offer_parse(const char *path, const json_t *custom, struct release_offer *ret,
			struct err *e)
{
	struct release_offer o = { .paused = false };
	int r;

	if (strlen(path) >= sizeof(o.path))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "target path longer than %zu",
			       sizeof(o.path) - 1);
	if (!custom || !json_is_object(custom))
		return err_set(e, ERR_INPUT, EINVAL, "%s: the target has no custom object", path);
	(void)snprintf(o.path, sizeof(o.path), "%s", path);
	r = copy_opt(custom, "image", path, o.image, sizeof(o.image), e);
	if (r == 0)
		r = copy_opt(custom, "version", path, o.version, sizeof(o.version), e);
	if (r == 0)
		r = copy_opt(custom, "architecture", path, o.arch, sizeof(o.arch), e);
	if (r == 0)
		r = json_get_time(custom, "published", path, &o.published, e);
	if (r == 0)
		r = json_get_bool_opt(custom, "paused", path, false, &o.paused, e);
	if (r == 0)
		r = parse_severity(custom, path, &o, e);
	if (r == 0)
		r = parse_rollout(custom, path, &o, e);
	if (r == 0)
		r = copy_opt(custom, "minimum_from", path, o.minimum_from, sizeof(o.minimum_from),
			     e);
	if (r == 0)
		r = copy_opt(custom, "floor", path, o.floor, sizeof(o.floor), e);
	if (r == 0)
		r = copy_opt(custom, "dead_end", path, o.dead_end, sizeof(o.dead_end), e);
	if (r == 0)
		r = check_names(&o, e);
	if (r < 0)
		return r;
	*ret = o;
	return 0;
}

static int format_rollout(const struct release_offer *o, json_t *j, struct err *e)
{
	json_t *ro = json_object();
	int r = json_put(j, "rollout", ro, e);

	if (r == 0)
		r = json_put_time(ro, "start", o->rollout_start, e);
	if (r == 0)
		r = json_put_u64(ro, "seconds", o->rollout_seconds, e);
	if (r == 0 && o->rollout_slow_start)
		r = json_put_str(ro, "curve", "slow-start", e);
	return r;
}

int release_offer_format(const struct release_offer *o, json_t **ret, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r;

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_str(j, "image", o->image, e);
	if (r == 0)
		r = json_put_str(j, "version", o->version, e);
	if (r == 0)
		r = json_put_str(j, "architecture", o->arch, e);
	if (r == 0)
		r = json_put_time(j, "published", o->published, e);
	if (r == 0 && o->paused)
		r = json_put(j, "paused", json_true(), e);
	if (r == 0 && o->critical)
		r = json_put_str(j, "severity", "critical", e);
	if (r == 0 && o->rollout)
		r = format_rollout(o, j, e);
	if (r == 0 && o->minimum_from[0])
		r = json_put_str(j, "minimum_from", o->minimum_from, e);
	if (r == 0 && o->floor[0])
		r = json_put_str(j, "floor", o->floor, e);
	if (r == 0 && o->dead_end[0])
		r = json_put_str(j, "dead_end", o->dead_end, e);
	if (r < 0)
		return r;
	*ret = json_incref(j);
	return 0;
}
