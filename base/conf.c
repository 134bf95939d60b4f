/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libeconf.h>
#include <libeconf_ext.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/conf_layer.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sys.h"

enum { ENTRIES_MAX = 1024, DROPINS_MAX = 256, FILE_MAX = 256 << 10, WHAT_BYTES = 320 };

/*
 * libeconf reads one file; which files and in what order is decided in conf_layer.c, because
 * libeconf 0.5 knows two directories and no masks.
 */
struct entry {
	char *section, *key, *value, *path; /* section "" stands before the first [section] */
	uint64_t line;
};

struct conf {
	struct entry *entry;
	size_t n;
};

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++) {
		free(c->entry[i].section);
		free(c->entry[i].key);
		free(c->entry[i].value);
		free(c->entry[i].path);
	}
	free(c->entry);
	free(c);
}

static struct entry *find(const struct conf *c, const char *section, const char *key)
{
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->entry[i].section, section) == 0 && strcmp(c->entry[i].key, key) == 0)
			return &c->entry[i];
	}
	return NULL;
}

static int no_memory(struct err *e)
{
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* Replaces what a lower layer said. */
static int put(struct conf *c, const char *section, const char *key, const char *value,
	       const char *path, uint64_t line, struct err *e)
{
	AUTO_FREE char *v = strdup(value), *p = strdup(path);
	AUTO_FREE char *s = strdup(section), *k = strdup(key);
	struct entry *en = find(c, section, key);

	if (!v || !p || !s || !k)
		return no_memory(e);
	if (!en) {
		if (c->n == ENTRIES_MAX)
			return err_set(e, ERR_INPUT, E2BIG, "%s: more than %d settings", path,
				       ENTRIES_MAX);
		en = &c->entry[c->n++];
		*en = (struct entry){ .section = TAKE(s), .key = TAKE(k) };
	}
	free(en->value);
	free(en->path);
	en->value = TAKE(v);
	en->path = TAKE(p);
	en->line = line;
	return 0;
}

static void file_freep(econf_file **f)
{
	if (*f)
		econf_freeFile(*f);
}

static void ext_freep(econf_ext_value **x)
{
	if (*x)
		econf_freeExtValue(*x);
}

static int read_key(struct conf *c, econf_file *f, const char *section, const char *key,
		    const char *path, struct err *e)
{
	econf_ext_value *x CLEANUP(ext_freep) = NULL;
	econf_err r = econf_getExtValue(f, section, key, &x);
	const char *value;

	if (r == ECONF_NOMEM)
		return no_memory(e);
	if (r != ECONF_SUCCESS || !x)
		return err_set(e, ERR_INPUT, EINVAL, "%s: [%s] %s: %s", path,
			       section ? section : "", key, econf_errString(r));
	if (x->values && x->values[0] && x->values[1])
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s:%ju: [%s] %s=: a value ends with its line; what follows is "
			       "no setting",
			       path, (uintmax_t)x->line_number, section ? section : "", key);
	value = x->values && x->values[0] ? x->values[0] : "";
	return put(c, section ? section : "", key, value, path, x->line_number, e);
}

/*
 * libeconf's own list of keys is not asked: 0.5 leaves out a key that has the name of the one
 * before it, even when that one stands in another section.
 */
