/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_SECUREBOOT_H
#define BOOTCTL_SECUREBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sys;
struct pe;

enum { SB_DB_BYTES_MAX = 1 << 20, SB_SIGS_MAX = 4096 };

/* One signature of an EFI_SIGNATURE_LIST (UEFI 2.10, 32.4.1), borrowed from the raw bytes. */
enum sb_sig_kind {
	SB_SIG_X509,       /* p: DER certificate */
	SB_SIG_SHA256,     /* p: 32 bytes, Authenticode digest of an image */
	SB_SIG_X509_SHA256 /* p: SHA-256 of a certificate's TBS, then a revocation time; dbx only */
};

struct sb_sig {
	enum sb_sig_kind kind;
	const uint8_t *p;
	size_t n;
};

/*
 * Walks the signature lists in p[0..n); lists of other types are skipped. fn returns non-zero to
 * stop with that value. ERR_INPUT -EBADMSG when the sizes do not fit together. Pure.
 */
typedef int (*sb_sig_fn)(void *arg, const struct sb_sig *sig);
int sb_siglist_walk(const uint8_t *p, size_t n, sb_sig_fn fn, void *arg, struct err *e)
	__attribute__((warn_unused_result));

struct sb_state {
	bool efi;        /* there are EFI variables at all */
	bool enforced;   /* SecureBoot is 1 */
	bool setup_mode; /* SetupMode is 1: anyone may enrol keys */
};

/* Firmware state below efivars, a directory descriptor or -1 for a machine without EFI. */
int sb_state_read(struct sys *sys, int efivars, struct sb_state *ret, struct err *e)
	__attribute__((warn_unused_result));

struct sb_verdict {
	bool accepted;
	char signer[128]; /* subject's common name, "" when unsigned */
	char text[320];   /* half a sentence: "its UKI is signed by "X", which ... does not hold" */
	const uint8_t *by; /* the certificate in db that vouched (its owner's GUID lies in front) */
	size_t by_n;       /* borrowed from db; NULL and 0 when none did */
};

/*
 * Would a firmware with these db and dbx contents start this image? As EDK2 decides: a signature
 * that dbx forbids refuses the image whatever else it has; else one signature whose digest fits and
 * which chains to a db certificate is enough, or the image's own hash in db. Validity times are not
 * looked at, as firmware does not.
 */
int sb_judge(const struct pe *pe, const uint8_t *db, size_t db_n, const uint8_t *dbx, size_t dbx_n,
	     struct sb_verdict *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * The same against this machine: db and dbx below efivars. Without EFI or with Secure Boot off the
 * verdict is accepted and says so. fd: the image.
 */
int sb_check(struct sys *sys, int efivars, int fd, struct sb_verdict *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * As far as it can be told before the image is all there: fd holds its headers and its certificate
 * table. Not accepted: whatever the rest is, it would be refused. Accepted: sb_check() decides.
 */
int sb_check_signer(struct sys *sys, int efivars, int fd, struct sb_verdict *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
