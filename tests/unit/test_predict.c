/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"
#include "tests/audit_data.h"
#include "updater/audit/predict.h"

/* Expected values from files, compared with the TPM of the machine the files are from. */

static void test_pcr4(void)
{
	uint8_t image[2][SHA256_BYTES], got[SHA256_BYTES], want[SHA256_BYTES];
	struct err e = ERR_INIT;
	size_t n;
	char *text = (char *)data_read("images", &n);

	for (size_t i = 0; i < 2; i++) {
		text[65 * i + 64] = '\0';
		CHECK(hex_parse(text + 65 * i, "image", image[i], 32, &e) == 0, "%s", e.text);
	}
	data_pcr(4, want);
	CHECK(predict_pcr4(image, 2, got, &e) == 0 && memcmp(got, want, 32) == 0, "PCR 4");
	CHECK(predict_pcr4(image, 1, got, &e) == 0 && memcmp(got, want, 32) != 0, "fewer");
	image[1][5] ^= 1;
	CHECK(predict_pcr4(image, 2, got, &e) == 0 && memcmp(got, want, 32) != 0, "another UKI");
	free(text);
}

static struct predict_var variable(const char *name, uint8_t **ret)
{
	char path[128];
	size_t n;
	uint8_t *p;

	(void)snprintf(path, sizeof(path), "sys/firmware/efi/efivars/%s", name);
	p = data_read(path, &n);
	CHECK(n >= 4, "%s", name);
	memmove(p, p + 4, n - 4);
	*ret = p;
	return (struct predict_var){ p, n - 4 };
}

static void test_pcr7(void)
{
	uint8_t *mine[5];
	struct predict_secure s = {
		.secure_boot = variable("SecureBoot-" EFI_GLOBAL_GUID, &mine[0]),
		.pk = variable("PK-" EFI_GLOBAL_GUID, &mine[1]),
		.kek = variable("KEK-" EFI_GLOBAL_GUID, &mine[2]),
		.db = variable("db-" EFI_DB_GUID, &mine[3]),
		.dbx = variable("dbx-" EFI_DB_GUID, &mine[4]),
		.n_authority = 2,
	};
	struct predict_secure none = s;
	uint8_t got[SHA256_BYTES], want[SHA256_BYTES];
	struct err e = ERR_INIT;

	/* one certificate in one list: behind the list's head stands the EFI_SIGNATURE_DATA */
	s.authority[0] = s.authority[1] = (struct predict_var){ s.db.p + 28, s.db.n - 28 };
	data_pcr(7, want);
	CHECK(predict_pcr7(&s, got, &e) == 0 && memcmp(got, want, 32) == 0, "PCR 7");
	none.n_authority = 0;
	CHECK(predict_pcr7(&none, got, &e) == 0 && memcmp(got, want, 32) != 0, "no authority");
	s.dbx.n = 0;
	CHECK(predict_pcr7(&s, got, &e) == 0 && memcmp(got, want, 32) != 0, "dbx emptied");
	for (size_t i = 0; i < 5; i++)
		free(mine[i]);
}

static void test_pcr12(void)
{
	uint8_t got[SHA256_BYTES], want[SHA256_BYTES];
	struct err e = ERR_INIT;
	char *text, changed[600];
	size_t n;

	text = (char *)data_read("proc/cmdline", &n);
	data_pcr(12, want);
	CHECK(predict_pcr12(text, got, &e) == 0 && memcmp(got, want, 32) == 0, "PCR 12");
	(void)snprintf(changed, sizeof(changed), "%s init=/bin/sh", text);
	CHECK(predict_pcr12(changed, got, &e) == 0 && memcmp(got, want, 32) != 0, "changed");
	free(text);
}

static void test_phases(void)
{
	uint8_t a[SHA256_BYTES] = { 0 }, b[SHA256_BYTES] = { 0 };
	struct err e = ERR_INIT;

	CHECK(predict_phases(a, "", &e) == 0 && a[0] == 0 && a[31] == 0, "none");
	CHECK(predict_phases(a, "enter-initrd:leave-initrd", &e) == 0, "%s", e.text);
	CHECK(predict_phases(b, "enter-initrd", &e) == 0 && memcmp(a, b, 32) != 0, "one");
	CHECK(predict_phases(b, "leave-initrd", &e) == 0 && memcmp(a, b, 32) == 0, "both");
	CHECK(predict_phases(b, ":", &e) == -EINVAL && predict_phases(b, "a:", &e) == -EINVAL &&
		      predict_phases(b, "a::b", &e) == -EINVAL,
	      "malformed");
}

/* ---- PCR 11 ---- */

enum { UKI_MAX = 64 << 10, UKI_TABLE = 64 + 24 + 240 };

/*
 * A UKI with these sections (words with a space between), each its own name thrice, of which the
 * last `cut` bytes stand only in memory; and a stub of that version, 0 for none.
 */
