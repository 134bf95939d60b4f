/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_PREDICT_H
#define UPDATER_AUDIT_PREDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

struct pe;
struct pe_section;
struct sys;

/*
 * The SHA-256 PCR values that a boot from given files must lead to (UAPI.5, TCG PC Client Platform
 * Firmware Profile, as OVMF and systemd-boot and systemd-stub do it). All start from
 * 32 zero bytes.
 */

/*
 * PCR 4: the firmware's boot attempt, the separator, then every image it loads, by Authenticode
 * digest: the loader, the UKI and, with Secure Boot off, the kernel inside of it. With Secure Boot
 * on, systemd-stub 252 vouches for the kernel itself and the firmware does not measure it.
 */
int predict_pcr4(uint8_t (*image)[SHA256_BYTES], size_t n, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));

/* Bytes of a firmware variable; present false: the firmware measures it with no data. */
struct predict_var {
	const uint8_t *p;
	size_t n;
};

/* What the firmware measures before it starts the first image, and the db entries it used then. */
enum { PREDICT_AUTHORITIES_MAX = 4 };
struct predict_secure {
	struct predict_var secure_boot, pk, kek, db, dbx;
	struct predict_var authority[PREDICT_AUTHORITIES_MAX]; /* EFI_SIGNATURE_DATA, owner first */
	size_t n_authority; /* one that stands there twice is measured once */
};
int predict_pcr7(const struct predict_secure *s, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));
/* The first digest in PCR 7: the variable SecureBoot. */
int predict_secure_boot(bool on, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));

/*
 * The sections of a UKI that its stub measures, name and content each, in the stub's order; then
 * the phases of systemd-pcrphase: "enter-initrd:leave-initrd", "" for none. The version of the stub
 * is read from .sdmagic, as each measures more sections than its predecessors; 252 to 262 are
 * known. ERR_INPUT -EOPNOTSUPP where file and version do not decide: another stub, sections chosen
 * by the machine (.dtbauto, .efifw), more than one .profile, sections that 256 and before mix up.
 * ERR_INPUT -ENOENT when there is no .linux.
 */
int predict_pcr11(const struct pe *uki, const char *phases, uint8_t ret[SHA256_BYTES],
		  struct err *e) __attribute__((warn_unused_result));
/* PCR 11 with further phases. */
int predict_phases(uint8_t pcr[SHA256_BYTES], const char *phases, struct err *e)
	__attribute__((warn_unused_result));
/*
 * Do the phases of a boot, as far as it may have come, lead from one value of PCR 11 to the other?
 * Then they are put into *ret ("" for none).
 */
bool predict_phases_to(const uint8_t from[SHA256_BYTES], const uint8_t to[SHA256_BYTES],
		       const char **ret);
/* The version in .sdmagic ("252"); 0 when there is none. */
int predict_stub_version(const struct pe *uki, unsigned *ret, struct err *e)
	__attribute__((warn_unused_result));

/* PCR 12: the command line as the loader hands it over, UTF-16 with its NUL. */
int predict_pcr12(const char *cmdline, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));
/*
 * Is tpm what PCR 12 is when a UKI runs with its own command line? Then *ret_times says how often
 * it was handed over: 0 by systemd-boot 257, which leaves it to the stub; 1 by 252 and 254; 2 when
 * the stub took it from there and measured it too (Secure Boot off).
 */
bool predict_cmdline_to(const char *cmdline, const uint8_t tpm[SHA256_BYTES], unsigned *ret_times);

/*
 * Is a PCR that the boot led to `from` now `to`? systemd 261 and later extends PCR 0 to 7, 9 and 12
 * to 14 by the word "os-separator" in the initrd (systemd-pcrosseparator.service).
 */
bool predict_rests_on(unsigned pcr, const uint8_t from[SHA256_BYTES],
		      const uint8_t to[SHA256_BYTES]);

/* The Authenticode digest of the kernel that the UKI carries in .linux. -ENOENT (INPUT): none. */
int predict_kernel(const struct pe *uki, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));

#endif
