/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/spawn.h"
#include "base/text.h"
#include "bootctl/esp.h"
#include "bootctl/loader_vars.h"
#include "bootctl/secureboot.h"
#include "updater/slot/find.h"
#include "verity/device.h"

#define EFIVARS "sys/firmware/efi/efivars"
#define PROPERTIES                                                                                 \
	"Id,LoadState,ActiveState,FragmentPath,DropInPaths,MainPID,NoNewPrivileges,"               \
	"LockPersonality,MemoryDenyWriteExecute,PrivateDevices,PrivateIPC,PrivateNetwork,"         \
	"PrivateTmp,PrivateUsers,ProcSubset,ProtectClock,ProtectControlGroups,ProtectHome,"        \
	"ProtectHostname,ProtectKernelLogs,ProtectKernelModules,ProtectKernelTunables,"            \
	"ProtectProc,ProtectSystem,RestrictNamespaces,RestrictRealtime,RestrictSUIDSGID,"          \
	"RestrictAddressFamilies,CapabilityBoundingSet,DevicePolicy,DynamicUser,"                  \
	"SystemCallArchitectures,UMask"

enum { LINE_MAX = 4096, TABLE_MAX = 4096, WORDS_MAX = 40 };

static int open_dir(struct sys *sys, int at, const char *path, struct err *e)
{
	int fd = sys->ops->open(sys, at, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "%s: %s", path, strerror(-fd));
	return fd;
}

int evidence_dir(const struct evidence *ev, const char *path, struct err *e)
{
	return open_dir(ev->sys, ev->root, path, e);
}

/* -1 and *why when it cannot be opened. */
static int maybe_dir(struct sys *sys, int at, const char *path, struct err *why)
{
	int fd = open_dir(sys, at, path, why);

	return fd < 0 ? -1 : fd;
}

static void find_esp(struct evidence *ev, const char *path)
{
	static const char *const places[] = { "efi", "boot/efi", "boot" };

	if (path || ev->live) {
		if (esp_open(ev->sys, path, &ev->esp, NULL, &ev->no_esp) < 0)
			ev->esp = -1;
		return;
	}
	for (size_t i = 0; i < 3 && ev->esp < 0; i++) {
		char efi[32];
		int fd;

		(void)snprintf(efi, sizeof(efi), "%s/EFI", places[i]);
		fd = evidence_dir(ev, efi, &ev->no_esp);
		if (fd < 0)
			continue;
		(void)ev->sys->ops->close(ev->sys, fd);
		ev->esp = maybe_dir(ev->sys, ev->root, places[i], &ev->no_esp);
	}
}

static void find_disk(struct evidence *ev, const char *path)
{
	struct verity_device dev;
	char found[DISK_PATH_MAX];

	if (path)
		(void)snprintf(ev->disk, sizeof(ev->disk), "%s", path);
	else if (ev->live && verity_device_read("usr", &dev, NULL) >= 0 &&
		 disk_find(ev->sys, dev.data_path, found, NULL) >= 0)
		(void)snprintf(ev->disk, sizeof(ev->disk), "%s", found);
}

int evidence_open(struct sys *sys, const struct evidence_options *o, struct evidence *ret,
		  struct err *e)
{
	struct evidence ev = {
		.sys = sys, .live = !o->root, .root = -1, .efivars = -1, .esp = -1, .state = -1
	};

	if (o->root && snprintf(ev.root_path, sizeof(ev.root_path), "%s", o->root) >=
			       (int)sizeof(ev.root_path))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "the root's path is too long");
	ev.root = open_dir(sys, AT_FDCWD, o->root ? o->root : "/", e);
	if (ev.root < 0)
		return ev.root;
	ev.efivars = maybe_dir(sys, ev.root, EFIVARS, NULL);
	if (o->state)
		ev.state = maybe_dir(sys, AT_FDCWD, o->state, &ev.no_state);
	else
		ev.state = maybe_dir(sys, ev.root, "var/lib/proa", &ev.no_state);
	find_esp(&ev, o->esp);
	find_disk(&ev, o->disk);
	*ret = ev;
	return 0;
}

static void drop(struct evidence *ev, int *fd)
{
	if (*fd >= 0)
		(void)ev->sys->ops->close(ev->sys, *fd);
	*fd = -1;
}

