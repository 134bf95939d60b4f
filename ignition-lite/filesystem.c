/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/filesystem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/spawn.h"

enum { WAIT_MS = 30000, WAIT_STEP_MS = 200, OUT_MAX = 16384 };

/* format: its tool, and how that takes force, label and UUID */
static const struct format {
	const char *name, *type, *tool, *force, *label, *uuid;
} formats[] = {
	{ "ext4", "ext4", "mkfs.ext4", "-F", "-L", "-U" },
	{ "xfs", "xfs", "mkfs.xfs", "-f", "-L", "-m" },
	{ "btrfs", "btrfs", "mkfs.btrfs", "--force", "--label", "--uuid" },
	{ "vfat", "vfat", "mkfs.vfat", "-I", "-n", "-i" },
};

static const struct format *format_of(const char *name)
{
	for (size_t i = 0; name && i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}

/* --- deciding --- */

static void take(const char *line, size_t n, const char *key, char *out, size_t cap)
{
	size_t k = strlen(key);

	if (n > k && memcmp(line, key, k) == 0)
		(void)snprintf(out, cap, "%.*s", (int)(n - k), line + k);
}

void ign_filesystem_parse(const char *text, size_t n, struct ign_found *ret)
{
	struct ign_found f = { .type = "" };
	char table[32] = "";

	while (n > 0) {
		const char *nl = memchr(text, '\n', n);
		size_t line = nl ? (size_t)(nl - text) : n;

		take(text, line, "TYPE=", f.type, sizeof(f.type));
		take(text, line, "LABEL=", f.label, sizeof(f.label));
		take(text, line, "UUID=", f.uuid, sizeof(f.uuid));
		take(text, line, "PTTYPE=", table, sizeof(table));
		text += nl ? line + 1 : line;
		n -= nl ? line + 1 : line;
	}
	f.table = table[0] != '\0';
	*ret = f;
}

static bool matches(const struct ign_filesystem *fs, const struct ign_found *found,
		    const struct format *f)
{
	return strcmp(found->type, f->type) == 0 &&
	       (!fs->label || strcmp(found->label, fs->label) == 0) &&
	       (!fs->uuid || strcasecmp(found->uuid, fs->uuid) == 0);
}

int ign_filesystem_decide(const struct ign_filesystem *fs, const struct ign_found *found,
			  enum ign_format *ret, struct err *e)
{
	const struct format *f = format_of(fs->format);

	if (!f && fs->format && strcmp(fs->format, "none") == 0) {
		if (found->table && fs->wipe == IGN_YES)
			return err_set(e, ERR_INPUT, EBUSY,
				       "'%s' holds a partition table; name one of its partitions",
				       fs->device);
		*ret = fs->wipe == IGN_YES ? IGN_FORMAT_WIPE : IGN_FORMAT_REUSE;
		return 0;
	}
	if (!f)
		return err_set(
			e, ERR_REFUSED, EOPNOTSUPP,
			"file system on '%s': format '%s' is not made here; ext4, xfs, btrfs "
			"and vfat are",
			fs->device, fs->format ? fs->format : "");
	if (fs->wipe != IGN_YES && found->type[0] && matches(fs, found, f)) {
		*ret = IGN_FORMAT_REUSE;
		return 0;
	}
	if (found->table)
		return err_set(e, ERR_INPUT, EBUSY,
			       "'%s' holds a partition table; name one of its partitions",
			       fs->device);
	if (found->type[0] && fs->wipe != IGN_YES)
		return err_set(e, ERR_INPUT, EEXIST,
			       "'%s' holds %s '%s', which is not the file system that the config "
			       "asks for; wipeFilesystem: true would overwrite it",
			       fs->device, found->type, found->label);
	*ret = IGN_FORMAT_MAKE;
	return 0;
}

/* --- acting --- */

int ign_filesystem_wait(const char *device, struct err *e)
{
	static const struct timespec step = { .tv_nsec = WAIT_STEP_MS * 1000000L };
	struct stat st;

	for (int ms = 0; stat(device, &st) < 0; ms += WAIT_STEP_MS) {
		if (errno != ENOENT || ms >= WAIT_MS)
			return err_set(e, ERR_HOST, errno,
				       "'%s': %s; ignition-lite formats partitions that exist, "
				       "make them with systemd-repart",
				       device, strerror(errno));
		(void)nanosleep(&step, NULL);
	}
	return 0;
}

int ign_filesystem_check(const struct ign_filesystem *fs, enum ign_format *ret, struct err *e)
{
	const char *argv[] = { "blkid", "-p", "-o", "export", fs->device, NULL };
	struct ign_found found = { .type = "" };
	AUTO_BUF out = { .max = OUT_MAX };
	struct spawn s = { .argv = argv, .out = &out, .out_max = OUT_MAX };
	struct spawn_result res = { .code = -1 };
	int r = ign_filesystem_wait(fs->device, e);

	if (r == 0)
		r = spawn_run(&s, &res, e);
	if (r < 0)
		return r;
	/* 2: nothing that blkid knows, which is an empty partition */
	if (res.end != SPAWN_EXIT || (res.code != 0 && res.code != 2))
		return err_set(e, ERR_HOST, EIO, "blkid cannot tell what is on '%s' (status %d)",
			       fs->device, res.code);
	if (res.code == 0)
		ign_filesystem_parse(out.p, out.n, &found);
	return ign_filesystem_decide(fs, &found, ret, e);
}

static int run_mkfs(const struct ign_filesystem *fs, const struct format *f, struct err *e)
{
	size_t cap = 16 + fs->options.n, n = 0;
	AUTO_FREE const char **argv = calloc(cap, sizeof(*argv));
	char uuid[80] = "";
	int r;

	if (!argv)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	argv[n++] = f->tool;
	argv[n++] = f->force;
	if (fs->label && *fs->label) {
		argv[n++] = f->label;
		argv[n++] = fs->label;
	}
	if (fs->uuid && *fs->uuid) {
		(void)snprintf(uuid, sizeof(uuid), "%s%s",
			       strcmp(f->name, "xfs") ? "" : "uuid=", fs->uuid);
		argv[n++] = f->uuid;
		argv[n++] = uuid;
	}
	for (size_t i = 0; i < fs->options.n; i++)
		argv[n++] = fs->options.s[i];
	argv[n] = fs->device;
	r = spawn_check(argv, e);
	return r < 0 ? err_wrap(e, r, "file system on '%s'", fs->device) : 0;
}

int ign_filesystem_make(const struct ign_filesystem *fs, struct err *e)
{
	const char *wipe[] = { "wipefs", "--all", fs->device, NULL };
	enum ign_format what = IGN_FORMAT_REUSE;
	int r = ign_filesystem_check(fs, &what, e);

	if (r < 0 || what == IGN_FORMAT_REUSE)
		return r;
	if (what == IGN_FORMAT_WIPE)
		return spawn_check(wipe, e);
	return run_mkfs(fs, format_of(fs->format), e);
}