static int read_keys(struct conf *c, econf_file *f, const struct conf_keys *keys, const char *path,
		     struct err *e)
{
	for (size_t i = 0; i < keys->n; i++) {
		const struct conf_key *k = &keys->key[i];
		AUTO_FREE char *section = strndup(k->section.p ? k->section.p : "", k->section.n);
		AUTO_FREE char *name = strndup(k->name.p, k->name.n);
		int r;

		if (!section || !name)
			return no_memory(e);
		r = read_key(c, f, *section ? section : NULL, name, path, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int syntax_error(econf_err r, const char *path, struct err *e)
{
	AUTO_FREE char *name = NULL;
	uint64_t line = 0;

	if (r == ECONF_NOMEM)
		return no_memory(e);
	if (r == ECONF_NOFILE)
		return err_set(e, ERR_HOST, ENOENT, "%s: cannot be read", path);
	econf_errLocation(&name, &line);
	return err_set(e, ERR_INPUT, EINVAL, "%s:%ju: %s", path, (uintmax_t)line,
		       econf_errString(r));
}

static int read_file(struct conf *c, const char *path, struct err *e)
{
	econf_file *f CLEANUP(file_freep) = NULL;
	AUTO_FREE char *text = NULL;
	struct conf_keys keys;
	size_t n;
	econf_err q;
	int r = file_read(sys_linux(), AT_FDCWD, path, FILE_MAX, &text, &n, e);

	if (r < 0)
		return r;
	r = conf_layer_scan(text, n, path, &keys, e);
	if (r < 0)
		return r;
	q = econf_readFile(&f, path, "=", "#;");
	if (q != ECONF_SUCCESS)
		return syntax_error(q, path, e);
	return read_keys(c, f, &keys, path, e);
}

static struct conf *conf_new(void)
{
	struct conf *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->entry = calloc(ENTRIES_MAX, sizeof(*c->entry));
	if (!c->entry) {
		free(c);
		return NULL;
	}
	return c;
}

int conf_load_file(const char *path, struct conf **ret, struct err *e)
{
	AUTO_CONF *c = conf_new();
	int r;

	if (!c)
		return no_memory(e);
	r = read_file(c, path, e);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

int conf_add_file(struct conf *c, const char *path, struct err *e)
{
	struct err inner = ERR_INIT;
	int r = read_file(c, path, &inner);

	if (r == -ENOENT || r == 0)
		return 0;
	return err_set(e, inner.kind, -r, "%s", inner.text);
}

static const char *const dirs[] = { "/etc", "/run", "/usr/lib" };
#define N_DIRS (sizeof(dirs) / sizeof(dirs[0]))

static int path_make(char *out, const char *root, unsigned dir, const char *name, const char *file,
		     struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s%s/%s/%s.conf%s%s", root, dirs[dir], name, name,
			 file ? ".d/" : "", file ? file : "");

	if (n < 0 || n >= PATH_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "path below '%.80s' is too long", root);
	return 0;
}

enum found { ABSENT, MASKED, PRESENT };

/* As systemd: an empty file or a device (/dev/null) masks; links that lead nowhere are absent. */
static enum found look(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? ABSENT : PRESENT;
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size == 0))
		return MASKED;
	return S_ISREG(st.st_mode) ? PRESENT : ABSENT;
}

static int read_main(struct conf *c, const char *root, const char *name, struct err *e)
{
	char path[PATH_MAX];

	for (unsigned d = 0; d < N_DIRS; d++) {
		enum found f;
		int r = path_make(path, root, d, name, NULL, e);

		if (r < 0)
			return r;
		f = look(path);
		if (f != ABSENT)
			return f == PRESENT ? read_file(c, path, e) : 0;
	}
	return 0;
}

struct dropins {
	struct conf_seen seen[DROPINS_MAX];
	size_t n;
};

static void dropins_done(struct dropins *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->seen[i].name);
	d->n = 0;
}

