/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "bootctl/esp.h"
#include "bootctl/loader_vars.h"
#include "tests/test.h"

/* Adding and marking with a failure at every single call of struct sys. */

static struct {
	unsigned calls, fail_at; /* 0: never */
	unsigned synced;         /* file syncs since the last rename */
	bool lie;                /* reads give other bytes than were written */
	uint64_t space;
} sim;

static int failing(void)
{
	return ++sim.calls == sim.fail_at;
}

#define REAL          sys_linux()
#define FAIL_OR(call) (failing() ? -EIO : (call))

static int t_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	(void)s;
	return FAIL_OR(REAL->ops->open(REAL, dir, name, flags, mode));
}

static ssize_t t_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	ssize_t r;

	(void)s;
	if (failing())
		return -EIO;
	r = REAL->ops->pread(REAL, fd, buf, n > 7000 ? 7000 : n, off);
	if (sim.lie && r > 0)
		((char *)buf)[0] ^= 1;
	return r;
}

static ssize_t t_pwrite(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	(void)s;
	sim.synced = 0;
	return FAIL_OR(REAL->ops->pwrite(REAL, fd, buf, n > 9000 ? 9000 : n, off));
}

static int t_size(struct sys *s, int fd, uint64_t *ret)
{
	(void)s;
	return FAIL_OR(REAL->ops->size(REAL, fd, ret));
}

static int t_truncate(struct sys *s, int fd, uint64_t n)
{
	(void)s;
	return FAIL_OR(REAL->ops->truncate(REAL, fd, n));
}

static int t_sync(struct sys *s, int fd)
{
	(void)s;
	sim.synced++;
	return FAIL_OR(REAL->ops->sync(REAL, fd));
}

static int t_rename(struct sys *s, int dir, const char *from, const char *to)
{
	(void)s;
	CHECK(!strstr(from, ".part") || sim.synced >= 1, "renamed before it was synced");
	return FAIL_OR(REAL->ops->rename(REAL, dir, from, to));
}

static int t_unlink(struct sys *s, int dir, const char *name)
{
	(void)s;
	return FAIL_OR(REAL->ops->unlink(REAL, dir, name));
}

static int t_mkdir(struct sys *s, int dir, const char *name, mode_t mode)
{
	(void)s;
	return FAIL_OR(REAL->ops->mkdir(REAL, dir, name, mode));
}

static int t_list(struct sys *s, int dir, sys_list_fn fn, void *arg)
{
	(void)s;
	return FAIL_OR(REAL->ops->list(REAL, dir, fn, arg));
}

static int t_space(struct sys *s, int dir, uint64_t *ret)
{
	(void)s;
	(void)dir;
	if (failing())
		return -EIO;
	*ret = sim.space;
	return 0;
}

static int t_forget(struct sys *s, int fd, uint64_t off, uint64_t n)
{
	(void)s;
	return FAIL_OR(REAL->ops->forget(REAL, fd, off, n));
}

static int t_close(struct sys *s, int fd)
{
	(void)s;
	return REAL->ops->close(REAL, fd);
}

static const struct sys_ops ops = { t_open,  t_pread,  t_pwrite, t_size,  t_truncate,
				    t_sync,  t_rename, t_unlink, t_mkdir, t_list,
				    t_space, t_forget, NULL,     t_close };
static struct sys test_sys = { .ops = &ops };

/* ---- a UKI in memory, given piecewise ---- */

static char uki[200000];
static size_t uki_n;

static void read_file(const char *path)
{
	FILE *f = fopen(path, "rbe");

	CHECK(f, "%s", path);
	uki_n = fread(uki, 1, sizeof(uki), f);
	(void)fclose(f);
	CHECK(uki_n > 0 && uki_n < sizeof(uki), "%s", path);
}

static ssize_t give(void *arg, void *buf, size_t n, uint64_t off, struct err *e)
{
	(void)arg;
	(void)e;
	if (n > 5000)
		n = 5000;
	if (n > uki_n - off)
		n = uki_n - (size_t)off;
	memcpy(buf, uki + off, n);
	return (ssize_t)n;
}

static struct esp_source source(void)
{
	struct esp_source s = { .read = give, .bytes = uki_n };

	sha256(uki, uki_n, s.sha256);
	return s;
}

static void clear(const char *path)
{
	const char *rm[] = { "rm", "-rf", path, NULL };
	struct err e = ERR_INIT;

	CHECK(spawn_check(rm, &e) == 0, "%s", e.text);
}

static const char file[] = "proa_1.0+3-0.efi";

