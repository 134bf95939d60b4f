/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/esp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/vfs.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "base/text.h"
#include "bootctl/esp_dir.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"

enum { CONF_MAX = 64 << 10, FAT_MAGIC = 0x4d44 };

/* ---- reading one entry ---- */

static void entry_break(struct esp_entry *en, const char *why)
{
	en->broken = true;
	(void)text_clean(why, strlen(why), en->reason, sizeof(en->reason));
}

static void entry_from_uki(struct esp_entry *en)
{
	memcpy(en->title, en->uki.pretty, UKI_FIELD_MAX);
	memcpy(en->version, en->uki.version, UKI_FIELD_MAX);
	memcpy(en->sort_key, en->uki.sort_key, UKI_FIELD_MAX);
}

/* A UKI we call broken is in the loader's menu all the same when .osrel can be read. */
static bool uki_is_shown(struct sys *sys, int fd, struct esp_entry *en)
{
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	AUTO_FREE char *osrel = NULL;
	const struct pe_section *s;
	size_t n;

	if (!pe || pe_open_lax(sys, fd, pe, NULL) < 0)
		return false;
	s = pe_section_find(pe, ".osrel");
	if (!s || pe_section_read(pe, s, UKI_OSREL_MAX, &osrel, &n, NULL) < 0 ||
	    uki_parse_osrel(osrel, n, &en->uki, NULL) < 0)
		return false;
	entry_from_uki(en);
	return true;
}

static void entry_read_uki(struct sys *sys, int fd, struct esp_entry *en)
{
	struct err why = ERR_INIT;

	if (en->bytes == 0) {
		entry_break(en, "it is empty");
		return;
	}
	if (uki_read_fd(sys, fd, &en->uki, &why) < 0) {
		en->shown = uki_is_shown(sys, fd, en);
		entry_break(en, why.text);
		return;
	}
	en->shown = true;
	entry_from_uki(en);
}

/* "key value" with literal rest; true when the line has this key. */
static bool conf_line(const char *p, const char *end, const char *key, char *out, size_t cap)
{
	size_t n = strlen(key);

	if ((size_t)(end - p) <= n || memcmp(p, key, n) != 0 || (p[n] != ' ' && p[n] != '\t'))
		return false;
	p += n;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	/* too long cannot be kept: cut, only display and order use it */
	(void)text_clean(p, (size_t)(end - p), out, cap);
	return true;
}

struct conf_found {
	char loader[BOOT_NAME_MAX], arch[16];
};

static void conf_parse(const char *p, size_t n, struct esp_entry *en, struct conf_found *f)
{
	const char *end = p + n;

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		while (stop > p && strchr(" \t\r", stop[-1]))
			stop--;
		(void)(conf_line(p, stop, "title", en->title, sizeof(en->title)) ||
		       conf_line(p, stop, "version", en->version, sizeof(en->version)) ||
		       conf_line(p, stop, "sort-key", en->sort_key, sizeof(en->sort_key)) ||
		       conf_line(p, stop, "machine-id", en->machine_id, sizeof(en->machine_id)) ||
		       conf_line(p, stop, "linux", f->loader, sizeof(f->loader)) ||
		       conf_line(p, stop, "efi", f->loader, sizeof(f->loader)) ||
		       conf_line(p, stop, "architecture", f->arch, sizeof(f->arch)));
		p = nl ? nl + 1 : end;
	}
}

#if defined(__aarch64__)
#define EFI_ARCH "aa64"
#else
#define EFI_ARCH "x64"
#endif

/* What systemd-boot 252 asks of a type 1 entry before it shows it. */
static int conf_check(struct sys *sys, int esp, const struct conf_found *f, struct err *e)
{
	const char *path = f->loader;
	int fd;

	if (!*path)
		return err_set(e, ERR_INPUT, EINVAL, "it names no linux and no efi");
	if (*f->arch && strcmp(f->arch, EFI_ARCH) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "it is for architecture '%s'", f->arch);
	while (*path == '/' || *path == '\\')
		path++;
	if (strstr(path, ".."))
		return err_set(e, ERR_INPUT, EINVAL, "'%s' is no plain path", f->loader);
	fd = sys->ops->open(sys, esp, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, ERR_INPUT, ENOENT, "'%s' is missing", f->loader);
	(void)sys->ops->close(sys, fd);
	return 0;
}

static void entry_read_conf(struct sys *sys, int esp, int dir, struct esp_entry *en)
{
	struct conf_found f = { .loader = "" };
	struct err why = ERR_INIT;
	AUTO_FREE char *p = NULL;
	size_t n;
	int r = file_read(sys, dir, en->name.file, CONF_MAX, &p, &n, &why);

	if (r >= 0) {
		conf_parse(p, n, en, &f);
		r = conf_check(sys, esp, &f, &why);
	}
	if (r < 0)
		entry_break(en, why.text);
	en->shown = r >= 0;
}

