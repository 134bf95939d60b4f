/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/arch.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

static const struct slot_arch table[] = {
	{ "x86-64", "x64", "8484680c-9521-48c6-9c11-b0720656f69e",
	  "77ff5f63-e7b6-4633-acf4-1565b864c0e6" },
	{ "arm64", "aa64", "b0e01050-ee5f-4390-949a-9101b17104e9",
	  "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e" },
	{ "riscv64", "riscv64", "beaec34b-8442-439b-a40b-984381ed097d",
	  "8f1056be-9b05-47c4-81d6-be53128e5b54" },
};

#if defined(__x86_64__)
static const char native[] = "x86-64";
#elif defined(__aarch64__)
static const char native[] = "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
static const char native[] = "riscv64";
#else
#error "this architecture has no row in the table above"
#endif

int slot_arch_by_name(const char *name, const struct slot_arch **ret, struct err *e)
{
	if (!name)
		name = native;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(table[i].name, name) == 0) {
			*ret = &table[i];
			return 0;
		}
	}
	return err_set(e, ERR_INPUT, EOPNOTSUPP,
		       "architecture '%.20s' is not known; x86-64, arm64 and riscv64 are", name);
}
