/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/sys.h"
#include "base/text.h"
#include "bootctl/esp.h"
#include "bootctl/esp_dir.h"

enum {
	CHUNK = 128 << 10,
	SPACE_MARGIN = 256 << 10, /* directories and FAT entries of a new file */
};

/* systemd-boot 252 takes only names that end in .efi */
static const char part[] = ".part";
static const char uki_part[] = ".efi.part";

static int sync_dir(struct sys *sys, int dir, const char *name, struct err *e)
{
	int r = sys->ops->sync(sys, dir);

	return r < 0 ? esp_os_error(e, r, "sync the directory of", name) : 0;
}

static int sync_file(struct sys *sys, int dir, const char *name, struct err *e)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, dir, name, O_RDONLY | O_NONBLOCK, 0) };
	int r = f.fd < 0 ? f.fd : sys->ops->sync(sys, f.fd);

	return r < 0 ? esp_os_error(e, r, "sync", name) : 0;
}

int esp_check_space(struct sys *sys, int esp, uint64_t bytes, struct err *e)
{
	char need[32], have[32];
	uint64_t want, space = 0;
	int r = sys->ops->space(sys, esp, &space);

	if (r < 0)
		return esp_os_error(e, r, "ask for the free space of", "/");
	if (!num_add(bytes, SPACE_MARGIN, &want))
		want = UINT64_MAX;
	if (space >= want)
		return 0;
	return err_set(e, ERR_HOST, ENOSPC,
		       "the ESP is too full: %s needed, %s free. Remove an old entry "
		       "(proa-bootctl list, proa-bootctl remove ID)",
		       text_bytes(want, need, sizeof(need)), text_bytes(space, have, sizeof(have)));
}

/* A final name of a UKI and the temporary one that goes with it. */
static int temp_name(const char *file, struct boot_entry_name *ret, char tmp[BOOT_NAME_MAX],
		     struct err *e)
{
	int r = boot_entry_name_parse(file, strlen(file), ret, e);

	if (r < 0)
		return err_wrap(e, r, "'%s'", file);
	if (!boot_entry_name_valid(ret) || ret->type != BOOT_ENTRY_UKI)
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be a UKI's name: letters, digits, + - _ . and .efi "
			       "at the end",
			       file);
	if (strlen(file) + sizeof(part) > BOOT_NAME_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "'%s' is too long for the ESP", file);
	(void)snprintf(tmp, BOOT_NAME_MAX, "%s%s", file, part);
	return 0;
}

static bool same_bytes(struct sys *sys, int dir, const char *name, const struct esp_source *src)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, dir, name, O_RDONLY | O_NONBLOCK, 0) };
	uint8_t got[SHA256_BYTES];
	uint64_t n = 0;

	return f.fd >= 0 && sys->ops->size(sys, f.fd, &n) >= 0 && n == src->bytes &&
	       sha256_fd(sys, f.fd, n, got, NULL) >= 0 &&
	       memcmp(got, src->sha256, sizeof(got)) == 0;
}

/* 1: these bytes are there under this id; 0: nothing has this id. */
static int find_same(struct sys *sys, int dir, const struct boot_entry_name *en,
		     const struct esp_source *src, struct err *e)
{
	AUTO_ESP_NAMES names = { .n = 0 };
	int r = esp_names_of(sys, dir, BOOT_ENTRY_UKI, en->file, &names, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++)
		if (!same_bytes(sys, dir, names.name[i], src))
			return err_set(e, ERR_REFUSED, EEXIST,
				       "the ESP already has another '%s'. Remove it first: "
				       "proa-bootctl remove %s",
				       names.name[i], en->id);
	if (names.n == 0)
		return 0;
	/* whoever put it there may have been killed before its last syncs */
	for (size_t i = 0; i < names.n; i++) {
		r = sync_file(sys, dir, names.name[i], e);
		if (r < 0)
			return r;
	}
	r = sync_dir(sys, dir, en->file, e);
	return r < 0 ? r : 1;
}

static int copy(struct sys *sys, int fd, const struct esp_source *src, uint8_t ret[SHA256_BYTES],
		struct err *e)
{
	AUTO_FREE uint8_t *buf = malloc(CHUNK);
	AUTO_DIGEST *d = NULL;
	int r = digest_new(DIGEST_SHA256, NULL, 0, &d, e);

