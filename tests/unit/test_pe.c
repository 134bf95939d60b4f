/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/spawn.h"
#include "bootctl/pe.h"
#include "tests/dice.h"
#include "tests/test.h"

/* The Authenticode digest that pesign sees. */
static void pesign(const char *path, char hex[SHA256_HEX_MAX])
{
	const char *argv[] = { "pesign", "-h", "-i", path, NULL };
	AUTO_BUF out = BUF_INIT;
	struct spawn s = { .argv = argv, .deadline_ms = 20000, .out = &out, .out_max = 4096 };
	struct spawn_result res;
	struct err e = ERR_INIT;
	const char *at;

	CHECK(spawn_run(&s, &res, &e) == 0 && res.end == SPAWN_EXIT && res.code == 0,
	      "pesign %s: %s", path, out.p ? out.p : e.text);
	at = strstr(out.p, "hash: ");
	CHECK(at && strlen(at) >= 70, "pesign: %s", out.p);
	memcpy(hex, at + 6, 64);
	hex[64] = '\0';
}

static void check_hash(const char *path)
{
	AUTO_SYS_FD f = { sys_linux(), open(path, O_RDONLY | O_CLOEXEC) };
	char want[SHA256_HEX_MAX], got[SHA256_HEX_MAX];
	uint8_t hash[SHA256_BYTES];
	struct err e = ERR_INIT;
	struct pe pe;

	CHECK(f.fd >= 0, "%s", path);
	CHECK(pe_open(f.sys, f.fd, &pe, &e) == 0, "%s: %s", path, e.text);
	CHECK(pe_hash(&pe, hash, &e) == 0, "%s: %s", path, e.text);
	hex_format(hash, sizeof(hash), got);
	pesign(path, want);
	CHECK(strcmp(got, want) == 0, "%s: %s, pesign %s", path, got, want);
}

enum { MAX = 16384, TABLE = 64 + 24 + 240 };

/* A PE32+ image with n sections of random size and order, and `tail` bytes behind them. */
static size_t make(uint8_t *p, unsigned n, size_t tail)
{
	size_t at = 1024;

	for (size_t i = 0; i < MAX; i++)
		p[i] = (uint8_t)dice();
	memset(p, 0, 1024);
	p[0] = 'M';
	p[1] = 'Z';
	le32_put(p + 60, 64);
	p[64] = 'P';
	p[65] = 'E';
	le16_put(p + 68, PE_MACHINE_X64);
	le16_put(p + 70, (uint16_t)n);
	le16_put(p + 84, 240);
	le16_put(p + 86, 0x22e);
	le16_put(p + 88, 0x20b);
	le32_put(p + 88 + 32, 512);     /* section alignment */
	le32_put(p + 88 + 36, 512);     /* file alignment */
	le32_put(p + 88 + 56, 1 << 20); /* image size */
	le32_put(p + 88 + 60, 1024);    /* header size */
	le32_put(p + 88 + 64, (uint32_t)dice());
	le16_put(p + 88 + 68, 10);
	le32_put(p + 88 + 108, 16);
	for (unsigned i = 0; i < n; i++) {
		/* backwards in the table in one of two images: the hash goes by offset */
		uint8_t *h = p + TABLE + 40 * (size_t)(n % 2 ? n - 1 - i : i);
		uint32_t raw = 512 * (uint32_t)(dice() % 4);

		h[0] = 's';
		h[1] = (uint8_t)('a' + i);
		le32_put(h + 8, raw ? raw - (uint32_t)(dice() % 100) : 0);
		le32_put(h + 12, 4096 * (1 + i));
		le32_put(h + 16, raw);
		le32_put(h + 20, raw ? (uint32_t)at : 0);
		at += raw;
	}
	return at + tail;
}

static int mem_file(const uint8_t *p, size_t n)
{
	int fd = memfd_create("pe", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n, "memfd");
	return fd;
}

/* These images have no gaps: their digest is that of the file without the two skipped fields. */
static void check_linear(const uint8_t *p, size_t n, int fd)
{
	uint8_t rest[MAX], want[SHA256_BYTES], got[SHA256_BYTES];
	struct err e = ERR_INIT;
	struct pe pe;

	memcpy(rest, p, 152);
	memcpy(rest + 152, p + 156, 232 - 156);
	memcpy(rest + 228, p + 240, n - 240);
	sha256(rest, n - 12, want);
	CHECK(pe_open(sys_linux(), fd, &pe, &e) == 0 && pe_hash(&pe, got, &e) == 0, "%s", e.text);
	CHECK(memcmp(want, got, sizeof(want)) == 0, "not the digest of the bytes in file order");
}

/* pesign goes by the table's order instead of the offsets, so it judges tables in order. */
static void test_random(void)
{
	char path[64];

	for (unsigned i = 0; i < 150; i++) {
		uint8_t p[MAX];
		unsigned sections = 1 + (unsigned)(dice() % 5);
		size_t n = make(p, sections, i % 3 == 0 ? 8 * (dice() % 9) : 0);
		AUTO_SYS_FD f = { sys_linux(), mem_file(p, n) };

		check_linear(p, n, f.fd);
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), f.fd);
		if (sections == 1 || sections % 2 == 0)
			check_hash(path);
	}
}