void evidence_close(struct evidence *ev)
{
	if (!ev->sys)
		return;
	drop(ev, &ev->root);
	drop(ev, &ev->efivars);
	drop(ev, &ev->esp);
	drop(ev, &ev->state);
}

int evidence_read(const struct evidence *ev, const char *path, size_t max, char **ret,
		  size_t *ret_n, struct err *e)
{
	int r = file_read(ev->sys, ev->root, path, max, ret, ret_n, e);

	return r < 0 ? err_wrap(e, r, "%s/%s", ev->root_path, path) : 0;
}

int evidence_line(const struct evidence *ev, const char *path, char *out, size_t cap, struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r = evidence_read(ev, path, LINE_MAX, &text, &n, e);

	if (r < 0)
		return r;
	(void)text_clean(text, strcspn(text, "\n"), out, cap);
	return 0;
}

int evidence_efivar(const struct evidence *ev, const char *file, uint8_t **ret, size_t *ret_n,
		    struct err *e)
{
	int r = ev->efivars < 0
			? -ENOENT
			: efivar_read(ev->sys, ev->efivars, file, SB_DB_BYTES_MAX, ret, ret_n, e);

	if (r != -ENOENT)
		return r;
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

int evidence_pcrs(const struct evidence *ev, uint16_t alg, struct pcr_bank *ret, struct err *e)
{
	struct pcr_bank b = { .alg = alg };
	size_t bytes = tcg_digest_size(alg);
	char path[80], line[2 * TCG_DIGEST_MAX + 2];

	for (unsigned i = 0; i < TCG_PCRS; i++) {
		int r;

		(void)snprintf(path, sizeof(path), "sys/class/tpm/tpm0/pcr-%s/%u",
			       tcg_digest_name(alg), i);
		r = evidence_line(ev, path, line, sizeof(line), e);
		if (r == -ENOENT && i > 0)
			continue; /* a copy may hold fewer */
		if (r >= 0)
			r = hex_parse(line, path, b.value[i], bytes, e);
		if (r < 0)
			return r;
		b.have |= 1u << i;
	}
	*ret = b;
	return 0;
}

/* ---- dm-verity ---- */

/* Splits at blanks; words point into text, which is cut. */
static size_t split(char *text, char *words[WORDS_MAX])
{
	size_t n = 0;
	char *save = NULL;

	for (char *w = strtok_r(text, " \n", &save); w && n < WORDS_MAX;
	     w = strtok_r(NULL, " \n", &save))
		words[n++] = w;
	return n;
}

static int number(const char *s, uint64_t max, uint64_t *ret, struct err *e)
{
	return num_parse(s, strlen(s), 0, max, "dm-verity table", ret, e);
}

/* <version> <data> <hash> <data block> <hash block> <blocks> <start> <algorithm> <root> <salt> */
static int read_words(char **w, struct evidence_usr *u, struct err *e)
{
	uint64_t v = 0;
	size_t salt_n = strcmp(w[9], "-") == 0 ? 0 : strlen(w[9]) / 2;
	int r = number(w[3], 4096, &v, e);

	u->data_block = (uint32_t)v;
	if (r >= 0)
		r = number(w[4], 4096, &v, e);
	u->hash_block = (uint32_t)v;
	if (r >= 0)
		r = number(w[5], UINT64_MAX >> 13, &u->data_blocks, e);
	if (r >= 0 && salt_n > sizeof(u->salt))
		return err_set(e, ERR_INPUT, EINVAL, "dm-verity table: its salt is too long");
	if (r >= 0)
		r = hex_parse(w[8], "dm-verity root hash", u->root, sizeof(u->root), e);
	if (r >= 0 && salt_n > 0)
		r = hex_parse(w[9], "dm-verity salt", u->salt, salt_n, e);
	u->salt_n = salt_n;
	(void)snprintf(u->data, sizeof(u->data), "%.63s", w[1]);
	(void)snprintf(u->hash, sizeof(u->hash), "%.63s", w[2]);
	(void)snprintf(u->algorithm, sizeof(u->algorithm), "%.15s", w[7]);
	return r;
}

static const char *handling(char **w, size_t n)
{
	static const struct {
		const char *word, *name;
	} known[] = {
		{ "ignore_corruption", "ignore" },
		{ "restart_on_corruption", "restart" },
		{ "panic_on_corruption", "panic" },
	};

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < 3; k++)
			if (strcmp(w[i], known[k].word) == 0)
				return known[k].name;
	return "eio";
}

