/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/num.h"
#include "ignition-lite/apply.h"
#include "ignition-lite/azure.h"
#include "ignition-lite/load.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/remark.h"
#include "ignition-lite/root.h"
#include "ignition-lite/source.h"
#include "ignition-lite/url.h"
#include "ignition-lite/verb.h"

enum { CMDLINE_MAX = 64 << 10, EFI_TEXT_MAX = 4096, TIMEOUT_MAX_S = 86400 };

static const char usage_apply[] =
	"Usage: ignition-lite apply --root DIR [OPTION]...\n"
	"Provisions the tree at DIR from the host's Ignition config: everything it needs is "
	"fetched\n"
	"and verified first; if a step fails the tree is put back as it was. A tree that has been\n"
	"provisioned is left alone.\n"
	"\n"
	"      --root DIR       the tree, /sysroot in an initrd\n"
	"      --config FILE|URL  this config instead of looking for one; - is standard input\n"
	"      --explain        say what would be done; nothing is changed, no file is fetched\n"
	"      --dry-run        fetch and check everything too; nothing is changed\n"
	"      --force          also when it was done before (so does ignition.firstboot=1 on the\n"
	"                       kernel command line)\n"
	"      --platform NAME  metal, qemu, azure or file; default ignition.platform.id= on the\n"
	"                       kernel command line, then what the machine says of itself\n"
	"      --timeout TIME   for each thing that is fetched, its retries included (default: "
	"the\n"
	"                       config's httpTotal, else 10 min)\n"
	"      --ca FILE        PEM certificates to trust besides the config's\n"
	"      --imds URL       where Azure's metadata service is\n"
	"      --host DIR       look for /proc/cmdline, /sys, /usr/lib/ignition below DIR\n"
	"      --json           say the outcome as JSON\n"
	"      --quiet          no notes about retries and warnings\n"
	"      --help\n"
	"\n"
	"Exit status: 0 done; 1 failed, nothing is changed; 2 usage; 3 was done before.\n"
	"Example: ignition-lite apply --root /sysroot --config config.ign --explain";

static const char usage_probe[] =
	"Usage: ignition-lite probe --root DIR [OPTION]...\n"
	"Says whether `ignition-lite apply` with the same options would need the network. Uses "
	"none\n"
	"itself and changes nothing.\n"
	"\n"
	"Options: --root, --config, --force, --platform, --host as for apply.\n"
	"Exit status: 0 needed; 1 failed; 2 usage; 3 not needed.\n"
	"Example: ignition-lite probe --root /sysroot && systemctl start systemd-networkd";

enum option_id {
	OPT_ROOT = 256,
	OPT_CONFIG,
	OPT_EXPLAIN,
	OPT_DRY_RUN,
	OPT_FORCE,
	OPT_PLATFORM,
	OPT_TIMEOUT,
	OPT_CA,
	OPT_IMDS,
	OPT_HOST,
	OPT_JSON,
	OPT_QUIET,
};

static const struct option options[] = {
	{ "root", required_argument, NULL, OPT_ROOT },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "explain", no_argument, NULL, OPT_EXPLAIN },
	{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "platform", required_argument, NULL, OPT_PLATFORM },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "ca", required_argument, NULL, OPT_CA },
	{ "imds", required_argument, NULL, OPT_IMDS },
	{ "host", required_argument, NULL, OPT_HOST },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct asked {
	const char *root;
	struct ign_source source;
	struct ign_cmdline cmdline;
	struct ign_load load;
	struct buf kernel; /* its command line */
	bool explain, dry_run, force, json, quiet;
};

static void asked_done(struct asked *a)
{
	buf_done(&a->kernel);
	ign_fd_done(&a->load.spool);
}

/* What is found on the way: the config, the plan and what the plan needs. */
struct found {
	struct ign_root root;
	struct ign_text text;
	struct ign_config *config;
	struct ign_plan *plan;
	struct ign_store *store;
	struct ign_stamp stamp;
	bool stamped;
};

static void found_done(struct found *f)
{
	ign_store_free(f->store);
	ign_plan_free(f->plan);
	ign_config_free(f->config);
	ign_text_done(&f->text);
	ign_root_done(&f->root);
}
#define AUTO_FOUND __attribute__((cleanup(found_done))) struct found

static void note(void *arg, const char *text)
{
	(void)arg;
	(void)fprintf(stderr, "ignition-lite: %s\n", text);
}

static int failed(const struct err *e)
{
	(void)fprintf(stderr, "ignition-lite: %s\n", e->text);
	return IGN_EXIT_FAILED;
}

static int wrong(const char *verb, const char *why)
{
	(void)fprintf(stderr, "ignition-lite %s: %s (see ignition-lite %s --help)\n", verb, why,
		      verb);
	return IGN_EXIT_USAGE;
}

