/* SPDX-License-Identifier: Apache-2.0 */
/* proa-publish: makes and keeps the signed repository that hosts update from. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "base/version.h"
#include "publisher/opts.h"
#include "publisher/release.h"
#include "publisher/repo.h"
#include "publisher/report.h"
#include "publisher/roles.h"
#include "updater/image/index.h"

enum { EXIT_USAGE = 2, SHORT_HASH = 8 };

static int usage_error(const char *why, struct err *e)
{
	return err_set(e, ERR_BUG, E2BIG, "%s (proa-publish --help)", why);
}

/* Until this process ends: what is begun is finished or undone, a long step stops when asked. */
static void hold_signals(void)
{
	sigset_t s;

	(void)sigemptyset(&s);
	(void)sigaddset(&s, SIGINT);
	(void)sigaddset(&s, SIGTERM);
	(void)sigaddset(&s, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &s, NULL);
}

/* A repository opened for change, its roles read. */
static int begin(const struct opts *o, const char *path, struct repo *r, struct roles *m,
		 struct err *e)
{
	int q;

	if (!o->keys)
		return usage_error("--keys DIR is missing", e);
	hold_signals();
	q = repo_open(path, true, r, e);
	return q < 0 ? q : roles_load(r, m, e);
}

static void print_note(const struct roles *m)
{
	if (m->note[0])
		(void)fprintf(stderr, "proa-publish: warning: %s: sign it again with refresh\n",
			      m->note);
}

static char *valid_until(const struct repo *r, const struct roles *m, char *out, size_t cap)
{
	return text_time(roles_expires(m->timestamp), r->now, out, cap);
}

/* ---- init ---- */

static int add_channels(const struct opts *o, struct roles *m, const struct keys *k, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < o->n_channel; i++)
		q = roles_channel_add(m, k, o->channel[i], e);
	return q;
}

/* Nothing is made before it is known that all of it can be. */
static int check_init(const struct opts *o, const struct keys *k, struct err *e)
{
	static const char *const top[] = { "root", "targets", "snapshot", "timestamp" };
	int q = 0;

	if (o->n_word != 2 || !o->image || !o->keys)
		return usage_error("init needs REPO, --image ID and --keys DIR", e);
	if (!image_id_valid(o->image))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be an image id: 1 to 32 of a-z 0-9 -, a letter first",
			       o->image);
	if (o->wish.arch && strlen(o->wish.arch) >= sizeof(((struct repo_config *)NULL)->arch))
		return err_set(e, ERR_INPUT, EINVAL, "--arch is too long");
	for (size_t i = 0; q >= 0 && i < sizeof(top) / sizeof(top[0]); i++)
		q = keys_absent(k, top[i], e);
	for (size_t i = 0; q >= 0 && i < o->n_channel; i++) {
		if (!channel_name_valid(o->channel[i]))
			return err_set(e, ERR_INPUT, EINVAL, "'%s' cannot be a channel's name",
				       o->channel[i]);
		q = keys_absent(k, o->channel[i], e);
	}
	return q;
}

static int do_init(const struct opts *o, struct err *e)
{
	struct repo_config c = REPO_CONFIG_DEFAULT;
	const struct keys k = { o->keys };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	int q = check_init(o, &k, e);

	if (q < 0)
		return q;
	(void)snprintf(c.image, sizeof(c.image), "%s", o->image);
	if (o->wish.arch)
		(void)snprintf(c.arch, sizeof(c.arch), "%s", o->wish.arch);
	random_bytes(c.salt, c.salt_n);
	hold_signals();
	q = repo_create(o->word[1], &c, &r, e);
	q = q < 0 ? q : roles_create(&r, &k, &m, e);
	q = q < 0 ? q : add_channels(o, &m, &k, e);
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	q = q < 0 ? q : repo_finish(&r, e);
	if (q < 0)
		return q;
	printf("made        repository %s for image %s, %zu channel%s\n", o->word[1], o->image,
	       m.n_channel, m.n_channel == 1 ? "" : "s");
	printf("keys        %s: root, targets, snapshot, timestamp", o->keys);
	for (size_t i = 0; i < m.n_channel; i++)
		printf(", %s", m.channel[i].name);
	printf("\nnext        put %s/metadata/1.root.json into the image as\n"
	       "            /usr/share/proa/root.json; take %s/root.pem offline;\n"
	       "            %s\n",
	       o->word[1], o->keys,
	       m.n_channel ? "then: proa-publish release" : "then: proa-publish channel add");
	return 0;
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
	printf("compressed  full %s, %.1f %%\n", text_bytes(p->full_bytes, a, sizeof(a)),
	       100.0 * (double)p->full_bytes / (double)p->usr_bytes);
	print_deltas(p);
	printf("uki         %s_%s.efi %s, compressed %s\n", r->config.image, o->wish.version,
	       text_bytes(p->uki_bytes, a, sizeof(a)),
	       text_bytes(p->uki_packed_bytes, b, sizeof(b)));
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
		return usage_error("release needs either --kernel (and --initrd) or --uki", e);
	if (w->uki && (w->initrd || w->stub || w->cmdline || w->os_release || w->uname))
		return usage_error("--initrd, --stub, --cmdline, --os-release and --uname are for "
				   "a UKI that is built here, not for --uki",
				   e);
	return 0;
}