	if (r < 0)
		return r;
	if (!buf)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (uint64_t at = 0; at < src->bytes;) {
		size_t want = src->bytes - at < CHUNK ? (size_t)(src->bytes - at) : CHUNK;
		ssize_t n = src->read(src->arg, buf, want, at, e);

		if (n < 0)
			return (int)n;
		if (n == 0 || (size_t)n > want)
			return err_set(e, ERR_REFUSED, EBADMSG, "the UKI ends after %llu bytes",
				       (unsigned long long)at);
		r = sys_write_full(sys, fd, buf, (size_t)n, at);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "ESP: cannot write the UKI: %s",
				       strerror(-r));
		digest_add(d, buf, (size_t)n);
		at += (uint64_t)n;
		if (src->progress)
			src->progress(src->arg, at);
	}
	digest_end(d, ret);
	return 0;
}

static int check_source(const struct esp_source *src, const uint8_t got[SHA256_BYTES],
			struct err *e)
{
	char want_hex[SHA256_HEX_MAX], got_hex[SHA256_HEX_MAX];

	if (memcmp(got, src->sha256, SHA256_BYTES) == 0)
		return 0;
	hex_format(src->sha256, SHA256_BYTES, want_hex);
	hex_format(got, SHA256_BYTES, got_hex);
	return err_set(e, ERR_REFUSED, EBADMSG, "the UKI has SHA-256 %s, expected was %s", got_hex,
		       want_hex);
}

/* What the medium holds, not what the cache remembers. */
static int read_back(struct sys *sys, int fd, const char *tmp, const struct esp_source *src,
		     struct err *e)
{
	uint8_t got[SHA256_BYTES] = { 0 };
	uint64_t n = 0;
	int r = sys->ops->forget(sys, fd, 0, src->bytes);

	if (r >= 0)
		r = sys->ops->size(sys, fd, &n);
	if (r < 0)
		return esp_os_error(e, r, "read back", tmp);
	if (n == src->bytes) {
		r = sha256_fd(sys, fd, n, got, e);
		if (r < 0)
			return err_wrap(e, r, "ESP: '%s'", tmp);
	}
	if (n != src->bytes || memcmp(got, src->sha256, sizeof(got)) != 0)
		return err_set(e, ERR_HOST, EIO,
			       "ESP: '%s' reads back other bytes than were written: the medium "
			       "fails",
			       tmp);
	return 0;
}

static int write_and_prove(struct sys *sys, int dir, const char *tmp, const struct esp_source *src,
			   struct err *e)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, dir, tmp,
					      O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644) };
	uint8_t got[SHA256_BYTES];
	int r;

	if (f.fd < 0)
		return esp_os_error(e, f.fd, "create", tmp);
	r = copy(sys, f.fd, src, got, e);
	if (r >= 0)
		r = check_source(src, got, e);
	if (r < 0)
		return r;
	r = sys->ops->sync(sys, f.fd);
	if (r < 0)
		return esp_os_error(e, r, "sync", tmp);
	r = sync_dir(sys, dir, tmp, e);
	return r < 0 ? r : read_back(sys, f.fd, tmp, src, e);
}

int esp_write_temp(struct sys *sys, int esp, const char *file, const struct esp_source *src,
		   struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	struct boot_entry_name en;
	char tmp[BOOT_NAME_MAX];
	int r = temp_name(file, &en, tmp, e);

	if (r >= 0)
		r = esp_dir_open(sys, esp, BOOT_ENTRY_UKI, false, &dir, e);
	if (r < 0)
		return r;
	if (dir.fd >= 0) {
		r = find_same(sys, dir.fd, &en, src, e);
		if (r != 0)
			return r;
		/* the room an interrupted try still takes is ours to use */
		r = sys->ops->unlink(sys, dir.fd, tmp);
		if (r < 0 && r != -ENOENT)
			return esp_os_error(e, r, "remove the old", tmp);
	}
	r = esp_check_space(sys, esp, src->bytes, e);
	if (r >= 0 && dir.fd < 0)
		r = esp_dir_open(sys, esp, BOOT_ENTRY_UKI, true, &dir, e);
	if (r < 0)
		return r;
	r = write_and_prove(sys, dir.fd, tmp, src, e);
	if (r < 0) {
		(void)sys->ops->unlink(sys, dir.fd, tmp);
		(void)sys->ops->sync(sys, dir.fd);
	}
	return r;
}

static int open_in(struct sys *sys, int esp, const char *name, struct sys_fd *ret_dir,
		   struct err *e)
{
	int r = esp_dir_open(sys, esp, BOOT_ENTRY_UKI, false, ret_dir, e);
	int fd;

	if (r < 0)
		return r;
	fd = ret_dir->fd < 0 ? -ENOENT
			     : sys->ops->open(sys, ret_dir->fd, name, O_RDONLY | O_NONBLOCK, 0);
	return fd < 0 ? esp_os_error(e, fd, "open", name) : fd;
}

