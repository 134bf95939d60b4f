/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "publisher/report.h"

enum { SOON_DIV = 3, DAY = 24 * 3600, SHORT_ID = 8, WHEN_MAX = 80 };

static const char *const top[] = { "root", "targets", "snapshot", "timestamp" };
enum { TOP = 4 };

static const json_t *body_of(const struct roles *m, const char *role)
{
	const json_t *all[TOP] = { m->root->body, m->targets, m->snapshot, m->timestamp };

	for (size_t i = 0; i < TOP; i++)
		if (strcmp(top[i], role) == 0)
			return all[i];
	return NULL;
}

/* ---- JSON ---- */

static int role_json(const struct roles *m, const char *role, const json_t *body, json_t *arr,
		     struct err *e)
{
	const json_t *signers = roles_signers(m, role);
	json_t *o = json_object();
	int q = json_push(arr, o, e);

	q = q < 0 ? q : json_put_str(o, "role", role, e);
	q = q < 0 ? q
		  : json_put_u64(o, "version",
				 (uint64_t)json_integer_value(json_object_get(body, "version")), e);
	q = q < 0 ? q : json_put_time(o, "expires", roles_expires(body), e);
	q = q < 0 ? q
		  : json_put(o, "threshold", json_copy(json_object_get(signers, "threshold")), e);
	return q < 0 ? q : json_put(o, "keyids", json_copy(json_object_get(signers, "keyids")), e);
}

static int channel_json(const struct channel *c, json_t *arr, struct err *e)
{
	AUTO_FREE struct release_offer *l = NULL;
	json_t *o = json_object(), *releases;
	size_t n = 0;
	int q = json_push(arr, o, e);

	q = q < 0 ? q : json_put_str(o, "channel", c->name, e);
	q = q < 0 ? q : channel_offers(c, &l, &n, e);
	if (q < 0)
		return q;
	releases = json_array();
	q = json_put(o, "releases", releases, e);
	for (size_t i = 0; q >= 0 && i < n; i++) {
		json_t *one = NULL;

		q = release_offer_format(&l[i], &one, e);
		q = q < 0 ? q : json_push(releases, one, e);
	}
	return q;
}

static int print_json(const struct repo *r, const struct roles *m, struct err *e)
{
	AUTO_JSON *j = json_object();
	AUTO_JSON *roles = json_array();
	AUTO_JSON *channels = json_array();
	AUTO_BUF b = BUF_INIT;
	int q = json_put_str(j, "image", r->config.image, e);

	q = q < 0 ? q : json_put_str(j, "architecture", r->config.arch, e);
	q = q < 0 ? q : json_put_hex(j, "salt", r->config.salt, r->config.salt_n, e);
	for (size_t i = 0; q >= 0 && i < TOP; i++)
		q = role_json(m, top[i], body_of(m, top[i]), roles, e);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++) {
		q = role_json(m, m->channel[i].name, m->channel[i].body, roles, e);
		q = q < 0 ? q : channel_json(&m->channel[i], channels, e);
	}
	q = q < 0 ? q : json_put(j, "roles", json_incref(roles), e);
	q = q < 0 ? q : json_put(j, "channels", json_incref(channels), e);
	q = q < 0 ? q : json_write(j, true, &b, e);
	if (q < 0)
		return q;
	while (b.n > 0 && b.p[b.n - 1] == '\n')
		b.p[--b.n] = '\0';
	return puts(b.p) < 0 ? err_set(e, ERR_HOST, EIO, "cannot write to standard output") : 0;
}

/* ---- text ---- */

static char *when(int64_t t, int64_t now, char *out)
{
	char at[40], rel[40];

	(void)text_time(t, now, at, sizeof(at));
	(void)text_duration((uint64_t)(t > now ? t - now : now - t), rel, sizeof(rel));
	(void)snprintf(out, WHEN_MAX, t > now ? "%s (in %s)" : "%s (%s ago)", at, rel);
	return out;
}

static void print_role(const struct repo *r, const struct roles *m, const char *role,
		       const json_t *body, uint64_t days)
{
	const json_t *s = roles_signers(m, role), *ids = json_object_get(s, "keyids");
	int64_t end = roles_expires(body);
	char t[WHEN_MAX];

	printf("  %-10s %5" JSON_INTEGER_FORMAT "  %s %s%s\n", role,
	       json_integer_value(json_object_get(body, "version")),
	       end <= r->now ? "EXPIRED" : "expires", when(end, r->now, t),
	       end > r->now && end - r->now < (int64_t)(days * (uint64_t)DAY / SOON_DIV)
		       ? ", sign it soon"
		       : "");
	printf("  %-10s        %" JSON_INTEGER_FORMAT " of", "",
	       json_integer_value(json_object_get(s, "threshold")));
	for (size_t i = 0; i < json_array_size(ids); i++)
		printf(" %.*s", SHORT_ID, json_string_value(json_array_get(ids, i)));
	printf("\n");
}

static void print_offer(const struct repo *r, const struct release_offer *o)
{
	char t[WHEN_MAX];

	printf("  %-16s published %s%s%s", o->version, when(o->published, r->now, t),
	       o->paused ? ", PAUSED" : "", o->critical ? ", critical" : "");
	if (o->rollout)
		printf(", rollout until %s",
		       when(o->rollout_start + (int64_t)o->rollout_seconds, r->now, t));
	if (o->minimum_from[0])
		printf(", from %s on", o->minimum_from);
	if (o->dead_end[0])
		printf(", dead end: %s",
		       text_clean(o->dead_end, strlen(o->dead_end), t, sizeof(t)));
	printf("\n");
}

static int print_channel(const struct repo *r, const struct channel *c, struct err *e)
{
	AUTO_FREE struct release_offer *l = NULL;
	size_t n = 0;
	int q = channel_offers(c, &l, &n, e);

	if (q < 0)
		return q;
	printf("\nchannel %s%s\n", c->name, n ? "" : ": no release yet");
	for (size_t i = 0; i < n; i++)
		print_offer(r, &l[i]);
	return 0;
}

int status_print(const struct repo *r, const struct roles *m, bool json, struct err *e)
{
	const struct repo_config *c = &r->config;
	const uint64_t days[TOP] = { c->root_days, c->targets_days, c->snapshot_days,
				     c->timestamp_days };
	int q = 0;

	if (json)
		return print_json(r, m, e);
	printf("%s: image %s, %s\n", r->path, c->image, c->arch);
	for (size_t i = 0; i < TOP; i++)
		print_role(r, m, top[i], body_of(m, top[i]), days[i]);
	for (size_t i = 0; i < m->n_channel; i++)
		print_role(r, m, m->channel[i].name, m->channel[i].body, c->channel_days);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		q = print_channel(r, &m->channel[i], e);
	return q;
}
