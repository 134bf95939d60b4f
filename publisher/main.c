/* SPDX-License-Identifier: Apache-2.0 */
/* proa-publish: makes and keeps the signed repository that hosts update from. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/text.h"
#include "base/version.h"
#include "publisher/opts.h"
#include "publisher/policy.h"
#include "publisher/proposal.h"
#include "publisher/release.h"
#include "publisher/repo.h"
#include "publisher/report.h"
#include "publisher/roles.h"
#include "publisher/root.h"
#include "publisher/verbs.h"
#include "updater/image/index.h"

enum { EXIT_USAGE = 2, EXIT_SOON = 4, SHORT_HASH = 8 };

static int usage_error(const char *why, struct err *e)
{
	return verb_misused(why, e);
}

/* What is signed by a clock that is behind expires too early, or has expired already. */
static void warn_clock(const struct repo *r, const struct roles *m)
{
	enum { SKEW = 3600 };

	for (size_t i = 0; i < m->n_channel; i++) {
		AUTO_FREE struct release_offer *l = NULL;
		size_t n = 0;
		char now[48], then[48];

		if (channel_offers(&m->channel[i], &l, &n, NULL) < 0)
			continue;
		for (size_t j = 0; j < n; j++) {
			if (l[j].published <= r->now + SKEW)
				continue;
			(void)fprintf(stderr,
				      "proa-publish: warning: the clock of this machine is wrong: "
				      "it says %s, and %s was published %s: set it, and refresh\n",
				      text_time(r->now, 0, now, sizeof(now)), l[j].version,
				      text_time(l[j].published, 0, then, sizeof(then)));
			return;
		}
	}
}

/* A repository opened for change, its roles read, the keys named. pin holds a path. */
static int begin(const struct opts *o, const char *path, struct keys *k, char pin[PATH_MAX],
		 struct repo *r, struct roles *m, struct err *e)
{
	const char *trusted = NULL;
	int q;

	if (o->n_keys == 0 && !o->propose)
		return usage_error("--keys DIR is missing", e);
	q = o->propose ? proposal_path_free(o->propose, e) : 0;
	q = q < 0 ? q : verb_pin(o, true, pin, &trusted, e);
	q = q < 0 ? q : verb_keys(o, k, e);
	verb_hold_signals();
	q = q < 0 ? q : repo_open(path, true, r, e);
	if (q < 0)
		return q;
	r->pin = trusted;
	q = roles_load(r, m, e);
	if (q < 0)
		return q;
	warn_clock(r, m);
	m->propose = o->propose;
	if (!o->root)
		root_pin_save(o->keys[0], m->root);
	return 0;
}

static void print_note(const struct roles *m)
{
	if (m->note[0])
		(void)fprintf(stderr,
			      "proa-publish: warning: %s: give refresh the keys, or root "
			      "propose (root, targets) and channel propose make what others sign\n",
			      m->note);
}

static char *valid_until(const struct repo *r, const struct roles *m, char *out, size_t cap)
{
	return text_time(roles_expires(m->timestamp), r->now, out, cap);
}

/* Where keys are elsewhere, the way to those who have them. */
static int elsewhere(const struct opts *o, int q, struct err *e)
{
	if ((q != -ENOKEY && q != -EKEYREJECTED) || o->propose)
		return q;
	return err_wrap(e, q, "give --propose FILE for what others must sign");
}

/* ---- release ---- */

/* "13.5 MB", or why there is none. */
static const char *delta_text(enum delta_outcome o, uint64_t bytes, char *out, size_t cap)
{
	if (o == DELTA_SAME)
		return "the same";
	if (o == DELTA_MADE)
		return text_bytes(bytes, out, cap);
	(void)snprintf(out, cap, "left out, saves < 10 %%");
	return out;
}

