/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reboot-cli CONFIG BOOT-ID ROOT VERSION finish|status|stage|apply|rollback|forgive|
 * person|itself|force: an agent on an image file that is told it runs ROOT (hex, VERSION) from it,
 * in a boot of that id: what proad does on a live host, with real proa-fetch, proa-hook and lock
 * servers. Prints the answer as JSON. Instead of rebooting it prints "REBOOT <delay> <force>" to
 * stderr; "WAKE <seconds>" and "NOTE <text>" likewise. INHIBITOR= and USERS= of the environment
 * stand for what logind says; VERSION= is what forgive is told; KILL=N ends it
 * with SIGKILL before its Nth store of the memo.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/agent/agent.h"

static int on_reboot(void *arg, uint32_t delay_s, bool force, struct err *e)
{
	const char *refuse = getenv("REFUSE");

	(void)arg;
	if (refuse)
		return err_set(e, ERR_RETRY, 16, "%s", refuse);
	(void)fprintf(stderr, "REBOOT %" PRIu32 " %d\n", delay_s, force);
	return 0;
}

static void on_session(void *arg, struct agent_session *ret)
{
	const char *who = getenv("INHIBITOR"), *users = getenv("USERS");

	(void)arg;
	(void)snprintf(ret->inhibitor, sizeof(ret->inhibitor), "%s", who ? who : "");
	ret->users = users ? (unsigned)strtoul(users, NULL, 10) : 0;
}

static void on_wake(void *arg, int64_t at)
{
	(void)arg;
	(void)fprintf(stderr, "WAKE %" PRId64 "\n", at);
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	(void)fprintf(stderr, "NOTE %s\n", text);
}

/* --- a struct sys whose Nth rename never comes to pass --- */

static struct sys_ops ops;
static unsigned long renames;

static int counted_rename(struct sys *s, int dir, const char *from, const char *to)
{
	if (strcmp(to, "reboot.json") == 0 && renames > 0 && --renames == 0)
		(void)raise(SIGKILL);
	return sys_linux()->ops->rename(s, dir, from, to);
}

static int beside(const char *argv0, const char *name, char out[4096])
{
	const char *slash = strrchr(argv0, '/');

	CHECK(slash, "call it by its path");
	(void)snprintf(out, 4096, "%.*s/%s", (int)(slash - argv0), argv0, name);
	return access(out, X_OK);
}

static int run(struct agent *a, const char *what, json_t **ret, struct err *e)
{
	static const struct {
		const char *name;
		enum agent_verb verb;
	} verbs[] = {
		{ "stage", AGENT_STAGE },      { "apply", AGENT_APPLY },
		{ "person", AGENT_REBOOT },    { "itself", AGENT_REBOOT_ALLOWED },
		{ "force", AGENT_REBOOT_NOW }, { "rollback", AGENT_ROLLBACK },
		{ "forgive", AGENT_FORGIVE },
	};
	const char *version = getenv("VERSION");
	struct agent_args args = { .any_size = false };

	(void)snprintf(args.version, sizeof(args.version), "%s", version ? version : "");

	if (strcmp(what, "finish") == 0)
		return agent_finish(a, e);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(what, verbs[i].name) == 0)
			return agent_run(a, verbs[i].verb, &args, ret, e);
	return agent_describe(a, ret, e);
}

int main(int argc, char **argv)
{
	struct host_live live = { .live = true, .has_root = true };
	static char fetch[4096], hook[4096];
	struct sys sys = { .ops = &ops };
	struct agent a = {
		.sys = &sys, .live = &live, .fetch_program = fetch, .hook_program = hook
	};
	const char *kill_at = getenv("KILL");
	struct err e = ERR_INIT;
	AUTO_BUF b = BUF_INIT;
	AUTO_JSON *j = NULL;
	int r;

	if (argc != 6 || !argv[0])
		return 2;
	ops = *sys_linux()->ops;
	ops.rename = counted_rename;
	renames = kill_at ? strtoul(kill_at, NULL, 10) : 0;
	CHECK(beside(argv[0], "proa-fetch", fetch) == 0 && beside(argv[0], "proa-hook", hook) == 0,
	      "programs");
	a.config_file = argv[1];
	(void)snprintf(live.boot_id, sizeof(live.boot_id), "%s", argv[2]);
	CHECK(hex_parse(argv[3], "root", live.root, sizeof(live.root), &e) == 0, "root");
	(void)snprintf(live.os_version, sizeof(live.os_version), "%s", argv[4]);
	a.reboot = on_reboot;
	a.session = on_session;
	a.wake = on_wake;
	a.note = on_note;
	r = run(&a, argv[5], &j, &e);
	if (r < 0)
		(void)fprintf(stderr, "ERROR %d %s\n", (int)e.kind, e.text);
	if (r == 0 && j && json_write(j, false, &b, &e) == 0)
		(void)printf("%s\n", b.p);
	agent_done(&a);
	return r < 0;
}
