/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_AUDIT_DATA_H
#define TESTS_AUDIT_DATA_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/audit/hash.h"

/*
 * tests/data/audit/secure: what a machine had after a real boot, OVMF with Secure Boot (snakeoil
 * keys), swtpm, systemd-boot and systemd-stub 252. "images" are the Authenticode digests of the
 * loader and the UKI, by pesign.
 */
#define AUDIT_DATA "tests/data/audit/secure/"

static inline uint8_t *data_read(const char *name, size_t *ret_n)
{
	char path[256], *p;
	struct err e = ERR_INIT;

	(void)snprintf(path, sizeof(path), AUDIT_DATA "%s", name);
	CHECK(file_read(sys_linux(), AT_FDCWD, path, 1 << 20, &p, ret_n, &e) == 0, "%s", e.text);
	return (uint8_t *)p;
}

/* The value the TPM had, as the kernel gave it. */
static inline void data_pcr(unsigned i, uint8_t out[32])
{
	char name[64];
	size_t n;
	uint8_t *p;

	(void)snprintf(name, sizeof(name), "sys/class/tpm/tpm0/pcr-sha256/%u", i);
	p = data_read(name, &n);
	CHECK(n >= 64, "%s", name);
	p[64] = '\0';
	CHECK(hex_parse((const char *)p, "PCR", out, 32, NULL) == 0, "%s", name);
	free(p);
}

#endif
