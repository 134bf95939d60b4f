/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/loader_vars.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"

enum { ATTRIBUTES = 4, NV_BS_RT = 7, VAR_NAME_MAX = 128 };

const char *loader_var_name(enum loader_var v)
{
	static const char *const name[] = {
		[LOADER_BOOT_COUNT_PATH] = "LoaderBootCountPath",
		[LOADER_ENTRY_SELECTED] = "LoaderEntrySelected",
		[LOADER_ENTRY_DEFAULT] = "LoaderEntryDefault",
		[LOADER_ENTRY_PREFERRED] = "LoaderEntryPreferred",
		[LOADER_ENTRY_ONE_SHOT] = "LoaderEntryOneShot",
		[LOADER_ENTRY_LAST_BOOTED] = "LoaderEntryLastBooted",
		[LOADER_DEVICE_PART_UUID] = "LoaderDevicePartUUID",
		[LOADER_INFO] = "LoaderInfo",
		[STUB_INFO] = "StubInfo",
	};

	return name[v];
}

int efivars_open(struct sys *sys, const char *path, int *ret, struct err *e)
{
	int fd;

	if (!path)
		path = EFIVARS_DEFAULT;
	fd = sys->ops->open(sys, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 && fd != -ENOENT)
		return err_set(e, ERR_HOST, -fd, "cannot open EFI variables '%s': %s", path,
			       strerror(-fd));
	*ret = fd < 0 ? -1 : fd;
	return 0;
}

int efivar_read(struct sys *sys, int efivars, const char *file, size_t max, uint8_t **ret,
		size_t *ret_n, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n = 0;
	int r;

	if (efivars < 0)
		return err_set(e, ERR_HOST, ENOENT, "this machine has no EFI variables");
	r = file_read(sys, efivars, file, max + ATTRIBUTES, &p, &n, e);
	if (r < 0)
		return err_wrap(e, r, "EFI variable %s", file);
	if (n < ATTRIBUTES)
		return err_set(e, ERR_INPUT, EBADMSG, "EFI variable %s is cut off", file);
	n -= ATTRIBUTES;
	memmove(p, p + ATTRIBUTES, n + 1); /* with the NUL file_read() put there */
	*ret = (uint8_t *)TAKE(p);
	*ret_n = n;
	return 0;
}

int loader_var_read(struct sys *sys, int efivars, enum loader_var v, char ret[LOADER_VAR_MAX],
		    struct err *e)
{
	AUTO_FREE uint8_t *p = NULL;
	char out[LOADER_VAR_MAX];
	char file[VAR_NAME_MAX];
	size_t n = 0;
	int r;

	(void)snprintf(file, sizeof(file), "%s-%s", loader_var_name(v), LOADER_GUID);
	r = efivar_read(sys, efivars, file, (size_t)LOADER_VAR_MAX * 2, &p, &n, e);
	if (r < 0)
		return r;
	while (n >= 2 && le16_get(p + n - 2) == 0)
		n -= 2;
	r = utf16_to_utf8(p, n, out, sizeof(out), e);
	if (r < 0)
		return err_wrap(e, r, "EFI variable %s", loader_var_name(v));
	memcpy(ret, out, (size_t)r + 1);
	return 0;
}

/*
 * efivarfs makes variables immutable so that a stray rm cannot brick a machine. Only the real file
 * system has such flags; others answer with an error nobody needs.
 */
static void make_mutable(struct sys *sys, int efivars, const char *file)
{
	int flags = 0, fd;

	if (sys != sys_linux())
		return;
	fd = sys->ops->open(sys, efivars, file, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL)) {
		flags &= ~FS_IMMUTABLE_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	(void)sys->ops->close(sys, fd);
}

static int write_var(struct sys *sys, int efivars, const char *file, const uint8_t *p, size_t n)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, efivars, file, O_WRONLY | O_CREAT, 0644) };
	uint64_t size = 0;
	ssize_t w;
	int r;

	if (f.fd < 0)
		return f.fd;
	/* one write is one SetVariable() */
	w = sys->ops->pwrite(sys, f.fd, p, n, 0);
	if (w < 0)
		return (int)w;
	/* only a plain directory that stands in for efivarfs keeps a longer old value's end */
	r = sys->ops->size(sys, f.fd, &size);
	if (r >= 0 && size > n)
		r = sys->ops->truncate(sys, f.fd, n);
	if (r < 0)
		return r;
	r = sys->ops->sync(sys, f.fd);
	return r == -EINVAL ? 0 : r; /* efivarfs has no fsync: variables are durable at once */
}