static int printed(void)
{
	if (fflush(stdout) == 0)
		return IGN_EXIT_DONE;
	(void)fprintf(stderr, "ignition-lite: cannot write to standard output\n");
	return IGN_EXIT_FAILED;
}

/* --- options --- */

static int take_value(struct asked *a, int opt, const char *arg, struct err *e)
{
	uint64_t s;
	int r;

	switch (opt) {
	case OPT_PLATFORM:
		return ign_source_platform(arg, &a->source.platform, e);
	case OPT_TIMEOUT:
		r = num_parse_seconds(arg, "--timeout", &s, e);
		if (r == 0 && (s == 0 || s > TIMEOUT_MAX_S))
			return err_set(e, ERR_INPUT, ERANGE,
				       "--timeout must be between 1 s and 24 h, not '%s'", arg);
		a->load.timeout_s = r == 0 ? (unsigned)s : 0;
		return r;
	case OPT_CA:
		a->load.ca_file = arg;
		return access(arg, R_OK) == 0 ? 0
					      : err_set(e, ERR_INPUT, errno, "cannot read '%s': %s",
							arg, strerror(errno));
	default:
		return err_set(e, ERR_BUG, EINVAL, "option %d", opt);
	}
}

static int take_option(struct asked *a, int opt, const char *arg, struct err *e)
{
	switch (opt) {
	case OPT_ROOT:
		a->root = arg;
		return 0;
	case OPT_CONFIG:
		a->source.given = arg;
		return 0;
	case OPT_EXPLAIN:
		a->explain = true;
		return 0;
	case OPT_DRY_RUN:
		a->dry_run = true;
		return 0;
	case OPT_FORCE:
		a->force = true;
		return 0;
	case OPT_IMDS:
		a->source.imds = arg;
		return 0;
	case OPT_HOST:
		a->source.host = arg;
		return 0;
	case OPT_JSON:
		a->json = true;
		return 0;
	case OPT_QUIET:
		a->quiet = true;
		return 0;
	default:
		return take_value(a, opt, arg, e);
	}
}

/* 0, or an exit status + 1. */
static int parse(int argc, char **argv, const char *usage, struct asked *a)
{
	struct err e = ERR_INIT;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h')
			return 1 + (puts(usage) < 0 ? IGN_EXIT_FAILED : printed());
		if (opt == '?')
			return 1 + wrong(argv[0], "bad option");
		if (take_option(a, opt, optarg, &e) < 0)
			return 1 + wrong(argv[0], e.text);
	}
	if (optind < argc)
		return 1 + wrong(argv[0], "there are no arguments besides options");
	if (!a->root)
		return 1 + wrong(argv[0], "--root is needed");
	return 0;
}

/* The certificates of the initrd, in the place where it has them. */
static const char *system_ca(void)
{
	static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt",
					     "/etc/pki/tls/certs/ca-bundle.crt",
					     "/etc/ssl/cert.pem" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (access(files[i], R_OK) == 0)
			return files[i];
	return NULL;
}