static void print_deltas(const struct release_report *p)
{
	uint64_t restored = 0;
	char a[32], b[32];

	for (size_t i = 0; i < p->n_delta; i++) {
		const struct delta_report *d = &p->delta[i];
		const struct image_diff_stats *st = &d->stats;

		restored = d->restored > restored ? d->restored : restored;
		printf("%-11s from %s: /usr %s", i == 0 ? "deltas" : "", d->version,
		       delta_text(d->usr, d->usr_bytes, a, sizeof(a)));
		if (d->usr == DELTA_MADE)
			printf(", %.1f %% of full",
			       100.0 * (double)d->usr_bytes / (double)p->full_bytes);
		printf("; UKI %s%s\n", delta_text(d->uki, d->uki_bytes, b, sizeof(b)),
		       d->uki_from_usr ? " (with the new /usr)" : "");
		if (d->usr == DELTA_MADE && st->blob > 0)
			printf("%-11s blocks: %llu new, %llu moved, %llu in place, %llu zero\n", "",
			       (unsigned long long)st->fresh / IMAGE_BLOCK,
			       (unsigned long long)st->moved / IMAGE_BLOCK,
			       (unsigned long long)st->in_place / IMAGE_BLOCK,
			       (unsigned long long)st->zero / IMAGE_BLOCK);
	}
	if (p->uki_own_bytes > 0)
		printf("%-11s from its own /usr: UKI %s\n", p->n_delta == 0 ? "deltas" : "",
		       text_bytes(p->uki_own_bytes, a, sizeof(a)));
	if (restored > 0)
		printf("bases       restored from their full blobs, up to %s at a time\n",
		       text_bytes(restored, a, sizeof(a)));
}

static void print_report(const struct opts *o, const struct repo *r, const struct roles *m,
			 const struct release_report *p)
{
	char hex[SHA256_HEX_MAX], a[32], b[32], t[48];

	hex_format(p->root, SHA256_BYTES, hex);
	printf("%-11s %s %s, root %.*s\n", p->built ? "built" : "image",
	       p->built ? "usr.erofs" : o->wish.usr, text_bytes(p->usr_bytes, a, sizeof(a)),
	       SHORT_HASH, hex);
	if (p->built)
		layout_say(&p->layout, o->wish.like ? o->wish.like : p->like);
	printf("compressed  full %s, %.1f %%\n", text_bytes(p->full_bytes, a, sizeof(a)),
	       100.0 * (double)p->full_bytes / (double)p->usr_bytes);
	print_deltas(p);
	printf("uki         %s_%s.efi %s, compressed %s\n", r->config.image, o->wish.version,
	       text_bytes(p->uki_bytes, a, sizeof(a)),
	       text_bytes(p->uki_packed_bytes, b, sizeof(b)));
	if (m->propose) {
		verb_print_proposed(m, "channel");
		return;
	}
	printf("published   %s: %s (%s%s); timestamp valid until %s.\n"
	       "            Check it: proa-publish verify %s\n",
	       o->wish.channel, o->wish.version, p->was[0] ? "was " : "the first", p->was,
	       valid_until(r, m, t, sizeof(t)), o->word[1]);
}

static int check_release(const struct opts *o, struct err *e)
{
	const struct release_wish *w = &o->wish;

	if (o->n_word != 2 || !w->version || !w->usr || o->n_channel != 1)
		return usage_error("release needs REPO, --version, one --channel and --usr", e);
	if (!w->uki == !w->kernel)
		return usage_error("release needs either --kernel and --initrd, or --uki", e);
	if (w->kernel && !w->initrd)
		return usage_error("--initrd is missing: without one nothing opens /usr", e);
	if (w->uki && (w->initrd || w->stub || w->cmdline || w->os_release || w->uname))
		return usage_error("--initrd, --stub, --cmdline, --os-release and --uname are for "
				   "a UKI that is built here, not for --uki",
				   e);
	return 0;
}

static int do_release(const struct opts *o, struct err *e)
{
	struct release_report report;
	AUTO_KEYS k = KEYS_INIT;
	char pin[PATH_MAX];
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	int q = check_release(o, e);

	q = q < 0 ? q : begin(o, o->word[1], &k, pin, &r, &m, e);
	if (q >= 0)
		q = elsewhere(o, release_make(&r, &m, &k, &o->wish, &report, e), e);
	if (q < 0)
		return q;
	for (size_t i = 0; i < sizeof(report.advice) / sizeof(report.advice[0]); i++)
		if (report.advice[i])
			(void)fprintf(stderr, "proa-publish: warning: %s\n", report.advice[i]);
	print_note(&m);
	print_report(o, &r, &m, &report);
	return 0;
}

