/* SPDX-License-Identifier: Apache-2.0 */
/* proa-health: runs the health checks of this boot and leaves a release that does not pass them. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/conf.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "base/text.h"
#include "bootctl/loader_vars.h"
#include "bootctl/uki.h"
#include "updater/health/fall_back.h"
#include "updater/health/result.h"
#include "updater/health/run.h"

enum { HEALTHY = 0, FALLS_BACK = 1, STAYS = 2, EXIT_USAGE = 2 };
enum { DEADLINE_DEFAULT_S = 300, DEADLINE_MAX_S = 1200, ALARM_S = 60 };
enum { STAY_DEFAULT_S = 30, UPDATE_DEFAULT_S = 60 };

struct options {
	const char *root, *deadline, *esp, *state, *efivars;
	bool dry_run, after_failure;
};

struct health {
	struct options opt;
	struct sys *sys;
	struct conf *conf;
	uint64_t deadline_s;
	struct health_run run;
	struct health_want want;
	char config[PATH_MAX], proactl[PATH_MAX];               /* config empty: the host's own */
	char esp[PATH_MAX], state[PATH_MAX], efivars[PATH_MAX]; /* empty: the host's own */
	char version[RECORD_VERSION_MAX];                       /* of the os-release that runs */
	struct health_check *check;
	struct buf *output; /* of check[i] */
	size_t n;
	uint64_t began_ms;
	char boot_id[RECORD_BOOT_ID_MAX];
};

static const char usage[] =
	"Usage: proa-health [OPTION...]\n"
	"\n"
	"Runs the checks in required.d and wanted.d of /usr/lib/proa/health and /etc/proa/health,\n"
	"those of greenboot, watches the units of [Health] Units=, and sees that this release can\n"
	"still update. When a required one fails and this boot's release is still being\n"
	"assessed: records why, marks its boot entry bad and reboots into the other release.\n"
	"\n"
	"      --deadline SECONDS  for all checks together, 1 s to 20 min (default [Health]\n"
	"                          Deadline= of proa.conf, else 300)\n"
	"      --root DIR          checks, configuration, state, ESP and EFI variables below DIR;\n"
	"                          never reboots\n"
	"      --state DIR         the record of this host (default /var/lib/proa)\n"
	"      --esp DIR           where the ESP is mounted (default /efi, /boot/efi or /boot)\n"
	"      --efivars DIR       where EFI variables are\n"
	"      --dry-run           run the checks, change nothing, say what would be done\n"
	"      --after-failure     for proa-health-stuck.service: proa-health itself died or was\n"
	"                          never reached; run no check, count that as failure\n"
	"  -h, --help\n"
	"      --version\n"
	"\n"
	"Exit status: 0 healthy; 1 not healthy, another release boots next; 2 wrong usage, or not\n"
	"healthy and the host stays up with what it runs.\n"
	"Example: proa-health --dry-run\n";

/* ---- what to work on ---- */

static void conf_path(struct health *h, const char *key, char out[PATH_MAX])
{
	struct err e = ERR_INIT;
	const char *s = NULL;

	out[0] = '\0';
	if (!h->conf)
		return;
	if (conf_str(h->conf, "Host", key, NULL, &s, &e) < 0)
		log_err(&e, "configuration");
	else if (s && strcmp(s, "auto") != 0)
		(void)snprintf(out, PATH_MAX, "%s", s);
}

/* An option; else the configuration; else def below the root; else the host's own. */
static void choose(struct health *h, const char *option, const char *key, const char *def,
		   char out[PATH_MAX])
{
	if (option) {
		(void)snprintf(out, PATH_MAX, "%s", option);
		return;
	}
	conf_path(h, key, out);
	if (!out[0] && h->opt.root[0])
		(void)snprintf(out, PATH_MAX, "%s%s", h->opt.root, def);
}

