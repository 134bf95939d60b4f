/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/pe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

enum {
	DOS_HEAD = 64,
	COFF_HEAD = 24, /* with the signature "PE\0\0" */
	OPT_HEAD_MIN = 96,
	OPT_HEAD_MAX = 512,
	SECTION_HEAD = 40,
	HEADERS_MAX = 1 << 20,
	CHUNK = 64 << 10,
};

static int bad(struct err *e, const char *why)
{
	return err_set(e, ERR_INPUT, EBADMSG, "not a usable PE image: %s", why);
}

static int read_at(const struct pe *pe, void *p, size_t n, uint64_t off, struct err *e)
{
	int r;

	if (off > pe->size || n > pe->size - off)
		return bad(e, "it ends early");
	r = sys_read_full(pe->sys, pe->fd, p, n, off);
	if (r == -ENODATA)
		return bad(e, "it ends early");
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot read the image: %s", strerror(-r));
	return 0;
}

/* The optional header: where the checksum and the certificate table are. */
static int read_optional(struct pe *pe, uint64_t off, uint16_t n, struct err *e)
{
	uint8_t h[OPT_HEAD_MAX];
	size_t dirs, use = n < sizeof(h) ? n : sizeof(h);
	uint16_t magic;
	int r;

	if (n < OPT_HEAD_MIN)
		return bad(e, "its optional header is too short");
	r = read_at(pe, h, use, off, e);
	if (r < 0)
		return r;
	magic = le16_get(h);
	if (magic != 0x10b && magic != 0x20b)
		return bad(e, "it is neither PE32 nor PE32+");
	dirs = magic == 0x20b ? 112 : 96; /* first data directory */
	if (use < dirs)
		return bad(e, "its optional header is too short");
	pe->headers_size = le32_get(h + 60);
	pe->subsystem = le16_get(h + 68);
	pe->checksum_off = off + 64;
	/* directory 4 is the certificate table, if the header has that many */
	if (le32_get(h + dirs - 4) > 4 && use >= dirs + 40) {
		pe->certdir_off = off + dirs + 32;
		pe->cert_off = le32_get(h + dirs + 32);
		pe->cert_size = le32_get(h + dirs + 36);
	}
	return 0;
}

static int read_section(struct pe *pe, uint64_t off, struct pe_section *s, struct err *e)
{
	uint8_t h[SECTION_HEAD];
	int r = read_at(pe, h, sizeof(h), off, e);

	if (r < 0)
		return r;
	memcpy(s->name, h, 8);
	s->name[8] = '\0';
	s->virtual_size = le32_get(h + 8);
	s->virtual_address = le32_get(h + 12);
	s->raw_size = le32_get(h + 16);
	s->raw_offset = le32_get(h + 20);
	if (s->raw_size == 0)
		s->raw_offset = 0;
	return 0;
}

static int compare_raw(const void *a, const void *b)
{
	const struct pe_section *x = *(const struct pe_section *const *)a;
	const struct pe_section *y = *(const struct pe_section *const *)b;

	return x->raw_offset < y->raw_offset ? -1 : x->raw_offset > y->raw_offset;
}

/* The sections that have bytes in the file, ascending by offset. */
static size_t sections_by_offset(const struct pe *pe, const struct pe_section **out)
{
	size_t n = 0;

	for (size_t i = 0; i < pe->n_sections; i++)
		if (pe->section[i].raw_size > 0)
			out[n++] = &pe->section[i];
	/* cppcheck-suppress uninitvar ; n of them were set */
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
	qsort(out, n, sizeof(*out), compare_raw);
	return n;
}

/* Overlaps would let the bytes that are hashed differ from the bytes that are used. */
static int check_layout(const struct pe *pe, uint64_t table_end, struct err *e)
{
	const struct pe_section *s[PE_SECTIONS_MAX];
	size_t n = sections_by_offset(pe, s);
	uint64_t end = pe->headers_size;

	if (pe->headers_size < table_end || pe->headers_size > pe->size)
		return bad(e, "its header size is wrong");
	for (size_t i = 0; i < n; i++) {
		if (s[i]->raw_offset < end)
			return bad(e, "its sections overlap each other or the headers");
		end = (uint64_t)s[i]->raw_offset + s[i]->raw_size;
		if (end > pe->size)
			return bad(e, "a section reaches behind its end");
	}
	if (pe->cert_size > 0 && (pe->cert_off < end || pe->cert_off % 8 != 0 ||
				  (uint64_t)pe->cert_off + pe->cert_size > pe->size))
		return bad(e, "its certificate table lies outside the file or inside a section");
	return 0;
}

