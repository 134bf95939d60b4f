/* SPDX-License-Identifier: Apache-2.0 */
/* proa-publish init: a new repository and its keys. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/version.h"
#include "publisher/edit.h"
#include "publisher/proposal.h"
#include "publisher/root.h"
#include "publisher/verbs.h"

/* Root keys are made three with a threshold of two; they and that of targets lie apart. */
#define OFFLINE "offline"
enum { ROOT_KEYS = 3, ROOT_THRESHOLD = 2 };

struct init {
	const struct opts *o;
	struct keys *k;
	struct roles *m;
	char offline[PATH_MAX];
	bool elsewhere; /* some of what must be signed has its keys elsewhere */
};

static bool is_offline(const char *role)
{
	return strcmp(role, "root") == 0 || strcmp(role, "targets") == 0;
}

/* How many keys the command line brings for a role. */
static int brought(const struct init *x, const char *role, size_t *ret, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < x->o->n_edit; i++) {
		char name[RELEASE_IMAGE_MAX];
		const char *value;
		int q = edit_split(x->o->edit[i].arg, NULL, name, &value, e);

		if (q < 0)
			return q;
		n += x->o->edit[i].kind == EDIT_KEY_ADD && strcmp(name, role) == 0;
	}
	*ret = n;
	return 0;
}

static void key_name(const char *role, unsigned i, char out[KEYS_NAME_MAX + 8])
{
	if (i == 1)
		(void)snprintf(out, KEYS_NAME_MAX + 8, "%s", role);
	else
		(void)snprintf(out, KEYS_NAME_MAX + 8, "%s.%u", role, i);
}

static unsigned count_of(const char *role)
{
	return strcmp(role, "root") == 0 ? ROOT_KEYS : 1;
}

/* Calls fn for every role: the four, then the channels. */
typedef int (*role_fn)(struct init *x, const char *role, struct err *e);

static int each(struct init *x, role_fn fn, struct err *e)
{
	static const char *const top[] = { "root", "targets", "snapshot", "timestamp" };
	int q = 0;

	for (size_t i = 0; q >= 0 && i < sizeof(top) / sizeof(top[0]); i++)
		q = fn(x, top[i], e);
	for (size_t i = 0; q >= 0 && i < x->o->n_channel; i++)
		q = fn(x, x->o->channel[i], e);
	return q;
}

static int check_absent(struct init *x, const char *role, struct err *e)
{
	char name[KEYS_NAME_MAX + 8];
	size_t n = 0;
	int q = brought(x, role, &n, e);

	for (unsigned i = 1; q >= 0 && n == 0 && i <= count_of(role); i++) {
		key_name(role, i, name);
		q = keys_absent(is_offline(role) ? x->offline : x->o->keys[0], name, e);
	}
	return q;
}

/* Snapshot and timestamp are signed here whenever anything is, so their keys must be at hand. */
static int check_signable(struct init *x, const char *role, struct err *e)
{
	const struct keys_role who = { role, roles_signers(x->m, role), roles_names(x->m, role) };
	bool online = strcmp(role, "snapshot") == 0 || strcmp(role, "timestamp") == 0;
	size_t n = 0;
	int q = brought(x, role, &n, e);

	if (q < 0 || n == 0)
		return q;
	q = keys_check(x->k, &who, NULL, e);
	if (q >= 0)
		return 0;
	x->elsewhere = x->elsewhere || !online;
	if (x->o->propose && !online)
		return 0;
	return err_wrap(e, q, "%s",
			online ? "its keys must be at hand here"
			       : "give --propose FILE for what others must sign");
}

/* The keys the command line brings; a majority must sign unless it says otherwise. */
static int take_brought(struct init *x, const char *role, struct err *e)
{
	size_t n = 0;
	int q = brought(x, role, &n, e);

	for (size_t i = 0; q >= 0 && i < x->o->n_edit; i++) {
		char name[RELEASE_IMAGE_MAX];
		AUTO_JSON *pub = NULL;
		const char *value;

		q = edit_split(x->o->edit[i].arg, NULL, name, &value, e);
		if (q < 0 || x->o->edit[i].kind != EDIT_KEY_ADD || strcmp(name, role) != 0)
			continue;
		q = keys_public_read(value, &pub, e);
		q = q < 0 ? q : edit_key_put(x->m, role, pub, e);
	}
	return q >= 0 && n > 0 ? edit_threshold_put(x->m, role, n / 2 + 1, e) : q;
}