int esp_open_temp(struct sys *sys, int esp, const char *file, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	struct boot_entry_name en;
	char tmp[BOOT_NAME_MAX];
	int r = temp_name(file, &en, tmp, e);

	return r < 0 ? r : open_in(sys, esp, tmp, &dir, e);
}

int esp_open_file(struct sys *sys, int esp, const char *file, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };

	return open_in(sys, esp, file, &dir, e);
}

int esp_publish(struct sys *sys, int esp, const char *file, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 }, f = { sys, -1 };
	AUTO_ESP_NAMES names = { .n = 0 };
	struct boot_entry_name en;
	char tmp[BOOT_NAME_MAX];
	int r = temp_name(file, &en, tmp, e);

	if (r < 0)
		return r;
	r = open_in(sys, esp, tmp, &dir, e);
	if (r == -ENOENT) {
		/* renamed by an earlier try, perhaps not synced */
		r = open_in(sys, esp, file, &f, e);
		if (r < 0)
			return r;
		(void)sys->ops->close(sys, r);
		sys_fd_done(&dir);
		dir = f;
		f.fd = -1;
	} else if (r < 0) {
		return r;
	} else {
		f.fd = r;
		r = esp_names_of(sys, dir.fd, BOOT_ENTRY_UKI, file, &names, e);
		if (r < 0)
			return r;
		for (size_t i = 0; i < names.n; i++)
			if (strcmp(names.name[i], file) != 0)
				return err_set(e, ERR_REFUSED, EEXIST,
					       "the ESP already has '%s'. Remove it first: "
					       "proa-bootctl remove %s",
					       names.name[i], en.id);
		r = sys->ops->rename(sys, dir.fd, tmp, file);
		if (r < 0)
			return esp_os_error(e, r, "rename", tmp);
	}
	r = sync_file(sys, dir.fd, file, e);
	return r < 0 ? r : sync_dir(sys, dir.fd, file, e);
}

int esp_discard_temps(struct sys *sys, int esp, const char *prefix, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	AUTO_ESP_NAMES names = { .n = 0 };
	const size_t pn = sizeof(uki_part) - 1;
	bool any = false;
	int r = esp_dir_open(sys, esp, BOOT_ENTRY_UKI, false, &dir, e);

	if (r < 0 || dir.fd < 0)
		return r;
	r = esp_names_read(sys, dir.fd, &names, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++) {
		const char *s = names.name[i];
		size_t n = strlen(s);

		if (n <= pn || strcmp(s + n - pn, uki_part) != 0 ||
		    strncmp(s, prefix, strlen(prefix)) != 0)
			continue;
		r = sys->ops->unlink(sys, dir.fd, s);
		if (r < 0 && r != -ENOENT)
			return esp_os_error(e, r, "remove", s);
		any = true;
	}
	return any ? sync_dir(sys, dir.fd, prefix, e) : 0;
}

/* ---- changing entries that are there ---- */

/* The directory and the files of the one entry called id; ret->n is 0 when there is none. */
static int find_entry(struct sys *sys, int esp, const char *id, struct sys_fd *ret_dir,
		      struct esp_names *ret, struct err *e)
{
	static const enum boot_entry_type types[] = { BOOT_ENTRY_UKI, BOOT_ENTRY_CONF };

	for (size_t i = 0; i < 2; i++) {
		AUTO_SYS_FD dir = { sys, -1 };
		AUTO_ESP_NAMES names = { .n = 0 };
		int r = esp_dir_open(sys, esp, types[i], false, &dir, e);

		if (r >= 0 && dir.fd >= 0)
			r = esp_names_of(sys, dir.fd, types[i], id, &names, e);
		if (r < 0)
			return r;
		if (names.n == 0)
			continue;
		if (ret->n > 0)
			return err_set(e, ERR_INPUT, EINVAL,
				       "'%s' means both '%s' and '%s': give the whole name", id,
				       ret->name[0], names.name[0]);
		*ret_dir = dir;
		dir.fd = -1;
		*ret = names;
		names.name = NULL;
	}
	return 0;
}

