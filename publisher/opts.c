/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/opts.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

enum { EXIT_USAGE = 2, KEEP_MAX = 1000, KEEP_DEFAULT = 1, LEVEL_MAX = 22, WARN_MAX = 3650 };

static const char usage[] =
	"Usage: proa-publish init REPO --image ID --keys DIR [--channel NAME]...\n"
	"       proa-publish release REPO --version V --channel C --keys DIR --usr IMAGE|DIR\n"
	"                    (--kernel F --initrd F | --uki F) [OPTION...]\n"
	"       proa-publish image DIR FILE [--image ID] [--like OLD] [--salt HEX]\n"
	"       proa-publish channel add REPO NAME --keys DIR\n"
	"       proa-publish channel promote REPO VERSION --from A --to B --keys DIR\n"
	"       proa-publish channel pause|resume|remove-release REPO CHANNEL VERSION --keys DIR\n"
	"       proa-publish channel set REPO CHANNEL VERSION --keys DIR POLICY...\n"
	"       proa-publish channel propose REPO CHANNEL FILE --keys DIR [KEY CHANGE...]\n"
	"       proa-publish root propose REPO FILE --keys DIR [--rebuild] [KEY CHANGE...]\n"
	"       proa-publish root|channel sign FILE --key KEY [--root FILE] [--out FILE] [--yes]\n"
	"       proa-publish root|channel submit REPO FILE... --keys DIR\n"
	"       proa-publish key create NAME --keys DIR [--type ed25519|ecdsa|rsa]\n"
	"       proa-publish key show --key KEY [--name NAME]\n"
	"       proa-publish refresh REPO --keys DIR\n"
	"       proa-publish status REPO [--root FILE] [--warn DAYS] [--json]\n"
	"       proa-publish export REPO DIR --channel C... [--since V] [--root FILE]\n"
	"       proa-publish verify REPO [--root FILE]\n"
	"       proa-publish gc REPO [--keep N] [--dry-run]\n"
	"Makes and keeps the signed repository that hosts update from: plain files for any static\n"
	"server. Runs without root.\n\n";

static const char usage_options[] =
	"      --keys DIR        private keys <role>.pem, or <role>.uri holding a store URI, and\n"
	"                        root.json, the root that is trusted; may be repeated\n"
	"      --key KEY         one private key: a PEM file or a store URI (pkcs11:...)\n"
	"      --passphrase-file FILE\n"
	"                        of encrypted keys; else $PROA_PASSPHRASE, a credential, or asked\n"
	"      --root FILE       the root that is trusted, instead of root.json in --keys\n"
	"      --propose FILE    write what must be signed elsewhere, publish nothing\n"
	"      --add-key [ROLE=]FILE, --remove-key [ROLE=]NAME, --threshold [ROLE=]N\n"
	"                        key changes; --revoke NAME removes a key from every role\n"
	"      --rebuild         do not believe snapshot and timestamp: their keys were stolen\n"
	"      --encrypt         init: ask a passphrase for the offline keys\n"
	"      --no-passphrase   key create: do not encrypt\n"
	"      --yes             sign: do not ask\n"
	"      --warn DAYS       status: warn so long before a role expires\n"
	"      --usr PATH        a /usr image, or a directory to make an erofs image of\n"
	"      --like OLD        lay that out like image OLD, so that hosts write little; none\n"
	"                        (default of release: like the newest it makes a delta from)\n"
	"      --uki FILE        a finished UKI, or it is built from:\n"
	"      --kernel FILE, --initrd FILE, --stub FILE, --os-release FILE, --uname TEXT\n"
	"      --cmdline TEXT    kernel command line (@FILE reads it); usrhash= is added\n"
	"      --sign-key FILE, --sign-cert FILE\n"
	"                        sign the UKI for Secure Boot\n"
	"      --arch NAME       x86-64 (the default of init), arm64\n"
	"      --salt HEX        another salt than the product's (updates get larger)\n"
	"      --from V          make a delta from that version; repeat it, or none (default:\n"
	"                        the last three releases of the channel)\n"
	"      --base-dir DIR    keep what is restored of those versions (default: in REPO/.tmp\n"
	"                        one at a time, then removed)\n"
	"      --level N         of zstd, 1 to 22 (default 19)\n"
	"      --notes-url URL   release notes\n"
	"      --sbom FILE       its SBOM, the file that is in /usr/share/sbom of the image\n"
	"      --allow-older     publish a version older than the channel's newest\n"
	"  policy, for release, channel promote and channel set (\"none\" takes back):\n"
	"      --rollout TIME    spread over hosts, as 24h or 2d\n"
	"      --rollout-start T when that begins: +6h, or 2026-11-20T19:00:00Z (default: now)\n"
	"      --curve C         straight, or slow-start: few hosts first, then ever more\n"
	"      --minimum-from V  hosts older than V must take another release first\n"
	"      --floor V         no person takes a host back below V\n"
	"      --dead-end TEXT   hosts stay on this release, and say why\n"
	"      --critical, --normal\n"
	"                        severity\n"
	"      --keep N          gc: metadata versions to keep besides the current (default 1)\n"
	"      --dry-run         gc: only say what would go\n"
	"      --json            status as JSON\n"
	"  -h, --help            this text\n"
	"      --version         the version (with a value: that of the release)\n\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage; status: 4 when a role expires soon.\n"
	"Example: proa-publish release repo --keys keys --version 1.2.0 --channel beta \\\n"
	"           --usr tree/usr --kernel vmlinuz --initrd initrd.zst\n";

