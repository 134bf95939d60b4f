/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/conf.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/version.h"
#include "bootctl/uki.h"
#include "updater/agent/mirror.h"
#include "updater/wire/wire.h"

#define OS_RELEASE    "/usr/lib/os-release"
#define STATE         "/var/lib/proa"
#define ROOT          "/usr/share/proa/root.json"
#define SOCKET        "/run/proa/fetch.sock"
#define AGE_MAX       (365ull * 24 * 3600)
#define CHANNEL_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

#define HEALTH_SECONDS_MAX ((uint64_t)20 * 60) /* as proa-health takes them */

/* one bad release is an accident, the second in a row is no longer */
enum { FALLBACK_LIMIT = 2 };

static const char *const known[] = {
	"Host.Image",
	"Host.Disk",
	"Host.ESP",
	"Host.State",
	"Host.Efivars",
	"Host.Architecture",
	"Host.Metrics",
	"Host.Message",
	"Source.URL",
	"Source.Root",
	"Update.Channel",
	"Update.Tries",
	"Update.FallbackLimit",
	"Update.Mode",
	"Update.Reboot",
	"Update.RebootWindow",
	"Update.Pin",
	"Update.Hold",
	"Update.HoldReason",
	"Update.MinimumAge",
	"Update.MinimumVersion",
	"Update.MaximumVersion",
	"Update.CriticalAtOnce",
	"Update.MaxDownload",
	"Fetch.Socket",
	"Fetch.BandwidthLimit",
	"Fetch.MinimumRate",
	"Fetch.MinimumTime",
	"Fetch.Deadline",
	"Lock.Type",
	"Lock.URL",
	"Lock.Group",
	"Lock.Id",
	"Lock.Places",
	"Lock.CA",
	"Lock.Certificate",
	"Lock.Key",
	"Lock.KeepOnFailure",
	"Lock.Timeout",
	"Hooks.Directories",
	"Hooks.Timeout",
	"Hooks.Socket",
	"Reboot.Retry",
	"Reboot.Notice",
	"Reboot.Sentinel",
	/* proa-health reads these */
	"Health.Deadline",
	"Health.Greenboot",
	"Health.Units",
	"Health.WantedUnits",
	"Health.StayActive",
	"Health.CanUpdate",
	"Health.UpdateDeadline",
	NULL,
};

struct warner {
	config_warn_fn fn;
	void *arg;
};

static void warn_unknown(void *arg, const char *section, const char *key, const char *path,
			 uint64_t line)
{
	const struct warner *w = arg;
	char text[512];

	(void)snprintf(text, sizeof(text), "%s:%llu: [%s] %s= is not known and has no effect", path,
		       (unsigned long long)line, section, key);
	if (w->fn)
		w->fn(w->arg, text);
}

/* where: "file:line: [section] key=", for errors about a value. */
static int bad_value(struct conf *c, const char *section, const char *key, const char *why,
		     struct err *e)
{
	const char *path = "proa.conf";
	uint64_t line = 0;

	if (conf_origin(c, section, key, &path, &line, NULL) < 0)
		return err_set(e, ERR_INPUT, EINVAL, "[%s] %s= %s", section, key, why);
	return err_set(e, ERR_INPUT, EINVAL, "%s:%llu: [%s] %s= %s", path, (unsigned long long)line,
		       section, key, why);
}