int esp_entry_read(struct sys *sys, int esp, int dir, const struct boot_entry_name *name,
		   struct esp_entry *en)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, dir, name->file, O_RDONLY | O_NONBLOCK, 0) };
	char byte;

	memset(en, 0, sizeof(*en));
	en->name = *name;
	if (f.fd < 0) {
		entry_break(en, "it cannot be opened");
		return 1;
	}
	if (sys->ops->pread(sys, f.fd, &byte, 1, 0) == -EISDIR)
		return 0;
	if (sys->ops->size(sys, f.fd, &en->bytes) < 0) {
		entry_break(en, "it is no regular file");
		return 1;
	}
	if (name->type == BOOT_ENTRY_UKI)
		entry_read_uki(sys, f.fd, en);
	else
		entry_read_conf(sys, esp, dir, en);
	/* the loader keeps this prefix for what it finds by itself */
	if (strncmp(name->file, "auto-", 5) == 0)
		en->shown = false;
	return 1;
}

/* ---- listing ---- */

struct list {
	struct esp_entry *e;
	size_t n, cap;
};

static void list_done(struct list *l)
{
	free(l->e);
}

static int list_dir(struct sys *sys, int esp, enum boot_entry_type type, struct list *l,
		    struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	AUTO_ESP_NAMES names = { .n = 0 };
	int r = esp_dir_open(sys, esp, type, false, &dir, e);

	if (r < 0 || dir.fd < 0)
		return r;
	r = esp_names_read(sys, dir.fd, &names, e);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		struct boot_entry_name name;
		struct esp_entry *more;

		if (boot_entry_name_parse(names.name[i], strlen(names.name[i]), &name, NULL) < 0 ||
		    name.type != type)
			continue;
		if (l->n == ESP_ENTRIES_MAX)
			return err_set(e, ERR_INPUT, E2BIG, "ESP: more than %d boot entries",
				       ESP_ENTRIES_MAX);
		more = array_room(l->e, l->n, &l->cap, sizeof(*more));
		if (!more)
			return err_set(e, ERR_HOST, ENOMEM, "out of memory");
		l->e = more;
		l->n += (size_t)esp_entry_read(sys, esp, dir.fd, &name, &l->e[l->n]);
	}
	return r;
}

static void choice_from(const struct esp_entry *en, size_t i, struct choice_entry *c)
{
	*c = (struct choice_entry){ .file = en->name.file,
				    .sort_key = en->sort_key,
				    .machine_id = en->machine_id,
				    .version = en->version,
				    .counted = en->name.counted,
				    .left = en->name.left,
				    .done = en->name.done,
				    .index = i };
}

/* Menu order for what the loader shows, then the rest by name. */
static int list_sort(struct list *l, struct err *e)
{
	AUTO_FREE struct choice_entry *c = calloc(l->n ? l->n : 1, sizeof(*c));
	struct esp_entry *sorted = calloc(l->n ? l->n : 1, sizeof(*sorted));
	size_t shown = 0, k;

	if (!c || !sorted) {
		free(sorted);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < l->n; i++)
		if (l->e[i].shown)
			choice_from(&l->e[i], i, &c[shown++]);
	k = shown;
	for (size_t i = 0; i < l->n; i++)
		if (!l->e[i].shown)
			choice_from(&l->e[i], i, &c[k++]);
	choice_sort(c, shown);
	choice_sort(c + shown, l->n - shown);
	for (size_t i = 0; i < l->n; i++)
		sorted[i] = l->e[c[i].index];
	free(l->e);
	l->e = sorted;
	return 0;
}

int esp_list(struct sys *sys, int esp, struct esp_entry **ret, size_t *ret_n, struct err *e)
{
	__attribute__((cleanup(list_done))) struct list l = { .n = 0 };
	int r = list_dir(sys, esp, BOOT_ENTRY_UKI, &l, e);

	if (r >= 0)
		r = list_dir(sys, esp, BOOT_ENTRY_CONF, &l, e);
	if (r >= 0)
		r = list_sort(&l, e);
	if (r < 0)
		return r;
	*ret = TAKE(l.e);
	*ret_n = l.n;
	return 0;
}

int esp_get(struct sys *sys, int esp, const char *id, struct esp_entry *ret, struct err *e)
{
	AUTO_FREE struct esp_entry *l = NULL;
	const struct esp_entry *found = NULL;
	size_t n = 0;
	int r = esp_list(sys, esp, &l, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (!boot_entry_is_called(&l[i].name, id))
			continue;
		if (found && found->name.type != l[i].name.type)
			return err_set(e, ERR_INPUT, EINVAL,
				       "'%s' means both '%s' and '%s': give the whole name", id,
				       found->name.file, l[i].name.file);
		if (!found || (found->broken && !l[i].broken))
			found = &l[i];
	}
	if (!found)
		return err_set(e, ERR_INPUT, ENOENT, "the ESP has no boot entry '%s'", id);
	*ret = *found;
	return 0;
}