int loader_var_write(struct sys *sys, int efivars, enum loader_var v, const char *value,
		     struct err *e)
{
	uint8_t data[ATTRIBUTES + 2 * LOADER_VAR_MAX + 2];
	char file[VAR_NAME_MAX];
	int r, n;

	if (v != LOADER_ENTRY_ONE_SHOT && v != LOADER_ENTRY_DEFAULT)
		return err_set(e, ERR_BUG, EPERM, "EFI variable %s is the loader's to write",
			       loader_var_name(v));
	if (efivars < 0)
		return err_set(e, ERR_HOST, ENOENT, "this machine has no EFI variables");
	(void)snprintf(file, sizeof(file), "%s-%s", loader_var_name(v), LOADER_GUID);
	if (!value) {
		make_mutable(sys, efivars, file);
		r = sys->ops->unlink(sys, efivars, file);
		if (r == -ENOENT)
			r = 0;
	} else {
		n = utf8_to_utf16(value, data + ATTRIBUTES, sizeof(data) - ATTRIBUTES - 2, e);
		if (n < 0)
			return err_wrap(e, n, "EFI variable %s", loader_var_name(v));
		le32_put(data, NV_BS_RT);
		le16_put(data + ATTRIBUTES + n, 0);
		make_mutable(sys, efivars, file);
		r = write_var(sys, efivars, file, data, ATTRIBUTES + (size_t)n + 2);
	}
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot %s EFI variable %s: %s",
			       value ? "set" : "remove", loader_var_name(v), strerror(-r));
	return 0;
}

int loader_var_pattern(const struct boot_entry_name *en, char ret[LOADER_VAR_MAX], struct err *e)
{
	struct boot_entry_name t = *en;
	int r;

	t.counted = false;
	t.left = t.done = 0;
	r = boot_entry_name_format(&t, e);
	if (r < 0)
		return r;
	if (en->counted)
		(void)snprintf(ret, LOADER_VAR_MAX, "%s+*%s", t.id, t.file + strlen(t.id));
	else
		(void)snprintf(ret, LOADER_VAR_MAX, "%s", t.file);
	return 0;
}

static size_t utf8_put(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

int utf16_to_utf8(const uint8_t *p, size_t n, char *out, size_t cap, struct err *e)
{
	size_t k = 0;

	if (n % 2 != 0)
		return err_set(e, ERR_INPUT, EILSEQ, "text is no UTF-16: odd number of bytes");
	for (size_t i = 0; i < n; i += 2) {
		uint32_t c = le16_get(p + i);

		if (c >= 0xd800 && c < 0xdc00 && i + 2 < n) {
			uint32_t d = le16_get(p + i + 2);

			if (d >= 0xdc00 && d < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (d - 0xdc00);
				i += 2;
			}
		}
		if (c == 0 || (c >= 0xd800 && c < 0xe000))
			return err_set(e, ERR_INPUT, EILSEQ, "text is no UTF-16");
		if (cap - k < 5)
			return err_set(e, ERR_INPUT, EFBIG, "text is longer than %zu bytes", cap);
		k += utf8_put(c, out + k);
	}
	out[k] = '\0';
	return (int)k;
}

/* One code point at *p, which it advances; UINT32_MAX for what is no UTF-8. */
static uint32_t utf8_get(const char **p)
{
	const unsigned char *s = (const unsigned char *)*p;
	uint32_t c = s[0], min;
	unsigned more;

	if (c < 0x80) {
		(*p)++;
		return c;
	}
	if (c < 0xc0 || c > 0xf4)
		return UINT32_MAX;
	more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	min = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
	c &= 0x3fu >> more;
	for (unsigned i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return UINT32_MAX;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return UINT32_MAX;
	*p += 1 + more;
	return c;
}

int utf8_to_utf16(const char *s, uint8_t *out, size_t cap, struct err *e)
{
	size_t k = 0;

	while (*s) {
		uint32_t c = utf8_get(&s);

		if (c == UINT32_MAX)
			return err_set(e, ERR_INPUT, EILSEQ, "text is no UTF-8");
		if (cap - k < 4)
			return err_set(e, ERR_INPUT, EFBIG, "text is too long");
		if (c >= 0x10000) {
			c -= 0x10000;
			le16_put(out + k, (uint16_t)(0xd800 + (c >> 10)));
			k += 2;
			c = 0xdc00 + (c & 0x3ff);
		}
		le16_put(out + k, (uint16_t)c);
		k += 2;
	}
	return (int)k;
}