static int do_release(const struct opts *o, struct err *e)
{
	struct release_report report;
	const struct keys k = { o->keys };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	int q = check_release(o, e);

	q = q < 0 ? q : begin(o, o->word[1], &r, &m, e);
	q = q < 0 ? q : release_make(&r, &m, &k, &o->wish, &report, e);
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
	const struct keys k = { o->keys };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char t[48];
	int q;

	if (o->n_word != 2)
		return usage_error("refresh needs REPO", e);
	q = begin(o, o->word[1], &r, &m, e);
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	if (q < 0)
		return q;
	print_note(&m);
	printf("refreshed   %s: timestamp valid until %s.\n", o->word[1],
	       valid_until(&r, &m, t, sizeof(t)));
	return 0;
}

/* ---- channel ---- */

enum edit { EDIT_ADD, EDIT_PROMOTE, EDIT_PAUSE, EDIT_RESUME, EDIT_REMOVE, EDITS };

static int channel_promote(const struct opts *o, const struct repo *r, struct roles *m,
			   struct err *e)
{
	struct release_wish w = o->wish;

	if (!o->from || !o->to)
		return usage_error("channel promote needs --from A and --to B", e);
	w.version = o->word[3];
	return release_promote(r, m, o->from, o->to, &w, e);
}

static int channel_edit(const struct opts *o, const struct repo *r, struct roles *m, enum edit edit,
			struct err *e)
{
	struct release_offer offer;
	struct channel *c;
	int q = roles_channel(m, o->word[3], &c, e);

	q = q < 0 ? q : channel_offer(c, r->config.image, o->word[4], &offer, e);
	if (q < 0)
		return q;
	if (edit == EDIT_REMOVE)
		return channel_drop(c, &offer, e);
	offer.paused = edit == EDIT_PAUSE;
	return channel_put(c, &offer, NULL, 0, e);
}

static int which_edit(const struct opts *o, enum edit *ret, struct err *e)
{
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
	};

	for (size_t i = 0; o->n_word > 1 && i < EDITS; i++) {
		if (strcmp(o->word[1], edits[i].verb) != 0)
			continue;
		if (o->n_word != edits[i].words)
			return usage_error(edits[i].usage, e);
		*ret = (enum edit)i;
		return 0;
	}
	return usage_error("channel knows add, promote, pause, resume and remove-release", e);
}

static int do_channel(const struct opts *o, struct err *e)
{
	const struct keys k = { o->keys };
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	enum edit edit;
	char t[48];
	int q = which_edit(o, &edit, e);

	q = q < 0 ? q : begin(o, o->word[2], &r, &m, e);
	if (q < 0)
		return q;
	if (edit == EDIT_ADD)
		q = roles_channel_add(&m, &k, o->word[3], e);
	else if (edit == EDIT_PROMOTE)
		q = channel_promote(o, &r, &m, e);
	else
		q = channel_edit(o, &r, &m, edit, e);
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	if (q < 0)
		return q;
	print_note(&m);
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
	int q;

	if (o->n_word != 2)
		return usage_error("status needs REPO", e);
	q = repo_open(o->word[1], false, &r, e);
	q = q < 0 ? q : roles_load(&r, &m, e);
	return q < 0 ? q : status_print(&r, &m, o->json, e);
}

static int do_verify(const struct opts *o, struct err *e)
{
	if (o->n_word != 2)
		return usage_error("verify needs REPO", e);
	return verify_run(o->word[1], e);
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
		{ "init", do_init },       { "release", do_release }, { "refresh", do_refresh },
		{ "channel", do_channel }, { "status", do_status },   { "verify", do_verify },
		{ "gc", do_gc },
	};
	int (*run)(const struct opts *o, struct err *e) = NULL;
	struct err e = ERR_INIT;
	struct opts o;
	int q = opts_parse(argc, argv, &o);

	if (q > 0)
		return q - 1;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(o.word[0], verbs[i].name) == 0)
			run = verbs[i].run;
	q = run ? run(&o, &e) : usage_error("no such verb", &e);
	if (q >= 0 && fflush(stdout) != 0)
		q = err_set(&e, ERR_HOST, EIO, "cannot write to standard output");
	if (q >= 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "proa-publish: %s\n", e.text);
	return e.kind == ERR_BUG && e.os == E2BIG ? EXIT_USAGE : EXIT_FAILURE;
}
