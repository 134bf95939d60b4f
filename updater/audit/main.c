/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/text.h"
#include "updater/audit/anchor.h"
#include "updater/audit/attest.h"
#include "updater/audit/audit.h"
#include "updater/audit/dsse.h"
#include "updater/audit/enrol.h"

/* Exit statuses, proa-audit(1). */
enum { GOOD = 0, BAD = 1, USAGE = 2, NOTHING = 3 };

enum { SMALL_MAX = 64 << 10, CA_MAX = 1 << 20 };

struct options {
	struct evidence_options ev;
	bool json, all, deep, next, pcr;
	const char *phases, *repository;
	const char *attest, *tcti, *key, *ak, *root_file, *channel, *uki, *challenge, *secret,
		*ek_ca, *loader;
	bool has_nonce;
	uint8_t nonce[ATTEST_NONCE_MAX];
	size_t nonce_n;
	int64_t now; /* 0: the clock */
};

static void usage(FILE *to)
{
	(void)fputs(
		"Usage: proa-audit report [OPTION...]\n"
		"       proa-audit verify ENVELOPE [OPTION...]\n"
		"       proa-audit diff REPORT REPORT\n"
		"       proa-audit challenge KEYS --secret FILE\n"
		"       proa-audit keys | anchor [--tpm TCTI]\n"
		"Shows which software booted, who signed it and that it has not changed since.\n"
		"It only reads, but for anchor.\n"
		"\n"
		"  report             audit this machine; problems come first\n"
		"    --next           what boots next instead of what runs\n"
		"    --pcr[=PHASES]   with --next: print the PCR 11 to expect, nothing else\n"
		"    --deep           read both slots whole and hash them\n"
		"    --all            evidence of every check, not only of failed ones\n"
		"    --json           as JSON (docs/audit-report.schema.json)\n"
		"    --root DIR       evidence copied from another machine\n"
		"    --esp DIR, --disk PATH, --state DIR\n"
		"                     where these are, if not in their usual places\n"
		"    --repository DIR a copy of the publisher's repository\n"
		"    --time TIME      judge expiry as of 2026-11-21T12:00:00Z\n"
		"    --attest KEY     print a signed in-toto statement: a PEM file, a store URI, "
		"or tpm\n"
		"    --nonce HEX      with --attest: a TPM quote that answers this nonce\n"
		"    --challenge FILE the same, with the nonce of a challenge\n"
		"    --tpm TCTI       which TPM (device:/dev/tpmrm0)\n"
		"  verify FILE        check such a statement elsewhere; says who proves what\n"
		"    --key FILE       public key (PEM) that must have signed it\n"
		"    --ak NAME        attestation key of that machine, as `keys` printed it\n"
		"    --nonce HEX      the nonce that was asked\n"
		"    --secret FILE    instead of both: of the challenge that was answered\n"
		"    --ek-ca FILE     CAs (PEM) that may have certified that TPM\n"
		"    --repository DIR, --trusted-root FILE, --channel NAME\n"
		"                     the publisher's repository and first root (channel stable)\n"
		"    --uki FILE, --loader FILE\n"
		"                     the release's UKI and the boot loader, your own copies\n"
		"  anchor             extend an NV index of the TPM by what is new in the history\n"
		"  keys               the TPM's keys, to note when a machine is enrolled\n"
		"  challenge KEYS     from the output of `keys`: a nonce that only that TPM can "
		"read;\n"
		"                     --secret FILE is made, for verify\n"
		"  diff A B           what changed between two reports\n"
		"\n"
		"  --help, --version\n"
		"\n"
		"Exit status: 0 nothing is wrong (diff: no difference), 1 something is, or could "
		"not\n"
		"be read, 2 usage, 3 nothing to anchor or nothing to anchor it with.\n"
		"Example: proa-audit report --deep\n",
		to);
}

static int fail(const struct err *e)
{
	char clean[sizeof(e->text)];

	(void)fprintf(stderr, "proa-audit: %s\n",
		      text_clean(e->text, strlen(e->text), clean, sizeof(clean)));
	return BAD;
}