static uint64_t conf_time(struct health *h, const char *key, uint64_t min, uint64_t def)
{
	struct err e = ERR_INIT;
	uint64_t s;

	if (conf_seconds(h->conf, "Health", key, def, &s, &e) < 0)
		log_err(&e, "configuration");
	else if (s < min || s > DEADLINE_MAX_S)
		log_event(LOG_ERR, NULL, NULL,
			  "proa.conf: [Health] %s= must be %d s to 20 min; %d s is used", key,
			  (int)min, (int)def);
	else
		return s;
	return def;
}

static const char *conf_text(struct health *h, const char *section, const char *key)
{
	struct err e = ERR_INIT;
	const char *s = NULL;

	if (conf_str(h->conf, section, key, NULL, &s, &e) < 0)
		log_err(&e, "configuration");
	return s;
}

/* [Health] CanUpdate=: auto, required, no. */
static void load_update(struct health *h)
{
	const char *s = conf_text(h, "Health", "CanUpdate"), *url = conf_text(h, "Source", "URL");

	h->run.outside_counts = s && strcmp(s, "required") == 0;
	/* a host without a repository has none to ask */
	h->want.update = url && url[0] && !(s && strcmp(s, "no") == 0);
	if (s && !h->run.outside_counts && strcmp(s, "no") != 0 && strcmp(s, "auto") != 0)
		log_event(LOG_ERR, NULL, NULL,
			  "proa.conf: [Health] CanUpdate= is auto, required or no; auto is used");
	h->run.update_ms = conf_time(h, "UpdateDeadline", 1, UPDATE_DEFAULT_S) * 1000;
}

static void load_greenboot(struct health *h)
{
	struct err e = ERR_INIT;

	if (conf_bool(h->conf, "Health", "Greenboot", true, &h->want.greenboot, &e) < 0) {
		log_err(&e, "configuration");
		h->want.greenboot = true;
	}
}

/* A wrong value is reported, and its default holds; files that nobody can read are can-update's. */
static void load_conf(struct health *h)
{
	struct err e = ERR_INIT;

	h->want.greenboot = true;
	h->run.stay_ms = (uint64_t)STAY_DEFAULT_S * 1000;
	h->run.update_ms = (uint64_t)UPDATE_DEFAULT_S * 1000;
	/* proad reads the same files: one that nobody can read would keep this release for ever */
	h->want.update = true;
	if (conf_load(h->opt.root, "proa", &h->conf, &e) < 0) {
		h->conf = NULL;
		log_err(&e, "configuration");
		return;
	}
	if (!h->opt.deadline)
		h->deadline_s = conf_time(h, "Deadline", 1, DEADLINE_DEFAULT_S);
	h->run.stay_ms = conf_time(h, "StayActive", 0, STAY_DEFAULT_S) * 1000;
	h->want.units = conf_text(h, "Health", "Units");
	h->want.wanted_units = conf_text(h, "Health", "WantedUnits");
	load_greenboot(h);
	load_update(h);
}

/* In a build proactl lies beside this program; on a host it is in /usr/bin. */
static void find_proactl(struct health *h)
{
	ssize_t n = readlink("/proc/self/exe", h->proactl, sizeof(h->proactl) - 1);
	char *slash;
	size_t k = 0;

	h->proactl[n > 0 ? n : 0] = '\0';
	slash = strrchr(h->proactl, '/');
	if (slash)
		(void)snprintf(slash + 1, sizeof(h->proactl) - (size_t)(slash + 1 - h->proactl),
			       "proactl");
	if (!slash || access(h->proactl, X_OK) < 0)
		(void)snprintf(h->proactl, sizeof(h->proactl), "/usr/bin/proactl");
	h->run.proactl[k++] = h->proactl;
	if (!h->opt.root[0])
		return;
	(void)snprintf(h->config, sizeof(h->config), "%s/etc/proa/proa.conf", h->opt.root);
	h->run.proactl[k++] = "--direct";
	h->run.proactl[k++] = "--config";
	h->run.proactl[k] = h->config;
}