static int make_keys(struct init *x, const char *role, struct err *e)
{
	const char *dir = is_offline(role) ? x->offline : x->o->keys[0];
	const struct keys_new how = { .encrypt = x->o->encrypt && is_offline(role) };
	size_t n = 0;
	int q = brought(x, role, &n, e);

	for (unsigned i = 1; q >= 0 && n == 0 && i <= count_of(role); i++) {
		char name[KEYS_NAME_MAX + 8];
		AUTO_JSON *pub = NULL;
		json_t *key = NULL;

		key_name(role, i, name);
		q = keys_create(x->k, dir, name, &how, &key, e);
		if (q < 0)
			return q;
		pub = json_pack("{s:o,s:s}", "key", key, "name", name);
		q = pub ? edit_key_put(x->m, role, pub, e)
			: err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	if (q >= 0 && n == 0 && count_of(role) > 1)
		q = edit_threshold_put(x->m, role, ROOT_THRESHOLD, e);
	return q;
}

static int thresholds(struct init *x, struct err *e)
{
	struct edit l[OPTS_EDITS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < x->o->n_edit; i++) {
		if (x->o->edit[i].kind == EDIT_THRESHOLD)
			l[n++] = x->o->edit[i];
		else if (x->o->edit[i].kind != EDIT_KEY_ADD)
			return verb_misused("init knows --add-key ROLE=FILE and --threshold ROLE=N",
					    e);
	}
	return edit_apply(x->m, l, n, NULL, e);
}

static int check_words(const struct init *x, struct err *e)
{
	const struct opts *o = x->o;

	if (o->n_word != 2 || !o->image || o->n_keys != 1)
		return verb_misused("init needs REPO, --image ID and one --keys DIR", e);
	if (!image_id_valid(o->image))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be an image id: 1 to 32 of a-z 0-9 -, a letter first",
			       o->image);
	if (o->wish.arch && strlen(o->wish.arch) >= sizeof(((struct repo_config *)NULL)->arch))
		return err_set(e, ERR_INPUT, EINVAL, "--arch is too long");
	return 0;
}

/* Before any key is made: is a threshold within the keys that there will be? */
static int check_thresholds(struct init *x, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < x->o->n_edit; i++) {
		char role[RELEASE_IMAGE_MAX];
		const char *value;
		uint64_t t = 0;
		size_t n = 0;

		q = edit_split(x->o->edit[i].arg, NULL, role, &value, e);
		if (q >= 0 && !roles_signers(x->m, role))
			return err_set(e, ERR_INPUT, ENOENT, "'%s': there will be no role %s",
				       x->o->edit[i].arg, role);
		if (q < 0 || x->o->edit[i].kind != EDIT_THRESHOLD)
			continue;
		q = brought(x, role, &n, e);
		q = q < 0 ? q
			  : num_parse(value, strlen(value), 1, n ? n : count_of(role),
				      "--threshold", &t, e);
	}
	return q;
}

/* All in memory: nothing is made before it is known that all of it can be. */
static int plan(struct init *x, struct err *e)
{
	int q = check_words(x, e);

	if (q < 0)
		return q;
	if (snprintf(x->offline, sizeof(x->offline), "%s/" OFFLINE, x->o->keys[0]) >= PATH_MAX - 64)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "the path of the keys is too long");
	q = x->o->propose ? proposal_path_free(x->o->propose, e) : 0;
	q = q < 0 ? q : roles_create(x->m, e);
	for (size_t i = 0; q >= 0 && i < x->o->n_channel; i++)
		q = roles_channel_add(x->m, x->o->channel[i], e);
	q = q < 0 ? q : check_thresholds(x, e);
	q = q < 0 ? q : each(x, check_absent, e);
	q = q < 0 ? q : each(x, take_brought, e);
	return q < 0 ? q : each(x, check_signable, e);
}