static int misuse(const char *text)
{
	(void)fprintf(stderr, "proa-audit: %s (proa-audit --help)\n", text);
	return USAGE;
}

static int print(const struct buf *b, int status)
{
	if ((b->n && fwrite(b->p, 1, b->n, stdout) != b->n) || fflush(stdout) != 0) {
		(void)fputs("proa-audit: cannot write to standard output\n", stderr);
		return BAD;
	}
	return status;
}

/* ---- report ---- */

struct bar {
	struct progress bar;
	bool begun;
};

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct bar *b = arg;

	if (!b->begun)
		progress_begin(&b->bar, stderr, "reading", total, clock_mono_ms());
	b->begun = true;
	progress_set(&b->bar, done, clock_mono_ms());
	if (done == total) {
		progress_end(&b->bar);
		b->begun = false;
	}
	return 0;
}

/* A member of the check next.pcr11, or of its evidence; NULL without. */
static const char *next_pcr11(const struct report *r, const char *key)
{
	const json_t *c;
	size_t i;

	json_array_foreach(r->checks, i, c)
	{
		const json_t *in = json_object_get(c, "evidence");

		if (strcmp(json_string_value(json_object_get(c, "id")), "next.pcr11") != 0)
			continue;
		return json_string_value(json_object_get(json_object_get(c, key) ? c : in, key));
	}
	return NULL;
}

static int show_pcr(const struct audit *a)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	const char *v = next_pcr11(&a->rep, "pcr11_sha256");
	const char *says = next_pcr11(&a->rep, "says");

	if (!v) {
		(void)!err_set(&e, ERR_HOST, ENODATA, "%s",
			       says ? says
				    : "what boots next is no whole UKI (proa-audit report --next)");
		return fail(&e);
	}
	return buf_addf(&b, &e, "%s\n", v) < 0 ? fail(&e) : print(&b, GOOD);
}

static int answer_challenge(const struct options *o, struct attest_options *opt,
			    uint8_t nonce[ATTEST_NONCE_MAX], struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r = file_read(sys_linux(), AT_FDCWD, o->challenge, SMALL_MAX, &text, &n, e);

	if (r < 0)
		return err_wrap(e, r, "%s", o->challenge);
	opt->quote = true;
	opt->nonce = nonce;
	return enrol_answer(o->tcti, text, n, nonce, &opt->nonce_n, e);
}

static int show_attested(struct audit *a, const struct options *o)
{
	struct attest_options opt = { .key = o->attest,
				      .tcti = o->tcti,
				      .quote = o->has_nonce,
				      .nonce = o->nonce,
				      .nonce_n = o->nonce_n };
	uint8_t nonce[ATTEST_NONCE_MAX];
	AUTO_BUF b = { .max = REPORT_BYTES_MAX * 2 };
	struct err e = ERR_INIT;
	int r = o->challenge ? answer_challenge(o, &opt, nonce, &e) : 0;

	if (r >= 0)
		r = attest_write(a, &opt, &b, &e);
	if (r >= 0)
		r = buf_add(&b, "\n", 1, &e);
	return r < 0 ? fail(&e) : print(&b, GOOD);
}

static int show(struct audit *a, const struct options *o)
{
	enum report_verdict v = report_verdict(&a->rep);
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r;

	if (o->pcr)
		return show_pcr(a);
	if (o->attest)
		return show_attested(a, o);
	r = o->json ? json_write(a->rep.doc, true, &b, &e) : report_draw(&a->rep, o->all, &b, &e);
	if (r >= 0 && o->json)
		r = buf_add(&b, "\n", 1, &e);
	return r < 0 ? fail(&e)
		     : print(&b, v == REPORT_FAIL || v == REPORT_UNREADABLE ? BAD : GOOD);
}

