/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/config_reboot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "base/conf.h"
#include "updater/agent/config.h"
#include "updater/wire/wire.h"

#define HOOK_DIRS   "/etc/proa/hooks /usr/lib/proa/hooks"
#define HOOK_SOCKET "/run/proa/hook.sock"

/* Hashed with the machine id, so that it does not leave this host as it is. */
#define LOCK_APP SD_ID128_MAKE(6f, 3b, 0c, 51, 8a, 2e, 4d, 97, b1, 64, 20, d9, e3, 7c, 58, a5)

static int bad(struct conf *c, const char *section, const char *key, const char *why, struct err *e)
{
	const char *path = "proa.conf";
	uint64_t line = 0;

	if (conf_origin(c, section, key, &path, &line, NULL) < 0)
		return err_set(e, ERR_INPUT, EINVAL, "proa.conf: [%s] %s= %s", section, key, why);
	return err_set(e, ERR_INPUT, EINVAL, "%s:%llu: [%s] %s= %s", path, (unsigned long long)line,
		       section, key, why);
}

static int take(struct conf *c, const char *section, const char *key, const char *def, char *out,
		size_t cap, struct err *e)
{
	const char *s;
	int r = conf_str(c, section, key, def, &s, e);

	if (r < 0)
		return r;
	if (!s[0] || strcmp(s, "auto") == 0)
		s = def;
	if (strlen(s) >= cap)
		return bad(c, section, key, "is too long", e);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

static int take_path(struct conf *c, const char *section, const char *key, const char *def,
		     char out[CONFIG_FILE_MAX], struct err *e)
{
	int r = take(c, section, key, def, out, CONFIG_FILE_MAX, e);

	if (r == 0 && out[0] && out[0] != '/')
		return bad(c, section, key, "must be an absolute path", e);
	return r;
}

static int take_seconds(struct conf *c, const char *section, const char *key, uint64_t least,
			uint64_t def, uint32_t *ret, struct err *e)
{
	uint64_t v;
	int r = conf_seconds(c, section, key, def, &v, e);

	if (r < 0)
		return r;
	if (v < least || v > HOOK_SECONDS_MAX)
		return bad(c, section, key,
			   least ? "must be one second to a day" : "must be at most a day", e);
	*ret = (uint32_t)v;
	return 0;
}

static int take_type(struct conf *c, struct config_lock *l, struct err *e)
{
	char type[16];
	int r = take(c, "Lock", "Type", "none", type, sizeof(type), e);

	if (r < 0)
		return r;
	l->on = strcmp(type, "none") != 0;
	l->terms.kind = strcmp(type, "etcd") == 0 ? LOCK_ETCD : LOCK_FLEETLOCK;
	if (l->on && l->terms.kind == LOCK_FLEETLOCK && strcmp(type, "fleetlock") != 0)
		return bad(c, "Lock", "Type", "must be none, fleetlock or etcd", e);
	return 0;
}

static bool has_user(const char *url)
{
	const char *host = strstr(url, "://");

	if (!host)
		return false;
	host += 3;
	return memchr(host, '@', strcspn(host, "/?#")) != NULL;
}

/* One of the members of a cluster more, with a '/' at its end. */
static int add_url(struct conf *c, const char *p, size_t n, struct config_lock *l, struct err *e)
{
	size_t have = strlen(l->url);
	char url[CONFIG_LOCK_URL_MAX];

	if (have + n + 3 > sizeof(l->url))
		return bad(c, "Lock", "URL", "is too long", e);
	(void)snprintf(url, sizeof(url), "%.*s%s", (int)n, p, p[n - 1] == '/' ? "" : "/");
	/* URL= is shown to whoever asks; RFC 3986 has users before an '@' in the authority only */
	if (has_user(url))
		return bad(c, "Lock", "URL", "must not hold a password: use Certificate=", e);
	if (strncmp(url, "http", 4) != 0 || !wire_url_valid(url))
		return bad(c, "Lock", "URL", "must be http or https URLs, blanks between them", e);
	(void)snprintf(l->url + have, sizeof(l->url) - have, "%s%s", have ? " " : "", url);
	return 0;
}

static int take_url(struct conf *c, struct config_lock *l, struct err *e)
{
	char all[CONFIG_LOCK_URL_MAX] = "";
	int r = take(c, "Lock", "URL", "", all, sizeof(all), e);

	if (r < 0 || !l->on)
		return r;
	for (const char *p = all + strspn(all, " \t"); r == 0 && *p;) {
		size_t n = strcspn(p, " \t");

		r = add_url(c, p, n, l, e);
		p += n;
		p += strspn(p, " \t");
	}
	return r;
}

/* The host's own name in the group, unless one is given. */
static int take_id(struct conf *c, struct config_lock *l, struct err *e)
{
	char text[SD_ID128_STRING_MAX] = "";
	sd_id128_t id;
	int r = take(c, "Lock", "Id", "", l->terms.id, sizeof(l->terms.id), e);

	if (r < 0 || l->terms.id[0] || !l->on)
		return r;
	if (sd_id128_get_machine_app_specific(LOCK_APP, &id) < 0)
		return bad(c, "Lock", "Id", "is not set, and this host has no /etc/machine-id", e);
	(void)snprintf(l->terms.id, sizeof(l->terms.id), "%s", sd_id128_to_string(id, text));
	return 0;
}

/* Names that the servers would refuse are a mistake of the configuration. */
static int check_lock(struct conf *c, const struct config_lock *l, struct err *e)
{
	struct err why = ERR_INIT;
	AUTO_LOCK *probe = NULL;

	if (l->on && !l->url[0])
		return bad(c, "Lock", "URL", "is not set: say where the lock server is", e);
	if (l->on && lock_new(&l->terms, LOCK_TAKE, &probe, &why) < 0)
		return bad(c, "Lock", strstr(why.text, "group") ? "Group" : "Id", why.text, e);
	if (l->key[0] && !l->cert[0])
		return bad(c, "Lock", "Key", "needs Certificate=", e);
	return 0;
}

int config_load_lock(struct conf *c, struct config *cfg, struct err *e)
{
	struct config_lock *l = &cfg->lock;
	uint64_t places = 1;
	int r = take_type(c, l, e);

	if (r == 0)
		r = take_url(c, l, e);
	if (r == 0)
		r = take(c, "Lock", "Group", "default", l->terms.group, sizeof(l->terms.group), e);
	if (r == 0)
		r = conf_u64(c, "Lock", "Places", 1, LOCK_PLACES_MAX, 1, &places, e);
	if (r == 0)
		r = take_path(c, "Lock", "CA", "", l->ca, e);
	if (r == 0)
		r = take_path(c, "Lock", "Certificate", "", l->cert, e);
	if (r == 0)
		r = take_path(c, "Lock", "Key", "", l->key, e);
	if (r == 0)
		r = conf_bool(c, "Lock", "KeepOnFailure", true, &l->keep, e);
	if (r == 0)
		r = take_seconds(c, "Lock", "Timeout", 1, 30, &l->timeout_s, e);
	l->terms.places = (unsigned)places;
	if (r == 0)
		r = take_id(c, l, e);
	return r < 0 ? r : check_lock(c, l, e);
}

int config_load_hooks(struct conf *c, struct config *cfg, struct err *e)
{
	struct config_hooks *h = &cfg->hooks;
	int r = take(c, "Hooks", "Directories", HOOK_DIRS, h->dirs, sizeof(h->dirs), e);

	if (r == 0 && !hook_dirs_valid(h->dirs))
		return bad(c, "Hooks", "Directories",
			   "must be absolute paths, one blank between two", e);
	if (r == 0)
		r = take_seconds(c, "Hooks", "Timeout", 1, 600, &h->timeout_s, e);
	return r < 0 ? r : take_path(c, "Hooks", "Socket", HOOK_SOCKET, h->socket, e);
}

int config_load_reboot(struct conf *c, struct config *cfg, struct err *e)
{
	struct config_reboot_terms *t = &cfg->terms;
	int r = take_seconds(c, "Reboot", "Retry", 1, 300, &t->retry_s, e);

	if (r == 0)
		r = take_seconds(c, "Reboot", "Notice", 0, 60, &t->notice_s, e);
	return r < 0 ? r : take_path(c, "Reboot", "Sentinel", "", t->sentinel, e);
}
