/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/predict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sys.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"
#include "updater/audit/hash.h"

enum { CMDLINE_MAX = 4097, MAGIC_MAX = 512, CHUNK = 64 << 10, PHASE_MAX = 64 };

static int extend(uint8_t pcr[SHA256_BYTES], const uint8_t digest[SHA256_BYTES], struct err *e)
{
	uint8_t wide[TCG_DIGEST_MAX] = { 0 };
	int r;

	memcpy(wide, pcr, SHA256_BYTES);
	r = tcg_extend(TCG_SHA256, wide, digest, e);
	if (r >= 0)
		memcpy(pcr, wide, SHA256_BYTES);
	return r;
}

static int measure(uint8_t pcr[SHA256_BYTES], const void *p, size_t n, struct err *e)
{
	uint8_t d[SHA256_BYTES];

	sha256(p, n, d);
	return extend(pcr, d, e);
}

static int separator(uint8_t pcr[SHA256_BYTES], struct err *e)
{
	return measure(pcr, "\0\0\0", 4, e);
}

int predict_pcr4(uint8_t (*image)[SHA256_BYTES], size_t n, uint8_t ret[SHA256_BYTES], struct err *e)
{
	static const char action[] = "Calling EFI Application from Boot Option";
	uint8_t pcr[SHA256_BYTES] = { 0 };
	int r = measure(pcr, action, sizeof(action) - 1, e);

	if (r >= 0)
		r = separator(pcr, e);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = extend(pcr, image[i], e);
	if (r >= 0)
		memcpy(ret, pcr, sizeof(pcr));
	return r;
}

/* EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE, as they lie in memory */
static const uint8_t global_guid[16] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
					 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c };
static const uint8_t db_guid[16] = { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
				     0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f };

/* UEFI_VARIABLE_DATA: GUID, length of the name in characters, of the data in bytes, both. */
static int var_digest(const uint8_t guid[16], const char *name, const struct predict_var *v,
		      uint8_t ret[SHA256_BYTES], struct err *e)
{
	AUTO_BUF b = { .max = (size_t)4 << 20 };
	uint8_t head[32], wide[64];
	size_t chars = strlen(name);
	int r;

	memcpy(head, guid, 16);
	le64_put(head + 16, chars);
	le64_put(head + 24, v->n);
	for (size_t i = 0; i < chars; i++)
		le16_put(wide + 2 * i, (uint8_t)name[i]);
	r = buf_add(&b, head, sizeof(head), e);
	if (r >= 0)
		r = buf_add(&b, wide, 2 * chars, e);
	if (r >= 0 && v->n > 0)
		r = buf_add(&b, v->p, v->n, e);
	if (r >= 0)
		sha256(b.p, b.n, ret);
	return r;
}

static int measure_var(uint8_t pcr[SHA256_BYTES], const uint8_t guid[16], const char *name,
		       const struct predict_var *v, struct err *e)
{
	uint8_t d[SHA256_BYTES];
	int r = var_digest(guid, name, v, d, e);

	return r < 0 ? r : extend(pcr, d, e);
}

int predict_secure_boot(bool on, uint8_t ret[SHA256_BYTES], struct err *e)
{
	const uint8_t value = on;
	const struct predict_var v = { &value, 1 };

	return var_digest(global_guid, "SecureBoot", &v, ret, e);
}

static bool seen_before(const struct predict_secure *s, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (s->authority[k].n == s->authority[i].n &&
		    memcmp(s->authority[k].p, s->authority[i].p, s->authority[i].n) == 0)
			return true;
	return false;
}

int predict_pcr7(const struct predict_secure *s, uint8_t ret[SHA256_BYTES], struct err *e)
{
	const struct {
		const uint8_t *guid;
		const char *name;
		const struct predict_var *v;
	} vars[] = {
		{ global_guid, "SecureBoot", &s->secure_boot },
		{ global_guid, "PK", &s->pk },
		{ global_guid, "KEK", &s->kek },
		{ db_guid, "db", &s->db },
		{ db_guid, "dbx", &s->dbx },
	};
	uint8_t pcr[SHA256_BYTES] = { 0 };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(vars) / sizeof(vars[0]); i++)
		r = measure_var(pcr, vars[i].guid, vars[i].name, vars[i].v, e);
	if (r >= 0)
		r = separator(pcr, e);
	for (size_t i = 0; r >= 0 && i < s->n_authority; i++)
		if (!seen_before(s, i))
			r = measure_var(pcr, db_guid, "db", &s->authority[i], e);
	if (r >= 0)
		memcpy(ret, pcr, sizeof(pcr));
	return r;
}