static int verb_report(const struct options *o, char **args)
{
	AUTO_AUDIT a = { .deep = o->deep, .repository = o->repository, .tcti = o->tcti };
	AUTO_EVIDENCE ev = { .sys = NULL };
	AUTO_REPORT rep = { .doc = NULL };
	struct bar bar = { .begun = false };
	struct err e = ERR_INIT;
	int r = evidence_open(sys_linux(), &o->ev, &ev, &e);

	(void)args;
	if (o->challenge && (o->has_nonce || !o->attest))
		return misuse("--challenge goes with --attest and without --nonce");
	if (r >= 0)
		r = report_new(&rep, &e);
	if (r < 0)
		return fail(&e);
	a.ev = ev;
	a.rep = rep;
	a.now = o->now ? o->now : (int64_t)time(NULL);
	a.progress = on_progress;
	a.progress_arg = &bar;
	r = o->next ? audit_next(&a, o->phases, &e) : audit_run(&a, &e);
	rep = a.rep;
	return r < 0 ? fail(&e) : show(&a, o);
}

/* ---- verify ---- */

static int load_key(const char *path, struct tuf_key *ret, struct err *e)
{
	AUTO_FREE char *pem = NULL;
	size_t n = 0;
	int r = file_read(sys_linux(), AT_FDCWD, path, 64 << 10, &pem, &n, e);

	return r < 0 ? err_wrap(e, r, "%s", path) : dsse_key_read(pem, n, path, ret, e);
}

/* What else the auditor brings: the secret of a challenge, CAs. */
static int load_known(const struct options *o, struct enrol_secret *s, char **ca,
		      struct verify_options *vo, struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r = 0;

	if (o->secret) {
		r = file_read(sys_linux(), AT_FDCWD, o->secret, SMALL_MAX, &text, &n, e);
		if (r >= 0)
			r = enrol_secret_read(text, n, s, e);
		if (r < 0)
			return err_wrap(e, r, "%s", o->secret);
		vo->nonce = s->nonce;
		vo->nonce_n = s->nonce_n;
		vo->ak = s->ak;
		vo->ek = &s->cert;
	}
	if (o->ek_ca)
		r = file_read(sys_linux(), AT_FDCWD, o->ek_ca, CA_MAX, ca, &vo->ek_ca_n, e);
	vo->ek_ca = *ca;
	return r < 0 ? err_wrap(e, r, "%s", o->ek_ca) : 0;
}

static int show_verdict(const struct report *rep, const struct options *o)
{
	enum report_verdict v = report_verdict(rep);
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r = o->json ? json_write(rep->doc, true, &b, &e) : report_draw(rep, true, &b, &e);

	if (r >= 0 && o->json)
		r = buf_add(&b, "\n", 1, &e);
	return r < 0 ? fail(&e)
		     : print(&b, v == REPORT_FAIL || v == REPORT_UNREADABLE ? BAD : GOOD);
}

static int verb_verify(const struct options *o, char **args)
{
	struct verify_options vo = { .sys = sys_linux(),
				     .nonce = o->has_nonce ? o->nonce : NULL,
				     .nonce_n = o->nonce_n,
				     .ak = o->ak,
				     .repository = o->repository,
				     .root = o->root_file,
				     .channel = o->channel ? o->channel : "stable",
				     .uki = o->uki,
				     .loader = o->loader,
				     .now = o->now ? o->now : (int64_t)time(NULL) };
	AUTO_TUF_KEY key = { .pkey = NULL };
	AUTO_ENROL_SECRET secret = { .nonce_n = 0 };
	AUTO_REPORT rep = { .doc = NULL };
	AUTO_FREE char *text = NULL, *ca = NULL;
	struct err e = ERR_INIT;
	size_t n = 0;
	int r;

	if (o->secret && (o->ak || o->has_nonce))
		return misuse("--secret takes the place of --ak and --nonce");
	if (o->ek_ca && !o->secret)
		return misuse("--ek-ca needs the --secret of a challenge");
	if ((o->repository == NULL) != (o->root_file == NULL))
		return misuse("--repository and --trusted-root go together");
	r = file_read(sys_linux(), AT_FDCWD, args[0], DSSE_BYTES_MAX, &text, &n, &e);
	if (r >= 0 && o->key)
		r = load_key(o->key, &key, &e);
	if (r >= 0)
		r = load_known(o, &secret, &ca, &vo, &e);
	if (r >= 0)
		r = report_new(&rep, &e);
	if (r < 0)
		return fail(&e);
	vo.key = o->key ? &key : NULL;
	r = attest_verify(text, n, &vo, &rep, &e);
	return r < 0 ? fail(&e) : show_verdict(&rep, o);
}