static void read_boot_id(struct health *h)
{
	AUTO_FREE char *text = NULL;
	size_t n, k = 0;

	if (file_read(h->sys, AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n && k + 1 < sizeof(h->boot_id); i++)
		if (text[i] != '-' && text[i] != '\n')
			h->boot_id[k++] = text[i];
	h->boot_id[k] = '\0';
}

static void read_version(struct health *h)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE struct uki *os = calloc(1, sizeof(*os));
	char path[PATH_MAX];
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/usr/lib/os-release", h->opt.root);
	if (os && file_read(h->sys, AT_FDCWD, path, UKI_OSREL_MAX, &text, &n, NULL) == 0 &&
	    uki_parse_osrel(text, n, os, NULL) == 0)
		(void)snprintf(h->version, sizeof(h->version), "%.64s", os->version);
}

/* ---- the checks ---- */

static void log_line(int priority, const char *name, const char *p, size_t n)
{
	char line[512];

	log_event(priority, NULL, NULL, "%s: %s", name, text_clean(p, n, line, sizeof(line)));
}

static void on_ended(void *arg, const struct health_check *c, const char *output, size_t n)
{
	int priority = c->end == HEALTH_PASSED ? LOG_INFO : c->required ? LOG_ERR : LOG_WARNING;
	struct health *h = arg;
	char reason[RECORD_TEXT_MAX];

	/* what does not fit in memory is in the journal */
	(void)!buf_add(&h->output[c - h->check], output, n, NULL);
	for (size_t at = 0; at < n;) {
		const char *nl = memchr(output + at, '\n', n - at);
		size_t k = nl ? (size_t)(nl - (output + at)) : n - at;

		if (k > 0)
			log_line(priority, c->name, output + at, k);
		at += k + 1;
	}
	health_reason(c, reason, sizeof(reason));
	log_event(c->end == HEALTH_SKIPPED ? LOG_NOTICE : priority, NULL, NULL, "%s check %s",
		  c->required ? "required" : "wanted", reason);
}

/* One line about this boot's release; b: its boot entry, or NULL. */
static void say(const struct health *h, const struct health_boot *b, int priority, const char *id,
		const char *reason, const char *text)
{
	const struct esp_entry *run =
		b && b->running < b->n_entries ? &b->entries[b->running] : NULL;
	char version[160], why[RECORD_TEXT_MAX + 16], root[96] = "PROA_ROOT_HASH=";
	const char *fields[] = { version, why, root, NULL };

	(void)snprintf(version, sizeof(version), "PROA_VERSION=%.127s",
		       run && run->uki.version[0] ? run->uki.version : h->version);
	(void)snprintf(why, sizeof(why), "PROA_REASON=%s", reason ? reason : "");
	if (run && run->uki.has_usrhash)
		hex_format(run->uki.usrhash, sizeof(run->uki.usrhash), root + strlen(root));
	log_event(priority, id, fields, "%s", text);
}

/* What `proactl health` shows. What cannot be kept is no reason to stay or to go. */
static void keep_result(struct health *h, const char *verdict, const char *reason,
			const char *stays)
{
	const struct health_result res = { .version = h->version,
					   .boot_id = h->boot_id,
					   .verdict = verdict,
					   .reason = reason,
					   .stays = stays,
					   .when = (int64_t)time(NULL),
					   .took_s = (clock_mono_ms() - h->began_ms) / 1000,
					   .deadline_s = h->deadline_s,
					   .check = h->check,
					   .output = h->output,
					   .n = h->n };
	struct err e = ERR_INIT;

	if (!h->opt.dry_run &&
	    health_result_store(h->sys, h->state[0] ? h->state : "/var/lib/proa", &res, &e) < 0)
		log_err(&e, "the results could not be kept");
}