int evidence_usr_parse(const char *table, const char *status, struct evidence_usr *ret,
		       struct err *e)
{
	char text[TABLE_MAX], *w[WORDS_MAX];
	struct evidence_usr u = { .salt_n = 0 };
	size_t n, first = 0;
	int r;

	if (snprintf(text, sizeof(text), "%s", table) >= (int)sizeof(text))
		return err_set(e, ERR_INPUT, EFBIG, "dm-verity table: too long");
	n = split(text, w);
	while (first < n && strcmp(w[first], "verity") != 0)
		first++;
	first++;
	if (first + 10 > n || strcmp(w[first], "1") != 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "dm-verity table: not the table of a dm-verity device, version 1");
	r = read_words(w + first, &u, e);
	if (r < 0)
		return r;
	(void)snprintf(u.on_corruption, sizeof(u.on_corruption), "%s",
		       handling(w + first + 10, n - first - 10));
	(void)snprintf(text, sizeof(text), "%s", status);
	n = split(text, w);
	u.corrupted = n > 0 && strcmp(w[n - 1], "C") == 0;
	*ret = u;
	return 0;
}

static int ask_device_mapper(struct evidence_usr *ret, struct err *e)
{
	static const char *const names[] = {
		[VERITY_CORRUPTION_EIO] = "eio",
		[VERITY_CORRUPTION_IGNORE] = "ignore",
		[VERITY_CORRUPTION_RESTART] = "restart",
		[VERITY_CORRUPTION_PANIC] = "panic",
	};
	struct evidence_usr u = { .salt_n = 0 };
	struct verity_device d;
	int r = verity_device_read("usr", &d, e);

	if (r < 0)
		return r;
	if (d.root_n != sizeof(u.root))
		return err_set(e, ERR_HOST, EOPNOTSUPP, "/usr is not protected with SHA-256");
	(void)snprintf(u.data, sizeof(u.data), "%.63s", d.data_path);
	(void)snprintf(u.hash, sizeof(u.hash), "%.63s", d.hash_path);
	(void)snprintf(u.algorithm, sizeof(u.algorithm), "%s", digest_name(d.super.algorithm));
	(void)snprintf(u.on_corruption, sizeof(u.on_corruption), "%s", names[d.on_corruption]);
	memcpy(u.root, d.root, sizeof(u.root));
	memcpy(u.salt, d.super.salt, sizeof(u.salt));
	u.salt_n = d.super.salt_n;
	u.data_block = d.super.data_block;
	u.hash_block = d.super.hash_block;
	u.data_blocks = d.super.data_blocks;
	u.corrupted = d.corrupted;
	*ret = u;
	return 0;
}

int evidence_usr(const struct evidence *ev, struct evidence_usr *ret, struct err *e)
{
	AUTO_FREE char *table = NULL, *status = NULL;
	size_t n;
	int r;

	if (ev->live)
		return ask_device_mapper(ret, e);
	r = evidence_read(ev, "dm/usr.table", TABLE_MAX, &table, &n, e);
	if (r < 0)
		return r;
	if (evidence_read(ev, "dm/usr.status", TABLE_MAX, &status, &n, NULL) < 0)
		status = NULL;
	return evidence_usr_parse(table, status ? status : "", ret, e);
}

int evidence_units(const struct evidence *ev, struct buf *out, struct err *e)
{
	static const char *const argv[] = { "systemctl",
					    "show",
					    "--property=" PROPERTIES,
					    "proad.service",
					    "proa-settle.service",
					    "proa-update.service",
					    "proa-anchor.service",
					    "proa-fetch@audit.service",
					    NULL };
	struct spawn s = { .argv = argv, .deadline_ms = 10000, .out = out, .out_max = 64 << 10 };
	struct spawn_result res;
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r;

	if (ev->live) {
		r = spawn_run(&s, &res, e);
		if (r >= 0 && (res.end != SPAWN_EXIT || res.code != 0))
			return err_set(e, ERR_HOST, EIO, "systemctl show failed");
		return r;
	}
	r = evidence_read(ev, "systemd/show", 64 << 10, &text, &n, e);
	return r < 0 ? r : buf_add(out, text, n, e);
}
