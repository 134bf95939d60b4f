/* SPDX-License-Identifier: Apache-2.0 */
/* Proposing, signing and submitting changes, and the keys for it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "base/text.h"
#include "publisher/edit.h"
#include "publisher/passphrase.h"
#include "publisher/proposal.h"
#include "publisher/root.h"
#include "publisher/store.h"
#include "publisher/verbs.h"

int verb_misused(const char *why, struct err *e)
{
	return err_set(e, ERR_BUG, E2BIG, "%s (proa-publish --help)", why);
}

void verb_hold_signals(void)
{
	sigset_t s;

	(void)sigemptyset(&s);
	(void)sigaddset(&s, SIGINT);
	(void)sigaddset(&s, SIGTERM);
	(void)sigaddset(&s, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &s, NULL);
}

int verb_keys(const struct opts *o, struct keys *ret, struct err *e)
{
	if (o->key && strstr(o->key, "pin-value="))
		return err_set(e, ERR_INPUT, EINVAL,
			       "a PIN on the command line is seen by everybody on the machine: use "
			       "pin-source=, --passphrase-file or the terminal");
	for (size_t i = 0; i < o->n_keys; i++)
		ret->dir[ret->n_dir++] = o->keys[i];
	ret->one = o->key;
	ret->pass_file = o->pass_file;
	return keys_open(ret, e);
}

int verb_pin(const struct opts *o, bool must, char out[PATH_MAX], const char **ret, struct err *e)
{
	*ret = o->root;
	for (size_t i = 0; !*ret && i < o->n_keys; i++) {
		int n = snprintf(out, PATH_MAX, "%s/" ROOT_PIN_NAME, o->keys[i]);

		if (n > 0 && n < PATH_MAX && access(out, F_OK) == 0)
			*ret = out;
	}
	if (*ret || !must)
		return 0;
	if (o->n_keys && access(o->keys[0], F_OK) < 0)
		return err_set(e, ERR_INPUT, errno, "the key directory '%.200s': %s", o->keys[0],
			       strerror(errno));
	return err_set(e, ERR_INPUT, ENOENT,
		       "no root is pinned: put the root you trust into '%.200s/" ROOT_PIN_NAME
		       "', or give it with --root (the first proa-publish root submit puts it "
		       "there)",
		       o->n_keys ? o->keys[0] : "KEYS");
}

static void print_lines(const json_t *lines, const char *label)
{
	for (size_t i = 0; i < json_array_size(lines); i++)
		printf("%-11s %s\n", i ? "" : label, json_string_value(json_array_get(lines, i)));
}

/* ---- key ---- */

static int type_of(const char *s, enum keys_type *ret, struct err *e)
{
	static const char *const name[] = { "ed25519", "ecdsa", "rsa" };

	*ret = KEYS_ED25519;
	for (size_t i = 0; s && i < sizeof(name) / sizeof(name[0]); i++) {
		if (strcmp(s, name[i]) != 0)
			continue;
		*ret = (enum keys_type)i;
		return 0;
	}
	return s ? verb_misused("--type is ed25519, ecdsa or rsa", e) : 0;
}

static int key_create(const struct opts *o, const struct keys *k, struct err *e)
{
	struct keys_new how = { .encrypt = !o->no_passphrase };
	AUTO_JSON *key = NULL;
	char id[TUF_KEYID_MAX];
	int q;

	if (o->n_word != 3 || o->n_keys != 1)
		return verb_misused("key create needs NAME and one --keys DIR", e);
	if (!keys_name_valid(o->word[2]))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be a key's name: 1 to %d of A-Z a-z 0-9 . _ @ -, a "
			       "letter or digit first",
			       o->word[2], KEYS_NAME_MAX - 1);
	q = type_of(o->type, &how.type, e);
	q = q < 0 ? q : keys_create(k, o->keys[0], o->word[2], &how, &key, e);
	q = q < 0 ? q : tuf_key_id(key, id, e);
	if (q < 0)
		return q;
	printf("key         %s/%s.pem (%s, %s), which never leaves this machine\n", o->keys[0],
	       o->word[2],
	       how.type == KEYS_ED25519 ? "ed25519"
	       : how.type == KEYS_ECDSA ? "ecdsa P-256"
					: "rsa 3072",
	       how.encrypt ? "encrypted" : "not encrypted");
	printf("public      %s/%s.pub, for those who make the repository\n"
	       "id          %s\n",
	       o->keys[0], o->word[2], id);
	return 0;
}