enum code {
	O_KEYS = 256,
	O_IMAGE,
	O_CHANNEL,
	O_FROM,
	O_TO,
	O_BASE_DIR,
	O_VERSION,
	O_USR,
	O_LIKE,
	O_UKI,
	O_KERNEL,
	O_INITRD,
	O_STUB,
	O_OSREL,
	O_UNAME,
	O_CMDLINE,
	O_SIGN_KEY,
	O_SIGN_CERT,
	O_ARCH,
	O_SALT,
	O_LEVEL,
	O_ROLLOUT,
	O_START,
	O_CURVE,
	O_FLOOR,
	O_NORMAL,
	O_MIN_FROM,
	O_CRITICAL,
	O_DEAD_END,
	O_NOTES,
	O_SBOM,
	O_OLDER,
	O_KEEP,
	O_DRY,
	O_JSON,
	O_KEY,
	O_PASS_FILE,
	O_ROOT,
	O_OUT,
	O_PROPOSE,
	O_NAME,
	O_TYPE,
	O_SINCE,
	O_ADD_KEY,
	O_REMOVE_KEY,
	O_REVOKE,
	O_THRESHOLD,
	O_WARN,
	O_YES,
	O_REBUILD,
	O_ENCRYPT,
	O_NO_PASSPHRASE,
	O_HELP
};

static const struct option options[] = {
	{ "keys", required_argument, NULL, O_KEYS },
	{ "image", required_argument, NULL, O_IMAGE },
	{ "channel", required_argument, NULL, O_CHANNEL },
	{ "from", required_argument, NULL, O_FROM },
	{ "to", required_argument, NULL, O_TO },
	{ "base-dir", required_argument, NULL, O_BASE_DIR },
	{ "version", required_argument, NULL, O_VERSION },
	{ "usr", required_argument, NULL, O_USR },
	{ "like", required_argument, NULL, O_LIKE },
	{ "uki", required_argument, NULL, O_UKI },
	{ "kernel", required_argument, NULL, O_KERNEL },
	{ "initrd", required_argument, NULL, O_INITRD },
	{ "stub", required_argument, NULL, O_STUB },
	{ "os-release", required_argument, NULL, O_OSREL },
	{ "uname", required_argument, NULL, O_UNAME },
	{ "cmdline", required_argument, NULL, O_CMDLINE },
	{ "sign-key", required_argument, NULL, O_SIGN_KEY },
	{ "sign-cert", required_argument, NULL, O_SIGN_CERT },
	{ "arch", required_argument, NULL, O_ARCH },
	{ "salt", required_argument, NULL, O_SALT },
	{ "level", required_argument, NULL, O_LEVEL },
	{ "rollout", required_argument, NULL, O_ROLLOUT },
	{ "rollout-start", required_argument, NULL, O_START },
	{ "curve", required_argument, NULL, O_CURVE },
	{ "floor", required_argument, NULL, O_FLOOR },
	{ "normal", no_argument, NULL, O_NORMAL },
	{ "minimum-from", required_argument, NULL, O_MIN_FROM },
	{ "critical", no_argument, NULL, O_CRITICAL },
	{ "dead-end", required_argument, NULL, O_DEAD_END },
	{ "notes-url", required_argument, NULL, O_NOTES },
	{ "sbom", required_argument, NULL, O_SBOM },
	{ "allow-older", no_argument, NULL, O_OLDER },
	{ "keep", required_argument, NULL, O_KEEP },
	{ "dry-run", no_argument, NULL, O_DRY },
	{ "json", no_argument, NULL, O_JSON },
	{ "key", required_argument, NULL, O_KEY },
	{ "passphrase-file", required_argument, NULL, O_PASS_FILE },
	{ "root", required_argument, NULL, O_ROOT },
	{ "out", required_argument, NULL, O_OUT },
	{ "propose", required_argument, NULL, O_PROPOSE },
	{ "name", required_argument, NULL, O_NAME },
	{ "type", required_argument, NULL, O_TYPE },
	{ "since", required_argument, NULL, O_SINCE },
	{ "add-key", required_argument, NULL, O_ADD_KEY },
	{ "remove-key", required_argument, NULL, O_REMOVE_KEY },
	{ "revoke", required_argument, NULL, O_REVOKE },
	{ "threshold", required_argument, NULL, O_THRESHOLD },
	{ "warn", required_argument, NULL, O_WARN },
	{ "yes", no_argument, NULL, O_YES },
	{ "rebuild", no_argument, NULL, O_REBUILD },
	{ "encrypt", no_argument, NULL, O_ENCRYPT },
	{ "no-passphrase", no_argument, NULL, O_NO_PASSPHRASE },
	{ "help", no_argument, NULL, O_HELP },
	{ NULL, 0, NULL, 0 },
};

