/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "bootctl/loader_vars.h"
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

int main(void)
{
	test_pcr4();
	test_pcr7();
	test_pcr12();
	test_phases();
	return 0;
}