/* ---- PCR 11 ---- */

enum {
	STUB_READ = 262,      /* the newest systemd-stub whose measurements were looked up */
	STUB_PROFILES = 257,  /* the first that knows .profile */
	ZEROS_MAX = 256 << 20 /* bytes of a section that the file does not hold */
};

/*
 * In the order of measurement; since: the first version of systemd-stub that measures it. hw: the
 * stub takes one by the machine it runs on, or none.
 */
static const struct {
	const char *name;
	unsigned since;
	bool hw;
} measured[] = {
	{ ".linux", 0, false },   { ".osrel", 0, false },     { ".cmdline", 0, false },
	{ ".initrd", 0, false },  { ".ucode", 256, false },   { ".splash", 0, false },
	{ ".dtb", 0, false },     { ".uname", 254, false },   { ".sbat", 254, false },
	{ ".pcrpkey", 0, false }, { ".profile", 257, false }, { ".dtbauto", 257, true },
	{ ".hwids", 257, false }, { ".efifw", 258, true },
};
enum { MEASURED_N = sizeof(measured) / sizeof(measured[0]) };

/* Sections that no stub measures: code and data of its own, and the signatures of PCR 11. */
static const char *const unmeasured[] = { ".text",    ".rodata", ".data",    ".bss",     ".reloc",
					  ".sdmagic", ".pcrsig", ".dynamic", ".dynsym",  ".dynstr",
					  ".rela",    ".rel",    ".hash",    ".buildid", ".note" };

int predict_stub_version(const struct pe *uki, unsigned *ret, struct err *e)
{
	const struct pe_section *s = pe_section_find(uki, ".sdmagic");
	static const char mark[] = "systemd-stub ";
	AUTO_FREE char *text = NULL;
	const char *p;
	size_t n = 0;
	unsigned v = 0;
	int r;

	*ret = 0;
	if (!s)
		return 0;
	r = pe_section_read(uki, s, MAGIC_MAX, &text, &n, e);
	if (r < 0)
		return r;
	p = strstr(text, mark);
	for (p = p ? p + sizeof(mark) - 1 : ""; *p >= '0' && *p <= '9' && v < 100000; p++)
		v = v * 10 + (unsigned)(*p - '0');
	*ret = v;
	return 0;
}

/* The section as the stub sees it: as much as is loaded, zeros behind what the file holds. */
static int hash_section(const struct pe *pe, const struct pe_section *s, uint8_t ret[SHA256_BYTES],
			struct err *e)
{
	AUTO_DIGEST *d = NULL;
	AUTO_FREE uint8_t *chunk = malloc(CHUNK);
	size_t held = s->virtual_size < s->raw_size ? s->virtual_size : s->raw_size, n;
	size_t zeros = s->virtual_size - held;
	uint64_t at = s->raw_offset;
	int r = digest_new(DIGEST_SHA256, NULL, 0, &d, e);

	if (r < 0)
		return r;
	if (!chunk)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (zeros > ZEROS_MAX)
		return err_set(e, ERR_INPUT, EFBIG,
			       "section %s has %zu bytes more in memory than in the file", s->name,
			       zeros);
	for (; held > 0; held -= n, at += n) {
		n = held < CHUNK ? held : CHUNK;
		r = sys_read_full(pe->sys, pe->fd, chunk, n, at);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "cannot read section %s: %s", s->name,
				       strerror(-r));
		digest_add(d, chunk, n);
	}
	memset(chunk, 0, CHUNK);
	for (; zeros > 0; zeros -= n) {
		n = zeros < CHUNK ? zeros : CHUNK;
		digest_add(d, chunk, n);
	}
	digest_end(d, ret);
	return 0;
}

int predict_phases(uint8_t pcr[SHA256_BYTES], const char *phases, struct err *e)
{
	int r = 0;

	while (r >= 0 && *phases) {
		size_t n = strcspn(phases, ":");

		if (n == 0 || n > PHASE_MAX)
			return err_set(e, ERR_INPUT, EINVAL,
				       "phases are words with ':' between them, not '%.80s'",
				       phases);
		r = measure(pcr, phases, n, e);
		phases += n;
		if (*phases == ':' && phases[1])
			phases++;
		else if (*phases == ':')
			return err_set(e, ERR_INPUT, EINVAL, "phases end with ':'");
	}
	return r;
}

