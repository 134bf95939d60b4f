/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UKI_MAKE_H
#define TESTS_UKI_MAKE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/hex.h"
#include "tests/test.h"

/* A UKI as small as one can be (UAPI.5): .osrel, .cmdline with usrhash=, and a .linux of noise. */
static inline void uki_make(struct buf *out, const char *image, const char *version,
			    const uint8_t root[32], size_t linux_n)
{
	enum { HEADERS = 0x400, COFF = 0x84, OPT = COFF + 20, SECTIONS = OPT + 240 };
	char osrel[256], cmdline[256], hex[65];
	const char *names[3] = { ".osrel", ".cmdline", ".linux" };
	size_t n[3], off = HEADERS;
	struct err e = ERR_INIT;
	uint8_t *p;

	hex_format(root, 32, hex);
	n[0] = (size_t)snprintf(osrel, sizeof(osrel),
				"ID=test\nIMAGE_ID=%s\nIMAGE_VERSION=%s\nVERSION_ID=%s\n"
				"PRETTY_NAME=\"Test %s\"\n",
				image, version, version, version);
	n[1] = (size_t)snprintf(cmdline, sizeof(cmdline), "ro usrhash=%s panic=-1", hex);
	n[2] = linux_n;
	CHECK(buf_reserve(out, HEADERS + 1024 + linux_n + 1024, &e) == 0, "%s", e.text);
	p = (uint8_t *)out->p;
	memset(p, 0, HEADERS + 1024 + linux_n + 1024);
	p[0] = 'M';
	p[1] = 'Z';
	le32_put(p + 0x3c, 0x80);
	p[0x80] = 'P';
	p[0x81] = 'E';
	le16_put(p + COFF, 0x8664);
	le16_put(p + COFF + 2, 3);
	le16_put(p + COFF + 16, 240);
	le16_put(p + OPT, 0x20b);
	le32_put(p + OPT + 32, 0x1000);
	le32_put(p + OPT + 36, 0x200);
	le32_put(p + OPT + 60, HEADERS);
	le16_put(p + OPT + 68, 10);
	le32_put(p + OPT + 108, 16);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *s = p + SECTIONS + 40 * (size_t)i;
		size_t raw = (n[i] + 511) & ~(size_t)511;

		memcpy(s, names[i], strlen(names[i]));
		le32_put(s + 8, (uint32_t)n[i]);
		le32_put(s + 12, 0x10000 * (i + 1));
		le32_put(s + 16, (uint32_t)raw);
		le32_put(s + 20, (uint32_t)off);
		if (i == 0)
			memcpy(p + off, osrel, n[0]);
		else if (i == 1)
			memcpy(p + off, cmdline, n[1]);
		else
			for (size_t k = 0; k < linux_n; k++)
				p[off + k] = (uint8_t)(k * 2654435761u >> 13 ^ root[k % 32]);
		off += raw;
	}
	out->n = off;
}

#endif