/* An earlier removal may have been killed before its sync. */
static int sync_dirs(struct sys *sys, int esp, struct err *e)
{
	static const enum boot_entry_type types[] = { BOOT_ENTRY_UKI, BOOT_ENTRY_CONF };

	for (size_t i = 0; i < 2; i++) {
		AUTO_SYS_FD dir = { sys, -1 };
		int r = esp_dir_open(sys, esp, types[i], false, &dir, e);

		if (r >= 0 && dir.fd >= 0)
			r = sync_dir(sys, dir.fd, "entries", e);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Takes a UKI out of the loader's sight before it is removed: vfat may free a file's clusters on
 * the medium before its name is gone, and the name of a UKI must never show what is not one.
 */
static int hide(struct sys *sys, int dir, const char *name, struct err *e)
{
	char hidden[BOOT_NAME_MAX];
	int r = snprintf(hidden, sizeof(hidden), "%s%s", name, part);

	if (r < 0 || (size_t)r >= sizeof(hidden))
		return sys->ops->unlink(sys, dir, name) < 0 ? esp_os_error(e, -EIO, "remove", name)
							    : 0;
	r = sys->ops->rename(sys, dir, name, hidden);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return esp_os_error(e, r, "rename", name);
	r = sync_file(sys, dir, hidden, e);
	if (r == 0)
		r = sync_dir(sys, dir, name, e);
	if (r < 0)
		return r;
	r = sys->ops->unlink(sys, dir, hidden);
	return r < 0 && r != -ENOENT ? esp_os_error(e, r, "remove", hidden) : 0;
}

int esp_remove(struct sys *sys, int esp, const char *id, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	AUTO_ESP_NAMES names = { .n = 0 };
	int r = find_entry(sys, esp, id, &dir, &names, e);

	if (r < 0)
		return r;
	if (names.n == 0)
		return sync_dirs(sys, esp, e);
	for (size_t i = 0; i < names.n; i++) {
		r = hide(sys, dir.fd, names.name[i], e);
		if (r < 0)
			return r;
	}
	r = sync_dir(sys, dir.fd, id, e);
	return r < 0 ? r : (int)names.n;
}

/*
 * Which of several files of one entry stays: a whole one before a broken one, then the one whose
 * counters went further, since the loader's last rename made it.
 */
static int pick_file(struct sys *sys, int esp, int dir, const struct esp_names *names,
		     struct boot_entry_name *ret, bool *ret_whole, struct err *e)
{
	AUTO_FREE struct esp_entry *en = malloc(sizeof(*en));
	bool have = false;

	if (!en)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < names->n; i++) {
		struct boot_entry_name name;

		if (boot_entry_name_parse(names->name[i], strlen(names->name[i]), &name, NULL) <
			    0 ||
		    esp_entry_read(sys, esp, dir, &name, en) == 0)
			continue;
		if (have && (*ret_whole > !en->broken ||
			     (*ret_whole == !en->broken && name.done <= ret->done)))
			continue;
		*ret = name;
		*ret_whole = !en->broken;
		have = true;
	}
	return have;
}

/* The name that says good or bad. */
static int marked_name(const struct boot_entry_name *from, bool good, struct boot_entry_name *ret,
		       struct err *e)
{
	*ret = *from;
	if (!good && boot_entry_is_bad(from))
		return 0; /* however it is written */
	ret->counted = !good;
	ret->left = 0;
	ret->done = good || !from->counted ? 0 : from->done;
	return boot_entry_name_format(ret, e);
}

/* Renames the file that stays and removes the entry's others. */
static int settle(struct sys *sys, int dir, const struct esp_names *names, const char *from,
		  const char *to, struct err *e)
{
	int r;

	if (strcmp(from, to) != 0) {
		r = sys->ops->rename(sys, dir, from, to);
		if (r < 0)
			return esp_os_error(e, r, "rename", from);
	}
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->name[i], from) == 0 || strcmp(names->name[i], to) == 0)
			continue;
		r = sys->ops->unlink(sys, dir, names->name[i]);
		if (r < 0 && r != -ENOENT)
			return esp_os_error(e, r, "remove", names->name[i]);
	}
	/* vfat writes start and size of a renamed entry with the file's inode, not the directory's
	 */
	r = sync_file(sys, dir, to, e);
	return r < 0 ? r : sync_dir(sys, dir, to, e);
}

static int mark(struct sys *sys, int esp, const char *id, bool good, struct err *e)
{
	AUTO_SYS_FD dir = { sys, -1 };
	AUTO_ESP_NAMES names = { .n = 0 };
	struct boot_entry_name from, to;
	bool whole = false;
	int r = find_entry(sys, esp, id, &dir, &names, e);

	if (r >= 0)
		r = pick_file(sys, esp, dir.fd, &names, &from, &whole, e);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT, "the ESP has no boot entry '%s'", id);
	if (good && !whole)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "boot entry '%s' is broken and cannot be called good", from.file);
	r = marked_name(&from, good, &to, e);
	return r < 0 ? r : settle(sys, dir.fd, &names, from.file, to.file, e);
}

int esp_condemn(struct sys *sys, int esp, const char *id, struct err *e)
{
	return mark(sys, esp, id, false, e);
}

int esp_bless(struct sys *sys, int esp, const char *id, struct err *e)
{
	return mark(sys, esp, id, true, e);
}
