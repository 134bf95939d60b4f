/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_EVENTLOG_H
#define UPDATER_AUDIT_EVENTLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/audit/hash.h"

/*
 * The TPM event log of the firmware, /sys/kernel/security/tpm0/binary_bios_measurements: the
 * crypto-agile form (TCG PC Client Platform Firmware Profile, 10.2.2) and the SHA-1 form (10.2.1).
 * Pure. The log proves nothing alone: it is an explanation of PCR values, and only as true as the
 * replay that leads to them.
 */
enum { EVENTLOG_BYTES_MAX = 8 << 20, EVENTLOG_EVENTS_MAX = 16384, EVENTLOG_ALGS_MAX = 8 };

#define EV_POST_CODE                     0x00000001u
#define EV_NO_ACTION                     0x00000003u
#define EV_SEPARATOR                     0x00000004u
#define EV_ACTION                        0x00000005u
#define EV_EVENT_TAG                     0x00000006u
#define EV_S_CRTM_CONTENTS               0x00000007u
#define EV_S_CRTM_VERSION                0x00000008u
#define EV_IPL                           0x0000000du
#define EV_EFI_VARIABLE_DRIVER_CONFIG    0x80000001u
#define EV_EFI_VARIABLE_BOOT             0x80000002u
#define EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003u
#define EV_EFI_GPT_EVENT                 0x80000006u
#define EV_EFI_ACTION                    0x80000007u
#define EV_EFI_PLATFORM_FIRMWARE_BLOB    0x80000008u
#define EV_EFI_VARIABLE_BOOT2            0x8000000cu
#define EV_EFI_VARIABLE_AUTHORITY        0x800000e0u

/* Digests and data are borrowed from the bytes given to eventlog_read(). */
struct eventlog_digest {
	uint16_t alg;
	const uint8_t *p;
};

struct eventlog_event {
	uint32_t pcr, type;
	size_t at; /* its first byte in the log */
	size_t n_digest;
	struct eventlog_digest digest[EVENTLOG_ALGS_MAX];
	const uint8_t *data;
	size_t data_n;
};

struct eventlog {
	bool agile; /* the crypto-agile form */
	size_t n_alg;
	struct {
		uint16_t alg, bytes;
	} alg[EVENTLOG_ALGS_MAX];
	uint8_t locality; /* of TPM2_Startup: what PCR 0 starts with */
	struct eventlog_event *event;
	size_t n;
};

/*
 * Reads p[0..n), which must outlive the result. ERR_INPUT: -EBADMSG with the event's number and
 * place for what is cut off or contradicts the head, -EFBIG beyond the limits, -ENODATA when empty.
 */
int eventlog_read(const uint8_t *p, size_t n, struct eventlog **ret, struct err *e)
	__attribute__((warn_unused_result));
void eventlog_free(struct eventlog *l);
static inline void eventlog_freep(struct eventlog **l)
{
	eventlog_free(*l);
}
#define AUTO_EVENTLOG __attribute__((cleanup(eventlog_freep))) struct eventlog

/* The digest of an event in a bank, or NULL. */
const uint8_t *eventlog_digest(const struct eventlog_event *ev, uint16_t alg);

/*
 * The PCRs this log leads to. ret->have has the PCRs that an event was extended into. ERR_INPUT
 * when an event lacks a digest for the bank, or the bank is not in the log.
 */
int eventlog_replay(const struct eventlog *l, uint16_t alg, struct pcr_bank *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Does the digest match what the event carries? Only some types say that it must: 1 it does, 0 it
 * does not, -1 the type's data is a description. Old firmware hashes only the content of
 * EV_EFI_VARIABLE_BOOT, which counts too.
 */
int eventlog_matches(const struct eventlog_event *ev, uint16_t alg);

/* UEFI_VARIABLE_DATA of an EV_EFI_VARIABLE_* event; false when it is none. Borrowed. */
struct eventlog_variable {
	const uint8_t *guid;
	char name[64]; /* UTF-8, cleaned */
	const uint8_t *data;
	size_t n;
};
bool eventlog_variable(const struct eventlog_event *ev, struct eventlog_variable *ret);

/* "EV_EFI_ACTION", or the number. */
const char *eventlog_type(uint32_t type, char out[16]);
/* What it says for a person, clean, at most cap bytes; "" when there is nothing to read. */
char *eventlog_text(const struct eventlog_event *ev, char *out, size_t cap);

#endif
