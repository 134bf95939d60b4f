/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "ignition-lite/schema.h"
#include "ignition-lite/take.h"
#include "ignition-lite/walk.h"

/* Deeper than any schema, for the sake of keys that are only warned about. */
enum { DEPTH_MAX = 64 };

static const char *const versions[] = { "3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0" };

static int bad_version(struct ign_read *r, const struct ign_at *at, const char *v, struct err *e)
{
	if (strncmp(v, "2.", 2) == 0 || strncmp(v, "1", 1) == 0)
		return ign_say(r, IGN_ERROR, at, "version", e,
			       "spec 1 and 2 are of old; convert the config to 3.5.0, or make it "
			       "anew with butane");
	if (strchr(v, '-'))
		return ign_say(r, IGN_ERROR, at, "version", e,
			       "experimental specs are not taken; the newest stable one is 3.5.0");
	return ign_say(r, IGN_ERROR, at, "version", e,
		       "is not a spec that is known here; these are 3.0.0 to 3.5.0");
}

/* ignition.version decides on the schema, so it is read before all else. */
static int read_version(struct ign_read *r, const json_t *root, struct err *e)
{
	static const struct ign_at top = { .up = NULL };
	static const struct ign_at at = { .up = &top, .key = "ignition" };
	const json_t *ignition = json_object_get(root, "ignition");
	const json_t *v = json_object_get(ignition, "version");
	const char *s = json_string_value(v);

	if (!json_is_object(root))
		return ign_say(r, IGN_ERROR, &top, NULL, e, "must be an object");
	if (!json_is_object(ignition))
		return ign_say(r, IGN_ERROR, &top, "ignition", e,
			       ignition ? "must be an object" : "is missing");
	if (!s || !*s)
		return ign_say(r, IGN_ERROR, &at, "version", e,
			       v ? "must be a string such as 3.5.0" : "is missing");
	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strcmp(s, versions[i]) == 0) {
			r->minor = i;
			return 0;
		}
	return bad_version(r, &at, s, e);
}

/* An error that was added becomes what the caller says. */
static int verdict(const struct ign_read *r, struct err *e)
{
	const struct ign_issue *i = ign_report_first(r->report, IGN_ERROR);
	char line[sizeof(e->text)];

	if (r->report->count[IGN_ERROR] == 0)
		return 0;
	if (!i)
		return err_set(e, ERR_INPUT, EINVAL, "%s: not a valid config", r->what);
	return err_set(e, ERR_INPUT, EINVAL, "%s",
		       ign_issue_format(i, r->what, line, sizeof(line)));
}

/* Older specs differ from the newest in what they check, not in what is left to say. */
static int translate(json_t *root, struct err *e)
{
	return json_put_str(json_object_get(root, "ignition"), "version", versions[IGN_MINOR_MAX],
			    e);
}

static int check_tree(struct ign_read *r, json_t *root, struct err *e)
{
	int n = read_version(r, root, e);

	if (n >= 0)
		n = verdict(r, e);
	if (n >= 0)
		n = ign_walk_types(r, root, e);
	if (n >= 0)
		n = verdict(r, e);
	if (n >= 0)
		n = ign_walk_checks(r, root, e);
	if (n >= 0)
		n = verdict(r, e);
	return n < 0 ? n : translate(root, e);
}

int ign_config_read(const void *p, size_t n, const char *what, struct ign_report *rep,
		    struct ign_config **ret, struct err *e)
{
	static const struct json_limits limits = { .bytes = IGN_CONFIG_MAX, .depth = DEPTH_MAX };
	struct ign_read r = { .what = what, .text = p, .n = n, .report = rep };
	AUTO_JSON *root = NULL;
	int k;

	if (n == 0)
		return 0;
	k = json_read(p, n, &limits, what, &root, e);
	if (k >= 0)
		k = check_tree(&r, root, e);
	if (k >= 0)
		k = ign_take(TAKE(root), ret, e);
	return k < 0 ? k : 1;
}

int ign_config_empty(struct ign_config **ret, struct err *e)
{
	json_t *root = json_pack("{s:{s:s}}", "ignition", "version", versions[IGN_MINOR_MAX]);

	if (!root)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return ign_take(root, ret, e);
}
