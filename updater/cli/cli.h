/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_CLI_CLI_H
#define UPDATER_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/progress.h"
#include "updater/cli/link.h"

/* What the verbs of proactl share: main.c and verb_*.c. */

/* Exit statuses, proactl(1). */
enum { DONE = 0, FAILED = 1, USAGE = 2, NOTHING = 3, WAITING = 4 };

struct cli {
	struct link_options link_options;
	bool json, reboot, unattended;
	bool dry_run, any_size, force, watch, none;
	bool quiet;  /* the answers are printed together at the end */
	bool colour; /* standard output is a terminal that has them */
	const char *reason, *to;
	struct link *link;
	struct progress bar;
	char phase[16];
};

/* Standard output is a terminal, and nobody said NO_COLOR or TERM=dumb. */
bool cli_colours(void);

/* For struct link_options; arg: the struct cli. */
void cli_progress(void *arg, const char *verb, const char *phase, uint64_t done, uint64_t total);
void cli_note(void *arg, const char *text);

/* Says e on standard error, and with --json on standard output too; FAILED. */
int cli_fail(struct cli *c, const struct err *e);

/* A method with at most one text (NULL: none), or with several (NULL-terminated). */
int cli_call(struct cli *c, const char *method, const char *arg, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int cli_call_with(struct cli *c, const char *method, const char *const *args, json_t **ret,
		  struct err *e) __attribute__((warn_unused_result));

/* Prints; an exit status. */
int cli_print_json(struct cli *c, const json_t *j);
typedef int (*cli_draw_fn)(const json_t *j, int64_t now, struct buf *out, struct err *e);
int cli_show(struct cli *c, const json_t *j, cli_draw_fn draw);
/* Text for people; its first line, which is what counts, in bold where there are colours. */
void cli_put(const struct cli *c, const char *text);

/* ---- verb_policy.c, verb_watch.c; each returns an exit status ---- */

int verb_pin(struct cli *c, const char *arg); /* NULL: c->none */
int verb_hold(struct cli *c, const char *arg);
int verb_unhold(struct cli *c, const char *arg);
int verb_rollback(struct cli *c, const char *arg);
int verb_config(struct cli *c, const char *arg); /* "check" or "show" */

/* Status again and again, until somebody interrupts. */
int verb_watch(struct cli *c);
/* Until the verb that runs has ended, if one does. */
int verb_watch_job(struct cli *c);

#endif
