/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_VERIFY_H
#define UPDATER_AUDIT_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/sys.h"
#include "updater/audit/attest.h"
#include "updater/audit/eventlog.h"
#include "updater/audit/hash.h"
#include "updater/audit/report.h"

struct pe;

/* What the files of attest_verify() share, nothing for others. */

/* The auditor's own copy of what a host starts. */
struct verify_copy {
	bool have; /* it was given and reads */
	const char *file;
	struct sys_fd fd;
	struct pe *pe; /* borrows fd */
	uint8_t authenticode[32], sha256[32];
};

enum verify_pcr4 {
	VERIFY_PCR4_NONE, /* the report has no value of it */
	VERIFY_PCR4_OTHER,
	VERIFY_PCR4_WHOLE /* it is a loader and a UKI, from the first event to the last */
};

/* One verification: what was read, and what has been proved so far. */
struct verify {
	const struct verify_options *o;
	struct report *rep; /* the answer */
	struct report in;   /* the node's report: the predicate */
	json_t *statement;  /* owner of in.doc's tree */
	struct verify_copy loader, uki;
	struct buf log_bytes;
	struct eventlog *log;
	struct pcr_bank pcrs;
	bool sealed; /* the envelope is signed by the key that was given */
	bool quoted; /* the PCRs are the enrolled TPM's word, asked for now */
	bool logged; /* the log leads to these PCRs */
	enum verify_pcr4 pcr4;
	uint8_t image[2][32]; /* of PCR 4 when it is whole: loader, UKI */
	/* quoted, and nothing but the auditor's own loader and UKI was started: PCR 11 and 12 are
	 * their word */
	bool chain;
	uint8_t usr[32];
	bool has_usr;
};

/* {"proved_by": whom} */
json_t *verify_by(const char *whom);
/* "hardware" or "node" */
const char *verify_hardware(bool proved);
/* The string at key, "" when there is none. */
const char *verify_text(const json_t *o, const char *key);
/* A member of the report's attachments, or NULL. */
const json_t *verify_attachment(const struct verify *v, const char *key);
/* Base64 at key, appended to out. */
int verify_blob(const json_t *o, const char *key, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* Quote and event log: v->pcrs, v->quoted, v->logged. */
int verify_quote(struct verify *v, struct err *e) __attribute__((warn_unused_result));
/* What the firmware started, and what that measured: v->chain. */
int verify_boot(struct verify *v, struct err *e) __attribute__((warn_unused_result));
void verify_copy_done(struct verify_copy *c);

#endif
