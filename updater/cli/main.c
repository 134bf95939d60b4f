/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/text.h"
#include "updater/cli/cli.h"
#include "updater/cli/draw.h"

static void usage(FILE *to)
{
	(void)fputs(
		"Usage: proactl [OPTIONS] VERB\n"
		"\n"
		"  status             what runs, what is in the two slots, what boots next\n"
		"                     [--watch]\n"
		"  check              look for a newer release, change nothing\n"
		"  stage              fetch it, write it to the other slot, prove it\n"
		"                     [--dry-run] [--any-size]\n"
		"  apply              make what is staged boot next\n"
		"  update             stage and apply [--reboot] [--unattended] [--any-size]\n"
		"                     [--watch]\n"
		"  pause              hold what proad is doing\n"
		"  continue           let it go on\n"
		"  limit BYTES|off    bandwidth a second, for the download that runs\n"
		"  reboot             reboot into what boots next [--force] [--unattended]\n"
		"  why                which release this host should run, and what stands in "
		"the way\n"
		"  rollback           back to the release before, or to another [--to VERSION]\n"
		"                     [--reason TEXT]\n"
		"  forgive VERSION    let a release that failed here be tried again\n"
		"  pin VERSION|--none stay on a version, or on those that begin with it\n"
		"  hold               take nothing new [--reason TEXT]\n"
		"  unhold             take new releases again\n"
		"  config check|show  mistakes in proa.conf(5); what is in force, and why\n"
		"  history [ID]       what happened here, and why\n"
		"  health             the health checks of this boot, and of the last bad one\n"
		"  audit [OPTION...]  prove what runs: proa-audit(1) report\n"
		"\n"
		"  --direct           without the system bus: start proad as a child (root)\n"
		"  --config FILE      with --direct: instead of proa.conf(5)\n"
		"  --json             print the answer as JSON\n"
		"  --reboot           update: reboot when it is applied\n"
		"  --unattended       update, reboot: only as far as [Update] says\n"
		"  --dry-run          stage: say what would be fetched, copied and written\n"
		"  --any-size         stage, update: also more than MaxDownload= allows\n"
		"  --reason TEXT      rollback: for the history; hold: for proactl why\n"
		"  --to VERSION       rollback: to this release, and stay there\n"
		"  --watch            status: again and again, until ^C;\n"
		"                     update: see what runs already to its end first\n"
		"  --force            reboot: without lock and hooks, whoever inhibits it\n"
		"  --help, --version\n"
		"\n"
		"Exit status: 0 done, 1 failed, 2 usage, 3 nothing to do, 4 waiting.\n"
		"Example: proactl update --reboot\n",
		to);
}

static bool verdict_is(const json_t *j, const char *v)
{
	const char *s = json_string_value(json_object_get(j, "verdict"));

	return s && strcmp(s, v) == 0;
}

/* 3 when there is nothing, 4 when something waits, 0 when there is work. */
static int verdict_status(const json_t *j)
{
	if (verdict_is(j, "update"))
		return DONE;
	return verdict_is(j, "blocked") ? WAITING : NOTHING;
}

