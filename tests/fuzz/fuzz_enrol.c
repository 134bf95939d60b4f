/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "updater/audit/credential.h"
#include "updater/audit/enrol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A challenge that can be made from noted keys has a secret that reads back, for those keys. */
static void as_keys(const uint8_t *data, size_t size)
{
	AUTO_BUF challenge = BUF_INIT;
	AUTO_BUF secret = BUF_INIT;
	AUTO_ENROL_SECRET s = { .nonce_n = 0 };

	if (enrol_challenge(data, size, &challenge, &secret, NULL) < 0)
		return;
	if (enrol_secret_read(secret.p, secret.n, &s, NULL) < 0 || s.nonce_n != ATTEST_NONCE_MAX ||
	    !memmem(data, size, s.ak, strlen(s.ak)))
		abort();
}

/* What OpenSSL reads it writes so that it reads the same. */
static void as_certificate(const uint8_t *data, size_t size)
{
	AUTO_BUF der = BUF_INIT;
	AUTO_BUF pem = BUF_INIT;
	AUTO_BUF again = BUF_INIT;
	char issuer[256];

	if (ek_cert_read(data, size, &der, NULL) < 0)
		return;
	if (ek_cert_write(der.p, der.n, &pem, NULL) < 0 ||
	    ek_cert_read(pem.p, pem.n, &again, NULL) < 0 || again.n != der.n ||
	    memcmp(again.p, der.p, der.n) != 0)
		abort();
	(void)!ek_cert_check(der.p, der.n, data, size, 1800000000, issuer, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ENROL_SECRET s = { .nonce_n = 0 };

	as_keys(data, size);
	as_certificate(data, size);
	(void)!enrol_secret_read(data, size, &s, NULL);
	return 0;
}
