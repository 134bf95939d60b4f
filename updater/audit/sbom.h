/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_SBOM_H
#define UPDATER_AUDIT_SBOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

/*
 * A software bill of materials, SPDX 2 JSON or CycloneDX JSON, read for what the audit says of it:
 * which document it is and what it names. Pure.
 */
enum { SBOM_BYTES_MAX = 32 << 20, SBOM_FIELD_MAX = 128 };

enum sbom_kind { SBOM_SPDX, SBOM_CYCLONEDX };

struct sbom {
	enum sbom_kind kind;
	char spec[SBOM_FIELD_MAX];    /* "SPDX-2.3", "1.6" */
	char name[SBOM_FIELD_MAX];    /* of the document or of the component it describes */
	char version[SBOM_FIELD_MAX]; /* CycloneDX: of that component; may be empty */
	size_t components;            /* packages or components, nested ones not counted */
	size_t without_version, without_hash;
	uint8_t sha256[SHA256_BYTES]; /* of the file */
};

/* ERR_INPUT; `what` leads the sentence. Texts are cleaned. */
int sbom_read(const void *p, size_t n, const char *what, struct sbom *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Calls fn for each component; version and sha256 hex are "" when absent. Stops at non-zero. */
typedef int (*sbom_fn)(void *arg, const char *name, const char *version, const char *sha256);
int sbom_each(const void *p, size_t n, const char *what, sbom_fn fn, void *arg, struct err *e)
	__attribute__((warn_unused_result));

#endif
