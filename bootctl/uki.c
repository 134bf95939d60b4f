/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/uki.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/sys.h"
#include "bootctl/pe.h"

/* os-release keys the loader looks at, in one place for the pick below. */
enum os_key {
	OS_PRETTY,
	OS_IMAGE_ID,
	OS_NAME,
	OS_ID,
	OS_IMAGE_VERSION,
	OS_VERSION,
	OS_VERSION_ID,
	OS_BUILD_ID,
	OS_KEYS
};

static const char *const os_name[OS_KEYS] = {
	"PRETTY_NAME",   "IMAGE_ID", "NAME",       "ID",
	"IMAGE_VERSION", "VERSION",  "VERSION_ID", "BUILD_ID"
};

/* The character at *p, which moves to its last byte; outside quotes \ takes any, within only some.
 */
static char unescape(const char **p, const char *end, char quote)
{
	const char *s = *p;

	if (*s != '\\' || quote == '\'' || s + 1 == end)
		return *s;
	if (quote && !strchr("\"\\$`", s[1]))
		return *s;
	*p = s + 1;
	return s[1];
}

/* Shell-like: 'literal', "with \ escapes", \c; adjoining pieces join. */
static int unquote(const char *p, const char *end, const char *key, char out[UKI_FIELD_MAX],
		   struct err *e)
{
	char quote = '\0', c;
	size_t n = 0;

	for (; p < end; p++) {
		if (quote ? *p == quote : *p == '"' || *p == '\'') {
			c = *p;
			quote = (char)(quote ^ c); /* opens or closes */
			continue;
		}
		c = unescape(&p, end, quote);
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return err_set(e, ERR_INPUT, EINVAL,
				       "os-release: %s has a control character", key);
		if (n == UKI_FIELD_MAX - 1)
			return err_set(e, ERR_INPUT, EINVAL,
				       "os-release: %s is longer than %d bytes", key,
				       UKI_FIELD_MAX - 1);
		out[n++] = c;
	}
	if (quote)
		return err_set(e, ERR_INPUT, EINVAL, "os-release: %s has an open quote", key);
	out[n] = '\0';
	return 0;
}

static int parse_os_line(const char *p, const char *end, char v[OS_KEYS][UKI_FIELD_MAX],
			 struct err *e)
{
	const char *eq;

	while (p < end && isspace((unsigned char)*p))
		p++;
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	eq = p < end && *p != '#' ? memchr(p, '=', (size_t)(end - p)) : NULL;
	if (!eq)
		return 0;
	for (int k = 0; k < OS_KEYS; k++) {
		size_t n = strlen(os_name[k]);

		if ((size_t)(eq - p) == n && memcmp(p, os_name[k], n) == 0)
			return unquote(eq + 1, end, os_name[k], v[k], e);
	}
	return 0;
}

/* The first of the n keys that is set. */
static void pick(char v[OS_KEYS][UKI_FIELD_MAX], const enum os_key *keys, size_t n,
		 char out[UKI_FIELD_MAX])
{
	out[0] = '\0';
	for (size_t i = 0; i < n && !out[0]; i++)
		memcpy(out, v[keys[i]], UKI_FIELD_MAX);
}

int uki_parse_osrel(const char *p, size_t n, struct uki *uki, struct err *e)
{
	static const enum os_key pretty[] = { OS_PRETTY, OS_IMAGE_ID, OS_NAME, OS_ID };
	static const enum os_key version[] = { OS_IMAGE_VERSION, OS_VERSION, OS_VERSION_ID,
					       OS_BUILD_ID };
	static const enum os_key sort_key[] = { OS_IMAGE_ID, OS_ID };
	char v[OS_KEYS][UKI_FIELD_MAX] = { { 0 } };
	const char *end;

	while (n > 0 && p[n - 1] == '\0')
		n--;
	end = p + n;
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		int r = parse_os_line(p, nl ? nl : end, v, e);

		if (r < 0)
			return r;
		p = nl ? nl + 1 : end;
	}
	if (!v[OS_PRETTY][0] && !v[OS_IMAGE_ID][0] && !v[OS_NAME][0] && !v[OS_ID][0])
		return err_set(e, ERR_INPUT, EINVAL,
			       "os-release: no PRETTY_NAME, IMAGE_ID, NAME or ID, so the loader "
			       "does not show it");
	memcpy(uki->image_id, v[OS_IMAGE_ID], UKI_FIELD_MAX);
	memcpy(uki->id, v[OS_ID], UKI_FIELD_MAX);
	pick(v, pretty, 4, uki->pretty);
	pick(v, version, 4, uki->version);
	pick(v, sort_key, 2, uki->sort_key);
	return 0;
}

static size_t count_word(const char *s, const char *word)
{
	size_t n = 0;

	for (s = strstr(s, word); s; s = strstr(s + 1, word))
		n++;
	return n;
}

/*
 * Kernel, systemd and dracut do not unquote alike. So that all of them see the same hash, the text
 * "usrhash" may stand only once, at the start of a plain word, and not put together from quotes.
 */