static int key_show(const struct opts *o, const struct keys *k, struct err *e)
{
	AUTO_JSON *pub = NULL;
	AUTO_BUF b = BUF_INIT;
	int q;

	if (o->n_word != 2 || !o->key)
		return verb_misused("key show needs --key FILE or --key URI", e);
	q = keys_public_of(k, o->name, &pub, e);
	q = q < 0 ? q : json_write(pub, true, &b, e);
	if (q >= 0)
		printf("%s%s", b.p, b.n && b.p[b.n - 1] == '\n' ? "" : "\n");
	return q;
}

int verb_key(const struct opts *o, struct err *e)
{
	AUTO_KEYS k = KEYS_INIT;
	int q = verb_keys(o, &k, e);

	if (q < 0)
		return q;
	if (o->n_word > 1 && strcmp(o->word[1], "create") == 0)
		return key_create(o, &k, e);
	if (o->n_word > 1 && strcmp(o->word[1], "show") == 0)
		return key_show(o, &k, e);
	return verb_misused("key knows create and show", e);
}

/* ---- propose ---- */

void verb_print_proposed(const struct roles *m, const char *kind)
{
	printf("proposed    %s; nothing is published yet\n"
	       "next        proa-publish %s sign %s --key KEY, by each who must; then\n"
	       "            proa-publish %s submit REPO %s --keys KEYS\n",
	       m->propose, kind, m->propose, kind, m->propose);
}

static int read_proposal(const char *path, const struct tuf_md *pin, struct proposal *ret,
			 struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int q = file_read(sys_linux(), AT_FDCWD, path, PROPOSAL_MAX, &p, &n, e);

	return q < 0 ? q : proposal_read(p, n, path, pin, ret, e);
}

static int print_proposal(const char *path, const char *label, struct err *e)
{
	AUTO_PROPOSAL p = PROPOSAL_INIT;
	AUTO_JSON *lines = json_array();
	bool done;
	int q = read_proposal(path, NULL, &p, e);

	q = q < 0 ? q : proposal_tally(&p, lines, &done, e);
	if (q < 0)
		return q;
	print_lines(json_object_get(p.doc, "says"), label);
	print_lines(lines, "signatures");
	return 0;
}

/* Loads what a proposal starts from; --rebuild, or the sentence that says when it is needed. */
static int load(const struct opts *o, struct repo *r, struct roles *m, struct err *e)
{
	int q;

	r->rebuild = o->rebuild;
	q = roles_load(r, m, e);
	if (q < 0 && !o->rebuild && e && strlen(e->text) < sizeof(e->text) / 2)
		return err_wrap(e, q, "(--rebuild does without snapshot and timestamp)");
	return q;
}

static int propose(const struct opts *o, const char *def, const char *file, struct err *e)
{
	bool root = strcmp(o->word[0], "root") == 0;
	AUTO_KEYS k = KEYS_INIT;
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char path[PATH_MAX];
	const char *pin;
	int q = proposal_path_free(file, e);

	q = q < 0 ? q : verb_pin(o, true, path, &pin, e);
	q = q < 0 ? q : verb_keys(o, &k, e);
	q = q < 0 ? q : repo_open(o->word[2], true, &r, e);
	if (q < 0)
		return q;
	r.pin = pin;
	q = load(o, &r, &m, e);
	if (q >= 0 && root)
		q = edit_root(&m, e);
	if (q >= 0 && root) /* targets has the same year, and often the same people */
		m.targets_changed = roles_expires(roles_body(&m, "targets")) - r.now <
				    roles_margin(&r, "targets");
	else if (q >= 0) {
		struct channel *c = NULL;

		q = roles_channel(&m, def, &c, e);
		if (q >= 0 && o->n_edit == 0)
			c->changed = true; /* nothing else: a new expiry date */
	}
	q = q < 0 ? q : edit_apply(&m, o->edit, o->n_edit, def, e);
	if (q >= 0 && !root && m.root_next)
		return err_set(e, ERR_INPUT, EINVAL,
			       "keys of root, targets, snapshot and timestamp are for proa-publish "
			       "root propose");
	m.propose = file;
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	q = q < 0 ? q : print_proposal(file, "proposes", e);
	if (q >= 0)
		verb_print_proposed(&m, o->word[0]);
	return q;
}

