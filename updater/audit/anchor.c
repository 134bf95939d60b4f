/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "updater/audit/audit.h"
#include "updater/audit/evidence.h"
#include "updater/audit/tpm.h"
#include "updater/record/chain.h"

void anchor_done(struct anchor *a)
{
	free(a->hash);
	a->hash = NULL;
}

size_t anchor_find(const uint8_t (*hash)[32], size_t n, const uint8_t value[32])
{
	uint8_t v[TCG_DIGEST_MAX] = { 0 };
	size_t i = 0;

	while (memcmp(v, value, 32) != 0) {
		if (i == n || tcg_extend(TCG_SHA256, v, hash[i], NULL) < 0)
			return n + 1;
		i++;
	}
	return i;
}

struct lines {
	struct anchor *to;
	size_t cap;
};

static int see_line(void *arg, const struct chain_entry *en, const uint8_t hash[32])
{
	struct lines *l = arg;

	(void)en;
	if (l->to->lines < l->cap)
		memcpy(l->to->hash[l->to->lines++], hash, 32);
	return 0;
}

static int read_history(const struct evidence *ev, struct anchor *a, struct err *e)
{
	AUTO_FREE char *text = NULL;
	struct lines l = { .to = a, .cap = 0 };
	struct chain_head h;
	size_t n = 0;
	int r;

	if (ev->state < 0)
		return err_set(e, ERR_HOST, ENOENT, "%s", ev->no_state.text);
	r = file_read(ev->sys, ev->state, CHAIN_FILE, CHAIN_BYTES_MAX, &text, &n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		l.cap += text[i] == '\n';
	a->hash = calloc(l.cap + 1, sizeof(*a->hash));
	if (!a->hash)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return chain_walk(text, n, see_line, &l, &h, e);
}

int anchor_read(const struct evidence *ev, const char *tcti, struct anchor *ret, struct err *e)
{
	AUTO_ANCHOR a = { .lines = 0 };
	uint8_t value[32];
	int r = read_history(ev, &a, e);

	if (r >= 0)
		r = tpm_anchor_read(tcti, value, &a.exists, e);
	if (r < 0)
		return r;
	a.anchored = anchor_find((const uint8_t(*)[32])a.hash, a.lines, value);
	if (a.anchored > a.lines)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the TPM's anchor holds another history: entries were taken away or "
			       "changed");
	*ret = a;
	a.hash = NULL;
	return 0;
}

/*
 * Two that read the same value would both extend it by the same lines, and the index can never be
 * set right again. The directory itself is the lock: nothing is written, and nobody else locks it.
 */
static int take_turn(const struct evidence *ev, struct sys_fd *ret, struct err *e)
{
	struct sys *sys = ev->sys;
	int r;

	if (ev->state < 0)
		return err_set(e, ERR_HOST, ENOENT, "%s", ev->no_state.text);
	ret->sys = sys;
	ret->fd = sys->ops->open(sys, ev->state, ".", O_RDONLY | O_DIRECTORY, 0);
	r = ret->fd < 0 ? ret->fd : sys->ops->lock(sys, ret->fd);
	return r < 0 ? err_set(e, ERR_HOST, -r, "lock the state directory: %s", strerror(-r)) : 0;
}

int anchor_update(const struct evidence *ev, const char *tcti, struct err *e)
{
	AUTO_ANCHOR a = { .lines = 0 };
	AUTO_SYS_FD turn = { ev->sys, -1 };
	size_t n;
	int r = take_turn(ev, &turn, e);

	if (r >= 0)
		r = anchor_read(ev, tcti, &a, e);
	if (r < 0)
		return r;
	n = a.lines - a.anchored;
	if (n > 0)
		r = tpm_anchor_extend(tcti, (const uint8_t(*)[32])a.hash + a.anchored, n, e);
	return r < 0 ? r : (int)(n < INT_MAX ? n : INT_MAX);
}

int audit_anchor(struct audit *a, struct err *e)
{
	AUTO_ANCHOR an = { .lines = 0 };
	struct err why = ERR_INIT;
	int r;

	if (!a->tcti && !(a->ev.live && a->has_pcrs))
		return report_add(&a->rep, "history.anchor", REPORT_ABSENT, NULL, e,
				  "There is no TPM to anchor the history in.");
	r = anchor_read(&a->ev, a->tcti, &an, &why);
	if (r == -ENOENT || r == -ENOTSUP || (r >= 0 && !an.exists))
		return report_add(&a->rep, "history.anchor", REPORT_ABSENT, NULL, e,
				  "The history is not anchored in the TPM (proa-audit anchor)%s%s.",
				  r < 0 ? ": " : "", r < 0 ? why.text : "");
	if (r < 0 && why.kind == ERR_REFUSED)
		return report_add(&a->rep, "history.anchor", REPORT_FAIL, NULL, e,
				  "The history is not the anchored one: %s.", why.text);
	if (r < 0)
		return report_unreadable(&a->rep, "history.anchor", &why, e);
	return report_add(&a->rep, "history.anchor",
			  an.anchored == an.lines ? REPORT_PASS : REPORT_WARN, NULL, e,
			  "The TPM's anchor holds %zu of the history's %zu entries.", an.anchored,
			  an.lines);
}
