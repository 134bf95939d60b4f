/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ignition-lite/azure.h"
#include "ignition-lite/kargs.h"
#include "ignition-lite/root.h"
#include "ignition-lite/url.h"

enum { FRAGMENTS_MAX = 256, CHUNK = 256 << 10 };

static const char *const platforms[] = { "", "metal", "qemu", "azure", "file" };

static const char *const fw_cfg[] = { "opt/com.coreos/config", "opt/org.flatcar-linux/config" };
static const char *const user_dirs[] = { "/run/ignition", "/etc/ignition", "/usr/lib/ignition" };

/* --- what is asked for --- */

int ign_source_cmdline(const char *cmdline, struct ign_cmdline *ret, struct err *e)
{
	struct ign_cmdline c = { .url = "" };
	char first[8] = "", longer[IGN_URL_MAX + 1];

	if (ign_karg_get(cmdline, "ignition.config.url", longer, sizeof(longer))) {
		if (strlen(longer) >= sizeof(c.url))
			return err_set(e, ERR_INPUT, ENAMETOOLONG,
				       "ignition.config.url= on the kernel command line is too "
				       "long");
		memcpy(c.url, longer, strlen(longer) + 1);
	}
	(void)ign_karg_get(cmdline, "ignition.platform.id", c.platform, sizeof(c.platform));
	c.first_boot = ign_karg_has(cmdline, "ignition.firstboot");
	if (ign_karg_get(cmdline, "ignition.firstboot", first, sizeof(first)))
		c.first_boot = strcmp(first, "0") != 0;
	*ret = c;
	return 0;
}

int ign_source_platform(const char *name, enum ign_platform *ret, struct err *e)
{
	for (size_t i = 0; i < sizeof(platforms) / sizeof(platforms[0]); i++)
		if (strcmp(name, platforms[i]) == 0) {
			*ret = (enum ign_platform)i;
			return 0;
		}
	return err_set(e, ERR_INPUT, EOPNOTSUPP,
		       "platform '%.40s' is not known here; metal, qemu, azure and file are, and "
		       "ignition.config.url= works everywhere",
		       name);
}

const char *ign_platform_name(enum ign_platform p)
{
	return platforms[p];
}

void ign_text_done(struct ign_text *t)
{
	buf_done(&t->text);
}

/* --- files of the host --- */

static int host_path(const struct ign_source *s, const char *path, char out[PATH_MAX],
		     struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s%s", s->host, path);

	return n < 0 || n >= PATH_MAX
		       ? err_set(e, ERR_INPUT, ENAMETOOLONG, "'%.200s': the path is too long", path)
		       : 0;
}

static bool host_has(const struct ign_source *s, const char *path)
{
	char full[PATH_MAX];

	return host_path(s, path, full, NULL) == 0 && access(full, F_OK) == 0;
}

/* In few, large reads: what QEMU's fw_cfg hands out costs more the further one reads. */
static int read_fd(int fd, const char *path, struct buf *ret, struct err *e)
{
	for (;;) {
		size_t want = ret->max - ret->n < CHUNK ? ret->max - ret->n : CHUNK;
		ssize_t n;
		int r = buf_reserve(ret, want, e);

		if (r < 0)
			return r;
		if (want == 0)
			return err_set(e, ERR_INPUT, EFBIG, "'%s' is larger than %zu bytes", path,
				       ret->max - 1);
		n = read(fd, ret->p + ret->n, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_HOST, errno, "read '%s': %s", path, strerror(errno));
		if (n == 0)
			return buf_add(ret, "", 0, e);
		ret->n += (size_t)n;
	}
}

static int read_path(const char *path, size_t max, struct buf *ret, struct err *e)
{
	AUTO_IGN_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "read '%s': %s", path, strerror(errno));
	ret->max = max + 1;
	r = read_fd(fd, path, ret, e);
	return r < 0 ? r : 1;
}

int ign_source_read(const struct ign_source *s, const char *path, size_t max, struct buf *ret,
		    struct err *e)
{
	char full[PATH_MAX];
	int r = host_path(s, path, full, e);

	return r < 0 ? r : read_path(full, max, ret, e);
}

/* --- the user's config --- */

static void fw_cfg_path(size_t i, char out[128])
{
	(void)snprintf(out, 128, "/sys/firmware/qemu_fw_cfg/by_name/%s/raw", fw_cfg[i]);
}