static int make_uki(unsigned version, const char *sections, uint32_t cut, struct pe *ret)
{
	uint8_t p[UKI_MAX] = { 'M', 'Z' };
	uint32_t at = 4096, n = 0;
	struct err e = ERR_INIT;
	int fd;

	le32_put(p + 60, 64);
	memcpy(p + 64, "PE\0", 4);
	le16_put(p + 68, PE_MACHINE_X64);
	le16_put(p + 84, 240);
	le16_put(p + 86, 0x22e);
	le16_put(p + 88, 0x20b);
	le32_put(p + 88 + 32, 512);
	le32_put(p + 88 + 36, 512);
	le32_put(p + 88 + 56, 1 << 20);
	le32_put(p + 88 + 60, 4096);
	le16_put(p + 88 + 68, 10);
	le32_put(p + 88 + 108, 16);
	for (const char *s = sections; *s; n++) {
		uint8_t *h = p + UKI_TABLE + 40 * (size_t)n;
		size_t k = strcspn(s, " ");
		uint32_t size = (uint32_t)k * 3;

		memcpy(h, s, k < 8 ? k : 8);
		for (size_t i = 0; i < 3; i++)
			memcpy(p + at + i * k, s, k);
		if (version && k == 8 && memcmp(s, ".sdmagic", 8) == 0)
			size = (uint32_t)snprintf((char *)p + at, 100,
						  "#### LoaderInfo: systemd-stub %u.9-1 ####",
						  version);
		if (s[k - 1] == '0') { /* an empty one */
			h[k - 1] = '\0';
			size = 0;
		}
		le32_put(h + 8, size);
		le32_put(h + 12, 4096 * (1 + n));
		le32_put(h + 16, size > cut ? size - cut : 0);
		le32_put(h + 20, at);
		at += 512;
		s += k + (s[k] == ' ');
	}
	le16_put(p + 70, (uint16_t)n);
	fd = memfd_create("uki", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, p, at) == (ssize_t)at, "memfd");
	CHECK(pe_open(sys_linux(), fd, ret, &e) == 0, "%s: %s", sections, e.text);
	return fd;
}

static void put(uint8_t pcr[SHA256_BYTES], const void *p, size_t n)
{
	uint8_t both[2 * SHA256_BYTES];

	memcpy(both, pcr, SHA256_BYTES);
	sha256(p, n, both + SHA256_BYTES);
	sha256(both, sizeof(both), pcr);
}

/* want: what is measured, in that order; NULL: that is not known. */
static void measured(unsigned version, const char *sections, uint32_t cut, const char *want)
{
	uint8_t got[SHA256_BYTES], pcr[SHA256_BYTES] = { 0 };
	struct err e = ERR_INIT;
	struct pe pe;
	int fd = make_uki(version, sections, cut, &pe);
	int r = predict_pcr11(&pe, "", got, &e);

	for (const char *s = want ? want : ""; *s;) {
		size_t k = strcspn(s, " ");
		char name[9] = "", text[64] = "";

		memcpy(name, s, k);
		put(pcr, name, k + 1);
		for (size_t i = 0; i < 3; i++)
			memcpy(text + i * k, name, k);
		memset(text + 3 * k - cut, 0, cut);
		put(pcr, text, 3 * k);
		s += k + (s[k] == ' ');
	}
	CHECK(want ? r == 0 && memcmp(got, pcr, 32) == 0 : r == -EOPNOTSUPP, "%u: %s: %d %s",
	      version, sections, r, e.text);
	(void)close(fd);
}

/* As uki.c, tpm-pcr.c, stub.c and pe.c of systemd 252, 254, 257 and 262 say. */
static void test_stubs(void)
{
	static const char all[] =
		".text .sdmagic .sbat .hwids .pcrpkey .osrel .cmdline .uname .dtb "
		".splash .ucode .initrd .pcrsig .linux";
	static const struct {
		unsigned from, to;
		const char *want;
	} stub[] = {
		{ 252, 253, ".linux .osrel .cmdline .initrd .splash .dtb .pcrpkey" },
		{ 254, 255, ".linux .osrel .cmdline .initrd .splash .dtb .uname .sbat .pcrpkey" },
		{ 256, 256,
		  ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey" },
		{ 257, 270,
		  ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey "
		  ".hwids" },
	};

	for (size_t i = 0; i < sizeof(stub) / sizeof(stub[0]); i++)
		for (unsigned v = stub[i].from; v <= stub[i].to; v++) {
			measured(v, all, 0, stub[i].want);
			measured(v, ".sdmagic .osrel .linux .dtb0", 0, ".linux .osrel");
			measured(v, ".sdmagic .osrel .linux", 4, ".linux .osrel");
		}
	measured(0, all, 0, NULL);
	measured(0, ".linux .osrel", 0, NULL);
	/* one profile, the base and what replaces it */
	measured(257, ".sdmagic .linux .osrel .cmdline .profile .osrel", 0,
		 ".linux .osrel .cmdline .profile");
	measured(257, ".sdmagic .linux .osrel .profile .cmdline .profile .cmdline", 0, NULL);
	measured(256, ".sdmagic .linux .osrel .profile .cmdline", 0, ".linux .osrel .cmdline");
	measured(257, ".sdmagic .linux .osrel .osrel", 0, ".linux .osrel");
	measured(257, ".sdmagic .linux .osrel0 .osrel", 0, ".linux");
	measured(256, ".sdmagic .linux .osrel .osrel", 0, NULL);
	/* 256 and before take the second for a .dtb */
	measured(256, ".sdmagic .linux .dtbauto", 0, NULL);
	measured(257, ".sdmagic .linux .dtbauto", 0, NULL);
	measured(257, ".sdmagic .linux .efifw", 0, ".linux");
	measured(258, ".sdmagic .linux .efifw", 0, NULL);
	measured(262, ".sdmagic .linux .novel", 0, ".linux");
	measured(263, ".sdmagic .linux .novel", 0, NULL);
}

int main(void)
{
	test_stubs();
	test_pcr4();
	test_pcr7();
	test_pcr12();
	test_phases();
	return 0;
}
