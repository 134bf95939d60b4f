/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_AUDIT_H
#define UPDATER_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bootctl/secureboot.h"
#include "updater/audit/eventlog.h"
#include "updater/audit/evidence.h"
#include "updater/audit/hash.h"
#include "updater/audit/report.h"
#include "updater/slot/disk.h"
#include "verity/image.h"

/*
 * One audit: the checks in the order of the boot, each adding to the report and leaving what later
 * ones need. A check fails only when the report cannot be written (no memory); what it finds, and
 * what it cannot read, is a verdict.
 */
struct audit_blob {
	uint8_t *p;
	size_t n;
};

/* A PE image on the ESP. */
struct audit_image {
	bool have;
	char file[300];
	uint8_t authenticode[32], sha256[32];
	struct sb_verdict sb; /* by is borrowed from audit.db */
};

struct audit {
	struct evidence ev;
	struct report rep;
	int64_t now;
	bool deep;        /* read and hash both slots */
	const char *tcti; /* of the TPM with the anchor; NULL: this machine's, if it has one */
	const char *repository;      /* directory of the publisher's repository, or NULL */
	verity_progress_fn progress; /* for deep; may be NULL */
	void *progress_arg;
	/* found on the way */
	struct sb_state sb;
	struct audit_blob secure_boot, pk, kek, db, dbx;
	struct audit_blob log_bytes;
	struct eventlog *log; /* NULL: none that reads */
	bool has_pcrs;
	struct pcr_bank pcrs; /* SHA-256, of the TPM */
	struct audit_image loader, uki;
	bool has_usrhash; /* of the running UKI */
	uint8_t usrhash[32];
	char cmdline[4097]; /* of the running UKI */
	char version[65];   /* of the running UKI */
	uint8_t kernel[32], pcr11[32];
	bool has_kernel, has_pcr11;
	struct err no_pcr11; /* why not */
	bool has_root;       /* dm-verity enforces it */
	uint8_t root[32];
	struct evidence_usr usr;
};

/* ev must be open and rep new. Frees nothing of either. */
int audit_run(struct audit *a, struct err *e) __attribute__((warn_unused_result));
/* What boots next instead of what runs. phases: of the PCR 11 to predict, "" for none. */
int audit_next(struct audit *a, const char *phases, struct err *e)
	__attribute__((warn_unused_result));
void audit_done(struct audit *a);
#define AUTO_AUDIT __attribute__((cleanup(audit_done))) struct audit

/* The parts, in this order. */
int audit_firmware(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_loader(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_uki(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_cmdline(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_usr(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_release(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_tpm(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_kernel(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_history(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_anchor(struct audit *a, struct err *e) __attribute__((warn_unused_result));
int audit_proa(struct audit *a, struct err *e) __attribute__((warn_unused_result));

/* For the parts: opens file in dir, judges it against db and dbx, hashes it. */
int audit_image_read(const struct audit *a, int dir, const char *file, struct audit_image *ret,
		     struct err *e) __attribute__((warn_unused_result));
/* 1 when the event log says that PCR 4 got this digest, 0 when not, -1 without a log. */
int audit_was_started(const struct audit *a, const uint8_t authenticode[32]);

/*
 * Reads a slot whole, from the medium, and compares it with that root hash. ERR_REFUSED and what is
 * bad (may be NULL) when it is another.
 */
int audit_slot_verify(const struct audit *a, const struct disk *d, enum slot_name s,
		      const uint8_t root[32], struct verity_bad *bad, struct err *e)
	__attribute__((warn_unused_result));

/* The word of the two command lines that is in one only; 0 when they are equal. Pure. */
struct buf;
int audit_cmdline_diff(const char *embedded, const char *running, struct buf *added,
		       struct buf *missing, struct err *e) __attribute__((warn_unused_result));

/* The certificates of a signature database as a JSON array, hashes counted. Pure. */
struct sigdb_counts {
	size_t x509, sha256, x509_sha256, expired;
};
int sigdb_describe(const uint8_t *p, size_t n, int64_t now, json_t **ret, struct sigdb_counts *c,
		   struct err *e) __attribute__((warn_unused_result));

#endif