static int verb_keys(const struct options *o, char **args)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	(void)args;
	return enrol_keys(o->tcti, &b, &e) < 0 ? fail(&e) : print(&b, GOOD);
}

/* A new file that nobody else can read; what is there already is somebody's secret. */
static int save_secret(const char *path, const struct buf *b, struct err *e)
{
	struct sys *sys = sys_linux();
	AUTO_SYS_FD fd = { sys, -1 };
	int r;

	fd.fd = sys->ops->open(sys, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd.fd < 0)
		return err_set(e, ERR_INPUT, -fd.fd, "%s: %s", path, strerror(-fd.fd));
	r = sys_write_full(sys, fd.fd, b->p, b->n, 0);
	if (r >= 0)
		r = sys->ops->sync(sys, fd.fd);
	return r < 0 ? err_set(e, ERR_HOST, -r, "%s: %s", path, strerror(-r)) : 0;
}

static int verb_challenge(const struct options *o, char **args)
{
	AUTO_BUF challenge = BUF_INIT;
	AUTO_BUF secret = BUF_INIT;
	AUTO_FREE char *text = NULL;
	struct err e = ERR_INIT;
	size_t n = 0;
	int r;

	if (!o->secret)
		return misuse("--secret FILE says where to keep what `verify` needs");
	r = file_read(sys_linux(), AT_FDCWD, args[0], SMALL_MAX, &text, &n, &e);
	if (r >= 0)
		r = enrol_challenge(text, n, &challenge, &secret, &e);
	if (r < 0)
		return err_wrap(&e, r, "%s", args[0]) < 0 ? fail(&e) : BAD;
	r = save_secret(o->secret, &secret, &e);
	return r < 0 ? fail(&e) : print(&challenge, GOOD);
}

static int verb_anchor(const struct options *o, char **args)
{
	AUTO_EVIDENCE ev = { .sys = NULL };
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r = evidence_open(sys_linux(), &o->ev, &ev, &e);

	(void)args;
	if (r >= 0)
		r = anchor_update(&ev, o->tcti, &e);
	if (r == -ENOENT || r == -ENOTSUP) {
		(void)fail(&e);
		return NOTHING;
	}
	if (r >= 0)
		r = buf_addf(&b, &e, "anchored %d more entries of the history\n", r);
	return r < 0 ? fail(&e) : print(&b, GOOD);
}

/* ---- diff ---- */

static int load_report(const char *path, struct report *ret, struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r = file_read(sys_linux(), AT_FDCWD, path, REPORT_BYTES_MAX, &text, &n, e);

	return r < 0 ? err_wrap(e, r, "%s", path) : report_read(text, n, path, ret, e);
}

static int verb_diff(const struct options *o, char **args)
{
	AUTO_REPORT a = { .doc = NULL }, b = { .doc = NULL };
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;
	int r = load_report(args[0], &a, &e);

	(void)o;
	if (r >= 0)
		r = load_report(args[1], &b, &e);
	if (r >= 0)
		r = report_diff(&a, &b, &out, &e);
	return r < 0 ? fail(&e) : print(&out, r > 0 ? BAD : GOOD);
}

static const struct verb {
	const char *name;
	int (*run)(const struct options *o, char **args);
	int args;
} verbs[] = { { "report", verb_report, 0 },       { "verify", verb_verify, 1 },
	      { "diff", verb_diff, 2 },           { "keys", verb_keys, 0 },
	      { "challenge", verb_challenge, 1 }, { "anchor", verb_anchor, 0 } };

/* ---- the command line ---- */

enum { OPT_ROOT = 256, OPT_TIME = 300, OPT_PCR, OPT_NONCE };

/* Options whose value is kept as it stands. */
static const char **text_option(int opt, struct options *o)
{
	const char **const to[] = {
		&o->ev.root,   &o->ev.esp, &o->ev.disk, &o->ev.state,  &o->repository, &o->attest,
		&o->tcti,      &o->key,    &o->ak,      &o->root_file, &o->channel,    &o->uki,
		&o->challenge, &o->secret, &o->ek_ca,   &o->loader,
	};
	size_t i = (size_t)opt - OPT_ROOT;

	return opt >= OPT_ROOT && i < sizeof(to) / sizeof(to[0]) ? to[i] : NULL;
}

