/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "tests/test.h"
#include "updater/tuf/canon.h"
#include "updater/tuf/sign.h"

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}
#define AUTO_PKEY CLEANUP(pkey_freep) EVP_PKEY

static struct tuf_key read_key(const json_t *j, const char *id)
{
	char own[TUF_KEYID_MAX];
	struct tuf_key k;
	struct err e = ERR_INIT;

	CHECK(tuf_key_id(j, own, &e) == 0, "%s", e.text);
	CHECK(tuf_key_read(j, id ? id : own, &k, &e) == 0, "%s", e.text);
	return k;
}

static void round_trip(EVP_PKEY *pkey, enum tuf_scheme scheme)
{
	static const char text[] = "what is signed";
	AUTO_JSON *j = NULL;
	AUTO_BUF sig = BUF_INIT;
	AUTO_TUF_KEY k = { .state = TUF_KEY_UNSUPPORTED };
	struct err e = ERR_INIT;

	CHECK(pkey, "no key");
	CHECK(tuf_key_to_json(pkey, &j, &e) == 0, "%s", e.text);
	k = read_key(j, NULL);
	CHECK(k.state == TUF_KEY_USABLE && k.scheme == scheme, "state %d", (int)k.state);
	CHECK(tuf_sign(pkey, text, sizeof(text), &sig, &e) == 0, "%s", e.text);
	CHECK(tuf_key_verify(&k, text, sizeof(text), sig.p), "own signature refused");
	CHECK(!tuf_key_verify(&k, text, sizeof(text) - 1, sig.p), "other bytes accepted");
	/* every byte of the signature counts, and so does its length */
	for (size_t i = 0; i < sig.n; i++) {
		char was = sig.p[i];

		sig.p[i] = was == '0' ? '1' : '0';
		CHECK(!tuf_key_verify(&k, text, sizeof(text), sig.p), "digit %zu changed", i);
		sig.p[i] = was;
	}
	sig.p[sig.n - 1] = '\0';
	CHECK(!tuf_key_verify(&k, text, sizeof(text), sig.p), "odd number of digits");
	sig.p[sig.n - 2] = '\0';
	CHECK(!tuf_key_verify(&k, text, sizeof(text), sig.p), "shortened");
	CHECK(!tuf_key_verify(&k, text, sizeof(text), ""), "empty");
	CHECK(!tuf_key_verify(&k, text, sizeof(text), "xy"), "no hex");
}

/* RFC 8032 section 7.1, test 1 */
static void test_vector(void)
{
	static const char secret[] =
		"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
	static const char public[] =
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
	static const char want[] =
		"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc6"
		"1e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
	AUTO_JSON *j = NULL;
	AUTO_BUF sig = BUF_INIT;
	struct err e = ERR_INIT;
	uint8_t raw[32];

	CHECK(hex_parse(secret, "secret", raw, sizeof(raw), &e) == 0, "%s", e.text);
	AUTO_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
	CHECK(k && tuf_key_to_json(k, &j, &e) == 0, "%s", e.text);
	CHECK(strcmp(json_string_value(json_object_get(json_object_get(j, "keyval"), "public")),
		     public) == 0,
	      "public key");
	CHECK(tuf_sign(k, "", 0, &sig, &e) == 0 && strcmp(sig.p, want) == 0, "signature %s", sig.p);
}

static void test_ids(void)
{
	AUTO_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	AUTO_JSON *j = NULL;
	AUTO_BUF sig = BUF_INIT;
	AUTO_TUF_KEY a = { .state = TUF_KEY_UNSUPPORTED };
	AUTO_TUF_KEY b = { .state = TUF_KEY_UNSUPPORTED };
	AUTO_TUF_KEY c = { .state = TUF_KEY_UNSUPPORTED };
	struct err e = ERR_INIT;

	CHECK(tuf_key_to_json(pkey, &j, &e) == 0, "%s", e.text);
	CHECK(tuf_sign(pkey, "x", 1, &sig, &e) == 0, "%s", e.text);
	a = read_key(j, NULL);
	CHECK(json_object_set_new(j, "x-name", json_string("someone")) == 0, "memory");
	b = read_key(j, NULL);
	CHECK(a.state == TUF_KEY_USABLE && b.state == TUF_KEY_USABLE, "both are good");
	CHECK(strcmp(a.id, b.id) != 0, "an unknown member does not change the id");
	CHECK(memcmp(a.fingerprint, b.fingerprint, sizeof(a.fingerprint)) == 0, "two keys");
	c = read_key(j, a.id);
	CHECK(c.state == TUF_KEY_WRONG_ID && !c.pkey, "wrong id accepted");
	CHECK(tuf_key_verify(&b, "x", 1, sig.p) && !tuf_key_verify(&c, "x", 1, sig.p), "verify");
}

