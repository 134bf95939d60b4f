/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sha256_lanes.h"

#include <stdlib.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define BLOCK  ((size_t)64)

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

/* The eight words as the instructions want them: A B E F and C D G H, highest first. */
struct lanes {
	__m128i abef[SHA256_LANES], cdgh[SHA256_LANES];
};

bool sha256_lanes_here(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* The schedule's words for the rounds behind these four: w[i % 4] are the present ones. */
static inline TARGET void schedule(__m128i w[4], size_t i)
{
	const size_t now = i % 4, next = (i + 1) % 4, last = (i + 3) % 4;

	if (i >= 3 && i <= 14) {
		__m128i t = _mm_alignr_epi8(w[now], w[last], 4);

		w[next] = _mm_sha256msg2_epu32(_mm_add_epi32(w[next], t), w[now]);
	}
	if (i >= 1 && i <= 12)
		w[last] = _mm_sha256msg1_epu32(w[last], w[now]);
}

/* n blocks of each lane; everything stays in registers only when all loops are unrolled. */
static TARGET void compress(struct lanes *to, const uint8_t *const at[SHA256_LANES], size_t n)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	struct lanes s = *to;

	for (size_t k = 0; k < n; k++) {
		const struct lanes before = s;
		__m128i w[SHA256_LANES][4];

#pragma GCC unroll 16
		for (size_t i = 0; i < 16; i++) {
			const __m128i c = _mm_loadu_si128(
				(const __m128i *)(const void *)&round_constants[4 * i]);

#pragma GCC unroll 4
			for (unsigned l = 0; l < SHA256_LANES; l++) {
				const uint8_t *p = at[l] + k * BLOCK + 16 * (i % 4);
				__m128i x;

				if (i < 4)
					w[l][i] = _mm_shuffle_epi8(
						_mm_loadu_si128((const __m128i *)(const void *)p),
						big_endian);
				x = _mm_add_epi32(w[l][i % 4], c);
				s.cdgh[l] = _mm_sha256rnds2_epu32(s.cdgh[l], s.abef[l], x);
				s.abef[l] = _mm_sha256rnds2_epu32(s.abef[l], s.cdgh[l],
								  _mm_shuffle_epi32(x, 0x0e));
				schedule(w[l], i);
			}
		}
#pragma GCC unroll 4
		for (unsigned l = 0; l < SHA256_LANES; l++) {
			s.abef[l] = _mm_add_epi32(s.abef[l], before.abef[l]);
			s.cdgh[l] = _mm_add_epi32(s.cdgh[l], before.cdgh[l]);
		}
	}
	*to = s;
}

static TARGET void begin(struct lanes *s)
{
	for (unsigned l = 0; l < SHA256_LANES; l++) {
		s->abef[l] =
			_mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
		s->cdgh[l] = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
	}
}

/* The digest is A to H, big-endian. */
static TARGET void end(const struct lanes *s, unsigned l, uint8_t *out)
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	__m128i abcd = _mm_unpackhi_epi64(s->cdgh[l], s->abef[l]);
	__m128i efgh = _mm_unpacklo_epi64(s->cdgh[l], s->abef[l]);

	_mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(abcd, reverse));
	_mm_storeu_si128((__m128i *)(void *)(out + 16), _mm_shuffle_epi8(efgh, reverse));
}

/* Padding behind n bytes of a block that ends a message of `total`; one block or two. */
static size_t pad(uint8_t block[2 * BLOCK], size_t n, uint64_t total)
{
	size_t blocks = n + 9 > BLOCK ? 2 : 1;

	memset(block + n, 0, 2 * BLOCK - n);
	block[n] = 0x80;
	for (size_t i = 0; i < 8; i++)
		block[blocks * BLOCK - 1 - i] = (uint8_t)(8 * total >> 8 * i);
	return blocks;
}

void sha256_lanes(const uint8_t *prefix, size_t prefix_n, const uint8_t *const p[SHA256_LANES],
		  size_t n, uint8_t *const out[SHA256_LANES])
{
	/* whole blocks: prefix and the first bytes of the message; the message; its last bytes */
	const size_t head = (prefix_n + BLOCK - 1) / BLOCK, first = head * BLOCK - prefix_n;
	const size_t middle = (n - first) / BLOCK, last = (n - first) % BLOCK;
	uint8_t ends[SHA256_LANES][SHA256_LANES_HEAD + BLOCK];
	const uint8_t *at[SHA256_LANES];
	struct lanes s;
	size_t blocks = 0;

	if (prefix_n > SHA256_LANES_HEAD || n < BLOCK)
		abort();
	begin(&s);
	for (unsigned l = 0; l < SHA256_LANES; l++) {
		if (prefix_n > 0)
			memcpy(ends[l], prefix, prefix_n);
		memcpy(ends[l] + prefix_n, p[l], first);
		at[l] = ends[l];
	}
	compress(&s, at, head);
	for (unsigned l = 0; l < SHA256_LANES; l++)
		at[l] = p[l] + first;
	compress(&s, at, middle);
	for (unsigned l = 0; l < SHA256_LANES; l++) {
		memcpy(ends[l], p[l] + first + middle * BLOCK, last);
		blocks = pad(ends[l], last, (uint64_t)prefix_n + n);
		at[l] = ends[l];
	}
	compress(&s, at, blocks);
	for (unsigned l = 0; l < SHA256_LANES; l++)
		end(&s, l, out[l]);
}

#else

bool sha256_lanes_here(void)
{
	return false;
}

void sha256_lanes(const uint8_t *prefix, size_t prefix_n, const uint8_t *const p[SHA256_LANES],
		  size_t n, uint8_t *const out[SHA256_LANES])
{
	(void)prefix;
	(void)prefix_n;
	(void)p;
	(void)n;
	(void)out;
	abort();
}

#endif
