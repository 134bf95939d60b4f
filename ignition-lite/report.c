/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void ign_report_done(struct ign_report *r)
{
	free(r->issue);
	*r = (struct ign_report){ 0 };
}

int ign_report_add(struct ign_report *r, const struct ign_issue *issue, struct err *e)
{
	struct ign_issue *more;

	/* of each kind, so that no warning takes the place of an error */
	if (r->count[issue->kind]++ >= IGN_ISSUES_MAX)
		return 0;
	/* as few are expected, they grow one by one */
	more = reallocarray(r->issue, r->n + 1, sizeof(*more));
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r->issue = more;
	r->issue[r->n++] = *issue;
	return 0;
}

const struct ign_issue *ign_report_first(const struct ign_report *r, enum ign_issue_kind kind)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->issue[i].kind == kind)
			return &r->issue[i];
	return NULL;
}

char *ign_issue_format(const struct ign_issue *i, const char *what, char *out, size_t cap)
{
	if (i->line > 0)
		(void)snprintf(out, cap, "%s:%u:%u: %s: %s", what, i->line, i->column, i->path,
			       i->text);
	else
		(void)snprintf(out, cap, "%s: %s: %s", what, i->path, i->text);
	return out;
}