static int take_nonce(struct options *o)
{
	struct err e = ERR_INIT;

	o->nonce_n = strlen(optarg) / 2;
	o->has_nonce = true;
	if (o->nonce_n < 8 || o->nonce_n > sizeof(o->nonce))
		return misuse("--nonce takes 8 to 32 bytes in hex");
	return hex_parse(optarg, "--nonce", o->nonce, o->nonce_n, &e) < 0 ? misuse(e.text) : -1;
}

/* -1: go on; else the exit status. */
static int take(int opt, struct options *o)
{
	const char **text = text_option(opt, o);
	struct err e = ERR_INIT;

	if (text) {
		*text = optarg;
		return -1;
	}
	switch (opt) {
	case OPT_NONCE:
		return take_nonce(o);
	case OPT_TIME:
		return num_parse_time(optarg, "--time", &o->now, &e) < 0 ? misuse(e.text) : -1;
	case OPT_PCR:
		o->pcr = o->next = true;
		o->phases = optarg ? optarg : "";
		return -1;
	case 'j':
		o->json = true;
		return -1;
	case 'a':
		o->all = true;
		return -1;
	case 'd':
		o->deep = true;
		return -1;
	case 'n':
		o->next = true;
		return -1;
	case 'h':
		usage(stdout);
		return GOOD;
	case 'V':
		puts("proa-audit " PROA_VERSION);
		return GOOD;
	default:
		(void)fputs("proa-audit: see proa-audit --help\n", stderr);
		return USAGE;
	}
}

static const struct option longs[] = {
	{ "root", required_argument, NULL, OPT_ROOT },
	{ "esp", required_argument, NULL, OPT_ROOT + 1 },
	{ "disk", required_argument, NULL, OPT_ROOT + 2 },
	{ "state", required_argument, NULL, OPT_ROOT + 3 },
	{ "repository", required_argument, NULL, OPT_ROOT + 4 },
	{ "attest", required_argument, NULL, OPT_ROOT + 5 },
	{ "tpm", required_argument, NULL, OPT_ROOT + 6 },
	{ "key", required_argument, NULL, OPT_ROOT + 7 },
	{ "ak", required_argument, NULL, OPT_ROOT + 8 },
	{ "trusted-root", required_argument, NULL, OPT_ROOT + 9 },
	{ "channel", required_argument, NULL, OPT_ROOT + 10 },
	{ "uki", required_argument, NULL, OPT_ROOT + 11 },
	{ "challenge", required_argument, NULL, OPT_ROOT + 12 },
	{ "secret", required_argument, NULL, OPT_ROOT + 13 },
	{ "ek-ca", required_argument, NULL, OPT_ROOT + 14 },
	{ "loader", required_argument, NULL, OPT_ROOT + 15 },
	{ "nonce", required_argument, NULL, OPT_NONCE },
	{ "time", required_argument, NULL, OPT_TIME },
	{ "pcr", optional_argument, NULL, OPT_PCR },
	{ "json", no_argument, NULL, 'j' },
	{ "all", no_argument, NULL, 'a' },
	{ "deep", no_argument, NULL, 'd' },
	{ "next", no_argument, NULL, 'n' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct options o = { .phases = "" };
	int opt, r;

	(void)setenv("TSS2_LOG", "all+none", 0); /* its failures are told in our words */
	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		r = take(opt, &o);
		if (r >= 0)
			return r;
	}
	if (optind == argc)
		return misuse("say what to do: report, verify, diff, keys, challenge or anchor");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[optind], verbs[i].name) != 0)
			continue;
		if (argc - optind - 1 != verbs[i].args)
			return misuse(verbs[i].args == 2   ? "two reports are needed"
				      : verbs[i].args == 1 ? "one file is needed"
							   : "no argument is taken there");
		return verbs[i].run(&o, argv + optind + 1);
	}
	return misuse("there is no such command");
}