static const char *var_get(struct sys *sys, int efivars, enum loader_var v,
			   char buf[LOADER_VAR_MAX])
{
	if (efivars < 0 || loader_var_read(sys, efivars, v, buf, NULL) < 0)
		return NULL;
	return buf;
}

/* The file loader.conf; *ret stays NULL without one. */
static int conf_read(struct sys *sys, int esp, char **ret, size_t *ret_n, struct err *e)
{
	AUTO_SYS_FD dir = { sys, sys->ops->open(sys, esp, "loader", O_RDONLY | O_DIRECTORY, 0) };
	struct err why = ERR_INIT;
	int r;

	if (dir.fd < 0)
		return 0;
	r = file_read(sys, dir.fd, "loader.conf", CONF_MAX, ret, ret_n, &why);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_set(e, why.kind, why.os, "ESP: %s", why.text) : 0;
}

static struct choice_loader loader_of(struct sys *sys, int efivars)
{
	char info[LOADER_VAR_MAX], selected[LOADER_VAR_MAX], count_path[LOADER_VAR_MAX];
	const char *i = var_get(sys, efivars, LOADER_INFO, info);
	const char *s = var_get(sys, efivars, LOADER_ENTRY_SELECTED, selected);
	const char *c = var_get(sys, efivars, LOADER_BOOT_COUNT_PATH, count_path);

	return choice_loader(i ? i : "", s ? s : "", c ? c : "");
}

/* What is asked for, and where the words of it lie. */
struct wish {
	struct choice_wish w;
	char oneshot[LOADER_VAR_MAX], preferred[LOADER_VAR_MAX], var[LOADER_VAR_MAX];
	char saved[LOADER_VAR_MAX], conf[BOOT_NAME_MAX], conf_preferred[BOOT_NAME_MAX];
};

static int wish_read(struct sys *sys, int esp, int efivars, struct wish *w, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n = 0;
	int r = conf_read(sys, esp, &p, &n, e);

	if (r < 0)
		return r;
	choice_conf_value(p ? p : "", n, "default", w->conf, sizeof(w->conf));
	choice_conf_value(p ? p : "", n, "preferred", w->conf_preferred, sizeof(w->conf_preferred));
	w->w = (struct choice_wish){
		.oneshot = var_get(sys, efivars, LOADER_ENTRY_ONE_SHOT, w->oneshot),
		.preferred_var = var_get(sys, efivars, LOADER_ENTRY_PREFERRED, w->preferred),
		.preferred_conf = w->conf_preferred,
		.var = var_get(sys, efivars, LOADER_ENTRY_DEFAULT, w->var),
		.conf = w->conf,
		.saved = var_get(sys, efivars, LOADER_ENTRY_LAST_BOOTED, w->saved),
	};
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): two places to look, two answers */
int esp_next(struct sys *sys, int esp, int efivars, const struct esp_entry *entries, size_t n,
	     size_t *ret, enum choice_why *ret_why, struct err *e)
{
	AUTO_FREE struct choice_entry *c = calloc(n ? n : 1, sizeof(*c));
	struct choice_loader loader = loader_of(sys, efivars);
	struct wish wish;
	size_t shown = 0, k;
	int r = c ? wish_read(sys, esp, efivars, &wish, e)
		  : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (entries[i].shown)
			choice_from(&entries[i], i, &c[shown++]);
	k = choice_next_of(&loader, c, shown, &wish.w, ret_why);
	*ret = *ret_why == CHOICE_UNSURE || *ret_why == CHOICE_NONE ? n : k;
	return 0;
}

/* A FAT file system with EFI/ in it; opening EFI/ first lets an automounter mount it. */
static bool is_esp(struct sys *sys, int dir)
{
	AUTO_SYS_FD efi = { sys, sys->ops->open(sys, dir, "EFI", O_RDONLY | O_DIRECTORY, 0) };
	struct statfs st;

	return efi.fd >= 0 && fstatfs(efi.fd, &st) == 0 && st.f_type == FAT_MAGIC;
}

int esp_open(struct sys *sys, const char *path, int *ret, char ret_path[256], struct err *e)
{
	const char *const usual[] = { "/efi", "/boot/efi", "/boot" };
	const char *const *try = path ? &path : usual;
	size_t n = path ? 1 : sizeof(usual) / sizeof(usual[0]);

	for (size_t i = 0; i < n; i++) {
		int fd = sys->ops->open(sys, AT_FDCWD, try[i], O_RDONLY | O_DIRECTORY, 0);

		if (fd < 0 && path)
			return err_set(e, ERR_HOST, -fd, "cannot open the ESP '%s': %s", path,
				       strerror(-fd));
		if (fd < 0)
			continue;
		if (path || is_esp(sys, fd)) {
			*ret = fd;
			if (ret_path)
				(void)snprintf(ret_path, 256, "%s", try[i]);
			return 0;
		}
		(void)sys->ops->close(sys, fd);
	}
	return err_set(e, ERR_HOST, ENOENT,
		       "no EFI system partition is mounted on /efi, /boot/efi or /boot: mount it, "
		       "or say where it is");
}
