/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/entry_name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool spec_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_' || c == '+';
}

static bool tolerated_char(char c)
{
	return (unsigned char)c >= 0x20 && c != 0x7f && c != '/' && c != '\\';
}

/* Reads a decimal from [*p, end), leading zeros allowed; advances *p. */
static bool counter_read(const char **p, const char *end, uint32_t *ret)
{
	const char *s = *p;
	uint64_t v = 0;

	for (; s < end && *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (unsigned)(*s - '0');
		if (v > INT32_MAX)
			return false;
	}
	if (s == *p)
		return false;
	*p = s;
	*ret = (uint32_t)v;
	return true;
}

/* "LEFT[-DONE]" filling exactly [p, end). */
static bool counters_read(const char *p, const char *end, uint32_t *ret_left, uint32_t *ret_done)
{
	uint32_t left, done = 0;

	if (!counter_read(&p, end, &left))
		return false;
	if (p < end && *p == '-') {
		p++;
		if (!counter_read(&p, end, &done))
			return false;
	}
	if (p != end)
		return false;
	*ret_left = left;
	*ret_done = done;
	return true;
}

/* Length of ".conf" or ".efi" at the end of s[0..n), 0 for neither. */
static size_t suffix_find(const char *s, size_t n, enum boot_entry_type *ret)
{
	if (n >= 5 && strncasecmp(s + n - 5, ".conf", 5) == 0) {
		*ret = BOOT_ENTRY_CONF;
		return 5;
	}
	if (n >= 4 && strncasecmp(s + n - 4, ".efi", 4) == 0) {
		*ret = BOOT_ENTRY_UKI;
		return 4;
	}
	return 0;
}

static const char *suffix_of(enum boot_entry_type t)
{
	return t == BOOT_ENTRY_CONF ? ".conf" : ".efi";
}

int boot_entry_name_parse(const char *s, size_t n, struct boot_entry_name *ret, struct err *e)
{
	struct boot_entry_name en = { .counted = false };
	const char *end, *plus;
	size_t sn, idn;

	if (n >= sizeof(en.file))
		return err_set(e, ERR_INPUT, EINVAL, "boot entry name is longer than %zu bytes",
			       sizeof(en.file) - 1);
	for (size_t i = 0; i < n; i++)
		if (!tolerated_char(s[i]))
			return err_set(e, ERR_INPUT, EINVAL,
				       "boot entry name has a byte 0x%02x no loader accepts",
				       (unsigned char)s[i]);
	sn = suffix_find(s, n, &en.type);
	if (sn == 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "boot entry name does not end in .conf or .efi");
	if (n == sn || s[0] == '.')
		return err_set(e, ERR_INPUT, EINVAL, "boot entry name has no id");

	end = s + n - sn;
	plus = memrchr(s, '+', (size_t)(end - s));
	/* the loader wants the suffix behind a counter in lower case */
	if (plus && plus > s && memcmp(end, suffix_of(en.type), sn) == 0)
		en.counted = counters_read(plus + 1, end, &en.left, &en.done);
	idn = (size_t)((en.counted ? plus : end) - s);
	memcpy(en.id, s, idn);
	memcpy(en.file, s, n);
	*ret = en;
	return 0;
}

int boot_entry_name_format(struct boot_entry_name *en, struct err *e)
{
	struct boot_entry_name again;
	char file[BOOT_NAME_MAX + 32];
	int n, r;

	if (en->counted)
		n = snprintf(file, sizeof(file), "%s+%u-%u%s", en->id, en->left, en->done,
			     suffix_of(en->type));
	else
		n = snprintf(file, sizeof(file), "%s%s", en->id, suffix_of(en->type));
	if (n < 0)
		return err_set(e, ERR_BUG, EINVAL, "cannot format a boot entry name");
	r = boot_entry_name_parse(file, (size_t)n, &again, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", file);
	if (!boot_entry_name_valid(&again))
		return err_set(
			e, ERR_INPUT, EINVAL,
			"'%s' cannot be a boot entry: only letters, digits, + - _ . are allowed",
			file);
	if (strcmp(again.id, en->id) != 0 || again.counted != en->counted ||
	    again.left != en->left || again.done != en->done)
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' cannot be a boot entry: its id ends like a counter", file);
	memcpy(en->file, again.file, sizeof(en->file));
	return 0;
}

bool boot_entry_name_valid(const struct boot_entry_name *en)
{
	for (const char *p = en->file; *p; p++)
		if (!spec_char(*p))
			return false;
	return en->file[0] != '\0';
}

bool boot_entry_is_good(const struct boot_entry_name *en)
{
	return !en->counted;
}

bool boot_entry_is_bad(const struct boot_entry_name *en)
{
	return en->counted && en->left == 0;
}

bool boot_entry_is_indeterminate(const struct boot_entry_name *en)
{
	return en->counted && en->left > 0;
}

bool boot_entry_same_id(const struct boot_entry_name *a, const struct boot_entry_name *b)
{
	return a->type == b->type && strcasecmp(a->id, b->id) == 0;
}

bool boot_entry_is_called(const struct boot_entry_name *en, const char *what)
{
	struct boot_entry_name w;

	if (strcasecmp(en->id, what) == 0)
		return true;
	return boot_entry_name_parse(what, strlen(what), &w, NULL) == 0 &&
	       boot_entry_same_id(en, &w);
}
