/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/hex.h"
#include "tests/test.h"
#include "updater/audit/dsse.h"

/* ---- base64: against OpenSSL's, and what must be refused ---- */

static void test_base64(void)
{
	static const char *const bad[] = { "A",    "AAAAA", "AA=A", "A===", "AA=",  "A A=", "AA\n=",
					   "AB==", "AAB=",  "A=",   "=",    "====", "AAAA=" };
	struct err e = ERR_INIT;
	uint8_t raw[200];

	srand(7);
	for (size_t n = 0; n < sizeof(raw); n++) {
		AUTO_BUF text = BUF_INIT;
		AUTO_BUF back = BUF_INIT;
		unsigned char want[300];

		for (size_t i = 0; i < n; i++)
			raw[i] = (uint8_t)rand();
		(void)EVP_EncodeBlock(want, raw, (int)n);
		CHECK(base64_put(raw, n, &text, &e) == 0, "%s", e.text);
		CHECK(strcmp(text.p, (const char *)want) == 0, "%zu bytes", n);
		for (size_t i = 0; i < text.n; i++) /* URL-safe, and without padding */
			text.p[i] = (char)(text.p[i] == '+'   ? '-'
					   : text.p[i] == '/' ? '_'
							      : text.p[i]);
		CHECK(base64_get(text.p, "x", &back, &e) == 0 && back.n == n, "%s", e.text);
		CHECK(n == 0 || memcmp(back.p, raw, n) == 0, "%zu bytes back", n);
		text.p[strcspn(text.p, "=")] = '\0';
		back.n = 0;
		CHECK(base64_get(text.p, "x", &back, &e) == 0 && back.n == n, "unpadded %zu", n);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		AUTO_BUF out = BUF_INIT;

		CHECK(base64_get(bad[i], "x", &out, &e) == -EINVAL, "%s", bad[i]);
	}
}

/* ---- the specification's own example ---- */

static const char spec_key[] = "-----BEGIN PUBLIC KEY-----\n"
			       "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"
			       "CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"
			       "-----END PUBLIC KEY-----\n";

static const char spec_envelope[] =
	"{\"payload\":\"aGVsbG8gd29ybGQ=\",\"payloadType\":\"http://example.com/HelloWorld\","
	"\"signatures\":[{\"sig\":\"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+"
	"O88SjtR6rDAajabZKciJTfUiHqJ"
	"PcIAriEGAHTVeCUjW2JIZA==\"}]}";

static void test_spec(void)
{
	AUTO_TUF_KEY k = { .pkey = NULL };
	AUTO_DSSE *d = NULL;
	struct err e = ERR_INIT;

	CHECK(dsse_key_read(spec_key, sizeof(spec_key) - 1, "key", &k, &e) == 0, "%s", e.text);
	CHECK(dsse_read(spec_envelope, sizeof(spec_envelope) - 1, &d, &e) == 0, "%s", e.text);
	CHECK(dsse_verify(d, &k, &e) == 0, "%s", e.text);
	d->sig[0].sig[40] ^= 1;
	CHECK(dsse_verify(d, &k, &e) == -EKEYREJECTED, "signature changed");
}

static void test_pae(void)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(dsse_pae("http://example.com/HelloWorld", "hello world", 11, &b, &e) == 0, "%s",
	      e.text);
	CHECK(strcmp(b.p, "DSSEv1 29 http://example.com/HelloWorld 11 hello world") == 0, "%s",
	      b.p);
	b.n = 0;
	CHECK(dsse_pae("", "", 0, &b, &e) == 0 && strcmp(b.p, "DSSEv1 0  0 ") == 0, "%s", b.p);
}

static void public_of(EVP_PKEY *k, struct tuf_key *ret)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *pem;
	long n;
	struct err e = ERR_INIT;

	CHECK(b && PEM_write_bio_PUBKEY(b, k) == 1, "PEM");
	n = BIO_get_mem_data(b, &pem);
	CHECK(dsse_key_read(pem, (size_t)n, "key", ret, &e) == 0, "%s", e.text);
	(void)BIO_free(b);
}