/* ---- refresh ---- */

static int do_refresh(const struct opts *o, struct err *e)
{
	AUTO_KEYS k = KEYS_INIT;
	char pin[PATH_MAX];
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char t[48];
	int q;

	if (o->n_word != 2)
		return usage_error("refresh needs REPO", e);
	q = begin(o, o->word[1], &k, pin, &r, &m, e);
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	if (q < 0)
		return q;
	print_note(&m);
	printf("refreshed   %s: timestamp valid until %s.\n", o->word[1],
	       valid_until(&r, &m, t, sizeof(t)));
	return 0;
}

/* ---- channel ---- */

enum edit_verb { EDIT_ADD, EDIT_PROMOTE, EDIT_PAUSE, EDIT_RESUME, EDIT_REMOVE, EDIT_SET, EDITS };

static int channel_promote(const struct opts *o, const struct repo *r, struct roles *m,
			   struct err *e)
{
	struct release_wish w = o->wish;

	if (!o->from || !o->to)
		return usage_error("channel promote needs --from A and --to B", e);
	w.version = o->word[3];
	return release_promote(r, m, o->from, o->to, &w, e);
}

static int channel_edit(const struct opts *o, const struct repo *r, struct roles *m,
			enum edit_verb edit, struct err *e)
{
	struct release_offer offer;
	struct channel *c;
	int q = roles_channel(m, o->word[3], &c, e);

	q = q < 0 ? q : channel_offer(c, r->config.image, o->word[4], &offer, e);
	if (q < 0)
		return q;
	if (edit == EDIT_REMOVE)
		return channel_drop(c, &offer, e);
	if (edit == EDIT_SET)
		q = policy_apply(&o->wish.policy, r->now, &offer, e);
	else
		offer.paused = edit == EDIT_PAUSE;
	return q < 0 ? q : channel_put(c, &offer, NULL, 0, e);
}

static int which_edit(const struct opts *o, enum edit_verb *ret, struct err *e)
{
	const char *policy = policy_given(&o->wish.policy);
	char why[96];
	static const struct {
		const char *verb;
		size_t words;
		const char *usage;
	} edits[EDITS] = {
		[EDIT_ADD] = { "add", 4, "channel add needs REPO NAME" },
		[EDIT_PROMOTE] = { "promote", 4, "channel promote needs REPO VERSION" },
		[EDIT_PAUSE] = { "pause", 5, "channel pause needs REPO CHANNEL VERSION" },
		[EDIT_RESUME] = { "resume", 5, "channel resume needs REPO CHANNEL VERSION" },
		[EDIT_REMOVE] = { "remove-release", 5,
				  "channel remove-release needs REPO CHANNEL VERSION" },
		[EDIT_SET] = { "set", 5, "channel set needs REPO CHANNEL VERSION" },
	};

	for (size_t i = 0; o->n_word > 1 && i < EDITS; i++) {
		if (strcmp(o->word[1], edits[i].verb) != 0)
			continue;
		if (o->n_word != edits[i].words)
			return usage_error(edits[i].usage, e);
		if (i == EDIT_SET && !policy)
			return usage_error("channel set needs what to set: --rollout, --floor, ...",
					   e);
		if (i != EDIT_SET && i != EDIT_PROMOTE && policy) {
			(void)snprintf(why, sizeof(why), "%s is not for channel %s", policy,
				       edits[i].verb);
			return usage_error(why, e);
		}
		*ret = (enum edit_verb)i;
		return 0;
	}
	return usage_error(
		"channel knows add, promote, pause, resume, remove-release, set, propose, sign "
		"and submit",
		e);
}

