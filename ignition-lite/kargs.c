/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/kargs.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ATTRIBUTES = 4, STUB_WITH_ADDONS = 254 };

/* The next word of *s into out without its quotes; false at the end. Longer ones are cut. */
static bool next(const char **s, char *out, size_t cap)
{
	const char *p = *s + strspn(*s, " \t\r\n");
	bool quoted = false;
	size_t n = 0;

	if (!*p)
		return false;
	for (; *p && (quoted || !strchr(" \t\r\n", *p)); p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (n + 1 < cap)
			out[n++] = *p;
	}
	out[n] = '\0';
	*s = p;
	return true;
}

bool ign_karg_get(const char *cmdline, const char *name, char *out, size_t cap)
{
	size_t k = strlen(name);
	bool found = false;
	char word[4096];

	while (next(&cmdline, word, sizeof(word))) {
		if (strncmp(word, name, k) != 0 || word[k] != '=')
			continue;
		(void)snprintf(out, cap, "%s", word + k + 1);
		found = true;
	}
	return found;
}

bool ign_karg_has(const char *cmdline, const char *arg)
{
	char word[4096];

	while (next(&cmdline, word, sizeof(word)))
		if (strcmp(word, arg) == 0)
			return true;
	return false;
}

/* --- the boot entry --- */

void ign_booted_text(const void *p, size_t n, char *out, size_t cap)
{
	const unsigned char *v = p;
	size_t to = 0;

	for (size_t i = ATTRIBUTES; i + 1 < n && to + 1 < cap && (v[i] || v[i + 1]); i += 2) {
		out[to] = '?';
		if (v[i + 1] == 0 && v[i] >= ' ' && v[i] < 0x7f)
			memcpy(out + to, v + i, 1);
		to++;
	}
	if (cap > 0)
		out[to] = '\0';
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && strcasecmp(s + n - k, end) == 0;
}

static bool reads_addons(const char *stub)
{
	static const char name[] = "systemd-stub ";
	uint64_t version = 0;
	const char *p = stub + strlen(name);

	if (strncmp(stub, name, strlen(name)) != 0)
		return false;
	while (*p >= '0' && *p <= '9' && version < UINT32_MAX)
		version = version * 10 + (uint64_t)(*p++ - '0');
	return version >= STUB_WITH_ADDONS;
}

static int refuse(const char *list, const char *word, bool wanted, const struct ign_booted *b,
		  struct err *e)
{
	const char *is = wanted ? "not in" : "in";

	if (ends_with(b->entry, ".conf"))
		return err_set(
			e, ERR_REFUSED, EOPNOTSUPP,
			"$.kernelArguments.%s: '%.100s' is %s the command line of this boot "
			"entry; edit the options line of loader/entries/%s, as ignition-lite "
			"changes no entries, then start again",
			list, word, is, b->entry);
	if (reads_addons(b->stub))
		return err_set(
			e, ERR_REFUSED, EOPNOTSUPP,
			"$.kernelArguments.%s: '%.100s' is %s the command line of '%s', which "
			"is signed with its UKI; publish a release that has it so (%s)",
			list, word, is, b->entry[0] ? b->entry : "this boot",
			wanted ? "proa-publish release --cmdline), or sign an addon into its "
				 ".extra.d on the ESP (ukify --cmdline"
			       : "proa-publish release --cmdline");
	return err_set(e, ERR_REFUSED, EOPNOTSUPP,
		       "$.kernelArguments.%s: '%.100s' is %s the command line%s%s%s, which is part "
		       "of the signed UKI; publish a release that has it so (proa-publish release "
		       "--cmdline)%s%s%s",
		       list, word, is, b->entry[0] ? " of '" : "", b->entry, b->entry[0] ? "'" : "",
		       b->stub[0] ? ", as " : "", b->stub, b->stub[0] ? " reads no addons" : "");
}

/* An entry of the list may hold several arguments. */
static int check_list(const struct ign_strings *l, bool wanted, const char *cmdline,
		      const struct ign_booted *b, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *at = l->s[i];
		char word[4096];

		while (next(&at, word, sizeof(word)))
			if (ign_karg_has(cmdline, word) != wanted)
				return refuse(wanted ? "shouldExist" : "shouldNotExist", word,
					      wanted, b, e);
	}
	return 0;
}

int ign_kargs_check(const struct ign_config *c, const char *cmdline, const struct ign_booted *b,
		    struct err *e)
{
	int r = check_list(&c->kargs_exist, true, cmdline, b, e);

	return r < 0 ? r : check_list(&c->kargs_absent, false, cmdline, b, e);
}
