/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#include "tests/test.h"
#include "updater/audit/quote.h"

/* Quotes put together by hand; those of a TPM are in tests/integration/test_audit.py. */

struct out {
	uint8_t p[1024];
	size_t n;
};

static void put(struct out *o, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		o->p[o->n++] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static void put_sized(struct out *o, const uint8_t *p, size_t n)
{
	put(o, n, 2);
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void make_quote(struct out *o, const struct pcr_bank *b, uint32_t pcrs)
{
	uint8_t all[24 * 32], h[TCG_DIGEST_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < 24; i++)
		if (pcrs >> i & 1) {
			memcpy(all + n, b->value[i], 32);
			n += 32;
		}
	CHECK(tcg_hash(TCG_SHA256, all, n, h, NULL) == 0, "hash");
	o->n = 0;
	put(o, 0xff544347, 4);
	put(o, 0x8018, 2);
	put_sized(o, (const uint8_t *)"name", 4);
	put_sized(o, (const uint8_t *)"nonce of today", 14);
	put(o, 123456789, 8);
	put(o, 3, 4);
	put(o, 1, 4);
	put(o, 1, 1);
	put(o, 0x2020, 8);
	put(o, 1, 4);
	put(o, TCG_SHA256, 2);
	put(o, 3, 1);
	put(o, pcrs & 255, 1);
	put(o, pcrs >> 8 & 255, 1);
	put(o, pcrs >> 16 & 255, 1);
	put_sized(o, h, 32);
}

static void make_key(struct out *o, EVP_PKEY *k, uint32_t attributes)
{
	uint8_t point[65];
	size_t n = 0;

	CHECK(EVP_PKEY_get_octet_string_param(k, "pub", point, sizeof(point), &n) == 1 && n == 65,
	      "point");
	o->n = 0;
	put(o, 0x23, 2);
	put(o, TCG_SHA256, 2);
	put(o, attributes, 4);
	put(o, 0, 2);
	put(o, 0x10, 2);
	put(o, 0x18, 2);
	put(o, TCG_SHA256, 2);
	put(o, 3, 2);
	put(o, 0x10, 2);
	put_sized(o, point + 1, 32);
	put_sized(o, point + 33, 32);
}

static void sign(struct out *o, EVP_PKEY *k, const struct out *msg)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t der[80], raw[32];
	const uint8_t *p = der;
	size_t n = sizeof(der);
	ECDSA_SIG *s;

	CHECK(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, k, NULL) == 1 &&
		      EVP_DigestSign(ctx, der, &n, msg->p, msg->n) == 1,
	      "sign");
	EVP_MD_CTX_free(ctx);
	s = d2i_ECDSA_SIG(NULL, &p, (long)n);
	CHECK(s, "DER");
	o->n = 0;
	put(o, 0x18, 2);
	put(o, TCG_SHA256, 2);
	CHECK(BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, 32) == 32, "r");
	put_sized(o, raw, 32);
	CHECK(BN_bn2binpad(ECDSA_SIG_get0_s(s), raw, 32) == 32, "s");
	put_sized(o, raw, 32);
	ECDSA_SIG_free(s);
}

static void fill(struct pcr_bank *b)
{
	memset(b, 0, sizeof(*b));
	b->alg = TCG_SHA256;
	b->have = 0xffffff;
	for (unsigned i = 0; i < 24; i++)
		memset(b->value[i], (int)i + 1, 32);
}

static void test_quote(void)
{
	EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	struct out msg = { .n = 0 }, key = { .n = 0 }, sig = { .n = 0 };
	AUTO_QUOTE_KEY ak = { .pkey = NULL };
	const uint32_t pcrs = 1u << 4 | 1u << 7 | 1u << 11 | 1u << 12;
	struct err e = ERR_INIT;
	struct pcr_bank b;
	struct quote q;

	fill(&b);
	make_quote(&msg, &b, pcrs);
	make_key(&key, k, 0x50072);
	sign(&sig, k, &msg);
	CHECK(quote_key_read(key.p, key.n, &ak, &e) == 0 && ak.restricted && ak.name_n == 34, "%s",
	      e.text);
	CHECK(quote_read(msg.p, msg.n, &q, &e) == 0, "%s", e.text);
	CHECK(q.nonce_n == 14 && q.resets == 3 && q.clock_safe && q.bank[0].pcrs == pcrs, "fields");
	CHECK(quote_verify(&ak, msg.p, msg.n, sig.p, sig.n, &e) == 0, "%s", e.text);
	CHECK(quote_check(&q, &b, pcrs, &e) == 0, "%s", e.text);
	CHECK(quote_check(&q, &b, 0, &e) == 0, "%s", e.text);
	for (unsigned i = 0; i < 32; i++)
		CHECK(quote_check(&q, &b, 1u << i, &e) == (pcrs >> i & 1 ? 0 : -EINVAL), "PCR %u",
		      i);
	CHECK(quote_check(&q, &b, pcrs | 1, &e) == -EINVAL && e.kind == ERR_REFUSED, "PCR 0 too");
	b.value[0][0] ^= 1; /* not quoted */
	CHECK(quote_check(&q, &b, pcrs, &e) == 0, "%s", e.text);
	b.value[11][31] ^= 1;
	CHECK(quote_check(&q, &b, pcrs, &e) == -EBADMSG, "PCR 11 changed");
	b.value[11][31] ^= 1;
	b.have &= ~(1u << 12);
	CHECK(quote_check(&q, &b, pcrs, &e) == -ENOENT, "PCR 12 missing");
	for (size_t i = 0; i < msg.n; i++) {
		msg.p[i] ^= 1;
		CHECK(quote_verify(&ak, msg.p, msg.n, sig.p, sig.n, &e) == -EKEYREJECTED,
		      "byte %zu", i);
		msg.p[i] ^= 1;
		CHECK(quote_read(msg.p, i, &q, &e) == -EBADMSG, "cut at %zu", i);
	}
	for (size_t i = 0; i < sig.n; i++)
		CHECK(quote_verify(&ak, msg.p, msg.n, sig.p, i, &e) == -EKEYREJECTED, "cut %zu", i);
	EVP_PKEY_free(k);
}

static void test_key(void)
{
	EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	struct out key = { .n = 0 };
	AUTO_QUOTE_KEY ak = { .pkey = NULL };
	struct err e = ERR_INIT;

	make_key(&key, k, 0x40072); /* not restricted: it would sign a quote that is none */
	for (size_t i = 0; i < key.n; i++)
		CHECK(quote_key_read(key.p, i, &ak, &e) == -EBADMSG, "cut at %zu", i);
	key.p[key.n - 1] ^= 1; /* not on the curve any more */
	CHECK(quote_key_read(key.p, key.n, &ak, &e) == -EBADMSG, "point");
	key.p[key.n - 1] ^= 1;
	CHECK(quote_key_read(key.p, key.n, &ak, &e) == 0 && !ak.restricted, "%s", e.text);
	EVP_PKEY_free(k);
}

int main(void)
{
	test_quote();
	test_key();
	return 0;
}