static int add(int esp, struct err *e)
{
	struct esp_source s = source();
	int r = esp_write_temp(&test_sys, esp, file, &s, e);

	return r != 0 ? r : esp_publish(&test_sys, esp, file, e);
}

/* Whole or not at all; `must` when it has to be there. */
static void check_whole(int esp, bool must)
{
	AUTO_FREE struct esp_entry *l = NULL;
	struct err e = ERR_INIT;
	size_t n = 0;

	CHECK(esp_list(REAL, esp, &l, &n, &e) == 0, "%s", e.text);
	CHECK(n <= 1 && (!must || n == 1), "%zu entries", n);
	CHECK(n == 0 || (!l[0].broken && l[0].bytes == uki_n), "%s", n ? l[0].reason : "");
}

static void test_add(const char *path)
{
	unsigned fail = 0, failed = 0;
	struct err e = ERR_INIT;
	int r;

	do {
		AUTO_SYS_FD esp = { REAL, -1 };

		clear(path);
		CHECK(mkdir(path, 0700) == 0, "mkdir");
		esp.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		sim.calls = 0;
		sim.fail_at = ++fail;
		r = add(esp.fd, &e);
		failed += r < 0;
		sim.fail_at = 0;
		CHECK(r >= 0 || e.text[0], "no sentence at call %u", fail);
		check_whole(esp.fd, r >= 0);
		r = add(esp.fd, &e); /* again, without help */
		CHECK(r >= 0, "call %u failed, then: %s", fail, e.text);
		check_whole(esp.fd, true);
		CHECK(esp_discard_temps(&test_sys, esp.fd, "", &e) == 0, "%s", e.text);
		r = add(esp.fd, &e);
		CHECK(r == 1, "not idempotent: %d", r);
	} while (sim.calls >= fail || fail < 40);
	printf("%u calls failed one by one while adding\n", failed);
	CHECK(failed > 20, "only %u", failed);
}

static void check_name(int esp, const char *name)
{
	AUTO_FREE struct esp_entry *en = malloc(sizeof(*en));
	struct err e = ERR_INIT;

	CHECK(en && esp_get(REAL, esp, "proa_1.0", en, &e) == 0, "%s", e.text);
	CHECK(strcmp(en->name.file, name) == 0, "'%s', not '%s'", en->name.file, name);
}

static void test_marks(int esp)
{
	struct err e = ERR_INIT;

	for (unsigned fail = 30; fail > 0; fail--) {
		sim.calls = 0;
		sim.fail_at = fail;
		(void)!esp_condemn(&test_sys, esp, "proa_1.0", &e);
		sim.fail_at = 0;
		check_whole(esp, true);
		CHECK(esp_condemn(&test_sys, esp, "proa_1.0", &e) == 0, "%s", e.text);
		check_name(esp, "proa_1.0+0-0.efi");
		sim.calls = 0;
		sim.fail_at = fail;
		(void)!esp_bless(&test_sys, esp, "proa_1.0.efi", &e);
		sim.fail_at = 0;
		check_whole(esp, true);
		CHECK(esp_bless(&test_sys, esp, "proa_1.0", &e) == 0, "%s", e.text);
		check_name(esp, "proa_1.0.efi");
	}
	CHECK(esp_bless(&test_sys, esp, "nothing", &e) == -ENOENT && e.kind == ERR_INPUT, "absent");
	CHECK(esp_remove(&test_sys, esp, "proa_1.0", &e) == 1, "%s", e.text);
	CHECK(esp_remove(&test_sys, esp, "proa_1.0", &e) == 0, "twice");
}