/* Where the text of an option goes, or NULL. */
static const char **text_of(struct opts *o, int c)
{
	struct release_wish *w = &o->wish;
	const struct {
		int code;
		const char **to;
	} map[] = {
		{ O_KEY, &o->key },
		{ O_PASS_FILE, &o->pass_file },
		{ O_ROOT, &o->root },
		{ O_OUT, &o->out },
		{ O_PROPOSE, &o->propose },
		{ O_NAME, &o->name },
		{ O_TYPE, &o->type },
		{ O_SINCE, &o->since },
		{ O_IMAGE, &o->image },
		{ O_TO, &o->to },
		{ O_BASE_DIR, &w->delta.base_dir },
		{ O_VERSION, &w->version },
		{ O_USR, &w->usr },
		{ O_LIKE, &w->like },
		{ O_UKI, &w->uki },
		{ O_KERNEL, &w->kernel },
		{ O_INITRD, &w->initrd },
		{ O_STUB, &w->stub },
		{ O_OSREL, &w->os_release },
		{ O_UNAME, &w->uname },
		{ O_CMDLINE, &w->cmdline },
		{ O_SIGN_KEY, &w->sign_key },
		{ O_SIGN_CERT, &w->sign_cert },
		{ O_ARCH, &w->arch },
		{ O_SALT, &w->salt },
		{ O_ROLLOUT, &w->policy.rollout },
		{ O_START, &w->policy.start },
		{ O_CURVE, &w->policy.curve },
		{ O_MIN_FROM, &w->policy.minimum_from },
		{ O_FLOOR, &w->policy.floor },
		{ O_DEAD_END, &w->policy.dead_end },
		{ O_NOTES, &w->notes_url },
		{ O_SBOM, &w->sbom },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (map[i].code == c)
			return map[i].to;
	return NULL;
}

static int flag(struct opts *o, int c)
{
	const struct {
		int code;
		bool *to;
	} map[] = {
		{ O_CRITICAL, &o->wish.policy.critical },
		{ O_NORMAL, &o->wish.policy.normal },
		{ O_OLDER, &o->wish.allow_older },
		{ O_DRY, &o->dry_run },
		{ O_JSON, &o->json },
		{ O_YES, &o->yes },
		{ O_REBUILD, &o->rebuild },
		{ O_ENCRYPT, &o->encrypt },
		{ O_NO_PASSPHRASE, &o->no_passphrase },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (map[i].code != c)
			continue;
		*map[i].to = true;
		return 0;
	}
	return -1;
}

/* What may be given several times. 0, or -1: too often; 1: another option. */
static int many(struct opts *o, int c)
{
	static const struct {
		int code;
		enum edit_kind kind;
	} edits[] = {
		{ O_ADD_KEY, EDIT_KEY_ADD },
		{ O_REMOVE_KEY, EDIT_KEY_REMOVE },
		{ O_REVOKE, EDIT_KEY_REVOKE },
		{ O_THRESHOLD, EDIT_THRESHOLD },
	};

	if (c == O_CHANNEL) {
		if (o->n_channel == OPTS_CHANNELS_MAX)
			return -1;
		o->channel[o->n_channel++] = optarg;
		return 0;
	}
	if (c == O_FROM) {
		if (o->wish.delta.n_from == DELTA_BASES_MAX)
			return -1;
		o->from = o->wish.delta.from[o->wish.delta.n_from++] = optarg;
		return 0;
	}
	if (c == O_KEYS) {
		if (o->n_keys == KEYS_DIRS_MAX - 1) /* init adds one */
			return -1;
		o->keys[o->n_keys++] = optarg;
		return 0;
	}
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		if (edits[i].code != c)
			continue;
		if (o->n_edit == OPTS_EDITS_MAX)
			return -1;
		o->edit[o->n_edit++] = (struct edit){ edits[i].kind, optarg };
		return 0;
	}
	return 1;
}