static int open_headers(struct sys *sys, int fd, bool strict, struct pe *ret, struct err *e)
{
	struct pe pe = { .sys = sys, .fd = fd };
	uint8_t h[DOS_HEAD];
	uint64_t at, table;
	size_t n;
	int r = sys->ops->size(sys, fd, &pe.size);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot read the image's size: %s", strerror(-r));
	r = read_at(&pe, h, DOS_HEAD, 0, e);
	if (r < 0)
		return r;
	if (h[0] != 'M' || h[1] != 'Z')
		return bad(e, "it does not begin with MZ");
	at = le32_get(h + 60);
	if (at < 2 || at > HEADERS_MAX)
		return bad(e, "its PE header is out of reach");
	r = read_at(&pe, h, COFF_HEAD, at, e);
	if (r < 0)
		return r;
	if (memcmp(h, "PE\0\0", 4) != 0)
		return bad(e, "it has no PE signature");
	pe.machine = le16_get(h + 4);
	n = le16_get(h + 6);
	if (n == 0 || n > PE_SECTIONS_MAX)
		return bad(e, "it has no or too many sections");
	r = read_optional(&pe, at + COFF_HEAD, le16_get(h + 20), e);
	if (r < 0)
		return r;
	table = at + COFF_HEAD + le16_get(h + 20);
	for (size_t i = 0; i < n; i++) {
		r = read_section(&pe, table + i * SECTION_HEAD, &pe.section[i], e);
		if (r < 0)
			return r;
	}
	pe.n_sections = n;
	r = strict ? check_layout(&pe, table + n * SECTION_HEAD, e) : 0;
	if (r < 0)
		return r;
	*ret = pe;
	return 0;
}

int pe_open(struct sys *sys, int fd, struct pe *ret, struct err *e)
{
	return open_headers(sys, fd, true, ret, e);
}

int pe_open_lax(struct sys *sys, int fd, struct pe *ret, struct err *e)
{
	return open_headers(sys, fd, false, ret, e);
}

const struct pe_section *pe_section_find(const struct pe *pe, const char *name)
{
	for (size_t i = 0; i < pe->n_sections; i++)
		if (strcmp(pe->section[i].name, name) == 0)
			return &pe->section[i];
	return NULL;
}

int pe_section_read(const struct pe *pe, const struct pe_section *s, size_t max, char **ret,
		    size_t *ret_n, struct err *e)
{
	size_t n = s->virtual_size < s->raw_size ? s->virtual_size : s->raw_size;
	AUTO_FREE char *p = NULL;
	int r;

	if (n > max)
		return err_set(e, ERR_INPUT, EFBIG, "section %s has %zu bytes, more than %zu",
			       s->name, n, max);
	p = malloc(n + 1);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = read_at(pe, p, n, s->raw_offset, e);
	if (r < 0)
		return r;
	p[n] = '\0';
	*ret = TAKE(p);
	*ret_n = n;
	return 0;
}

static int hash_range(const struct pe *pe, struct digest *d, uint64_t from, uint64_t to,
		      struct err *e)
{
	AUTO_FREE uint8_t *buf = malloc(CHUNK);

	if (!buf)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	while (from < to) {
		size_t n = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
		int r = read_at(pe, buf, n, from, e);

		if (r < 0)
			return r;
		digest_add(d, buf, n);
		from += n;
	}
	return 0;
}

int pe_hash(const struct pe *pe, uint8_t ret[SHA256_BYTES], struct err *e)
{
	const struct pe_section *s[PE_SECTIONS_MAX];
	size_t n = sections_by_offset(pe, s);
	uint64_t hashed = pe->headers_size, end, at = pe->checksum_off + 4;
	AUTO_DIGEST *d = NULL;
	int r = digest_new(DIGEST_SHA256, NULL, 0, &d, e);

	if (r < 0)
		return r;
	r = hash_range(pe, d, 0, pe->checksum_off, e);
	if (r >= 0 && pe->certdir_off > 0) {
		r = hash_range(pe, d, at, pe->certdir_off, e);
		at = pe->certdir_off + 8;
	}
	if (r >= 0)
		r = hash_range(pe, d, at, pe->headers_size, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = hash_range(pe, d, s[i]->raw_offset, (uint64_t)s[i]->raw_offset + s[i]->raw_size,
			       e);
		hashed += s[i]->raw_size;
	}
	/*
	 * The specification counts instead of pointing: what is left is taken from where the sum of
	 * the hashed sizes ends, even if the sections have gaps between them.
	 */
	end = pe->size - pe->cert_size;
	if (r >= 0)
		r = hash_range(pe, d, hashed, end, e);
	if (r < 0)
		return r;
	digest_end(d, ret);
	return 0;
}

int pe_certs(const struct pe *pe, struct pe_cert ret[PE_CERTS_MAX], size_t *ret_n, struct err *e)
{
	uint64_t at = pe->cert_off, end = at + pe->cert_size;
	size_t n = 0;

	while (at < end) {
		uint8_t h[8];
		uint32_t len;
		int r;

		if (n == PE_CERTS_MAX)
			return bad(e, "it has too many signatures");
		if (end - at < sizeof(h))
			return bad(e, "its certificate table is cut off");
		r = read_at(pe, h, sizeof(h), at, e);
		if (r < 0)
			return r;
		len = le32_get(h);
		if (len < sizeof(h) || len > end - at || len - sizeof(h) > PE_CERT_BYTES_MAX)
			return bad(e, "a signature's length is wrong");
		ret[n++] = (struct pe_cert){ .off = at + sizeof(h),
					     .bytes = len - (uint32_t)sizeof(h),
					     .revision = le16_get(h + 4),
					     .type = le16_get(h + 6) };
		at += ((uint64_t)len + 7) & ~(uint64_t)7;
	}
	if (at != end)
		return bad(e, "its certificate table does not end with a signature");
	*ret_n = n;
	return 0;
}
