/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/kargs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

/* An entry of the list may hold several arguments. */
static int check_list(const struct ign_strings *l, bool wanted, const char *cmdline, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *at = l->s[i];
		char word[4096];

		while (next(&at, word, sizeof(word)))
			if (ign_karg_has(cmdline, word) != wanted)
				return err_set(e, ERR_REFUSED, EOPNOTSUPP,
					       "$.kernelArguments.%s: '%.100s' is %s the command "
					       "line, which is part of the signed UKI; put it into "
					       "the image, or into a signed addon in "
					       "<UKI>.extra.d on the ESP",
					       wanted ? "shouldExist" : "shouldNotExist", word,
					       wanted ? "not in" : "in");
	}
	return 0;
}

int ign_kargs_check(const struct ign_config *c, const char *cmdline, struct err *e)
{
	int r = check_list(&c->kargs_exist, true, cmdline, e);

	return r < 0 ? r : check_list(&c->kargs_absent, false, cmdline, e);
}