bool predict_phases_to(const uint8_t from[SHA256_BYTES], const uint8_t to[SHA256_BYTES],
		       const char **ret)
{
	/* what the units of systemd-pcrphase measure, in the order of the boot */
	static const char *const phases[] = {
		"",
		"enter-initrd",
		"enter-initrd:leave-initrd",
		"enter-initrd:leave-initrd:sysinit",
		"enter-initrd:leave-initrd:sysinit:ready",
		"enter-initrd:leave-initrd:ready",
	};

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		uint8_t v[SHA256_BYTES];

		memcpy(v, from, sizeof(v));
		if (predict_phases(v, phases[i], NULL) >= 0 && memcmp(v, to, sizeof(v)) == 0) {
			*ret = phases[i];
			return true;
		}
	}
	return false;
}

static int unknown(struct err *e, const char *why, const char *name)
{
	return err_set(e, ERR_INPUT, EOPNOTSUPP, "what its stub measures is not known: %s%s%s", why,
		       *name ? " " : "", name);
}

static bool stub_measures(const char *name, unsigned version)
{
	for (size_t i = 0; i < MEASURED_N; i++)
		if (version >= measured[i].since && strcmp(measured[i].name, name) == 0)
			return true;
	return false;
}

static bool any_knows(const char *name)
{
	for (size_t i = 0; i < sizeof(unmeasured) / sizeof(unmeasured[0]); i++)
		if (strcmp(unmeasured[i], name) == 0)
			return true;
	return stub_measures(name, STUB_READ);
}

/* Stubs before profiles compare only as many letters as their own names have; the last one wins. */
static bool mistaken(const struct pe *uki, size_t i, unsigned version)
{
	const char *name = uki->section[i].name;

	for (size_t k = 0; k < MEASURED_N; k++)
		if (version >= measured[k].since && strcmp(measured[k].name, name) != 0 &&
		    strncmp(measured[k].name, name, strlen(measured[k].name)) == 0)
			return true;
	return stub_measures(name, version) && pe_section_find(uki, name) != &uki->section[i];
}

/* Is there something that makes the measurement depend on more than the file and the version? */
static int check_sections(const struct pe *uki, unsigned version, struct err *e)
{
	size_t profiles = 0;

	if (!pe_section_find(uki, ".linux"))
		return err_set(e, ERR_INPUT, ENOENT, "it is no UKI: it has no .linux");
	if (version == 0)
		return unknown(e, "it has none of systemd's (.sdmagic)", "");
	for (size_t i = 0; i < uki->n_sections; i++) {
		const char *name = uki->section[i].name;

		if (version > STUB_READ && !any_knows(name))
			return unknown(e, "it is newer than 262 and there is", name);
		if (version < STUB_PROFILES && mistaken(uki, i, version))
			return unknown(e, "there is more than one, or one named alike:", name);
		for (size_t k = 0; k < MEASURED_N; k++)
			if (measured[k].hw && version >= measured[k].since &&
			    strcmp(measured[k].name, name) == 0)
				return unknown(e, "it depends on the machine because of", name);
		profiles += version >= STUB_PROFILES && strcmp(name, ".profile") == 0;
	}
	return profiles > 1 ? unknown(e, "it depends on which profile is started", "") : 0;
}

/* The section that counts: of the profile, which begins at its .profile, else of those before. */
static const struct pe_section *stub_section(const struct pe *uki, const char *name,
					     unsigned version)
{
	const struct pe_section *base = NULL;
	bool profile = false;

	for (size_t i = 0; i < uki->n_sections; i++) {
		const struct pe_section *s = &uki->section[i];

		profile |= version >= STUB_PROFILES && strcmp(s->name, ".profile") == 0;
		if (strcmp(s->name, name) != 0)
			continue;
		if (profile)
			return s;
		if (!base)
			base = s;
	}
	return base;
}

int predict_pcr11(const struct pe *uki, const char *phases, uint8_t ret[SHA256_BYTES],
		  struct err *e)
{
	uint8_t pcr[SHA256_BYTES] = { 0 }, d[SHA256_BYTES];
	unsigned version = 0;
	int r = predict_stub_version(uki, &version, e);