static int do_channel(const struct opts *o, struct err *e)
{
	AUTO_KEYS k = KEYS_INIT;
	char pin[PATH_MAX];
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	enum edit_verb edit = EDIT_ADD;
	char t[48];
	int q;

	if (verb_is_channel_step(o))
		return verb_channel_step(o, e);
	q = which_edit(o, &edit, e);
	q = q < 0 ? q : begin(o, o->word[2], &k, pin, &r, &m, e);
	if (q < 0)
		return q;
	if (edit == EDIT_ADD)
		q = elsewhere(o, verb_channel_add(o, &k, &m, e), e);
	else if (edit == EDIT_PROMOTE)
		q = channel_promote(o, &r, &m, e);
	else
		q = channel_edit(o, &r, &m, edit, e);
	q = q < 0 ? q : elsewhere(o, roles_commit(&r, &m, &k, e), e);
	if (q < 0)
		return q;
	print_note(&m);
	if (m.propose) {
		verb_print_proposed(&m, "channel");
		return 0;
	}
	printf("done        channel %s %s%s%s; timestamp valid until %s.\n", o->word[1], o->word[3],
	       o->n_word > 4 ? " " : "", o->n_word > 4 ? o->word[4] : "",
	       valid_until(&r, &m, t, sizeof(t)));
	return 0;
}

/* ---- looking, and cleaning up ---- */

static int do_status(const struct opts *o, struct err *e)
{
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char pin[PATH_MAX];
	const char *trusted = NULL;
	int q;

	if (o->n_word != 2)
		return usage_error("status needs REPO", e);
	q = verb_pin(o, false, pin, &trusted, e);
	q = q < 0 ? q : repo_open(o->word[1], false, &r, e);
	r.pin = trusted;
	q = q < 0 ? q : roles_load(&r, &m, e);
	return q < 0 ? q : status_print(&r, &m, o->warn_days, o->json, e);
}

static int do_verify(const struct opts *o, struct err *e)
{
	char pin[PATH_MAX];
	const char *trusted = NULL;
	int q;

	if (o->n_word != 2)
		return usage_error("verify needs REPO", e);
	q = verb_pin(o, false, pin, &trusted, e);
	return q < 0 ? q : verify_run(o->word[1], trusted, e);
}

static int do_gc(const struct opts *o, struct err *e)
{
	struct gc_stats st = { 0, 0 };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char a[32];
	int q;

	if (o->n_word != 2)
		return usage_error("gc needs REPO", e);
	q = repo_open(o->word[1], true, &r, e);
	q = q < 0 ? q : roles_load(&r, &m, e);
	q = q < 0 ? q : gc_run(&r, &m, o->keep, o->dry_run, &st, e);
	if (q < 0)
		return q;
	printf("%s %llu file%s, %s\n", o->dry_run ? "would free " : "freed      ",
	       (unsigned long long)st.files, st.files == 1 ? "" : "s",
	       text_bytes(st.bytes, a, sizeof(a)));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct opts *o, struct err *e);
	} verbs[] = {
		{ "init", verb_init },     { "release", do_release }, { "refresh", do_refresh },
		{ "channel", do_channel }, { "status", do_status },   { "verify", do_verify },
		{ "key", verb_key },       { "root", verb_root },     { "export", verb_export },
		{ "gc", do_gc },           { "image", verb_image },
	};
	int (*run)(const struct opts *o, struct err *e) = NULL;
	struct err e = ERR_INIT;
	struct opts o;
	char unknown[64];
	int q = opts_parse(argc, argv, &o);

	if (q > 0)
		return q - 1;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(o.word[0], verbs[i].name) == 0)
			run = verbs[i].run;
	(void)snprintf(unknown, sizeof(unknown), "no verb '%.40s'", o.word[0]);
	q = run ? run(&o, &e) : usage_error(unknown, &e);
	if (q >= 0 && fflush(stdout) != 0)
		q = err_set(&e, ERR_HOST, EIO, "cannot write to standard output");
	if (q >= 0)
		return q == STATUS_SOON ? EXIT_SOON : q == STATUS_EXPIRED ? EXIT_FAILURE : 0;
	(void)fprintf(stderr, "proa-publish: %s\n", e.text);
	return e.kind == ERR_BUG && e.os == E2BIG ? EXIT_USAGE : EXIT_FAILURE;
}
