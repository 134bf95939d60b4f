/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_ATTEST_H
#define UPDATER_AUDIT_ATTEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/audit/audit.h"
#include "updater/audit/report.h"

struct tuf_key;

/*
 * A report as an in-toto Statement v1 (predicate REPORT_PREDICATE_TYPE) in a DSSE envelope, with
 * what an auditor needs to check it elsewhere: event log, PCRs, quote, history.
 */
#define ATTEST_PCRS        0x00ffffu /* the quote is over PCR 0 to 15 */
#define ATTEST_NONCE_MAX   32
#define ATTEST_HISTORY_MAX ((size_t)4 << 20)

/* The members of the report's "subjects", and what they are called in the statement. */
enum { ATTEST_SUBJECTS = 4 }; /* the first is /usr */
struct attest_subject {
	const char *key, *name, *alg;
};
extern const struct attest_subject attest_subjects[ATTEST_SUBJECTS];

struct attest_options {
	const char *key;  /* PEM file or store URI; "tpm": the TPM's signing key */
	const char *tcti; /* of the TPM; NULL the default */
	bool quote;       /* ask the TPM */
	const uint8_t *nonce;
	size_t nonce_n;
};

/* Adds the attachments to a finished audit's report and appends the signed envelope to out. */
int attest_write(struct audit *a, const struct attest_options *o, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* What the auditor knows beforehand. */
struct verify_options {
	struct sys *sys;
	const struct tuf_key *key; /* who must have signed the envelope */
	const uint8_t *nonce;      /* NULL: none was asked for */
	size_t nonce_n;
	const char *ak;       /* hex name of the attestation key; NULL: not known */
	const struct buf *ek; /* EK certificate (DER) that the nonce was a secret for, or NULL */
	const void *ek_ca;    /* PEM: the CAs of TPM makers; NULL: not at hand */
	size_t ek_ca_n;
	const char *repository; /* directory; NULL: not at hand */
	const char *root;       /* file: the publisher's first root */
	const char *channel;
	const char *uki;    /* file: the UKI of the release; NULL: not at hand */
	const char *loader; /* file: the boot loader that hosts have; NULL: not at hand */
	int64_t now;
};

/*
 * Checks an envelope and adds to rep a check for each claim, "attest.*", whose evidence member
 * proved_by says whose word it is: "hardware", "manufacturer", "publisher", "signer", "node" or
 * "nobody". ERR_INPUT only when p[0..n) is no envelope with a report at all.
 */
int attest_verify(const void *p, size_t n, const struct verify_options *o, struct report *rep,
		  struct err *e) __attribute__((warn_unused_result));

#endif