/* ---- sign ---- */

static int check_kind(const struct proposal *p, bool root, const char *file, struct err *e)
{
	if (root && !proposal_of(p, "root"))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' does not change root: read it with proa-publish channel sign",
			       file);
	if (!root && proposal_of(p, "root"))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' changes root, which decides over everything: read it with "
			       "proa-publish root sign",
			       file);
	return 0;
}

/* Where it starts from, so that a signer can compare with what others see. */
static void print_start(const struct proposal *p, const char *pin)
{
	char hex[SHA256_HEX_MAX];
	uint8_t sum[SHA256_BYTES];

	if (!p->root) {
		printf("from        nothing: a new repository\n");
		return;
	}
	sha256(p->root->canon.p, p->root->canon.n, sum);
	hex_format(sum, sizeof(sum), hex);
	printf("from        root %" PRIu64 ", %s%s\n", p->root->version,
	       pin ? "as pinned in " : "not pinned (--root FILE): its signed part has sha256 ",
	       pin ? pin : hex);
}

static int confirm(const struct opts *o, struct err *e)
{
	if (o->yes)
		return 0;
	if (fflush(stdout) != 0)
		return err_set(e, ERR_HOST, EIO, "cannot write to standard output");
	return passphrase_confirm("Sign this?", e);
}

static int sign(const struct opts *o, struct err *e)
{
	bool root = strcmp(o->word[0], "root") == 0;
	AUTO_FREE struct proposal *p = calloc(1, sizeof(*p));
	AUTO_TUF_MD *pin_md = NULL;
	AUTO_JSON *lines = json_array();
	AUTO_KEYS k = KEYS_INIT;
	const char *file = o->word[2], *pin;
	char path[PATH_MAX];
	bool done = false;
	int q;

	if (o->n_word != 3 || (!o->key && o->n_keys == 0))
		return verb_misused("sign needs FILE and --key KEY", e);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = verb_pin(o, false, path, &pin, e);
	if (q >= 0 && pin)
		q = root_read(pin, &pin_md, e);
	q = q < 0 ? q : verb_keys(o, &k, e);
	q = q < 0 ? q : read_proposal(file, pin_md, p, e);
	q = q < 0 ? q : check_kind(p, root, file, e);
	if (q >= 0) {
		print_start(p, pin);
		print_lines(json_object_get(p->doc, "says"), "proposes");
		q = confirm(o, e);
	}
	q = q < 0 ? q : proposal_sign(p, &k, e);
	if (q == 0)
		q = err_set(e, ERR_INPUT, EKEYREJECTED,
			    "nothing was signed: the key has signed it already or may not sign "
			    "any part of it");
	q = q < 0 ? q : proposal_save(p->doc, o->out ? o->out : file, e);
	q = q < 0 ? q : proposal_tally(p, lines, &done, e);
	proposal_done(p);
	if (q < 0)
		return q;
	print_lines(lines, "signatures");
	printf("signed      %s%s\n", o->out ? o->out : file,
	       done ? "; enough to submit" : "; pass it on");
	return 0;
}

/* ---- submit ---- */

static int read_all(const struct opts *o, size_t first, const struct tuf_md *pin,
		    struct proposal *p, struct err *e)
{
	int q = read_proposal(o->word[first], pin, p, e);

	for (size_t i = first + 1; q >= 0 && i < o->n_word; i++) {
		AUTO_FREE struct proposal *more = calloc(1, sizeof(*more));

		if (!more)
			return err_set(e, ERR_HOST, ENOMEM, "out of memory");
		q = read_proposal(o->word[i], pin, more, e);
		q = q < 0 ? q : proposal_merge(p, more, o->word[i], e);
		proposal_done(more);
	}
	return q;
}

/*
 * The repository as the proposal expects it. A submit that was killed between the new root and the
 * timestamp leaves a timestamp of the old keys: then the new root is there, and the rest is
 * rebuilt.
 */