static int prepare(struct asked *a, struct found *f, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	int r;

	/* modes are exactly what is asked for */
	(void)umask(022);
	a->load.note = a->quiet ? NULL : note;
	a->source.cmdline = &a->cmdline;
	a->source.load = &a->load;
	if (!a->load.ca_file)
		a->load.ca_file = system_ca();
	r = ign_source_read(&a->source, "/proc/cmdline", CMDLINE_MAX, &a->kernel, e);
	if (r >= 0)
		r = ign_source_cmdline(a->kernel.p ? a->kernel.p : "", &a->cmdline, e);
	if (r >= 0)
		r = ign_root_open(a->root, &f->root, e);
	if (r < 0)
		return r;
	a->load.spool = open(a->dry_run || a->explain ? tmp && *tmp ? tmp : "/tmp" : f->root.path,
			     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return a->load.spool < 0 ? err_set(e, ERR_HOST, errno, "'%s': %s",
					   tmp && *tmp ? tmp : "/tmp", strerror(errno))
				 : 0;
}

/* --- the way from a host to a plan --- */

static bool again(const struct asked *a)
{
	return a->force || a->cmdline.first_boot;
}

static void hash_text(struct found *f)
{
	uint8_t hash[SHA256_BYTES];

	f->stamp.config[0] = '\0';
	if (f->text.text.n == 0)
		return;
	sha256(f->text.text.p, f->text.text.n, hash);
	hex_format(hash, sizeof(hash), f->stamp.config);
}

/* A merged config has no lines; the user's own has, if the refused part is in it. */
static int refuse(const struct found *f, struct err *e)
{
	AUTO_IGN_CONFIG *own = NULL;
	AUTO_IGN_REPORT merged = { .n = 0 };
	AUTO_IGN_REPORT rep = { .n = 0 };
	AUTO_IGN_REPORT none = { .n = 0 };
	int r = ign_config_refuse(f->config, NULL, 0, f->text.what, &merged, e), r2;

	if (r == 0 ||
	    ign_config_read(f->text.text.p, f->text.text.n, f->text.what, &none, &own, NULL) <= 0)
		return r;
	r2 = ign_config_refuse(own, f->text.text.p, f->text.text.n, f->text.what, &rep, e);
	return r2 < 0 ? r2 : ign_config_refuse(f->config, NULL, 0, f->text.what, &none, e);
}

static int load(const struct asked *a, struct found *f, struct err *e)
{
	AUTO_IGN_CONFIG *base = NULL;
	AUTO_IGN_CONFIG *user = NULL;
	AUTO_IGN_REPORT rep = { .n = 0 };
	int r = ign_source_base(&a->source, &base, e);

	if (r >= 0)
		r = ign_source_user(&a->source, &f->text, e);
	if (r == 0)
		r = ign_load_config(&a->load, f->text.text.p, f->text.text.n, f->text.what, &user,
				    e);
	if (r == 0 && base)
		r = ign_config_merge(base, user, &rep, &f->config, e);
	else if (r == 0)
		f->config = TAKE(user);
	if (r == 0)
		r = refuse(f, e);
	if (r == 0)
		r = ign_plan_make(f->config, &f->plan, e);
	hash_text(f);
	return r;
}

/* --- saying it --- */

static int say_json(const struct asked *a, const struct found *f, const char *outcome)
{
	AUTO_JSON *doc = json_object();
	AUTO_BUF text = BUF_INIT;
	struct err e = ERR_INIT;
	int r = json_put_str(doc, "outcome", outcome, &e);

	if (r == 0)
		r = json_put_str(doc, "root", f->root.path, &e);
	if (r == 0 && f->plan)
		r = json_put_str(doc, "config", f->text.text.n ? f->text.what : "", &e);
	if (r == 0)
		r = json_put_str(doc, "sha256", f->stamp.config, &e);
	if (r == 0 && f->stamp.date[0])
		r = json_put_str(doc, "date", f->stamp.date, &e);
	if (r == 0 && f->plan)
		r = json_put_u64(doc, "steps", f->plan->steps, &e);
	if (r == 0)
		r = json_write(doc, true, &text, &e);
	(void)a;
	if (r < 0)
		return failed(&e);
	(void)puts(text.p);
	return printed();
}

static int say_outcome(const struct asked *a, const struct found *f, const char *outcome,
		       const char *sentence)
{
	if (a->json)
		return say_json(a, f, outcome);
	if (f->text.text.n == 0)
		(void)printf("%s: no config was given, %zu steps.\n", sentence, f->plan->steps);
	else
		(void)printf("%s: %zu steps from %s (sha256 %.16s...).\n", sentence, f->plan->steps,
			     f->text.what, f->stamp.config);
	return printed();
}

static int say_done_before(const struct asked *a, const struct found *f)
{
	int r = IGN_EXIT_DONE;

	if (a->json)
		r = say_json(a, f, "done-before");
	else if (!a->quiet)
		(void)printf("'%s' was provisioned %s (config sha256 %.16s%s); --force does it "
			     "again.\n",
			     f->root.path, f->stamp.date,
			     f->stamp.config[0] ? f->stamp.config : "none",
			     f->stamp.config[0] ? "..." : "");
	if (r == IGN_EXIT_DONE)
		r = printed();
	return r == IGN_EXIT_DONE ? IGN_EXIT_NOTHING : r;
}

static int say_plan(const struct found *f)
{
	AUTO_BUF text = BUF_INIT;
	struct err e = ERR_INIT;

	if (ign_plan_explain(f->plan, &text, &e) < 0)
		return failed(&e);
	(void)fputs(text.n ? text.p : "", stdout);
	return printed();
}

/* --- apply --- */

/* For sentences only: a host without such variables says less. */
static void booted_by(const struct asked *a, struct ign_booted *ret)
{
#define LOADER_VARIABLES "/sys/firmware/efi/efivars/"
#define LOADER_GUID      "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	AUTO_BUF entry = BUF_INIT;
	AUTO_BUF stub = BUF_INIT;

	if (ign_source_read(&a->source, LOADER_VARIABLES "LoaderEntrySelected" LOADER_GUID,
			    EFI_TEXT_MAX, &entry, NULL) > 0)
		ign_booted_text(entry.p, entry.n, ret->entry, sizeof(ret->entry));
	if (ign_source_read(&a->source, LOADER_VARIABLES "StubInfo" LOADER_GUID, EFI_TEXT_MAX,
			    &stub, NULL) > 0)
		ign_booted_text(stub.p, stub.n, ret->stub, sizeof(ret->stub));
}

static int settle(const struct asked *a, struct found *f, struct err *e)
{
	int r;

	if (a->dry_run || a->explain)
		return 0;
	if (flock(f->root.fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, ERR_HOST, errno, "another ignition-lite works on '%s'",
			       f->root.path);
	r = ign_apply_settle(&f->root, e);
	if (r > 0 && a->load.note)
		a->load.note(NULL, "what an interrupted run left was tidied up");
	return r < 0 ? r : 0;
}

static int apply(const struct asked *a, struct found *f, struct err *e)
{
	struct ign_booted booted = { .entry = "" };
	struct ign_apply how = { .root = &f->root,
				 .plan = f->plan,
				 .cmdline = a->kernel.p ? a->kernel.p : "",
				 .booted = &booted,
				 .user = f->text.text.n > 0 };
	int r;

	booted_by(a, &booted);
	r = ign_apply_check(&how, e);
	if (r == 0 && a->load.note)
		r = ign_remarks(&f->root, f->plan, a->load.note, a->load.note_arg, e);

	/* a person who names a root is told at once when the config can never do */
	if (r == 0)
		r = ign_load_files(&a->load, f->plan, &f->store, e);
	if (r < 0 || a->dry_run)
		return r;
	how.store = f->store;
	num_format_time(time(NULL), f->stamp.date);
	return ign_apply_run(&how, &f->stamp, e);
}

int ign_verb_apply(int argc, char **argv)
{
	__attribute__((cleanup(asked_done))) struct asked a = { .source = { .host = "" },
								.load = { .spool = -1 } };
	AUTO_FOUND f = { .root = { .fd = -1 } };
	struct err e = ERR_INIT;
	int r = parse(argc, argv, usage_apply, &a);

	if (r > 0)
		return r - 1;
	r = prepare(&a, &f, &e);
	if (r == 0)
		r = settle(&a, &f, &e);
	if (r == 0)
		r = ign_stamp_read(&f.root, &f.stamp, &e);
	if (r > 0 && !again(&a) && !a.explain && !a.dry_run)
		return say_done_before(&a, &f);
	if (r >= 0)
		r = load(&a, &f, &e);
	if (r == 0 && a.explain)
		return say_plan(&f);
	if (r == 0)
		r = apply(&a, &f, &e);
	if (r < 0)
		return failed(&e);
	return a.dry_run ? say_outcome(&a, &f, "checked", "All of it can be done")
			 : say_outcome(&a, &f, "applied", "Provisioned");
}

/* --- probe --- */

static bool resource_needs(const struct ign_resource *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (r[i].source && ign_url_needs_network(r[i].source))
			return true;
	return false;
}

static bool config_needs(const struct ign_config *c)
{
	return resource_needs(c->merge, c->merges) || resource_needs(&c->replace, 1) ||
	       resource_needs(c->ca, c->cas);
}

/* Looks at the user's config without following where it leads over the network. */
static int probe(const struct asked *a, struct found *f, bool *ret, struct err *e)
{
	AUTO_IGN_CONFIG *own = NULL;
	AUTO_IGN_REPORT rep = { .n = 0 };
	int r = ign_source_needs_network(&a->source, ret, e);

	if (r < 0 || *ret)
		return r;
	r = ign_source_user(&a->source, &f->text, e);
	if (r == 0)
		r = ign_config_read(f->text.text.p, f->text.text.n, f->text.what, &rep, &own, e);
	if (r < 0)
		return r;
	*ret = own && config_needs(own);
	if (*ret)
		return 0;
	ign_text_done(&f->text);
	f->text.text = (struct buf)BUF_INIT;
	r = load(a, f, e);
	if (r == 0)
		*ret = f->plan->needs_network;
	return r;
}

int ign_verb_probe(int argc, char **argv)
{
	__attribute__((cleanup(asked_done))) struct asked a = { .source = { .host = "" },
								.load = { .spool = -1 },
								.dry_run = true };
	AUTO_FOUND f = { .root = { .fd = -1 } };
	struct err e = ERR_INIT;
	bool needed = false;
	int r = parse(argc, argv, usage_probe, &a);

	if (r > 0)
		return r - 1;
	r = prepare(&a, &f, &e);
	if (r == 0)
		r = ign_stamp_read(&f.root, &f.stamp, &e);
	if (r > 0 && !again(&a))
		return IGN_EXIT_NOTHING;
	if (r >= 0)
		r = probe(&a, &f, &needed, &e);
	if (r < 0)
		return failed(&e);
	return needed ? IGN_EXIT_DONE : IGN_EXIT_NOTHING;
}