static int verb_status(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;

	(void)arg;
	if (c->watch)
		return verb_watch(c);
	if (cli_call(c, "Describe", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	return cli_show(c, j, draw_status);
}

/* Who may not look anew is told what the last look said. */
static int verb_why(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT, last = ERR_INIT;
	int r;

	(void)arg;
	r = cli_call(c, "Why", NULL, &j, &e);
	if (r < 0 && e.os == EACCES && cli_call(c, "Explain", NULL, &j, &last) < 0)
		return cli_fail(c, &e);
	if (r < 0 && e.os != EACCES)
		return cli_fail(c, &e);
	r = cli_show(c, j, draw_why);
	if (r == DONE && !json_is_object(json_object_get(j, "decision")))
		return FAILED; /* what this host should run is not known */
	return r;
}

static int verb_check(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	int r;

	(void)arg;
	if (cli_call(c, "Check", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, j, draw_check);
	return r == DONE ? verdict_status(j) : r;
}

static int draw_stage_result(const json_t *j, int64_t now, struct buf *out, struct err *e)
{
	if (verdict_is(j, "update"))
		return draw_staged(j, out, e);
	return draw_check(j, now, out, e);
}

static int draw_apply_result(const json_t *j, int64_t now, struct buf *out, struct err *e)
{
	(void)now;
	return draw_applied(j, out, e);
}

/* One answer, printed; *ret is for the caller to look at. Returns an exit status. */
static int stage(struct cli *c, json_t **ret)
{
	struct err e = ERR_INIT;
	int r;

	if (cli_call(c, c->any_size ? "StageAnySize" : "Stage", NULL, ret, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, *ret, draw_stage_result);
	if (r == DONE && verdict_is(*ret, "update"))
		return json_is_true(json_object_get(*ret, "nothing")) ? NOTHING : DONE;
	return r == DONE ? verdict_status(*ret) : r;
}

static int draw_plan_result(const json_t *j, int64_t now, struct buf *out, struct err *e)
{
	/* a plan that waits is shown too, and then what it waits for */
	int r = json_object_get(j, "slot") ? draw_plan(j, out, e) : 0;

	return r == 0 && !verdict_is(j, "update") ? draw_check(j, now, out, e) : r;
}

static int verb_plan(struct cli *c)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	int r;

	if (cli_call(c, "Plan", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, j, draw_plan_result);
	if (r == DONE && json_is_true(json_object_get(j, "nothing")))
		return NOTHING;
	return r == DONE ? verdict_status(j) : r;
}

static int verb_stage(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;

	(void)arg;
	return c->dry_run ? verb_plan(c) : stage(c, &j);
}

/* Pause, continue, limit: 3 when nothing runs that they could be about. */
static int hold(struct cli *c, const char *method, const char *arg, const char *done)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	bool nothing;

	if (cli_call(c, method, arg, &j, &e) < 0)
		return cli_fail(c, &e);
	nothing = json_is_true(json_object_get(j, "nothing"));
	if (c->json && cli_print_json(c, j) != DONE)
		return FAILED;
	if (!c->json)
		puts(nothing ? "nothing runs" : done);
	return nothing ? NOTHING : DONE;
}

static int verb_pause(struct cli *c, const char *arg)
{
	return hold(c, "Pause", arg, "paused: proactl continue");
}

static int verb_continue(struct cli *c, const char *arg)
{
	return hold(c, "Continue", arg, "goes on");
}

static int verb_limit(struct cli *c, const char *arg)
{
	return hold(c, "SetBandwidthLimit", arg, "limited, until this download ends");
}

static int apply(struct cli *c, json_t **ret)
{
	struct err e = ERR_INIT;
	int r;

	if (cli_call(c, "Apply", NULL, ret, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, *ret, draw_apply_result);
	return r == DONE && json_is_true(json_object_get(*ret, "nothing")) ? NOTHING : r;
}

static int verb_apply(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;

	(void)arg;
	return apply(c, &j);
}

static int verb_reboot(struct cli *c, const char *arg)
{
	const char *method = c->force        ? "RebootNow"
			     : c->unattended ? "RebootWhenAllowed"
					     : "Reboot";
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	int r;

	(void)arg;
	if (cli_call(c, method, NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, j, draw_rebooting);
	if (r == DONE && verdict_is(j, "nothing"))
		return NOTHING;
	return r == DONE && verdict_is(j, "waits") ? WAITING : r;
}

/* Unattended: does this host's configuration have it reboot now? WAITING says what for. */
static int reboots_itself(struct cli *c, bool *ret)
{
	AUTO_JSON *j = NULL;
	AUTO_BUF text = BUF_INIT;
	struct err e = ERR_INIT;
	const char *reboot;

	if (cli_call(c, "Describe", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	reboot = json_string_value(json_object_get(j, "reboot"));
	if (json_is_true(json_object_get(j, "live"))) { /* then proad says so, and why not */
		*ret = !reboot || strcmp(reboot, "manual") != 0;
		return DONE;
	}
	*ret = reboot && strcmp(reboot, "immediate") == 0;
	if (!reboot || strcmp(reboot, "window") != 0)
		return DONE;
	*ret = json_is_true(json_object_get(json_object_get(j, "reboot_window"), "open"));
	if (*ret)
		return DONE;
	if (!c->json && draw_reboot(j, time(NULL), &text, &e) == 0)
		(void)fputs(text.p, stdout);
	return WAITING;
}

/* How far an unattended update goes, as [Update] Mode= says. */
static int unattended_mode(struct cli *c, char mode[16])
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	const char *s;

	if (cli_call(c, "Describe", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	s = json_string_value(json_object_get(j, "mode"));
	(void)snprintf(mode, 16, "%s", s ? s : "auto");
	return DONE;
}

/* With --json one object: what Stage and Apply answered. */
static int print_update(struct cli *c, json_t *staged, json_t *applied)
{
	AUTO_JSON *o = json_object();
	struct err e = ERR_INIT;
	int r = o ? json_put(o, "stage", json_incref(staged), &e) : -1;

	if (r == 0)
		r = json_put(o, "apply", applied ? json_incref(applied) : json_null(), &e);
	return r < 0 ? cli_fail(c, &e) : cli_print_json(c, o);
}

/* Stages and applies; then reboots if somebody or the configuration says so. */
static int update(struct cli *c)
{
	AUTO_JSON *staged = NULL;
	AUTO_JSON *applied = NULL;
	bool json = c->json, reboot = c->reboot;
	int r, waits = DONE;

	c->quiet = json;
	r = stage(c, &staged);
	if (r == FAILED)
		return r;
	/* what is staged is applied only while the channel says that this host should run it */
	if (verdict_is(staged, "update")) {
		r = apply(c, &applied);
		if (r == FAILED)
			return r;
	}
	if (json && print_update(c, staged, applied) != DONE)
		return FAILED;
	if (!applied)
		return r;
	if (c->unattended)
		waits = reboots_itself(c, &reboot);
	if (waits != DONE)
		return waits;
	return reboot ? verb_reboot(c, NULL) : r;
}

static int verb_update(struct cli *c, const char *arg)
{
	char mode[16] = "auto";
	int r = c->watch ? verb_watch_job(c) : DONE;

	if (r == DONE && c->unattended)
		r = unattended_mode(c, mode);

	if (r != DONE)
		return r;
	if (strcmp(mode, "check") == 0)
		return verb_check(c, arg);
	if (strcmp(mode, "stage") == 0)
		return verb_stage(c, arg);
	if (strcmp(mode, "manual") == 0) {
		if (!c->json)
			puts("[Update] Mode=manual: nothing happens by itself here");
		return NOTHING;
	}
	return update(c);
}

static int verb_forgive(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;

	if (cli_call(c, "Forgive", arg, &j, &e) < 0)
		return cli_fail(c, &e);
	if (c->json)
		return cli_print_json(c, j);
	(void)printf("%s may be tried here again\n", arg);
	return DONE;
}

static int verb_history(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	uint64_t id = 0;

	if (arg && num_parse(arg, strlen(arg), 1, INT64_MAX, "history ID", &id, &e) < 0) {
		(void)cli_fail(c, &e);
		return USAGE;
	}
	if (cli_call(c, "GetHistory", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	if (c->json)
		return cli_print_json(c, j);
	if (draw_history(j, id, time(NULL), &b, &e) < 0)
		return cli_fail(c, &e);
	(void)fputs(b.p ? b.p : "", stdout);
	return DONE;
}

/* 1 when the last boot that was judged was not healthy. */
static int verb_health(struct cli *c, const char *arg)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	const char *verdict;
	int r;

	(void)arg;
	if (cli_call(c, "GetHealth", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, j, draw_health);
	verdict = json_string_value(json_object_get(json_object_get(j, "last"), "verdict"));
	return r == DONE && verdict && strcmp(verdict, "healthy") != 0 ? FAILED : r;
}

static const struct verb {
	const char *name;
	int (*run)(struct cli *c, const char *arg);
	int min_args, max_args;
} verbs[] = {
	{ "status", verb_status, 0, 0 },   { "check", verb_check, 0, 0 },
	{ "stage", verb_stage, 0, 0 },     { "apply", verb_apply, 0, 0 },
	{ "update", verb_update, 0, 0 },   { "reboot", verb_reboot, 0, 0 },
	{ "why", verb_why, 0, 0 },         { "rollback", verb_rollback, 0, 0 },
	{ "forgive", verb_forgive, 1, 1 }, { "history", verb_history, 0, 1 },
	{ "pause", verb_pause, 0, 0 },     { "continue", verb_continue, 0, 0 },
	{ "limit", verb_limit, 1, 1 },     { "pin", verb_pin, 0, 1 },
	{ "hold", verb_hold, 0, 0 },       { "unhold", verb_unhold, 0, 0 },
	{ "config", verb_config, 1, 1 },   { "health", verb_health, 0, 0 },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(name, verbs[i].name) == 0)
			return &verbs[i];
	return NULL;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct cli *c)
{
	static const struct option longs[] = {
		{ "direct", no_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "reboot", no_argument, NULL, 'r' },
		{ "unattended", no_argument, NULL, 'u' },
		{ "dry-run", no_argument, NULL, 'D' },
		{ "any-size", no_argument, NULL, 'A' },
		{ "reason", required_argument, NULL, 'R' },
		{ "to", required_argument, NULL, 't' },
		{ "none", no_argument, NULL, 'n' },
		{ "watch", no_argument, NULL, 'w' },
		{ "force", no_argument, NULL, 'F' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (o) {
		case 'd':
			c->link_options.direct = true;
			break;
		case 'c':
			c->link_options.config = optarg;
			break;
		case 'j':
			c->json = true;
			break;
		case 'r':
			c->reboot = true;
			break;
		case 'u':
			c->unattended = true;
			break;
		case 'D':
			c->dry_run = true;
			break;
		case 'A':
			c->any_size = true;
			break;
		case 'R':
			c->reason = optarg;
			break;
		case 't':
			c->to = optarg;
			break;
		case 'n':
			c->none = true;
			break;
		case 'w':
			c->watch = true;
			break;
		case 'F':
			c->force = true;
			break;
		case 'h':
			usage(stdout);
			return DONE;
		case 'V':
			puts("proactl " PROA_VERSION);
			return DONE;
		default:
			(void)fputs("proactl: see proactl --help\n", stderr);
			return USAGE;
		}
	}
	return -1;
}

/* What was asked for and would do nothing with this verb: update --dry-run must not update. */
static const char *idle_option(const struct verb *v, const struct cli *c)
{
	bool update = v->run == verb_update, stage = v->run == verb_stage;
	bool reboot = v->run == verb_reboot;

	if (c->dry_run && !stage)
		return "--dry-run";
	if (c->any_size && !stage && !update)
		return "--any-size";
	if (c->reboot && !update)
		return "--reboot";
	if (c->unattended && !update && !reboot)
		return "--unattended";
	if (c->force && (!reboot || c->unattended))
		return "--force";
	if (c->watch && !update && v->run != verb_status)
		return "--watch";
	if (c->to && v->run != verb_rollback)
		return "--to";
	if (c->none && v->run != verb_pin)
		return "--none";
	return c->reason && v->run != verb_rollback && v->run != verb_hold ? "--reason" : NULL;
}

static const struct verb *parse_verb(int argc, char **argv, const struct cli *c)
{
	const struct verb *v = optind < argc ? find_verb(argv[optind]) : NULL;
	int args = argc - optind - 1;

	if (optind >= argc)
		(void)fputs("proactl: which verb? status, check, update, ... (proactl --help)\n",
			    stderr);
	else if (!v)
		(void)fprintf(stderr, "proactl: no verb '%s' (proactl --help)\n", argv[optind]);
	else if (args < v->min_args || args > v->max_args)
		(void)fprintf(stderr, "proactl: %s takes %s (proactl --help)\n", v->name,
			      v->max_args == 0 ? "no argument" : "one argument");
	else if (idle_option(v, c))
		(void)fprintf(stderr, "proactl: %s is not for %s (proactl --help)\n",
			      idle_option(v, c), v->name);
	else if (v->run == verb_pin && (args == 1) == c->none)
		(void)fputs("proactl: pin takes a version, the begin of one, or --none\n", stderr);
	else if (c->link_options.config && !c->link_options.direct)
		(void)fputs("proactl: --config goes with --direct\n", stderr);
	else
		return v;
	return NULL;
}

/* `proactl audit ...` is `proa-audit report ...` from where proactl lies. Returns if it is absent.
 */
static int run_audit(int argc, char **argv)
{
	char path[512], report[] = "report", *slash,
			**args = calloc((size_t)argc + 1, sizeof(*args));
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("proa-audit"));

	slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
	if (args && slash) {
		memcpy(slash + 1, "proa-audit", sizeof("proa-audit"));
		memcpy(args, argv, (size_t)argc * sizeof(*args));
		args[0] = slash + 1;
		args[1] = report;
		(void)execv(path, args);
	}
	free(args);
	(void)fprintf(stderr, "proactl: cannot start proa-audit: %s\n", strerror(errno));
	return FAILED;
}

int main(int argc, char **argv)
{
	struct cli c = { .json = false };
	const struct verb *v;
	struct err e = ERR_INIT;
	int r;

	if (argc > 1 && strcmp(argv[1], "audit") == 0)
		return run_audit(argc, argv);
	r = parse(argc, argv, &c);
	if (r >= 0)
		return r;
	v = parse_verb(argc, argv, &c);
	if (!v)
		return USAGE;
	c.link_options.progress = cli_progress;
	c.link_options.note = cli_note;
	c.link_options.arg = &c;
	c.colour = cli_colours();
	if (link_new(&c.link_options, &c.link, &e) < 0)
		return cli_fail(&c, &e);
	r = v->run(&c, optind + 1 < argc ? argv[optind + 1] : NULL);
	link_free(c.link);
	return r;
}