static int prepare(struct health *h, struct err *e)
{
	h->began_ms = clock_mono_ms();
	h->check = calloc(HEALTH_CHECKS_MAX, sizeof(*h->check));
	h->output = calloc(HEALTH_CHECKS_MAX, sizeof(*h->output));
	return h->check && h->output ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* True when healthy; else `reason` says why not. */
static bool run_checks(struct health *h, char reason[RECORD_TEXT_MAX])
{
	struct err e = ERR_INIT;
	size_t bad, warnings;
	char took[32], text[160];

	if (prepare(h, &e) < 0 || health_find(&h->want, h->check, &h->n, &e) < 0) {
		(void)snprintf(reason, RECORD_TEXT_MAX, "the health checks cannot be read: %.300s",
			       e.text);
		return false;
	}
	h->run.deadline_ms = h->deadline_s * 1000;
	health_run(&h->run, h->check, h->n);
	bad = health_failure(h->check, h->n);
	if (bad < h->n) {
		health_reason(&h->check[bad], reason, RECORD_TEXT_MAX);
		return false;
	}
	warnings = health_warnings(h->check, h->n);
	(void)text_duration((clock_mono_ms() - h->began_ms) / 1000, took, sizeof(took));
	(void)snprintf(text, sizeof(text), "healthy: %zu of %zu checks passed in %s%s",
		       h->n - warnings, h->n, took, warnings ? "; the rest are only wanted" : "");
	say(h, NULL, warnings ? LOG_WARNING : LOG_INFO, MSG_HEALTH, NULL, text);
	keep_result(h, "healthy", NULL, NULL);
	return true;
}

/* ---- not healthy ---- */

static void note_failure(struct health *h, const struct health_boot *b, const char *reason,
			 bool failed)
{
	const struct esp_entry *run = b->running < b->n_entries ? &b->entries[b->running] : NULL;
	struct health_failure_note f = { .version = h->version,
					 .reason = reason,
					 .boot_id = h->boot_id,
					 .now = (int64_t)time(NULL),
					 .failed = failed };
	const char *state = h->state[0] ? h->state : "/var/lib/proa";
	char version[RECORD_VERSION_MAX];
	struct err e = ERR_INIT;

	if (run && run->uki.version[0]) {
		(void)snprintf(version, sizeof(version), "%.64s", run->uki.version);
		f.version = version;
	}
	if (run && run->uki.has_usrhash)
		f.root = run->uki.usrhash;
	if (!f.version[0])
		f.version = "unknown";
	/* going back matters more than remembering it: the bad entry itself stays as a witness */
	if (health_record(h->sys, state, &f, &e) < 0)
		log_err(&e, "the failure could not be recorded");
}

static void reboot_host(const struct health *h)
{
	static const char *const gently[] = { "systemctl", "--no-block", "reboot", NULL };
	static const char *const hard[] = { "systemctl", "--force", "reboot", NULL };
	struct err e = ERR_INIT;

	if (h->opt.root[0])
		return;
	if (spawn_check(gently, &e) == 0)
		return;
	log_err(&e, "reboot");
	if (spawn_check(hard, &e) < 0)
		log_err(&e, "reboot");
}

static int stay(struct health *h, const struct health_boot *b, const char *reason,
		enum health_verdict v, const struct err *e)
{
	const char *why = e ? e->text : health_verdict_text(v);
	char text[2 * RECORD_TEXT_MAX + 128];

	keep_result(h, "stays", reason, why);
	(void)snprintf(text, sizeof(text), "not healthy (%s); the host stays up: %.400s", reason,
		       why);
	say(h, b, LOG_ERR, MSG_UNHEALTHY, reason, text);
	return STAYS;
}

static int say_dry(struct health *h, const struct health_boot *b, const char *reason,
		   enum health_verdict v)
{
	if (v != HEALTH_FALL_BACK)
		return stay(h, b, reason, v, NULL);
	log_event(LOG_ERR, MSG_UNHEALTHY, NULL,
		  "not healthy (%s); without --dry-run %s would be marked bad, and the host would "
		  "reboot into %s",
		  reason, b->entries[b->running].name.file, b->entries[b->other].name.file);
	return FALLS_BACK;
}

/* Each step is durable before the next: record, boot entry, reboot. */
static int fall_back(struct health *h, struct health_boot *b, const char *reason)
{
	enum health_verdict v = health_verdict(b->entries, b->n_entries, b->running, b->other);
	char text[RECORD_TEXT_MAX + 128];
	struct err e = ERR_INIT;
	bool marked = true;

	if (h->opt.dry_run)
		return say_dry(h, b, reason, v);
	note_failure(h, b, reason, v == HEALTH_FALL_BACK);
	if (v != HEALTH_FALL_BACK)
		return stay(h, b, reason, v, NULL);
	/* a condemnation that fails leaves the counter, which brings the fallback a little later */
	if (health_condemn(b, &v, &e) < 0) {
		log_err(&e, "the boot entry could not be marked bad");
		marked = false;
	}
	if (v != HEALTH_FALL_BACK)
		return stay(h, b, reason, v, NULL);
	keep_result(h, "falls-back", reason, NULL);
	(void)snprintf(text, sizeof(text), "not healthy (%s); its boot entry %s, %s", reason,
		       marked ? "is marked bad" : "could not be marked bad and keeps its counter",
		       h->opt.root[0] ? "the other release boots next"
		       : marked       ? "rebooting into the other release"
				      : "rebooting until the other release boots");
	say(h, b, LOG_CRIT, MSG_RELEASE_FAILED, reason, text);
	reboot_host(h);
	return FALLS_BACK;
}

static int unhealthy(struct health *h, const char *reason)
{
	CLEANUP(health_boot_done)
	struct health_boot b = { .esp = -1, .efivars = -1 };
	struct err e = ERR_INIT;

	if (health_boot_read(h->sys, h->esp[0] ? h->esp : NULL, h->efivars[0] ? h->efivars : NULL,
			     &b, &e) < 0) {
		if (!h->opt.dry_run)
			note_failure(h, &b, reason, false);
		return stay(h, &b, reason, HEALTH_STAY_UNKNOWN, &e);
	}
	return fall_back(h, &b, reason);
}

/* It was this program that ended: a sandbox or a program that systemd cannot set up is an
 * "exit-code" too, with a status of 200 and above, systemd.exec(5). */
static bool decided(const char *result, const char *status)
{
	if (strcmp(result, "exit-code") != 0)
		return false;
	return !status || strcmp(status, "1") == 0 || strcmp(status, "2") == 0;
}

/*
 * As proa-health-stuck.service: proa-health did not end by itself, or its job waited in vain.
 * systemd says which in MONITOR_SERVICE_RESULT and MONITOR_EXIT_STATUS, systemd.exec(5).
 */
static int after_failure(struct health *h)
{
	const char *result = getenv("MONITOR_SERVICE_RESULT");
	const char *status = getenv("MONITOR_EXIT_STATUS");
	char reason[RECORD_TEXT_MAX] = "the boot did not get as far as its health checks in time";

	if (result && decided(result, status)) {
		log_event(LOG_INFO, NULL, NULL, "proa-health has decided already");
		return HEALTHY;
	}
	if (result)
		(void)snprintf(reason, sizeof(reason),
			       "proa-health did not end by itself: %.64s%s%.64s", result,
			       status ? " " : "", status ? status : "");
	return unhealthy(h, reason);
}

/* ---- options ---- */

enum option_id {
	OPT_ROOT = 256,
	OPT_DEADLINE,
	OPT_ESP,
	OPT_STATE,
	OPT_EFIVARS,
	OPT_DRY,
	OPT_AFTER,
	OPT_VERSION,
};

static const struct option longs[] = {
	{ "root", required_argument, NULL, OPT_ROOT },
	{ "deadline", required_argument, NULL, OPT_DEADLINE },
	{ "esp", required_argument, NULL, OPT_ESP },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "efivars", required_argument, NULL, OPT_EFIVARS },
	{ "dry-run", no_argument, NULL, OPT_DRY },
	{ "after-failure", no_argument, NULL, OPT_AFTER },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

static void take_option(struct options *o, int opt, const char *arg)
{
	switch (opt) {
	case OPT_ROOT:
		o->root = strcmp(arg, "/") == 0 ? "" : arg;
		break;
	case OPT_DEADLINE:
		o->deadline = arg;
		break;
	case OPT_ESP:
		o->esp = arg;
		break;
	case OPT_STATE:
		o->state = arg;
		break;
	case OPT_EFIVARS:
		o->efivars = arg;
		break;
	case OPT_DRY:
		o->dry_run = true;
		break;
	default:
		o->after_failure = true;
		break;
	}
}

static int check_options(struct health *h, struct err *e)
{
	const char *const paths[] = { h->opt.root, h->opt.esp, h->opt.state, h->opt.efivars };
	int r;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (paths[i] && strlen(paths[i]) >= PATH_MAX / 2)
			return err_set(e, ERR_INPUT, ENAMETOOLONG, "a path is too long");
	if (h->opt.root[0] && access(h->opt.root, X_OK) < 0)
		return err_set(e, ERR_INPUT, errno, "--root %s: %s", h->opt.root, strerror(errno));
	if (!h->opt.deadline)
		return 0;
	r = num_parse_seconds(h->opt.deadline, "--deadline", &h->deadline_s, e);
	if (r == 0 && (h->deadline_s < 1 || h->deadline_s > DEADLINE_MAX_S))
		return err_set(e, ERR_INPUT, ERANGE, "--deadline must be 1 s to 20 min, not '%s'",
			       h->opt.deadline);
	return r;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct health *h)
{
	struct err e = ERR_INIT;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (c) {
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		case OPT_VERSION:
			(void)puts("proa-health " PROA_VERSION);
			return EXIT_SUCCESS;
		case '?':
			(void)fputs("proa-health: see proa-health --help\n", stderr);
			return EXIT_USAGE;
		default:
			take_option(&h->opt, c, optarg);
			break;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "proa-health: what is '%s'? See proa-health --help\n",
			      argv[optind]);
		return EXIT_USAGE;
	}
	if (check_options(h, &e) < 0) {
		(void)fprintf(stderr, "proa-health: %s\n", e.text);
		return EXIT_USAGE;
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct health h = { .opt = { .root = "" },
			    .sys = sys_linux(),
			    .deadline_s = DEADLINE_DEFAULT_S };
	char reason[RECORD_TEXT_MAX];
	int r = parse(argc, argv, &h);

	if (r >= 0)
		return r;
	log_open("proa-health");
	load_conf(&h);
	choose(&h, h.opt.esp, "ESP", "/efi", h.esp);
	choose(&h, h.opt.state, "State", "/var/lib/proa", h.state);
	choose(&h, h.opt.efivars, "Efivars", EFIVARS_DEFAULT, h.efivars);
	read_boot_id(&h);
	read_version(&h);
	find_proactl(&h);
	h.run.root = h.want.root = h.opt.root;
	h.run.version = h.version;
	h.run.ended = on_ended;
	h.run.arg = &h;
	/* should this program itself hang, it dies of SIGALRM and proa-health-stuck.service acts */
	(void)alarm((unsigned)h.deadline_s + ALARM_S);
	if (h.opt.after_failure)
		r = after_failure(&h);
	else
		r = run_checks(&h, reason) ? HEALTHY : unhealthy(&h, reason);
	conf_free(h.conf);
	for (size_t i = 0; h.output && i < HEALTH_CHECKS_MAX; i++)
		buf_done(&h.output[i]);
	free(h.output);
	free(h.check);
	return r;
}