static int find_usrhash(const char *cmdline, struct uki *uki, struct err *e)
{
	char bare[UKI_CMDLINE_MAX], hex[2 * SHA256_BYTES + 1];
	const char *at = strstr(cmdline, "usrhash"), *v;
	size_t n = 0;

	for (const char *s = cmdline; *s; s++)
		if (!strchr("\"'\\", *s))
			bare[n++] = *s;
	bare[n] = '\0';
	n = count_word(bare, "usrhash");
	if (n == 0)
		return 0;
	if (n > 1 || count_word(cmdline, "usrhash") != 1)
		return err_set(e, ERR_INPUT, EINVAL,
			       "kernel command line: usrhash= stands more than once or in quotes");
	v = at + strlen("usrhash=");
	if ((at > cmdline && !isspace((unsigned char)at[-1])) || at[strlen("usrhash")] != '=' ||
	    strlen(v) < sizeof(hex) - 1 || (v[sizeof(hex) - 1] && !isspace((unsigned char)v[64])))
		return err_set(e, ERR_INPUT, EINVAL,
			       "kernel command line: usrhash= is not followed by 64 hex digits");
	memcpy(hex, v, sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	if (hex_parse(hex, "usrhash=", uki->usrhash, SHA256_BYTES, e) < 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "kernel command line: usrhash= is not followed by 64 hex digits");
	uki->has_usrhash = true;
	return 0;
}

int uki_parse_cmdline(const char *p, size_t n, struct uki *uki, struct err *e)
{
	char text[UKI_CMDLINE_MAX];
	struct uki got = { .has_usrhash = false };
	bool open = false;
	int r;

	while (n > 0 && (p[n - 1] == '\0' || isspace((unsigned char)p[n - 1])))
		n--;
	if (n >= sizeof(text))
		return err_set(e, ERR_INPUT, EFBIG, "kernel command line is longer than %d bytes",
			       UKI_CMDLINE_MAX - 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '\0' || c == 0x7f || (c < 0x20 && !isspace(c)))
			return err_set(e, ERR_INPUT, EINVAL,
				       "kernel command line has a control character");
		open ^= c == '"';
		text[i] = isspace(c) ? ' ' : (char)c;
	}
	text[n] = '\0';
	if (open)
		return err_set(e, ERR_INPUT, EINVAL, "kernel command line has an open quote");
	r = find_usrhash(text, &got, e);
	if (r < 0)
		return r;
	memcpy(uki->cmdline, text, n + 1);
	uki->has_usrhash = got.has_usrhash;
	memcpy(uki->usrhash, got.usrhash, sizeof(uki->usrhash));
	return 0;
}

static int read_section(const struct pe *pe, const char *name, size_t max, char **ret,
			size_t *ret_n, struct err *e)
{
	const struct pe_section *s = pe_section_find(pe, name);

	if (!s)
		return err_set(e, ERR_INPUT, ENOENT, "it has no section %s", name);
	return pe_section_read(pe, s, max, ret, ret_n, e);
}

static void set_machine(struct uki *u, uint16_t machine)
{
	if (machine == PE_MACHINE_X64)
		(void)snprintf(u->machine, sizeof(u->machine), "x86-64");
	else if (machine == PE_MACHINE_ARM64)
		(void)snprintf(u->machine, sizeof(u->machine), "arm64");
	else
		(void)snprintf(u->machine, sizeof(u->machine), "0x%04x", machine);
}

static void set_uname(struct uki *u, const char *p, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n && k < sizeof(u->uname) - 1; i++)
		if (isgraph((unsigned char)p[i]))
			u->uname[k++] = p[i];
	u->uname[k] = '\0';
}

int uki_read_fd(struct sys *sys, int fd, struct uki *ret, struct err *e)
{
	AUTO_FREE char *osrel = NULL, *cmdline = NULL, *uname = NULL;
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	AUTO_FREE struct uki *u = calloc(1, sizeof(*u));
	size_t n;
	int r;

	if (!pe || !u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = pe_open(sys, fd, pe, e);
	if (r < 0)
		return r;
	u->bytes = pe->size;
	set_machine(u, pe->machine);
	if (!pe_section_find(pe, ".linux"))
		return err_set(e, ERR_INPUT, ENOENT, "it is no UKI: it has no section .linux");
	r = read_section(pe, ".osrel", UKI_OSREL_MAX, &osrel, &n, e);
	if (r >= 0)
		r = uki_parse_osrel(osrel, n, u, e);
	if (r < 0)
		return r;
	if (pe_section_find(pe, ".cmdline")) {
		r = read_section(pe, ".cmdline", UKI_OSREL_MAX, &cmdline, &n, e);
		if (r >= 0)
			r = uki_parse_cmdline(cmdline, n, u, e);
		if (r < 0)
			return r;
	}
	if (pe_section_find(pe, ".uname")) {
		r = read_section(pe, ".uname", UKI_OSREL_MAX, &uname, &n, e);
		if (r < 0)
			return r;
		set_uname(u, uname, n);
	}
	*ret = *u;
	return 0;
}

int uki_read(struct sys *sys, int dir, const char *name, struct uki *ret, struct err *e)
{
	AUTO_SYS_FD f = { sys, sys->ops->open(sys, dir, name, O_RDONLY | O_NONBLOCK, 0) };
	int r;

	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "cannot open '%s': %s", name, strerror(-f.fd));
	r = uki_read_fd(sys, f.fd, ret, e);
	return r < 0 ? err_wrap(e, r, "'%s'", name) : 0;
}
