/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/esp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { NAMES_MAX = 2 * ESP_ENTRIES_MAX };

void esp_names_done(struct esp_names *l)
{
	free(l->name);
}

int esp_os_error(struct err *e, int r, const char *what, const char *name)
{
	return err_set(e, ERR_HOST, -r, "ESP: cannot %s '%s': %s", what, name, strerror(-r));
}

int esp_dir_open(struct sys *sys, int esp, enum boot_entry_type type, bool make, struct sys_fd *ret,
		 struct err *e)
{
	/* one component at a time, so that no link is followed */
	const char *part_of[2] = { "EFI", "Linux" };
	AUTO_SYS_FD at = { sys, -1 };

	if (type == BOOT_ENTRY_CONF) {
		part_of[0] = "loader";
		part_of[1] = "entries";
	}
	for (int i = 0; i < 2; i++) {
		int base = i == 0 ? esp : at.fd, fd, r;

		r = make ? file_mkdir(sys, base, part_of[i], e) : 0;
		if (r < 0)
			return err_wrap(e, r, "ESP");
		fd = sys->ops->open(sys, base, part_of[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd == -ENOENT)
			return 0;
		if (fd < 0)
			return esp_os_error(e, fd, "open directory", part_of[i]);
		sys_fd_done(&at);
		at.fd = fd;
	}
	*ret = at;
	at.fd = -1;
	return 0;
}

static int names_add(void *arg, const char *name)
{
	struct esp_names *l = arg;

	if (l->n == NAMES_MAX)
		return 1;
	if (strlen(name) < BOOT_NAME_MAX) {
		memcpy(l->name[l->n], name, strlen(name) + 1);
		l->n++;
	}
	return 0;
}

int esp_names_read(struct sys *sys, int dir, struct esp_names *ret, struct err *e)
{
	int r;

	ret->name = calloc(NAMES_MAX, sizeof(*ret->name));
	if (!ret->name)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = sys->ops->list(sys, dir, names_add, ret);
	if (r > 0)
		return err_set(e, ERR_INPUT, E2BIG,
			       "ESP: a directory of boot entries holds more than %d files",
			       NAMES_MAX);
	return r < 0 ? esp_os_error(e, r, "list", "directory of boot entries") : 0;
}

/* Keeps only the entries of the list that are called id. */
static void names_keep(struct esp_names *l, enum boot_entry_type type, const char *id)
{
	size_t k = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct boot_entry_name en;

		if (boot_entry_name_parse(l->name[i], strlen(l->name[i]), &en, NULL) < 0 ||
		    en.type != type || !boot_entry_is_called(&en, id))
			continue;
		if (k != i)
			memcpy(l->name[k], l->name[i], BOOT_NAME_MAX);
		k++;
	}
	l->n = k;
}

int esp_names_of(struct sys *sys, int dir, enum boot_entry_type type, const char *id,
		 struct esp_names *ret, struct err *e)
{
	int r = esp_names_read(sys, dir, ret, e);

	if (r >= 0)
		names_keep(ret, type, id);
	return r;
}