static void print_made(const struct init *x)
{
	const struct opts *o = x->o;
	const json_t *root = roles_signers(x->m, "root");

	printf("made        repository %s for image %s, %zu channel%s\n", o->word[1], o->image,
	       x->m->n_channel, x->m->n_channel == 1 ? "" : "s");
	printf("keys        %s: snapshot, timestamp", o->keys[0]);
	for (size_t i = 0; i < x->m->n_channel; i++)
		printf(", %s", x->m->channel[i].name);
	printf("\nroot        %lld of %zu keys must sign\n",
	       (long long)json_integer_value(json_object_get(root, "threshold")),
	       json_array_size(json_object_get(root, "keyids")));
}

static void print_next(const struct init *x)
{
	const struct opts *o = x->o;

	if (x->m->propose) {
		verb_print_proposed(x->m, "root");
		return;
	}
	printf("next        put %s/metadata/1.root.json into the image as\n"
	       "            /usr/share/proa/root.json; move the keys in %s\n"
	       "            offline, each to a medium and a person of its own; then:\n"
	       "            proa-publish %s\n",
	       o->word[1], x->offline, x->m->n_channel ? "release" : "channel add");
}

static int make(struct init *x, struct repo *r, struct err *e)
{
	const struct opts *o = x->o;
	struct repo_config c = REPO_CONFIG_DEFAULT;
	int q;

	(void)snprintf(c.image, sizeof(c.image), "%s", o->image);
	if (o->wish.arch)
		(void)snprintf(c.arch, sizeof(c.arch), "%s", o->wish.arch);
	random_bytes(c.salt, c.salt_n);
	x->k->dir[x->k->n_dir++] = x->offline;
	if (mkdir(o->keys[0], 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make directory '%s': %s", o->keys[0],
			       strerror(errno));
	q = repo_create(o->word[1], &c, r, e);
	q = q < 0 ? q : each(x, make_keys, e);
	q = q < 0 ? q : thresholds(x, e);
	if (x->elsewhere)
		x->m->propose = o->propose;
	if (q >= 0 && x->m->propose)
		q = repo_finish(r, e);
	q = q < 0 ? q : roles_commit(r, x->m, x->k, e);
	if (q >= 0 && !x->m->propose) {
		root_pin_save(o->keys[0], x->m->root);
		q = repo_finish(r, e);
	}
	return q;
}

int verb_init(const struct opts *o, struct err *e)
{
	AUTO_KEYS k = KEYS_INIT;
	AUTO_REPO r = REPO_INIT;
	AUTO_ROLES m = ROLES_INIT;
	AUTO_FREE struct init *x = calloc(1, sizeof(*x));
	int q;

	if (!x)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*x = (struct init){ .o = o, .k = &k, .m = &m };
	q = verb_keys(o, &k, e);
	q = q < 0 ? q : plan(x, e);
	if (q < 0)
		return q;
	verb_hold_signals();
	q = make(x, &r, e);
	if (q < 0)
		return q;
	print_made(x);
	print_next(x);
	return 0;
}

/* ---- one more channel ---- */

int verb_channel_add(const struct opts *o, const struct keys *k, struct roles *m, struct err *e)
{
	const char *name = o->word[3];
	const struct keys_role targets = { "targets", roles_signers(m, "targets"),
					   roles_names(m, "targets") };
	const struct keys_new how = { .encrypt = false };
	AUTO_JSON *pub = NULL;
	json_t *key = NULL;
	int q = roles_channel_add(m, name, e);

	if (q >= 0 && !m->propose)
		q = keys_check(k, &targets, NULL, e);
	if (q < 0 || o->n_edit > 0)
		return q < 0 ? q : edit_apply(m, o->edit, o->n_edit, name, e);
	if (o->n_keys == 0)
		return verb_misused("channel add needs --add-key FILE or --keys DIR", e);
	q = keys_create(k, o->keys[0], name, &how, &key, e);
	if (q < 0)
		return q;
	pub = json_pack("{s:o,s:s}", "key", key, "name", name);
	q = pub ? edit_key_put(m, name, pub, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return q < 0 ? q : edit_settle(m, e);
}
