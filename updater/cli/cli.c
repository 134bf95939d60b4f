/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

/* What proad's phases are called on the screen; a phase that is not drawn has none. */
static const char *phase_label(const char *phase)
{
	static const char *const labels[][2] = {
		{ "uki", "kernel" },    { "scan", "looking" }, { "write", "writing" },
		{ "prove", "proving" }, { "esp", "applying" },
	};

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (strcmp(phase, labels[i][0]) == 0)
			return labels[i][1];
	return NULL;
}

void cli_progress(void *arg, const char *verb, const char *phase, uint64_t done, uint64_t total)
{
	struct cli *c = arg;
	const char *label = phase_label(phase);
	uint64_t now = clock_mono_ms();

	(void)verb;
	if (!label || c->json)
		return;
	if (strcmp(c->phase, phase) != 0) {
		progress_end(&c->bar);
		progress_begin(&c->bar, stderr, label, total, now);
		(void)snprintf(c->phase, sizeof(c->phase), "%s", phase);
	}
	progress_set(&c->bar, done, now);
}

static void end_progress(struct cli *c)
{
	if (c->phase[0])
		progress_end(&c->bar);
	c->phase[0] = '\0';
}

void cli_note(void *arg, const char *text)
{
	struct cli *c = arg;
	char clean[512];

	end_progress(c);
	(void)fprintf(stderr, "proactl: %s\n",
		      text_clean(text, strlen(text), clean, sizeof(clean)));
}

/* docs/schema/error.json, in one line; best effort, as the sentence is on standard error. */
static void print_error(const char *text, enum err_kind kind)
{
	AUTO_JSON *o = json_object();
	AUTO_BUF b = BUF_INIT;

	if (o && json_put_str(o, "error", text, NULL) == 0 &&
	    json_put_str(o, "kind", err_kind_name(kind), NULL) == 0 &&
	    json_write(o, false, &b, NULL) == 0)
		(void)printf("%s\n", b.p);
	(void)fflush(stdout);
}

int cli_fail(struct cli *c, const struct err *e)
{
	char clean[sizeof(e->text)];

	end_progress(c);
	(void)text_clean(e->text, strlen(e->text), clean, sizeof(clean));
	(void)fprintf(stderr, "proactl: %s\n", clean);
	if (c->json)
		print_error(clean, e->kind == ERR_NONE ? ERR_HOST : e->kind);
	return FAILED;
}

int cli_call_with(struct cli *c, const char *method, const char *const *args, json_t **ret,
		  struct err *e)
{
	int r = link_call(c->link, method, args, ret, e);

	end_progress(c);
	return r;
}

int cli_call(struct cli *c, const char *method, const char *arg, json_t **ret, struct err *e)
{
	const char *const args[] = { arg, NULL };

	return cli_call_with(c, method, args, ret, e);
}

int cli_print_json(struct cli *c, const json_t *j)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	if (json_write(j, true, &b, &e) < 0)
		return cli_fail(c, &e);
	(void)printf("%s\n", b.p);
	return DONE;
}

void cli_put(const struct cli *c, const char *text)
{
	size_t first = strcspn(text, "\n");

	if (c->colour && first > 0)
		(void)printf("\033[1m%.*s\033[0m%s", (int)first, text, text + first);
	else
		(void)fputs(text, stdout);
	(void)fflush(stdout);
}

int cli_show(struct cli *c, const json_t *j, cli_draw_fn draw)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	if (c->quiet)
		return DONE;
	if (c->json)
		return cli_print_json(c, j);
	if (draw(j, time(NULL), &b, &e) < 0)
		return cli_fail(c, &e);
	cli_put(c, b.p ? b.p : "");
	return DONE;
}

bool cli_colours(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !no[0]) && term && term[0] &&
	       strcmp(term, "dumb") != 0;
}