static void dir_closep(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static bool is_dropin_name(const char *s)
{
	size_t n = strlen(s);

	return s[0] != '.' && n > 5 && strcmp(s + n - 5, ".conf") == 0;
}

static int see(struct dropins *dr, const char *root, unsigned dir, const char *name,
	       const char *file, struct err *e)
{
	char path[PATH_MAX];
	enum found f;
	int r = path_make(path, root, dir, name, file, e);

	if (r < 0)
		return r;
	f = look(path);
	if (f == ABSENT)
		return 0;
	if (dr->n == DROPINS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d drop-ins beside '%s'",
			       DROPINS_MAX, path);
	dr->seen[dr->n] = (struct conf_seen){ strdup(file), dir, f == MASKED };
	if (!dr->seen[dr->n].name)
		return no_memory(e);
	dr->n++;
	return 0;
}

static int list_dropins(struct dropins *dr, const char *root, unsigned dir, const char *name,
			struct err *e)
{
	DIR *d CLEANUP(dir_closep) = NULL;
	char path[PATH_MAX];
	struct dirent *de;
	int r = path_make(path, root, dir, name, "", e);

	if (r < 0)
		return r;
	d = opendir(path);
	if (!d && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!d)
		return err_set(e, ERR_HOST, errno, "open '%s': %s", path, strerror(errno));
	while ((de = readdir(d))) {
		if (!is_dropin_name(de->d_name))
			continue;
		r = see(dr, root, dir, name, de->d_name, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_dropins(struct conf *c, const char *root, const char *name, struct err *e)
{
	struct dropins dr CLEANUP(dropins_done) = { .n = 0 };
	size_t n;

	for (unsigned d = 0; d < N_DIRS; d++) {
		int r = list_dropins(&dr, root, d, name, e);

		if (r < 0)
			return r;
	}
	n = conf_layer_order(dr.seen, dr.n);
	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX];
		int r = path_make(path, root, dr.seen[i].dir, name, dr.seen[i].name, e);

		if (r == 0)
			r = read_file(c, path, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int conf_load(const char *root, const char *name, struct conf **ret, struct err *e)
{
	AUTO_CONF *c = conf_new();
	int r;

	if (!c)
		return no_memory(e);
	r = read_main(c, root, name, e);
	if (r == 0)
		r = read_dropins(c, root, name, e);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

/* NULL when absent or empty: "Key=" takes back what a lower layer said, as in systemd. */
static const struct entry *value_of(const struct conf *c, const char *section, const char *key)
{
	const struct entry *en = find(c, section, key);

	return en && *en->value ? en : NULL;
}

/* As value_of(); "auto" stands for the default too, where it cannot be a value. */
static const struct entry *set_of(const struct conf *c, const char *section, const char *key)
{
	const struct entry *en = value_of(c, section, key);

	return en && strcmp(en->value, "auto") != 0 ? en : NULL;
}

/* What leads the sentence about a wrong value. */
static const char *place(const struct entry *en, char out[WHAT_BYTES])
{
	(void)snprintf(out, WHAT_BYTES, "%s:%ju: [%s] %s=", en->path, (uintmax_t)en->line,
		       en->section, en->key);
	return out;
}

int conf_str(struct conf *c, const char *section, const char *key, const char *def,
	     const char **ret, struct err *e)
{
	const struct entry *en = value_of(c, section, key);

	(void)e;
	*ret = en ? en->value : def;
	return 0;
}

int conf_bool(struct conf *c, const char *section, const char *key, bool def, bool *ret,
	      struct err *e)
{
	static const char *const words[2][6] = { { "no", "false", "off", "0", "n", "f" },
						 { "yes", "true", "on", "1", "y", "t" } };
	const struct entry *en = set_of(c, section, key);
	char what[WHAT_BYTES];

	if (!en) {
		*ret = def;
		return 0;
	}
	for (size_t i = 0; i < 12; i++) {
		if (strcasecmp(en->value, words[i / 6][i % 6]) == 0) {
			*ret = i / 6 == 1;
			return 0;
		}
	}
	return err_set(e, ERR_INPUT, EINVAL, "%s: '%.40s' is neither yes nor no", place(en, what),
		       en->value);
}

/* the range and the default belong to the question */
/* NOLINTNEXTLINE(readability-function-size) */
int conf_u64(struct conf *c, const char *section, const char *key, uint64_t min, uint64_t max,
	     uint64_t def, uint64_t *ret, struct err *e)
{
	const struct entry *en = set_of(c, section, key);
	char what[WHAT_BYTES];

	if (en)
		return num_parse(en->value, strlen(en->value), min, max, place(en, what), ret, e);
	*ret = def;
	return 0;
}

int conf_bytes(struct conf *c, const char *section, const char *key, uint64_t def, uint64_t *ret,
	       struct err *e)
{
	const struct entry *en = set_of(c, section, key);
	char what[WHAT_BYTES];

	if (en)
		return num_parse_bytes(en->value, place(en, what), ret, e);
	*ret = def;
	return 0;
}

int conf_seconds(struct conf *c, const char *section, const char *key, uint64_t def, uint64_t *ret,
		 struct err *e)
{
	const struct entry *en = set_of(c, section, key);
	char what[WHAT_BYTES];

	if (en)
		return num_parse_seconds(en->value, place(en, what), ret, e);
	*ret = def;
	return 0;
}

int conf_origin(struct conf *c, const char *section, const char *key, const char **ret_path,
		uint64_t *ret_line, struct err *e)
{
	const struct entry *en = find(c, section, key);

	if (!en)
		return err_set(e, ERR_INPUT, ENOENT, "[%s] %s is not set", section, key);
	*ret_path = en->path;
	*ret_line = en->line;
	return 0;
}

bool conf_forget(struct conf *c, const char *text)
{
	for (size_t i = 0; i < c->n; i++) {
		struct entry *en = &c->entry[i];
		char where[WHAT_BYTES];
		int n = snprintf(where, sizeof(where), "%.290s:%ju: ", en->path,
				 (uintmax_t)en->line);

		if (n <= 0 || !en->value[0] || strncmp(text, where, (size_t)n) != 0)
			continue;
		en->value[0] = '\0'; /* as "Key=" */
		return true;
	}
	return false;
}

static bool is_known(const struct entry *en, const char *const *known)
{
	size_t n = strlen(en->section);

	for (; *known; known++) {
		if (strncmp(*known, en->section, n) == 0 && (*known)[n] == '.' &&
		    strcmp(*known + n + 1, en->key) == 0)
			return true;
	}
	return false;
}

int conf_check(struct conf *c, const char *const *known, conf_unknown_fn fn, void *arg,
	       struct err *e)
{
	(void)e;
	for (size_t i = 0; i < c->n; i++) {
		const struct entry *en = &c->entry[i];

		if (!is_known(en, known))
			fn(arg, en->section, en->key, en->path, en->line);
	}
	return 0;
}