static int get(struct conf *c, const char *section, const char *key, const char *def, char *out,
	       size_t cap, struct err *e)
{
	const char *s = NULL;
	int r = conf_str(c, section, key, def, &s, e);

	if (r < 0)
		return r;
	if (!s || !s[0] || strcmp(s, "auto") == 0)
		s = def ? def : "";
	if (strlen(s) >= cap)
		return bad_value(c, section, key, "is too long", e);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

static int get_path(struct conf *c, const char *section, const char *key, const char *def,
		    char out[CONFIG_PATH_MAX], struct err *e)
{
	int r = get(c, section, key, def, out, CONFIG_PATH_MAX, e);

	if (r == 0 && out[0] && out[0] != '/')
		return bad_value(c, section, key, "must be an absolute path", e);
	return r;
}

/* As get_path(), or "no". */
static int get_path_or_no(struct conf *c, const char *key, char out[CONFIG_PATH_MAX], struct err *e)
{
	const char *s = NULL;
	int r = conf_str(c, "Host", key, NULL, &s, e);

	if (r == 0 && s && strcmp(s, "no") == 0)
		return get(c, "Host", key, NULL, out, CONFIG_PATH_MAX, e);
	return r < 0 ? r : get_path(c, "Host", key, NULL, out, e);
}

static int load_image(struct conf *c, struct config *cfg, struct err *e)
{
	AUTO_FREE char *text = NULL;
	struct uki os;
	size_t n;
	int r = get(c, "Host", "Image", NULL, cfg->image, sizeof(cfg->image), e);

	if (r < 0)
		return r;
	if (!cfg->image[0]) {
		if (file_read(sys_linux(), AT_FDCWD, OS_RELEASE, UKI_OSREL_MAX, &text, &n, NULL) <
			    0 ||
		    uki_parse_osrel(text, n, &os, NULL) < 0 || !os.image_id[0])
			return err_set(e, ERR_INPUT, ENOENT,
				       "[Host] Image= is not set in proa.conf and " OS_RELEASE
				       " has no IMAGE_ID: say which image this host runs");
		(void)snprintf(cfg->image, sizeof(cfg->image), "%.32s", os.image_id);
	}
	if (!image_id_valid(cfg->image))
		return bad_value(c, "Host", "Image",
				 "must be 1 to 32 of a-z, 0-9 and '-', a letter first", e);
	return 0;
}

/* One mirror more, with a '/' at its end. */
static int add_url(struct conf *c, const char *p, size_t n, struct config *cfg, struct err *e)
{
	size_t have = strlen(cfg->url);
	char url[CONFIG_URL_MAX];

	if (n >= sizeof(url) - 1)
		return bad_value(c, "Source", "URL", "has a URL that is too long", e);
	(void)snprintf(url, sizeof(url), "%.*s%s", (int)n, p, p[n - 1] == '/' ? "" : "/");
	if (wire_url_names_user(url))
		return bad_value(c, "Source", "URL",
				 "must not hold a user or password, which everyone here would be "
				 "told: let the server know hosts by their address",
				 e);
	if ((strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0 &&
	     strncmp(url, "file:///", 8) != 0) ||
	    !wire_url_valid(url) || p[n - 1] == ',')
		return bad_value(c, "Source", "URL",
				 "must be URLs, blanks between them, that begin with https://, "
				 "http:// or file:///",
				 e);
	if (have + strlen(url) + 2 > sizeof(cfg->url))
		return bad_value(c, "Source", "URL", "is too long", e);
	(void)snprintf(cfg->url + have, sizeof(cfg->url) - have, "%s%s", have ? " " : "", url);
	return 0;
}

static int load_urls(struct conf *c, struct config *cfg, struct err *e)
{
	char all[CONFIG_URLS_MAX];
	unsigned count = 0;
	int r = get(c, "Source", "URL", NULL, all, sizeof(all), e);

	for (const char *p = all + strspn(all, " \t"); r == 0 && *p;) {
		size_t n = strcspn(p, " \t");

		if (++count > MIRRORS_MAX)
			return bad_value(c, "Source", "URL", "has more than eight mirrors", e);
		r = add_url(c, p, n, cfg, e);
		p += n;
		p += strspn(p, " \t");
	}
	return r;
}

static int load_source(struct conf *c, struct config *cfg, struct err *e)
{
	int r = load_urls(c, cfg, e);

	if (r == 0)
		r = get_path(c, "Source", "Root", ROOT, cfg->root, e);
	return r;
}

/* A time from one second to a year. */
static int get_seconds(struct conf *c, const char *key, uint64_t def, uint32_t *ret, struct err *e)
{
	uint64_t v = def;
	int r = conf_seconds(c, "Fetch", key, def, &v, e);

	if (r < 0)
		return r;
	if (v == 0 || v > WIRE_SECONDS_MAX)
		return bad_value(c, "Fetch", key, "must be one second to a year", e);
	*ret = (uint32_t)v;
	return 0;
}

static int load_fetch(struct conf *c, struct config *cfg, struct err *e)
{
	int r = get_path(c, "Fetch", "Socket", SOCKET, cfg->socket, e);

	if (r == 0)
		r = conf_bytes(c, "Fetch", "BandwidthLimit", 0, &cfg->limit, e);
	if (r == 0)
		r = conf_bytes(c, "Fetch", "MinimumRate", 1024, &cfg->min_rate, e);
	if (r == 0)
		r = get_seconds(c, "MinimumTime", 30, &cfg->min_time_s, e);
	if (r == 0)
		r = get_seconds(c, "Deadline", 300, &cfg->deadline_s, e);
	if (r < 0)
		return r;
	if (cfg->limit > WIRE_SIZE_MAX)
		return bad_value(c, "Fetch", "BandwidthLimit", "is too large", e);
	if (cfg->min_rate > WIRE_SIZE_MAX)
		return bad_value(c, "Fetch", "MinimumRate", "is too large", e);
	return 0;
}

static const char *const modes[] = {
	[CONFIG_MANUAL] = "manual",
	[CONFIG_CHECK] = "check",
	[CONFIG_STAGE] = "stage",
	[CONFIG_AUTO] = "auto",
};

static const char *const reboots[] = {
	[CONFIG_REBOOT_MANUAL] = "manual",
	[CONFIG_REBOOT_IMMEDIATE] = "immediate",
	[CONFIG_REBOOT_WINDOW] = "window",
};

const char *config_mode_name(enum config_mode m)
{
	return modes[m];
}

const char *config_reboot_name(enum config_reboot r)
{
	return reboots[r];
}

/* One of n names (def: which is the default): its number. */
static int get_choice(struct conf *c, const char *key, const char *const *names, size_t n,
		      unsigned def, struct err *e)
{
	char value[16], why[80];
	size_t at = 0;
	int r = get(c, "Update", key, names[def], value, sizeof(value), e);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(value, names[i]) == 0)
			return (int)i;
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(why + at, sizeof(why) - at, "%s %s",
				       i == 0       ? "must be"
				       : i + 1 == n ? " or"
						    : ",",
				       names[i]);
	return bad_value(c, "Update", key, why, e);
}

