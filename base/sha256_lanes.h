/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SHA256_LANES_H
#define BASE_SHA256_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * SHA-256 (FIPS 180-4) of several messages side by side. One message is a chain in which each
 * instruction waits for the one before; the SHA extensions of x86 do twice as much on several
 * chains at once. OpenSSL has that for TLS only. For digest_each(); everybody else takes that.
 */
#define SHA256_LANES      4u
#define SHA256_LANES_HEAD 256u

/* True if this processor (and this architecture) has it. Asks the processor: keep the answer. */
bool sha256_lanes_here(void) __attribute__((warn_unused_result));

/*
 * Message i is prefix || p[i][0..n); its 32 bytes go to out[i]. prefix_n at most SHA256_LANES_HEAD,
 * n 64 or more. Lanes may be the same. Only where sha256_lanes_here() (it aborts otherwise).
 */
void sha256_lanes(const uint8_t *prefix, size_t prefix_n, const uint8_t *const p[SHA256_LANES],
		  size_t n, uint8_t *const out[SHA256_LANES]);

#endif
