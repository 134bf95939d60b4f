/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "updater/cli/cli.h"
#include "updater/cli/draw.h"

#define LOOK_MS 5000u /* what others do to the host sends no signal */
#define STEP_MS 250u  /* between two pictures */

/* A terminal that can be cleared: not a serial line whose kind nobody told. */
static bool can_clear(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && term[0] && strcmp(term, "dumb") != 0;
}

static int draw(struct cli *c, const json_t *j, bool redraw, char **last, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	const char *said;
	int r = 0;

	if (c->json)
		r = json_write(j, false, &b, e);
	else
		r = redraw ? draw_status(j, time(NULL), &b, e) : draw_line(j, time(NULL), &b, e);
	if (r < 0)
		return r;
	/* a line begins with the time, which is no change */
	said = c->json || redraw ? b.p : b.p + strcspn(b.p, " ");
	if (*last && strcmp(*last, said) == 0)
		return 0;
	free(*last);
	*last = strdup(said);
	if (redraw)
		(void)fputs("\033[H\033[2J", stdout);
	if (redraw) {
		cli_put(c, b.p);
		return 0;
	}
	(void)printf("%s%s", b.p, c->json ? "\n" : "");
	(void)fflush(stdout);
	return 0;
}

/* Until ^C; with `job`, until no verb runs any more. */
static int watch(struct cli *c, bool job, struct err *e)
{
	bool redraw = !c->json && !job && can_clear();
	char *last = NULL;
	int r = 0;

	while (r >= 0) {
		AUTO_JSON *j = NULL;

		r = cli_call(c, "Describe", NULL, &j, e);
		if (r == 0 && job && !json_is_object(json_object_get(j, "job")))
			break;
		if (r == 0 && !job)
			r = draw(c, j, redraw, &last, e);
		if (r == 0)
			r = link_wait(c->link, LOOK_MS, e);
		/* signals come ten times a second */
		if (r > 0 && !job)
			r = usleep(STEP_MS * 1000);
	}
	free(last);
	return r;
}

int verb_watch(struct cli *c)
{
	struct err e = ERR_INIT;
	int r = watch(c, false, &e);

	return r < 0 && r != -ECANCELED ? cli_fail(c, &e) : DONE;
}

int verb_watch_job(struct cli *c)
{
	struct err e = ERR_INIT;
	int r = watch(c, true, &e);

	return r < 0 ? cli_fail(c, &e) : DONE;
}