/* A signature over nothing else may change with the checksum or the certificate table. */
static void test_skipped(void)
{
	uint8_t p[MAX], a[SHA256_BYTES], b[SHA256_BYTES];
	size_t n = make(p, 3, 0);
	unsigned same = 0;
	struct pe pe;

	for (size_t i = 0; i < 1024; i++) {
		AUTO_SYS_FD f = { sys_linux(), -1 };
		bool skipped = (i >= 88 + 64 && i < 88 + 68) || (i >= 88 + 144 && i < 88 + 152);

		f.fd = mem_file(p, n);
		CHECK(pe_open(f.sys, f.fd, &pe, NULL) == 0 && pe_hash(&pe, a, NULL) == 0, "base");
		p[i] ^= 1;
		CHECK(pwrite(f.fd, p, n, 0) == (ssize_t)n, "write");
		p[i] ^= 1;
		if (pe_open(f.sys, f.fd, &pe, NULL) < 0 || pe_hash(&pe, b, NULL) < 0)
			continue;
		CHECK((memcmp(a, b, sizeof(a)) == 0) == skipped, "byte %zu", i);
		same += skipped;
	}
	CHECK(same >= 4, "no skipped byte was tried");
}

static void refuse(size_t at, uint32_t v, const char *why)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct pe pe = { .fd = 12345 };
	struct err e = ERR_INIT;
	uint8_t p[MAX];
	uint64_t kept = dice_state;
	size_t n;

	dice_state = 99;
	do {
		n = make(p, 4, 0);
	} while (le32_get(p + TABLE + 16) == 0 || le32_get(p + TABLE + 56) == 0);
	dice_state = kept;
	le32_put(p + at, v);
	f.fd = mem_file(p, n);
	CHECK(pe_open(f.sys, f.fd, &pe, &e) < 0, "%zu = %u is accepted", at, v);
	CHECK(e.kind == ERR_INPUT && strstr(e.text, why), "%zu = %u: %s", at, v, e.text);
	CHECK(pe.fd == 12345, "touched");
}

static void test_refused(void)
{
	refuse(0, 0, "MZ");
	refuse(60, 0xfffffff0, "out of reach");
	refuse(64, 0, "PE signature");
	refuse(68, 0x8664, "sections");
	refuse(68, 0x8664 | 97u << 16, "sections");
	refuse(84, 10, "optional header");
	refuse(88, 0x1234, "PE32");
	refuse(88 + 60, 100, "header size");
	refuse(88 + 60, 0x7fffffff, "header size");
	refuse(TABLE + 16, 0xfffffe00, "behind");
	refuse(TABLE + 20, 0xfffffe00, "behind");
	refuse(TABLE + 20, 512, "overlap");
	refuse(TABLE + 40 + 20, 1024, "overlap");
	refuse(88 + 148, 64, "certificate table");
}

/* Cut there: refused (1), or an image of its own whose digest is not that of the whole. */
static size_t cut(int fd, size_t n, const uint8_t whole[SHA256_BYTES])
{
	uint8_t got[SHA256_BYTES];
	struct err e = ERR_INIT;
	struct pe pe;

	CHECK(ftruncate(fd, (off_t)n) == 0, "cut");
	if (pe_open(sys_linux(), fd, &pe, &e) >= 0 && pe_hash(&pe, got, &e) >= 0) {
		CHECK(memcmp(whole, got, sizeof(got)) != 0, "cut at %zu, and nobody sees it", n);
		return 0;
	}
	CHECK(e.kind == ERR_INPUT && e.text[0], "cut at %zu: %s", n, e.text);
	return 1;
}

static void test_cut(void)
{
	uint8_t p[MAX], whole[SHA256_BYTES];
	size_t n = make(p, 4, 40), refused = 0;
	AUTO_SYS_FD f = { sys_linux(), mem_file(p, n) };
	struct pe pe;

	CHECK(pe_open(f.sys, f.fd, &pe, NULL) == 0 && pe_hash(&pe, whole, NULL) == 0, "whole");
	while (n-- > 0)
		refused += cut(f.fd, n, whole);
	CHECK(refused > 1024, "%zu", refused);
}

static void test_read(void)
{
	uint8_t p[MAX];
	size_t n = make(p, 3, 0), got_n = 0;
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct err e = ERR_INIT;
	struct pe pe;

	le32_put(p + TABLE + 8, 100); /* VirtualSize below and above SizeOfRawData */
	le32_put(p + TABLE + 48, 100000);
	f.fd = mem_file(p, n);
	CHECK(pe_open(f.sys, f.fd, &pe, &e) == 0, "%s", e.text);
	CHECK(!pe_section_find(&pe, ".none"), "finds what is not there");
	for (size_t i = 0; i < 2; i++) {
		const struct pe_section *s = &pe.section[i];
		size_t want = s->virtual_size < s->raw_size ? s->virtual_size : s->raw_size;
		char *text = NULL;

		CHECK(pe_section_find(&pe, s->name) == s, "find %s", s->name);
		CHECK(pe_section_read(&pe, s, MAX, &text, &got_n, &e) == 0, "%s", e.text);
		CHECK(got_n == want && memcmp(text, p + s->raw_offset, want) == 0, "%zu", got_n);
		free(text);
		if (want > 0)
			CHECK(pe_section_read(&pe, s, want - 1, &text, &got_n, &e) == -EFBIG,
			      "max");
	}
}

int main(void)
{
	dice_seed();
	check_hash("/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
	check_hash("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
	test_random();
	test_skipped();
	test_refused();
	test_cut();
	test_read();
	return 0;
}