static int get_version(struct conf *c, const char *key, char out[RELEASE_VERSION_MAX],
		       struct err *e)
{
	int r = get(c, "Update", key, NULL, out, RELEASE_VERSION_MAX, e);

	if (r == 0 && out[0] && !version_valid(out))
		return bad_value(c, "Update", key, "must be a version, as 1.4.2", e);
	return r;
}

/* "FILE, line N" of a value that is set, else "". */
static void where_of(struct conf *c, const char *key, char out[CONFIG_WHERE_MAX])
{
	const char *path;
	uint64_t line;

	out[0] = '\0';
	if (conf_origin(c, "Update", key, &path, &line, NULL) == 0)
		(void)snprintf(out, CONFIG_WHERE_MAX, "%.256s, line %llu", path,
			       (unsigned long long)line);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %23 stands for '#': see config_override_format(). */
static int load_reason(struct conf *c, struct config *cfg, struct err *e)
{
	char raw[CONFIG_REASON_MAX] = "";
	size_t n = 0;
	const char *s;
	int r = conf_str(c, "Update", "HoldReason", "", &s, e);

	for (; r == 0 && *s; s++) {
		int high = s[0] == '%' ? hex_digit(s[1]) : -1;
		int low = high >= 0 ? hex_digit(s[2]) : -1;

		if (n + 1 == sizeof(raw))
			return bad_value(c, "Update", "HoldReason", "is longer than 200 bytes", e);
		raw[n++] = (char)(low >= 0 ? high * 16 + low : *s);
		s += low >= 0 ? 2 : 0;
	}
	(void)text_clean(raw, n, cfg->hold_reason, sizeof(cfg->hold_reason));
	return r;
}

static int load_policy(struct conf *c, struct config *cfg, struct err *e)
{
	struct release_policy *p = &cfg->policy;
	int r = get_version(c, "Pin", p->pin, e);

	if (r == 0)
		r = conf_bool(c, "Update", "Hold", false, &p->hold, e);
	if (r == 0)
		r = conf_seconds(c, "Update", "MinimumAge", 0, &p->minimum_age, e);
	if (r == 0 && p->minimum_age > AGE_MAX)
		return bad_value(c, "Update", "MinimumAge", "must be at most 365 days", e);
	if (r == 0)
		r = get_version(c, "MinimumVersion", p->lowest, e);
	if (r == 0)
		r = get_version(c, "MaximumVersion", p->highest, e);
	if (r == 0 && p->lowest[0] && p->highest[0] && version_compare(p->lowest, p->highest) > 0)
		return bad_value(c, "Update", "MinimumVersion", "is above MaximumVersion=", e);
	if (r == 0)
		r = conf_bool(c, "Update", "CriticalAtOnce", false, &p->critical_at_once, e);
	if (r == 0)
		r = load_reason(c, cfg, e);
	where_of(c, "Pin", cfg->pin_where);
	where_of(c, "Hold", cfg->hold_where);
	return r;
}

static int load_reboot(struct conf *c, struct config *cfg, struct err *e)
{
	struct err bad = ERR_INIT;
	char why[200];
	const char *s;
	int r = get_choice(c, "Reboot", reboots, 3, CONFIG_REBOOT_MANUAL, e);

	if (r < 0)
		return r;
	cfg->reboot = (enum config_reboot)r;
	r = conf_str(c, "Update", "RebootWindow", "", &s, e);
	if (r == 0 && window_parse(s, &cfg->windows, &bad) < 0) {
		(void)snprintf(why, sizeof(why), "holds a mistake: %.170s", bad.text);
		return bad_value(c, "Update", "RebootWindow", why, e);
	}
	if (r == 0 && cfg->reboot == CONFIG_REBOOT_WINDOW && cfg->windows.n == 0)
		return bad_value(c, "Update", "Reboot", "is window, but RebootWindow= names none",
				 e);
	return r;
}

/* Bytes (20M), or how much of the whole release (25%). */
static int load_max(struct conf *c, struct config *cfg, struct err *e)
{
	uint64_t percent;
	char value[32];
	size_t n;
	int r = get(c, "Update", "MaxDownload", NULL, value, sizeof(value), e);

	n = r == 0 ? strlen(value) : 0;
	if (r < 0 || n == 0)
		return r;
	if (value[n - 1] != '%')
		return conf_bytes(c, "Update", "MaxDownload", 0, &cfg->max_fetch, e);
	if (num_parse(value, n - 1, 1, 100, "MaxDownload=", &percent, NULL) < 0)
		return bad_value(c, "Update", "MaxDownload", "must be bytes, or 1% to 100%", e);
	cfg->max_percent = (unsigned)percent;
	return 0;
}

static int load_update(struct conf *c, struct config *cfg, struct err *e)
{
	uint64_t tries = 3, limit = FALLBACK_LIMIT;
	int r = get(c, "Update", "Channel", "stable", cfg->channel, sizeof(cfg->channel), e);

	if (r == 0 && strspn(cfg->channel, CHANNEL_CHARS) != strlen(cfg->channel))
		return bad_value(c, "Update", "Channel", "must be of a-z, 0-9, '-', '_' and '.'",
				 e);
	if (r == 0)
		r = conf_u64(c, "Update", "Tries", 1, 9, 3, &tries, e);
	if (r == 0)
		r = conf_u64(c, "Update", "FallbackLimit", 0, 32, FALLBACK_LIMIT, &limit, e);
	if (r == 0)
		r = get_choice(c, "Mode", modes, 4, CONFIG_AUTO, e);
	if (r < 0)
		return r;
	cfg->mode = (enum config_mode)r;
	cfg->tries = (unsigned)tries;
	cfg->fallback_limit = (unsigned)limit;
	r = load_reboot(c, cfg, e);
	if (r == 0)
		r = load_max(c, cfg, e);
	return r < 0 ? r : load_policy(c, cfg, e);
}

static int load_host(struct conf *c, struct config *cfg, struct err *e)
{
	int r = get_path(c, "Host", "Disk", NULL, cfg->disk, e);

	if (r == 0)
		r = get_path(c, "Host", "ESP", NULL, cfg->esp, e);
	if (r == 0)
		r = get_path(c, "Host", "State", STATE, cfg->state, e);
	if (r == 0)
		r = get_path(c, "Host", "Efivars", NULL, cfg->efivars, e);
	if (r == 0)
		r = get_path_or_no(c, "Metrics", cfg->metrics, e);
	if (r == 0)
		r = get_path_or_no(c, "Message", cfg->message, e);
	if (r == 0)
		r = get(c, "Host", "Architecture", NULL, cfg->arch, sizeof(cfg->arch), e);
	return r < 0 ? r : load_image(c, cfg, e);
}

static int open_files(const char *file, struct conf **ret, struct err *e)
{
	char state[CONFIG_PATH_MAX] = "", path[CONFIG_PATH_MAX + sizeof(CONFIG_OVERRIDE) + 1];
	AUTO_CONF *c = NULL;
	int r = file ? conf_load_file(file, &c, e) : conf_load("", "proa", &c, e);

	if (r < 0)
		return r;
	/* a mistake in State= is found later */
	if (get_path(c, "Host", "State", STATE, state, NULL) == 0) {
		(void)snprintf(path, sizeof(path), "%s/" CONFIG_OVERRIDE, state);
		r = conf_add_file(c, path, e);
	}
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

/*
 * What proad needs, each by itself: a mistake in one hides none in another. Within one, a mistake
 * that has no line, as something that is not set, is looked for last.
 */
typedef int (*load_fn)(struct conf *c, struct config *cfg, struct err *e);
static const load_fn loaders[] = { load_host,         load_source,      load_update,
				   load_fetch,        config_load_lock, config_load_hooks,
				   config_load_reboot };
#define LOADERS (sizeof(loaders) / sizeof(loaders[0]))

static int load_all(struct conf *c, struct config *ret, struct err *e)
{
	struct config cfg = { .tries = 3 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < LOADERS; i++)
		r = loaders[i](c, &cfg, e);
	if (r < 0)
		return r;
	*ret = cfg;
	return 0;
}

int config_load(const char *file, config_warn_fn warn, void *arg, struct config *ret, struct err *e)
{
	struct warner w = { .fn = warn, .arg = arg };
	AUTO_CONF *c = NULL;
	int r = open_files(file, &c, e);

	if (r == 0)
		r = conf_check(c, known, warn_unknown, &w, e);
	return r < 0 ? r : load_all(c, ret, e);
}

struct release_policy config_policy(const struct config *cfg)
{
	struct release_policy p = cfg->policy;

	p.pin_where = cfg->pin_where;
	p.hold_where = cfg->hold_where;
	p.hold_reason = cfg->hold_reason;
	return p;
}

struct checker {
	config_warn_fn fn;
	void *arg;
	size_t n;
};

static void found(void *arg, const char *text)
{
	struct checker *k = arg;

	k->n++;
	k->fn(k->arg, text);
}

static void check_windows(struct conf *c, const struct config *cfg, struct checker *k)
{
	struct err bad = ERR_INIT, e = ERR_INIT;
	int64_t next;

	for (size_t i = 0; i < cfg->windows.n; i++)
		if (window_next(NULL, cfg->windows.w[i].when, 0, &next, &bad) < 0 &&
		    bad.kind == ERR_INPUT) {
			char why[256];

			(void)snprintf(why, sizeof(why), "holds a mistake: %.230s", bad.text);
			(void)!bad_value(c, "Update", "RebootWindow", why, &e);
			found(k, e.text);
		}
}

static int check_time(struct conf *c, const char *key, uint64_t least, struct err *e)
{
	char why[60];
	uint64_t v = least;
	int r = conf_seconds(c, "Health", key, least, &v, e);

	if (r < 0 || (v >= least && v <= HEALTH_SECONDS_MAX))
		return r;
	(void)snprintf(why, sizeof(why), "must be %us to 20min", (unsigned)least);
	return bad_value(c, "Health", key, why, e);
}

/* proa-health goes on with the defaults where something is wrong, so only a check can tell. */
static int check_health(struct conf *c, struct config *cfg, struct err *e)
{
	char word[16];
	bool greenboot;
	int r = check_time(c, "Deadline", 1, e);

	(void)cfg;
	if (r == 0)
		r = check_time(c, "StayActive", 0, e);
	if (r == 0)
		r = check_time(c, "UpdateDeadline", 1, e);
	if (r == 0)
		r = conf_bool(c, "Health", "Greenboot", true, &greenboot, e);
	if (r == 0)
		r = get(c, "Health", "CanUpdate", "auto", word, sizeof(word), e);
	if (r == 0 && strcmp(word, "auto") != 0 && strcmp(word, "required") != 0 &&
	    strcmp(word, "no") != 0)
		return bad_value(c, "Health", "CanUpdate", "must be auto, required or no", e);
	return r;
}

/* Each wrong setting is told and then taken for unset, until nothing is wrong or it has no line. */
static void check_part(struct conf *c, load_fn load, struct config *cfg, struct checker *k)
{
	for (;;) {
		struct err bad = ERR_INIT;
		struct config with = *cfg;

		if (load(c, &with, &bad) == 0) {
			*cfg = with;
			return;
		}
		found(k, bad.text);
		if (!conf_forget(c, bad.text))
			return;
	}
}

static void check_values(struct conf *c, struct checker *k)
{
	struct config cfg = { .tries = 3 };

	for (size_t i = 0; i < LOADERS; i++) {
		size_t before = k->n;

		check_part(c, loaders[i], &cfg, k);
		if (loaders[i] == load_source && k->n == before && !cfg.url[0])
			found(k, "[Source] URL= is not set: no release can be found");
	}
	check_part(c, check_health, &cfg, k);
	check_windows(c, &cfg, k);
}

int config_check(const char *file, config_warn_fn fn, void *arg, size_t *ret, struct err *e)
{
	struct checker k = { .fn = fn, .arg = arg };
	struct warner w = { .fn = found, .arg = &k };
	struct err bad = ERR_INIT;
	AUTO_CONF *c = NULL;
	int r = open_files(file, &c, &bad);

	if (r < 0 && bad.kind != ERR_INPUT)
		return err_set(e, bad.kind, -r, "%s", bad.text);
	if (r < 0) { /* no Key=value file: what stands behind that line cannot be told */
		found(&k, bad.text);
		*ret = k.n;
		return 0;
	}
	r = conf_check(c, known, warn_unknown, &w, e);
	if (r < 0)
		return r;
	check_values(c, &k);
	*ret = k.n;
	return 0;
}

/* What counts where nothing is set; "" for what is found out on each host. */
static const char *default_of(const char *name)
{
	static const char *const defaults[][2] = {
		{ "Host.State", STATE },
		{ "Source.Root", ROOT },
		{ "Update.Channel", "stable" },
		{ "Update.Tries", "3" },
		{ "Update.Mode", "auto" },
		{ "Update.Reboot", "manual" },
		{ "Update.Hold", "no" },
		{ "Update.MinimumAge", "0" },
		{ "Update.CriticalAtOnce", "no" },
		{ "Fetch.Socket", SOCKET },
		{ "Fetch.BandwidthLimit", "0" },
		{ "Fetch.MinimumRate", "1K" },
		{ "Fetch.MinimumTime", "30s" },
		{ "Fetch.Deadline", "5min" },
		{ "Update.FallbackLimit", "2" },
		{ "Lock.Type", "none" },
		{ "Lock.Group", "default" },
		{ "Lock.Places", "1" },
		{ "Lock.KeepOnFailure", "yes" },
		{ "Lock.Timeout", "30s" },
		{ "Hooks.Timeout", "10min" },
		{ "Reboot.Retry", "5min" },
		{ "Reboot.Notice", "1min" },
		{ "Health.Deadline", "5min" },
		{ "Health.StayActive", "30s" },
		{ "Health.Greenboot", "yes" },
		{ "Health.CanUpdate", "auto" },
		{ "Health.UpdateDeadline", "1min" },
		{ "Hooks.Directories", "/etc/proa/hooks /usr/lib/proa/hooks" },
		{ "Hooks.Socket", "/run/proa/hook.sock" },
	};

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (strcmp(defaults[i][0], name) == 0)
			return defaults[i][1];
	return "";
}

int config_each(const char *file, config_each_fn fn, void *arg, struct err *e)
{
	AUTO_CONF *c = NULL;
	int r = open_files(file, &c, e);

	for (size_t i = 0; r == 0 && known[i]; i++) {
		struct config_setting s = { .value = default_of(known[i]) };
		const char *dot = strchr(known[i], '.'), *value;
		char section[32];

		(void)snprintf(section, sizeof(section), "%.*s", (int)(dot - known[i]), known[i]);
		s.section = section;
		s.key = dot + 1;
		r = conf_str(c, section, s.key, NULL, &value, e);
		if (r == 0 && value && value[0] && strcmp(value, "auto") != 0) {
			s.value = value;
			(void)!conf_origin(c, section, s.key, &s.path, &s.line, NULL);
		}
		r = r < 0 ? r : fn(arg, &s, e);
	}
	return r;
}

/* '#' and ';' cannot stand in a value, and blanks or quotes at its ends would be lost. */
static int add_escaped(struct buf *b, const char *s, struct err *e)
{
	int r = 0;

	for (const char *p = s; r == 0 && *p; p++) {
		bool end = p == s || !p[1];

		r = strchr("#;%\"'\\", *p) || (end && *p == ' ') || (unsigned char)*p < 0x20
			    ? buf_addf(b, e, "%%%02x", (unsigned)(unsigned char)*p)
			    : buf_add(b, p, 1, e);
	}
	return r;
}

int config_override_format(const struct config_override *o, struct buf *b, struct err *e)
{
	int r = 0;

	if (!o->pin[0] && !o->hold)
		return 0;
	r = buf_addf(b, e,
		     "# Written by proad. proactl pin --none and proactl unhold take it back.\n"
		     "[Update]\n");
	if (r == 0 && o->pin[0])
		r = buf_addf(b, e, "Pin=%s\n", o->pin);
	if (r == 0 && o->hold)
		r = buf_addf(b, e, "Hold=yes\nHoldReason=");
	if (r == 0 && o->hold)
		r = add_escaped(b, o->reason, e);
	return r == 0 && o->hold ? buf_addf(b, e, "\n") : r;
}

int config_override_load(const char *state, struct config_override *ret, struct err *e)
{
	char path[CONFIG_PATH_MAX + sizeof(CONFIG_OVERRIDE) + 1];
	struct config cfg = { .tries = 3 };
	struct config_override o = { .hold = false };
	AUTO_CONF *c = NULL;
	int r;

	(void)snprintf(path, sizeof(path), "%.255s/" CONFIG_OVERRIDE, state);
	r = conf_load_file(path, &c, NULL);
	if (r == -ENOENT) {
		*ret = o;
		return 0;
	}
	r = r < 0 ? conf_load_file(path, &c, e) : 0;
	if (r == 0)
		r = load_policy(c, &cfg, e);
	if (r < 0)
		return err_wrap(e, r, "remove %s", path);
	o.hold = cfg.policy.hold;
	memcpy(o.pin, cfg.policy.pin, sizeof(o.pin));
	memcpy(o.reason, cfg.hold_reason, sizeof(o.reason));
	*ret = o;
	return 0;
}
