/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people see: every tests/unit/draw/<what>-*.json drawn and compared with the .txt beside it.
 * With PROA_DRAW_WRITE set the texts are written anew, to be read in the diff.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/cli/draw.h"

#define DIR_NAME "tests/unit/draw/"
/* 19 Nov 2026 19:00:00 UTC */
#define NOW INT64_C(1795114800)

static int draw_named(const char *name, const json_t *j, struct buf *out, struct err *e)
{
	if (strncmp(name, "status-", 7) == 0)
		return draw_status(j, NOW, out, e);
	if (strncmp(name, "why-", 4) == 0)
		return draw_why(j, NOW, out, e);
	if (strncmp(name, "check-", 6) == 0)
		return draw_check(j, NOW, out, e);
	if (strncmp(name, "history-", 8) == 0)
		return draw_history(j, strtoull(name + 8, NULL, 10), NOW, out, e);
	if (strncmp(name, "reboot-", 7) == 0)
		return draw_rebooting(j, NOW, out, e);
	if (strncmp(name, "health-", 7) == 0)
		return draw_health(j, NOW, out, e);
	if (strncmp(name, "plan", 4) == 0)
		return draw_plan(j, out, e);
	if (strncmp(name, "staged", 6) == 0)
		return draw_staged(j, out, e);
	if (strncmp(name, "policy", 6) == 0)
		return draw_policy(j, NOW, out, e);
	if (strncmp(name, "config-check", 12) == 0)
		return draw_problems(j, NOW, out, e);
	if (strncmp(name, "config-show", 11) == 0)
		return draw_settings(j, NOW, out, e);
	if (strncmp(name, "line", 4) == 0)
		return draw_line(j, NOW, out, e);
	CHECK(strncmp(name, "applied", 7) == 0, "%s: what is it?", name);
	return draw_applied(j, out, e);
}

/* Columns of the widest line; every byte above 0x7f that continues a character is none. */
static size_t widest(const char *s)
{
	size_t best = 0, n = 0;

	for (; *s; s++) {
		n = *s == '\n' ? 0 : n + ((*s & 0xc0) != 0x80);
		best = n > best ? n : best;
	}
	return best;
}

static void check_clean(const char *name, const char *s)
{
	for (; *s; s++)
		CHECK(*s == '\n' || (unsigned char)*s >= 0x20, "%s: control character %d", name,
		      *s);
}

static void draw_file(const char *name)
{
	struct json_limits lim = JSON_LIMITS_DEFAULT;
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *want = NULL;
	AUTO_JSON *j = NULL;
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;
	char path[512];
	size_t n, stem = strlen(name) - strlen(".json");

	(void)snprintf(path, sizeof(path), DIR_NAME "%s", name);
	CHECK(file_read(sys_linux(), AT_FDCWD, path, 1 << 20, &text, &n, &e) == 0, "%s", e.text);
	CHECK(json_read(text, n, &lim, name, &j, &e) == 0, "%s", e.text);
	CHECK(draw_named(name, j, &out, &e) == 0, "%s: %s", name, e.text);
	CHECK(out.p, "%s: nothing drawn", name);
	check_clean(name, out.p);
	CHECK(strcmp(name, "status-hostile.json") == 0 || widest(out.p) <= 80,
	      "%s: %zu columns wide:\n%s", name, widest(out.p), out.p);
	(void)snprintf(path, sizeof(path), DIR_NAME "%.*s.txt", (int)stem, name);
	if (getenv("PROA_DRAW_WRITE")) {
		FILE *f = fopen(path, "we");

		CHECK(f && fputs(out.p, f) >= 0 && fclose(f) == 0, "%s", path);
		return;
	}
	CHECK(file_read(sys_linux(), AT_FDCWD, path, 1 << 20, &want, &n, &e) == 0, "%s", e.text);
	CHECK(strcmp(out.p, want) == 0, "%s: drawn is\n%s\nand should be\n%s", name, out.p, want);
}

static void draw_every_way(const char *text)
{
	static const char *const names[] = { "status-",      "why-",        "check-", "history-",
					     "staged",       "applied",     "plan",   "policy",
					     "config-check", "config-show", "line",   "health-" };
	struct json_limits lim = JSON_LIMITS_DEFAULT;
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;

	CHECK(json_read(text, strlen(text), &lim, "odd", &j, &e) == 0, "%s", e.text);
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		AUTO_BUF out = BUF_INIT;

		CHECK(draw_named(names[k], j, &out, &e) == 0, "%s of %s: %s", names[k], text,
		      e.text);
	}
}

/* Whatever is missing or of another type, there is a text and no crash. */
static void draw_odd(void)
{
	static const char *const odd[] = {
		"{}",
		"[]",
		"{\"slots\": 5, \"running\": [], \"failed\": {}, \"job\": 1, \"target\": \"x\"}",
		"{\"slots\": [1, null, {}], \"running\": {}, \"failed\": [0], \"live\": true}",
		"{\"job\": {\"done\": 9, \"total\": 3}, \"running\": {}, \"live\": true}",
		"{\"status\": {}, \"decision\": {\"reasons\": [1, {}]}}",
		"{\"error\": 5, \"refused\": 7, \"notes\": [1, \"\\u001b[31m\", {}]}",
		"{\"last\": {\"checks\": [1, {}, {\"output\": 7}]}, \"failed\": {\"when\": \"x\"}}",
		"[1, {}, [], {\"id\": -4, \"when\": \"yesterday\"}]",
	};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		draw_every_way(odd[i]);
}

static void draw_no_event(void)
{
	AUTO_JSON *j = json_array();
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(draw_history(j, 12, NOW, &out, &e) < 0 && strstr(e.text, "12"), "%s", e.text);
}

int main(void)
{
	struct dirent **list = NULL;
	int n, drawn = 0;

	CHECK(setenv("TZ", "CET-1", 1) == 0, "TZ");
	tzset();
	n = scandir(DIR_NAME, &list, NULL, alphasort);
	CHECK(n > 0, "run me from the top of the sources");
	for (int i = 0; i < n; i++) {
		const char *dot = strrchr(list[i]->d_name, '.');

		if (dot && strcmp(dot, ".json") == 0) {
			draw_file(list[i]->d_name);
			drawn++;
		}
		free(list[i]);
	}
	free(list);
	CHECK(drawn >= 40, "only %d pictures", drawn);
	draw_odd();
	draw_no_event();
	return 0;
}