static int take(struct opts *o, int c, struct err *e)
{
	const char **to = text_of(o, c);
	uint64_t n = 0;
	int q = many(o, c);

	if (q <= 0)
		return q;
	q = 0;
	if (to) {
		*to = optarg;
	} else if (c == O_LEVEL) {
		q = num_parse(optarg, strlen(optarg), 1, LEVEL_MAX, "--level", &n, e);
		o->wish.delta.level = (int)n;
	} else if (c == O_KEEP) {
		q = num_parse(optarg, strlen(optarg), 0, KEEP_MAX, "--keep", &o->keep, e);
	} else if (c == O_WARN) {
		q = num_parse(optarg, strlen(optarg), 1, WARN_MAX, "--warn", &o->warn_days, e);
	} else {
		return flag(o, c);
	}
	return q;
}

static int misused(const char *why)
{
	if (why)
		(void)fprintf(stderr, "proa-publish: %s\n", why);
	(void)fputs("proa-publish: try --help\n", stderr);
	return 1 + EXIT_USAGE;
}

/* An option that this verb would not heed: refresh --dry-run must not sign. NULL: none. */
static const char *idle_option(const struct opts *o)
{
	const char *policy = policy_given(&o->wish.policy);
	const struct {
		bool given;
		const char *name, *verbs;
	} only[] = {
		{ o->dry_run, "--dry-run", " gc " },
		{ o->wish.like, "--like", " image release " },
		{ o->propose, "--propose", " init release channel " },
		{ o->n_edit > 0, "a key change", " init root channel " },
		{ o->rebuild, "--rebuild", " root channel " },
		{ o->yes, "--yes", " root channel " },
		{ o->since, "--since", " export " },
		{ o->wish.sbom, "--sbom", " release " },
		{ o->json, "--json", " status " },
		{ policy, policy, " release channel " },
	};
	char verb[64];

	(void)snprintf(verb, sizeof(verb), " %.40s ", o->word[0]);
	for (size_t i = 0; i < sizeof(only) / sizeof(only[0]); i++)
		if (only[i].given && !strstr(only[i].verbs, verb))
			return only[i].name;
	return NULL;
}

int opts_parse(int argc, char **argv, struct opts *ret)
{
	struct opts o = { .keep = KEEP_DEFAULT };
	struct err e = ERR_INIT;
	int c;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)puts("proa-publish " PROA_VERSION);
		return 1;
	}
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h' || c == O_HELP) {
			(void)fputs(usage, stdout);
			(void)fputs(usage_options, stdout);
			return 1;
		}
		if (c == '?')
			return misused(NULL);
		if (take(&o, c, &e) < 0)
			return misused(e.kind != ERR_NONE ? e.text : "an option too many");
	}
	while (optind < argc && o.n_word < OPTS_WORDS_MAX + 1) {
		if (o.n_word == OPTS_WORDS_MAX)
			return misused("too many words");
		o.word[o.n_word++] = argv[optind++];
	}
	if (o.n_word == 0)
		return misused("no verb given");
	if (idle_option(&o)) {
		char why[96];

		(void)snprintf(why, sizeof(why), "%s is not for %.40s", idle_option(&o), o.word[0]);
		return misused(why);
	}
	o.wish.channel = o.n_channel ? o.channel[0] : NULL;
	*ret = o;
	return 0;
}
