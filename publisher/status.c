/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "publisher/report.h"

enum { DAY = 24 * 3600, WHEN_MAX = 80 };

static const char *const top[] = { "root", "targets", "snapshot", "timestamp" };
enum { TOP = 4 };

struct status {
	const struct repo *r;
	const struct roles *m;
	uint64_t warn_days;
	int worst;
};

/* The i-th role: the four, then the channels; NULL behind them. */
static const char *role_at(const struct roles *m, size_t i)
{
	if (i < TOP)
		return top[i];
	return i - TOP < m->n_channel ? m->channel[i - TOP].name : NULL;
}

static int judge(struct status *s, const char *role)
{
	int64_t left = roles_expires(roles_body(s->m, role)) - s->r->now;
	int64_t margin =
		s->warn_days ? (int64_t)(s->warn_days * (uint64_t)DAY) : roles_margin(s->r, role);
	int how = left <= 0 ? STATUS_EXPIRED : left < margin ? STATUS_SOON : STATUS_WELL;

	if (how > s->worst)
		s->worst = how;
	return how;
}

/* ---- JSON ---- */

/* [{"id","name","signed"}] */
static int keys_json(const struct status *s, const char *role, json_t *o, struct err *e)
{
	const json_t *ids = json_object_get(roles_signers(s->m, role), "keyids");
	const json_t *by = json_object_get(s->m->signed_by, role);
	const json_t *names = roles_names(s->m, role);
	json_t *arr = json_array();
	int q = json_put(o, "keys", arr, e);

	for (size_t i = 0; q >= 0 && i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		json_t *name = json_object_get(names, id);
		bool did = false;

		for (size_t j = 0; j < json_array_size(by); j++)
			did = did || strcmp(json_string_value(json_array_get(by, j)), id) == 0;
		q = json_push(
			arr, json_pack("{s:s,s:O?,s:b}", "id", id, "name", name, "signed", did), e);
	}
	return q;
}

static int role_json(struct status *s, const char *role, json_t *arr, struct err *e)
{
	static const char *const words[] = { "well", "soon", "expired" };
	const json_t *signers = roles_signers(s->m, role);
	const json_t *body = roles_body(s->m, role);
	int64_t left = roles_expires(body) - s->r->now;
	json_t *o = json_object();
	int q = json_push(arr, o, e);

	q = q < 0 ? q : json_put_str(o, "role", role, e);
	q = q < 0 ? q : json_put(o, "version", json_copy(json_object_get(body, "version")), e);
	q = q < 0 ? q : json_put_time(o, "expires", roles_expires(body), e);
	q = q < 0 ? q : json_put(o, "days_left", json_integer(left / DAY - (left < 0)), e);
	q = q < 0 ? q : json_put_str(o, "state", words[judge(s, role)], e);
	q = q < 0 ? q
		  : json_put(o, "threshold", json_copy(json_object_get(signers, "threshold")), e);
	q = q < 0 ? q : json_put(o, "keyids", json_copy(json_object_get(signers, "keyids")), e);
	return q < 0 ? q : keys_json(s, role, o, e);
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

static int print_json(struct status *s, struct err *e)
{
	const struct repo *r = s->r;
	AUTO_JSON *j = json_object();
	AUTO_JSON *roles = json_array();
	AUTO_JSON *channels = json_array();
	AUTO_BUF b = BUF_INIT;
	int q = json_put_str(j, "image", r->config.image, e);

	q = q < 0 ? q : json_put_str(j, "architecture", r->config.arch, e);
	q = q < 0 ? q : json_put_hex(j, "salt", r->config.salt, r->config.salt_n, e);
	for (size_t i = 0; q >= 0 && role_at(s->m, i); i++)
		q = role_json(s, role_at(s->m, i), roles, e);
	for (size_t i = 0; q >= 0 && i < s->m->n_channel; i++)
		q = channel_json(&s->m->channel[i], channels, e);
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

/* "signed by ada (1234abcd), ben (...)" of those that could. */
static int signed_by(const struct status *s, const char *role, struct buf *b, struct err *e)
{
	const json_t *by = json_object_get(s->m->signed_by, role);
	int q = 0;

	for (size_t i = 0; q >= 0 && i < json_array_size(by); i++) {
		q = buf_addf(b, e, "%s", i ? ", " : "");
		q = q < 0 ? q
			  : keys_label(roles_names(s->m, role),
				       json_string_value(json_array_get(by, i)), b, e);
	}
	return q;
}

static int print_role(struct status *s, const char *role, struct err *e)
{
	const json_t *signers = roles_signers(s->m, role), *body = roles_body(s->m, role);
	size_t n = json_array_size(json_object_get(signers, "keyids"));
	int64_t end = roles_expires(body);
	int how = judge(s, role);
	AUTO_BUF b = BUF_INIT;
	char t[WHEN_MAX];
	int q = signed_by(s, role, &b, e);

	if (q < 0)
		return q;
	printf("  %-10s %5" JSON_INTEGER_FORMAT "  %s %s%s\n", role,
	       json_integer_value(json_object_get(body, "version")),
	       how == STATUS_EXPIRED ? "EXPIRED" : "expires", when(end, s->r->now, t),
	       how == STATUS_SOON ? ", sign it SOON" : "");
	printf("  %-10s        %" JSON_INTEGER_FORMAT " of %zu must sign; signed by %s\n", "",
	       json_integer_value(json_object_get(signers, "threshold")), n, b.n ? b.p : "nobody");
	return 0;
}

static void print_offer(const struct repo *r, const struct release_offer *o)
{
	char t[WHEN_MAX > RELEASE_MESSAGE_MAX ? WHEN_MAX : RELEASE_MESSAGE_MAX];

	printf("  %-16s published %s%s%s", o->version, when(o->published, r->now, t),
	       o->paused ? ", PAUSED" : "", o->critical ? ", critical" : "");
	if (o->rollout && o->rollout_start > r->now)
		printf(", rollout from %s", when(o->rollout_start, r->now, t));
	if (o->rollout)
		printf("%s until %s%s", o->rollout_start > r->now ? "" : ", rollout",
		       when(o->rollout_start + (int64_t)o->rollout_seconds, r->now, t),
		       o->rollout_slow_start ? ", slow start" : "");
	if (o->minimum_from[0])
		printf(", from %s on", o->minimum_from);
	if (o->floor[0])
		printf(", floor %s", o->floor);
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

int status_print(const struct repo *r, const struct roles *m, uint64_t warn_days, bool json,
		 struct err *e)
{
	struct status s = { .r = r, .m = m, .warn_days = warn_days };
	int q = 0;

	if (json) {
		q = print_json(&s, e);
		return q < 0 ? q : s.worst;
	}
	printf("%s: image %s, %s\n", r->path, r->config.image, r->config.arch);
	for (size_t i = 0; q >= 0 && role_at(m, i); i++)
		q = print_role(&s, role_at(m, i), e);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		q = print_channel(r, &m->channel[i], e);
	return q < 0 ? q : s.worst;
}