/* Signed by k: verified by k, by nobody else, and not after one bit of the payload changed. */
static void round_trip(EVP_PKEY *k, EVP_PKEY *other)
{
	AUTO_BUF b = BUF_INIT;
	AUTO_TUF_KEY mine = { .pkey = NULL }, foreign = { .pkey = NULL };
	AUTO_DSSE *d = NULL;
	struct err e = ERR_INIT;

	public_of(k, &mine);
	public_of(other, &foreign);
	CHECK(dsse_sign(DSSE_IN_TOTO, "{\"a\":1}", 7, k, &b, &e) == 0, "%s", e.text);
	CHECK(dsse_read(b.p, b.n, &d, &e) == 0, "%s", e.text);
	CHECK(d->payload.n == 7 && memcmp(d->payload.p, "{\"a\":1}", 7) == 0, "payload");
	CHECK(strcmp(d->sig[0].keyid, mine.id) == 0, "%s", d->sig[0].keyid);
	CHECK(dsse_verify(d, &mine, &e) == 0, "%s", e.text);
	CHECK(dsse_verify(d, &foreign, &e) == -EKEYREJECTED, "another key");
	d->payload.p[5] ^= 1;
	CHECK(dsse_verify(d, &mine, &e) == -EKEYREJECTED, "payload changed");
	d->payload.p[5] ^= 1;
	d->type[0] ^= 1;
	CHECK(dsse_verify(d, &mine, &e) == -EKEYREJECTED, "type changed");
	d->type[0] ^= 1;
	d->n = 0;
	CHECK(dsse_verify(d, &mine, &e) == -EKEYREJECTED, "no signature");
}

static void test_keys(void)
{
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);

	CHECK(ed && ec && rsa, "keys");
	round_trip(ed, ec);
	round_trip(ec, ed);
	round_trip(rsa, ec);
	EVP_PKEY_free(ed);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
}

/* Cut at every byte, and with more signatures than anybody makes. */
static void test_cut_and_long(void)
{
	static const char whole[] = "{\"payloadType\":\"t\",\"payload\":\"QUJD\",\"signatures\":["
				    "{\"keyid\":\"k\",\"sig\":\"QUJD\"}]}";
	AUTO_BUF b = BUF_INIT;
	struct dsse *d = NULL;
	struct err e = ERR_INIT;

	for (size_t n = 0; n < sizeof(whole) - 1; n++)
		CHECK(dsse_read(whole, n, &d, &e) < 0 && e.kind == ERR_INPUT, "cut at %zu", n);
	CHECK(dsse_read(whole, sizeof(whole) - 1, &d, &e) == 0, "%s", e.text);
	dsse_free(d);
	d = NULL;
	CHECK(buf_addf(&b, &e, "{\"payloadType\":\"t\",\"payload\":\"\",\"signatures\":[{}") == 0,
	      "memory");
	for (size_t i = 0; i < 100000; i++)
		CHECK(buf_addf(&b, &e, ",{\"sig\":\"QUJD\"}") == 0, "memory");
	CHECK(buf_addf(&b, &e, "]}") == 0, "memory");
	CHECK(dsse_read(b.p, b.n, &d, &e) < 0 && e.kind == ERR_INPUT, "many signatures");
}

static void test_bad(void)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"{\"payloadType\":\"t\",\"payload\":\"\",\"signatures\":{}}",
		"{\"payloadType\":\"t\",\"payload\":\"A\",\"signatures\":[]}",
		"{\"payloadType\":\"t\",\"payload\":\"\",\"signatures\":[{}]}",
		"{\"payloadType\":\"t\",\"payload\":\"\",\"signatures\":[7]}",
		"{\"payloadType\":\"t\",\"payload\":\"\",\"signatures\":[{\"sig\":\"!\"}]}",
		"{\"payloadType\":7,\"payload\":\"\",\"signatures\":[]}",
	};
	AUTO_TUF_KEY k = { .pkey = NULL };
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dsse *d = NULL;

		CHECK(dsse_read(bad[i], strlen(bad[i]), &d, &e) < 0 && e.kind == ERR_INPUT, "%s",
		      bad[i]);
	}
	test_cut_and_long();
	CHECK(dsse_key_read(spec_key, 40, "key", &k, &e) == -EBADMSG, "cut PEM");
}

int main(void)
{
	test_base64();
	test_pae();
	test_spec();
	test_keys();
	test_bad();
	return 0;
}