static void test_point_and_compressed(void)
{
	AUTO_PKEY *pkey = EVP_EC_gen("P-256");
	AUTO_JSON *pem = NULL;
	AUTO_JSON *point = NULL;
	AUTO_TUF_KEY a = { .state = TUF_KEY_UNSUPPORTED };
	AUTO_TUF_KEY b = { .state = TUF_KEY_UNSUPPORTED };
	struct err e = ERR_INIT;
	char hex[131];
	unsigned char *raw = NULL;
	size_t n = EVP_PKEY_get1_encoded_public_key(pkey, &raw);

	CHECK(n == 65, "%zu", n);
	hex_format(raw, n, hex);
	OPENSSL_free(raw);
	CHECK(tuf_key_to_json(pkey, &pem, &e) == 0, "%s", e.text);
	point = json_pack("{s:s,s:s,s:{s:s}}", "keytype", "ecdsa-sha2-nistp256", "scheme",
			  "ecdsa-sha2-nistp256", "keyval", "public", hex);
	a = read_key(pem, NULL);
	b = read_key(point, NULL);
	CHECK(b.state == TUF_KEY_USABLE, "state %d", (int)b.state);
	CHECK(memcmp(a.fingerprint, b.fingerprint, sizeof(a.fingerprint)) == 0, "two keys");
	hex[64] ^= 1; /* off the curve */
	(void)json_object_set_new(json_object_get(point, "keyval"), "public", json_string(hex));
	tuf_key_done(&b);
	b = read_key(point, NULL);
	CHECK(b.state == TUF_KEY_UNSUPPORTED, "a point off the curve");
}

static void test_unusable(void)
{
	static const char *const texts[] = {
		"{}",
		"{\"keytype\":1,\"scheme\":2,\"keyval\":3}",
		"{\"keytype\":\"ed25519\",\"scheme\":\"ed25519\",\"keyval\":{\"public\":\"00\"}}",
		"{\"keytype\":\"ed25519\",\"scheme\":\"rsassa-pss-sha256\",\"keyval\":{}}",
		"{\"keytype\":\"rsa\",\"scheme\":\"rsassa-pss-sha256\",\"keyval\":{\"public\":"
		"\"x\"}}",
		/* would ask for a passphrase */
		"{\"keytype\":\"rsa\",\"scheme\":\"rsassa-pss-sha256\",\"keyval\":{\"public\":"
		"\"-----BEGIN PUBLIC KEY-----\\nProc-Type: 4,ENCRYPTED\\nDEK-Info: AES-128-CBC,"
		"00112233445566778899AABBCCDDEEFF\\n\\nAAAAAAAAAAAAAAAAAAAAAA==\\n"
		"-----END PUBLIC KEY-----\\n\"}}",
	};
	AUTO_PKEY *small = EVP_RSA_gen(1024);
	AUTO_PKEY *p384 = EVP_EC_gen("P-384");
	AUTO_BUF sig = BUF_INIT;
	AUTO_JSON *j = NULL;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		AUTO_JSON *bad = json_loads(texts[i], 0, NULL);
		AUTO_TUF_KEY k = read_key(bad, NULL);

		CHECK(k.state == TUF_KEY_UNSUPPORTED && !k.pkey, "%s", texts[i]);
	}
	CHECK(tuf_key_to_json(small, &j, &e) < 0 && e.kind == ERR_INPUT, "1024 bits");
	CHECK(tuf_key_to_json(p384, &j, &e) < 0 && e.kind == ERR_INPUT, "P-384");
	CHECK(tuf_sign(p384, "x", 1, &sig, &e) < 0, "P-384 signs");
}

static void test_envelope(void)
{
	AUTO_PKEY *a = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	AUTO_PKEY *b = EVP_EC_gen("P-256");
	AUTO_JSON *body = json_pack("{s:i}", "x", 1);
	AUTO_JSON *env = NULL;
	struct err e = ERR_INIT;

	CHECK(tuf_envelope_new(body, &env, &e) == 0, "%s", e.text);
	CHECK(tuf_envelope_sign(env, a, NULL, &e) == 0, "%s", e.text);
	CHECK(tuf_envelope_sign(env, b, NULL, &e) == 0, "%s", e.text);
	CHECK(tuf_envelope_sign(env, a, NULL, &e) == 0, "%s", e.text);
	CHECK(tuf_envelope_sign(env, a, "under another id", &e) == 0, "%s", e.text);
	CHECK(json_array_size(json_object_get(env, "signatures")) == 3,
	      "signed again, added again");
	CHECK(tuf_envelope_sign(body, a, NULL, &e) < 0 && e.kind == ERR_INPUT, "no envelope");
}

int main(void)
{
	AUTO_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	AUTO_PKEY *ec = EVP_EC_gen("P-256");
	AUTO_PKEY *rsa = EVP_RSA_gen(2048);

	round_trip(ed, TUF_SCHEME_ED25519);
	round_trip(ec, TUF_SCHEME_ECDSA_P256);
	round_trip(rsa, TUF_SCHEME_RSA_PSS);
	test_vector();
	test_ids();
	test_point_and_compressed();
	test_unusable();
	test_envelope();
	return 0;
}