static enum ign_platform machine_is(const struct ign_source *s)
{
	static const char azure_tag[] = "7783-7084-3265-9085-8269-3286-77";
	AUTO_BUF tag = BUF_INIT;
	char path[128];

	for (size_t i = 0; i < 2; i++) {
		fw_cfg_path(i, path);
		if (host_has(s, path))
			return IGN_PLATFORM_QEMU;
	}
	if (ign_source_read(s, "/sys/class/dmi/id/chassis_asset_tag", 256, &tag, NULL) > 0 &&
	    tag.p && strncmp(tag.p, azure_tag, strlen(azure_tag)) == 0)
		return IGN_PLATFORM_AZURE;
	return IGN_PLATFORM_NONE;
}

static int platform_of(const struct ign_source *s, enum ign_platform *ret, struct err *e)
{
	int r = 0;

	*ret = s->platform;
	if (*ret == IGN_PLATFORM_NONE && s->cmdline->platform[0])
		r = ign_source_platform(s->cmdline->platform, ret, e);
	else if (*ret == IGN_PLATFORM_NONE)
		*ret = machine_is(s);
	return r;
}

static int from_qemu(const struct ign_source *s, struct ign_text *ret, struct err *e)
{
	for (size_t i = 0; i < 2; i++) {
		char path[128];
		int r;

		fw_cfg_path(i, path);
		(void)snprintf(ret->what, sizeof(ret->what), "fw_cfg %s", fw_cfg[i]);
		r = ign_source_read(s, path, IGN_CONFIG_MAX, &ret->text, e);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return 0;
}

static int from_azure(const struct ign_source *s, struct ign_text *ret, struct err *e)
{
	int r;

	(void)snprintf(ret->what, sizeof(ret->what), "azure user data");
	r = ign_azure_imds(s->imds, s->load, &ret->text, e);
	if (r < 0 || ret->text.n > 0)
		return r;
	(void)snprintf(ret->what, sizeof(ret->what), "azure CustomData.bin");
	return ign_azure_cdrom(s->host, &ret->text, e);
}

static int from_file(struct ign_text *ret, struct err *e)
{
	const char *path = getenv("IGNITION_CONFIG_FILE");
	int r;

	path = path && *path ? path : "config.ign";
	(void)snprintf(ret->what, sizeof(ret->what), "%s", path);
	r = read_path(path, IGN_CONFIG_MAX, &ret->text, e);
	return r < 0 ? r : 0;
}

static int from_platform(const struct ign_source *s, struct ign_text *ret, struct err *e)
{
	enum ign_platform p;
	int r = platform_of(s, &p, e);

	if (r < 0)
		return r;
	if (p == IGN_PLATFORM_QEMU)
		return from_qemu(s, ret, e);
	if (p == IGN_PLATFORM_AZURE)
		return from_azure(s, ret, e);
	return p == IGN_PLATFORM_FILE ? from_file(ret, e) : 0;
}

static bool is_url(const char *s)
{
	static const char *const schemes[] = { "http://", "https://", "data:" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncasecmp(s, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

static int from_url(const struct ign_source *s, const char *url, struct ign_text *ret,
		    struct err *e)
{
	(void)ign_url_show(url, ret->what, sizeof(ret->what));
	return ign_load_url(s->load, url, &ret->text, e);
}

static int from_given(const struct ign_source *s, struct ign_text *ret, struct err *e)
{
	int r;

	if (is_url(s->given))
		return from_url(s, s->given, ret, e);
	(void)snprintf(ret->what, sizeof(ret->what), "%s", s->given);
	if (strcmp(s->given, "-") == 0) {
		ret->text.max = IGN_CONFIG_MAX + 1;
		return read_fd(STDIN_FILENO, "standard input", &ret->text, e);
	}
	r = read_path(s->given, IGN_CONFIG_MAX, &ret->text, e);
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT, "'%s': %s", s->given, strerror(ENOENT));
	return r < 0 ? r : 0;
}

int ign_source_user(const struct ign_source *s, struct ign_text *ret, struct err *e)
{
	ret->text.max = IGN_CONFIG_MAX + 1;
	if (s->given)
		return from_given(s, ret, e);
	if (s->cmdline->url[0])
		return from_url(s, s->cmdline->url, ret, e);
	for (size_t i = 0; i < sizeof(user_dirs) / sizeof(user_dirs[0]); i++) {
		int r;

		(void)snprintf(ret->what, sizeof(ret->what), "%s/user.ign", user_dirs[i]);
		r = ign_source_read(s, ret->what, IGN_CONFIG_MAX, &ret->text, e);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return from_platform(s, ret, e);
}

int ign_source_needs_network(const struct ign_source *s, bool *ret, struct err *e)
{
	const char *url = s->given && is_url(s->given) ? s->given : s->cmdline->url;
	enum ign_platform p;
	int r;

	*ret = url[0] && ign_url_needs_network(url);
	if (s->given || url[0])
		return 0;
	for (size_t i = 0; i < sizeof(user_dirs) / sizeof(user_dirs[0]); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/user.ign", user_dirs[i]);
		if (host_has(s, path))
			return 0;
	}
	r = platform_of(s, &p, e);
	*ret = r == 0 && p == IGN_PLATFORM_AZURE;
	return r;
}

/* --- fragments --- */

struct names {
	char *v[FRAGMENTS_MAX];
	size_t n;
};

static void names_done(struct names *l)
{
	while (l->n > 0)
		free(l->v[--l->n]);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_fragment(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".ign") == 0;
}

static void dir_done(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int list(const struct ign_source *s, const char *dir, struct names *l, struct err *e)
{
	__attribute__((cleanup(dir_done))) DIR *d = NULL;
	char full[PATH_MAX];
	struct dirent *one;
	int r = host_path(s, dir, full, e);

	if (r < 0)
		return r;
	d = opendir(full);
	if (!d && errno == ENOENT)
		return 0;
	if (!d)
		return err_set(e, ERR_HOST, errno, "read '%s': %s", full, strerror(errno));
	while ((one = readdir(d))) {
		if (!is_fragment(one->d_name))
			continue;
		if (l->n == FRAGMENTS_MAX)
			return err_set(e, ERR_INPUT, E2BIG, "'%s' holds more than %d fragments",
				       full, FRAGMENTS_MAX);
		l->v[l->n] = strdup(one->d_name);
		if (!l->v[l->n])
			return err_set(e, ERR_HOST, ENOMEM, "out of memory");
		l->n++;
	}
	qsort(l->v, l->n, sizeof(l->v[0]), by_name);
	return 0;
}

static int add_fragment(const struct ign_source *s, const char *path, struct ign_config **all,
			struct err *e)
{
	AUTO_IGN_CONFIG *one = NULL;
	AUTO_IGN_REPORT rep = { .n = 0 };
	AUTO_BUF text = BUF_INIT;
	struct ign_config *merged = NULL;
	int r = ign_source_read(s, path, IGN_CONFIG_MAX, &text, e);

	if (r > 0)
		r = ign_load_config(s->load, text.p, text.n, path, &one, e);
	if (r == 0 && !*all) {
		*all = TAKE(one);
		return 0;
	}
	if (r == 0)
		r = ign_config_merge(*all, one, &rep, &merged, e);
	if (r < 0)
		return err_wrap(e, r, "with '%s'", path);
	ign_config_free(*all);
	*all = merged;
	return 0;
}

static int add_dir(const struct ign_source *s, const char *dir, struct ign_config **all,
		   struct err *e)
{
	__attribute__((cleanup(names_done))) struct names l = { .n = 0 };
	int r = list(s, dir, &l, e);

	for (size_t i = 0; r == 0 && i < l.n; i++) {
		char path[PATH_MAX];
		int n = snprintf(path, sizeof(path), "%s/%s", dir, l.v[i]);

		r = n < 0 || n >= PATH_MAX ? 0 : add_fragment(s, path, all, e);
	}
	return r;
}

int ign_source_base(const struct ign_source *s, struct ign_config **ret, struct err *e)
{
	AUTO_IGN_CONFIG *all = NULL;
	enum ign_platform p;
	char dir[128];
	int r = platform_of(s, &p, e);

	if (r == 0)
		r = add_dir(s, "/usr/lib/ignition/base.d", &all, e);
	if (r == 0 && p != IGN_PLATFORM_NONE) {
		(void)snprintf(dir, sizeof(dir), "/usr/lib/ignition/base.platform.d/%s",
			       ign_platform_name(p));
		r = add_dir(s, dir, &all, e);
	}
	if (r < 0 || !all)
		return r;
	*ret = TAKE(all);
	return 1;
}