static void test_refused(int esp)
{
	struct esp_source s = source();
	struct err e = ERR_INIT;

	sim.space = uki_n;
	CHECK(add(esp, &e) == -ENOSPC && e.kind == ERR_HOST && strstr(e.text, "needed") &&
		      strstr(e.text, "free"),
	      "%s", e.text);
	sim.space = UINT64_MAX;
	s.sha256[0] ^= 1;
	CHECK(esp_write_temp(&test_sys, esp, file, &s, &e) == -EBADMSG && e.kind == ERR_REFUSED,
	      "%s", e.text);
	s.sha256[0] ^= 1;
	s.bytes++;
	CHECK(esp_write_temp(&test_sys, esp, file, &s, &e) == -EBADMSG, "%s", e.text);
	s.bytes--;
	sim.lie = true;
	CHECK(esp_write_temp(&test_sys, esp, file, &s, &e) == -EIO && strstr(e.text, "medium"),
	      "%s", e.text);
	sim.lie = false;
	CHECK(esp_open_temp(&test_sys, esp, file, &e) == -ENOENT, "something stayed behind");
	CHECK(esp_publish(&test_sys, esp, file, &e) == -ENOENT, "nothing to publish");
	CHECK(esp_write_temp(&test_sys, esp, "../x.efi", &s, &e) < 0, "path");
	CHECK(esp_write_temp(&test_sys, esp, "x.conf", &s, &e) < 0, "type 1");
	CHECK(esp_write_temp(&test_sys, esp, "a b.efi", &s, &e) < 0, "characters");
	check_whole(esp, false);
	CHECK(add(esp, &e) == 0, "%s", e.text);
	uki[5] ^= 1;
	s = source();
	CHECK(esp_write_temp(&test_sys, esp, "PROA_1.0.efi", &s, &e) == -EEXIST &&
		      e.kind == ERR_REFUSED,
	      "%s", e.text);
	uki[5] ^= 1;
}

static void test_type1(int esp)
{
	static const struct {
		const char *name, *text;
		bool shown;
	} conf[] = {
		{ "a-1.conf", "title A\nversion 1\nlinux /vmlinuz\n", true },
		{ "a-2.conf", "title A\nlinux /absent\n", false },
		{ "a-3.conf", "title A\n", false },
		{ "a-4.conf", "efi /vmlinuz\narchitecture mips\n", false },
		{ "a-5.conf", "linux ../../etc/passwd\n", false },
		{ "auto-6.conf", "linux /vmlinuz\n", false },
	};
	AUTO_FREE struct esp_entry *l = NULL;
	struct err e = ERR_INIT;
	size_t n = 0, shown = 0;
	char path[64];
	int fd;

	CHECK(mkdirat(esp, "loader", 0700) == 0 && mkdirat(esp, "loader/entries", 0700) == 0,
	      "mkdir");
	fd = openat(esp, "vmlinuz", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	for (size_t i = 0; i < 6; i++) {
		(void)snprintf(path, sizeof(path), "loader/entries/%s", conf[i].name);
		fd = openat(esp, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		CHECK(write(fd, conf[i].text, strlen(conf[i].text)) > 0, "write");
		(void)close(fd);
	}
	CHECK(esp_list(REAL, esp, &l, &n, &e) == 0 && n == 7, "%zu %s", n, e.text);
	for (size_t i = 0; i < n; i++) {
		shown += l[i].shown;
		for (size_t k = 0; k < 6; k++)
			if (strcmp(l[i].name.file, conf[k].name) == 0)
				CHECK(l[i].shown == conf[k].shown, "%s: %s", conf[k].name,
				      l[i].reason);
	}
	CHECK(shown == 2 && l[0].shown && l[1].shown && !l[2].shown, "%zu shown", shown);
}

int main(void)
{
	char path[] = "/tmp/proa-esp-XXXXXX", made[64];
	const char *argv[20] = { "objcopy" };
	const char *section[] = { ".osrel", ".cmdline", ".linux" };
	const char *text[] = { "IMAGE_ID=proa\nIMAGE_VERSION=1.0\n", "quiet", "kernel" };
	char arg[3][2][96];
	size_t n = 1;
	struct err e = ERR_INIT;
	AUTO_SYS_FD esp = { REAL, -1 };

	CHECK(mkdtemp(path), "mkdtemp");
	for (size_t i = 0; i < 3; i++) {
		FILE *f;

		(void)snprintf(made, sizeof(made), "%s/%s", path, section[i]);
		f = fopen(made, "we");
		CHECK(f && fputs(text[i], f) >= 0 && fclose(f) == 0, "%s", made);
		(void)snprintf(arg[i][0], sizeof(arg[i][0]), "%s=%s", section[i], made);
		(void)snprintf(arg[i][1], sizeof(arg[i][1]), "%s=0x%zx", section[i],
			       0x1000000 * (i + 1));
		argv[n++] = "--add-section";
		argv[n++] = arg[i][0];
		argv[n++] = "--change-section-vma";
		argv[n++] = arg[i][1];
	}
	(void)snprintf(made, sizeof(made), "%s/uki", path);
	argv[n++] = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
	argv[n++] = made;
	CHECK(spawn_check(argv, &e) == 0, "%s", e.text);
	read_file(made);

	sim.space = UINT64_MAX;
	test_add(path);
	esp.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_marks(esp.fd);
	test_refused(esp.fd);
	test_type1(esp.fd);
	clear(path);
	return 0;
}