static int load_for(const struct opts *o, const struct proposal *p, struct repo *r, struct roles *m,
		    struct err *e)
{
	const struct proposal_change *root = proposal_of(p, "root");
	struct err second = ERR_INIT;
	uint64_t last = 0;
	int q = repo_highest(r, "root", REPO_VERSION_MAX, &last, e);

	if (q < 0)
		return q;
	if (!p->root && last == 0)
		return roles_create(m, e);
	r->rebuild = o->rebuild;
	q = roles_load(r, m, e);
	if (q >= 0 || !root || o->rebuild)
		return q;
	r->rebuild = true;
	if (roles_load(r, m, &second) >= 0 && m->root->version == root->next->version &&
	    json_equal(m->root->body, root->next->body))
		return 0;
	return q;
}

/* Too few signatures are told with the whole tally. */
static void print_tally(const struct proposal *p)
{
	AUTO_JSON *lines = json_array();
	bool done;

	if (proposal_tally(p, lines, &done, NULL) >= 0)
		print_lines(lines, "signatures");
}

static int publish(const struct opts *o, const struct proposal *p, const char *pin, struct err *e)
{
	AUTO_KEYS k = KEYS_INIT;
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	char t[48];
	int q = verb_keys(o, &k, e), n = 0;

	verb_hold_signals();
	q = q < 0 ? q : repo_open(o->word[2], true, &r, e);
	if (q < 0)
		return q;
	r.pin = pin;
	q = load_for(o, p, &r, &m, e);
	q = n = q < 0 ? q : proposal_apply(p, &r, &m, e);
	q = q < 0 ? q : roles_commit(&r, &m, &k, e);
	if (q == -EKEYREJECTED || q == -ENOKEY)
		print_tally(p);
	if (q < 0)
		return q;
	if (!o->root && o->n_keys)
		root_pin_save(o->keys[0], m.root);
	if (m.note[0])
		(void)fprintf(stderr, "proa-publish: warning: %s\n", m.note);
	if (n > 0)
		print_lines(json_object_get(p->doc, "says"), "published");
	else
		printf("nothing     to do: it was published before\n");
	printf("done        root %" PRIu64 "; timestamp valid until %s. Check it: proa-publish "
	       "verify %s\n",
	       m.root->version, text_time(roles_expires(m.timestamp), r.now, t, sizeof(t)),
	       o->word[2]);
	return 0;
}

static int submit(const struct opts *o, struct err *e)
{
	AUTO_FREE struct proposal *p = calloc(1, sizeof(*p));
	bool root = strcmp(o->word[0], "root") == 0;
	char path[PATH_MAX];
	const char *pin = NULL;
	int q;

	if (o->n_word < 4 || o->n_keys == 0)
		return verb_misused("submit needs REPO, FILE... and --keys DIR", e);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	/* the repository is loaded from the pin: what starts elsewhere does not fit it */
	q = read_all(o, 3, NULL, p, e);
	q = q < 0 ? q : check_kind(p, root, o->word[3], e);
	q = q < 0 ? q : verb_pin(o, p->root != NULL, path, &pin, e);
	q = q < 0 ? q : publish(o, p, pin, e);
	proposal_done(p);
	return q;
}

static int step(const struct opts *o, size_t words, const char *usage, struct err *e)
{
	const char *verb = o->n_word > 1 ? o->word[1] : "";
	bool root = strcmp(o->word[0], "root") == 0;

	if (strcmp(verb, "sign") == 0)
		return sign(o, e);
	if (strcmp(verb, "submit") == 0)
		return submit(o, e);
	if (strcmp(verb, "propose") != 0 || o->n_word != words)
		return verb_misused(usage, e);
	return propose(o, root ? "root" : o->word[3], o->word[words - 1], e);
}

int verb_root(const struct opts *o, struct err *e)
{
	return step(o, 4, "root needs propose REPO FILE, sign FILE or submit REPO FILE...", e);
}

bool verb_is_channel_step(const struct opts *o)
{
	static const char *const steps[] = { "propose", "sign", "submit" };

	for (size_t i = 0; o->n_word > 1 && i < sizeof(steps) / sizeof(steps[0]); i++)
		if (strcmp(o->word[1], steps[i]) == 0)
			return true;
	return false;
}

int verb_channel_step(const struct opts *o, struct err *e)
{
	return step(o, 5, "channel propose needs REPO CHANNEL FILE", e);
}