	if (r >= 0)
		r = check_sections(uki, version, e);
	for (size_t i = 0; r >= 0 && i < MEASURED_N; i++) {
		const struct pe_section *s = stub_section(uki, measured[i].name, version);

		if (!s || s->virtual_size == 0 || version < measured[i].since)
			continue;
		r = measure(pcr, measured[i].name, strlen(measured[i].name) + 1, e);
		if (r >= 0)
			r = hash_section(uki, s, d, e);
		if (r >= 0)
			r = extend(pcr, d, e);
	}
	if (r >= 0)
		r = predict_phases(pcr, phases, e);
	if (r >= 0)
		memcpy(ret, pcr, sizeof(pcr));
	return r;
}

static int cmdline_digest(const char *cmdline, uint8_t ret[SHA256_BYTES], struct err *e)
{
	AUTO_FREE uint8_t *wide = calloc(CMDLINE_MAX + 1, 2);
	int n;

	if (!wide)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	n = utf8_to_utf16(cmdline, wide, 2 * (size_t)CMDLINE_MAX, e);
	if (n < 0)
		return n;
	sha256(wide, (size_t)n + 2, ret);
	return 0;
}

int predict_pcr12(const char *cmdline, uint8_t ret[SHA256_BYTES], struct err *e)
{
	uint8_t pcr[SHA256_BYTES] = { 0 }, d[SHA256_BYTES];
	int r = cmdline_digest(cmdline, d, e);

	if (r >= 0)
		r = extend(pcr, d, e);
	if (r >= 0)
		memcpy(ret, pcr, sizeof(pcr));
	return r;
}

bool predict_rests_on(unsigned pcr, const uint8_t from[SHA256_BYTES],
		      const uint8_t to[SHA256_BYTES])
{
	bool separated = pcr <= 7 || pcr == 9 || (pcr >= 12 && pcr <= 14);
	uint8_t v[SHA256_BYTES];

	memcpy(v, from, sizeof(v));
	if (memcmp(v, to, sizeof(v)) == 0)
		return true;
	return separated && predict_phases(v, "os-separator", NULL) >= 0 &&
	       memcmp(v, to, sizeof(v)) == 0;
}

bool predict_cmdline_to(const char *cmdline, const uint8_t tpm[SHA256_BYTES], unsigned *ret_times)
{
	uint8_t pcr[SHA256_BYTES] = { 0 }, text[SHA256_BYTES];

	for (unsigned times = 0; times <= 2; times++) {
		if (times > 0 &&
		    (cmdline_digest(cmdline, text, NULL) < 0 || extend(pcr, text, NULL) < 0))
			return false;
		if (predict_rests_on(12, pcr, tpm)) {
			*ret_times = times;
			return true;
		}
	}
	return false;
}

/* ---- the kernel inside ---- */

/* A stretch of a file as a file of its own. */
struct span {
	struct sys sys; /* first */
	const struct pe *in;
	uint64_t at, n;
};

static ssize_t span_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	const struct span *sp = (const struct span *)(const void *)s;
	struct sys *under = sp->in->sys;

	if (off >= sp->n)
		return 0;
	if (n > sp->n - off)
		n = (size_t)(sp->n - off);
	return under->ops->pread(under, fd, buf, n, sp->at + off);
}

static int span_size(struct sys *s, int fd, uint64_t *ret)
{
	(void)fd;
	*ret = ((const struct span *)(const void *)s)->n;
	return 0;
}

static const struct sys_ops span_ops = { .pread = span_pread, .size = span_size };

int predict_kernel(const struct pe *uki, uint8_t ret[SHA256_BYTES], struct err *e)
{
	const struct pe_section *s = pe_section_find(uki, ".linux");
	AUTO_FREE struct pe *kernel = malloc(sizeof(*kernel));
	struct span sp = { .sys = { .ops = &span_ops }, .in = uki };
	int r;

	if (!kernel)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!s)
		return err_set(e, ERR_INPUT, ENOENT, "the UKI has no .linux");
	sp.at = s->raw_offset;
	sp.n = s->virtual_size < s->raw_size ? s->virtual_size : s->raw_size;
	r = pe_open(&sp.sys, uki->fd, kernel, e);
	if (r >= 0)
		r = pe_hash(kernel, ret, e);
	return r < 0 ? err_wrap(e, r, "the kernel in .linux") : 0;
}
