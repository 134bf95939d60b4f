/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "updater/cli/cli.h"
#include "updater/cli/draw.h"

static const char *clean_member(const json_t *j, const char *key, char *out, size_t cap)
{
	const char *s = json_string_value(json_object_get(j, key));

	return text_clean(s && s[0] ? s : "?", s && s[0] ? strlen(s) : 1, out, cap);
}

static int say_policy(struct cli *c, const char *method, const char *const *args)
{
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;

	if (cli_call_with(c, method, args, &j, &e) < 0)
		return cli_fail(c, &e);
	return cli_show(c, j, draw_policy);
}

int verb_pin(struct cli *c, const char *arg)
{
	return say_policy(c, "Pin", (const char *const[]){ arg ? arg : "", NULL });
}

int verb_hold(struct cli *c, const char *arg)
{
	(void)arg;
	return say_policy(c, "Hold", (const char *const[]){ c->reason ? c->reason : "", NULL });
}

int verb_unhold(struct cli *c, const char *arg)
{
	(void)arg;
	return say_policy(c, "Unhold", (const char *const[]){ NULL });
}

int verb_rollback(struct cli *c, const char *arg)
{
	const char *const args[] = { c->to ? c->to : "", c->reason ? c->reason : "", NULL };
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	char next[128], gone[128];
	bool reboot;

	(void)arg;
	if (cli_call_with(c, "Rollback", args, &j, &e) < 0)
		return cli_fail(c, &e);
	if (c->json)
		return cli_print_json(c, j);
	reboot = json_is_true(json_object_get(j, "reboot_needed"));
	(void)clean_member(j, "version", gone, sizeof(gone));
	(void)printf("%s boots next%s.\n%s will not be tried again here (proactl forgive %s).\n",
		     clean_member(j, "next", next, sizeof(next)), reboot ? ": proactl reboot" : "",
		     gone, gone);
	if (json_is_string(json_object_get(j, "pin")))
		(void)printf("This host stays on %s (proactl pin --none).\n", next);
	return DONE;
}

/* check: 1 when there is a mistake. */
int verb_config(struct cli *c, const char *arg)
{
	bool check = strcmp(arg, "check") == 0;
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;
	int r;

	if (!check && strcmp(arg, "show") != 0) {
		(void)fputs("proactl: config takes check or show (proactl --help)\n", stderr);
		return USAGE;
	}
	if (cli_call(c, "GetConfiguration", NULL, &j, &e) < 0)
		return cli_fail(c, &e);
	r = cli_show(c, j, check ? draw_problems : draw_settings);
	if (r == DONE && check && json_array_size(json_object_get(j, "problems")) > 0)
		return FAILED;
	return r;
}
