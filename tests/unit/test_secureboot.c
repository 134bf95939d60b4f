/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"
#include "bootctl/secureboot.h"
#include "tests/test.h"

/* Signatures and chains are judged with real keys in tests/integration/test_bootctl.py. */

static const uint8_t sha256_guid[16] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
					 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };

static size_t put_list(uint8_t *p, unsigned n, uint32_t head)
{
	uint32_t size = 28 + head + n * 48;

	memcpy(p, sha256_guid, 16);
	le32_put(p + 16, size);
	le32_put(p + 20, head);
	le32_put(p + 24, 48);
	for (uint32_t i = 28; i < size; i++)
		p[i] = (uint8_t)i;
	return size;
}

static int count(void *arg, const struct sb_sig *sig)
{
	CHECK(sig->kind == SB_SIG_SHA256 && sig->n == 32, "kind");
	return ++*(int *)arg >= 5 ? 42 : 0;
}

static void test_lists(void)
{
	uint8_t p[1024];
	struct err e = ERR_INIT;
	int seen = 0;
	size_t a = put_list(p, 2, 0), b = put_list(p + a, 1, 12);

	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) == 0 && seen == 3, "%s", e.text);
	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) == 42, "stop");
	CHECK(sb_siglist_walk(NULL, 0, count, &seen, &e) == 0, "empty");
	seen = -100;
	for (size_t n = 1; n < a + b; n++)
		CHECK((sb_siglist_walk(p, n, count, &seen, &e) == 0) == (n == a), "cut at %zu", n);
	p[0] ^= 1; /* a type nobody knows is skipped */
	seen = 0;
	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) == 0 && seen == 1, "unknown");
	le32_put(p + 24, 16);
	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) < 0, "no signature bytes");
	le32_put(p + 24, 0);
	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) < 0, "zero");
	le32_put(p + 16, 0);
	CHECK(sb_siglist_walk(p, a + b, count, &seen, &e) < 0, "endless");
}

static void put_var(int dir, const char *name, const void *p, size_t n)
{
	uint8_t data[2048] = { 7 };
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	memcpy(data + 4, p, n);
	CHECK(fd >= 0 && write(fd, data, n + 4) == (ssize_t)n + 4, "%s", name);
	(void)close(fd);
}

static void test_state(void)
{
	char path[] = "/tmp/proa-sb-XXXXXX";
	AUTO_SYS_FD dir = { sys_linux(), -1 }, stub = { sys_linux(), -1 };
	uint8_t list[256], hash[SHA256_BYTES];
	struct sb_verdict v;
	struct sb_state s;
	struct err e = ERR_INIT;
	struct pe pe;

	CHECK(mkdtemp(path), "mkdtemp");
	dir.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stub.fd = open("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", O_RDONLY | O_CLOEXEC);
	CHECK(sb_state_read(dir.sys, -1, &s, &e) == 0 && !s.efi && !s.enforced, "no EFI");
	CHECK(sb_check(dir.sys, -1, stub.fd, &v, &e) == 0 && v.accepted &&
		      strstr(v.text, "no EFI variables"),
	      "%s", v.text);
	CHECK(sb_state_read(dir.sys, dir.fd, &s, &e) == 0 && s.efi && !s.enforced, "absent");
	put_var(dir.fd, "SetupMode-" EFI_GLOBAL_GUID, "\1", 1);
	put_var(dir.fd, "SecureBoot-" EFI_GLOBAL_GUID, "\0", 1);
	CHECK(sb_state_read(dir.sys, dir.fd, &s, &e) == 0 && s.setup_mode && !s.enforced, "setup");
	CHECK(sb_check(dir.sys, dir.fd, stub.fd, &v, &e) == 0 && v.accepted &&
		      strstr(v.text, "Secure Boot is off"),
	      "%s", v.text);
	put_var(dir.fd, "SecureBoot-" EFI_GLOBAL_GUID, "\1", 1);
	CHECK(sb_check(dir.sys, dir.fd, stub.fd, &v, &e) == 0 && !v.accepted &&
		      strstr(v.text, "is not signed"),
	      "%s", v.text);
	CHECK(pe_open(dir.sys, stub.fd, &pe, &e) == 0 && pe_hash(&pe, hash, &e) == 0, "%s", e.text);
	(void)put_list(list, 1, 0);
	memcpy(list + 44, hash, sizeof(hash));
	put_var(dir.fd, "db-" EFI_DB_GUID, list, 76);
	CHECK(sb_check(dir.sys, dir.fd, stub.fd, &v, &e) == 0 && v.accepted &&
		      strstr(v.text, "hash is in"),
	      "%s", v.text);
	put_var(dir.fd, "dbx-" EFI_DB_GUID, list, 76);
	CHECK(sb_check(dir.sys, dir.fd, stub.fd, &v, &e) == 0 && !v.accepted &&
		      strstr(v.text, "dbx"),
	      "%s", v.text);
	put_var(dir.fd, "dbx-" EFI_DB_GUID, list, 75);
	CHECK(sb_check(dir.sys, dir.fd, stub.fd, &v, &e) < 0 && e.kind == ERR_INPUT, "cut dbx");
	(void)unlinkat(dir.fd, "SetupMode-" EFI_GLOBAL_GUID, 0);
	(void)unlinkat(dir.fd, "SecureBoot-" EFI_GLOBAL_GUID, 0);
	(void)unlinkat(dir.fd, "db-" EFI_DB_GUID, 0);
	(void)unlinkat(dir.fd, "dbx-" EFI_DB_GUID, 0);
	CHECK(rmdir(path) == 0, "rmdir");
}

int main(void)
{
	test_lists();
	test_state();
	return 0;
}
