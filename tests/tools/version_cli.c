/* SPDX-License-Identifier: Apache-2.0 */
/* version_compare() for scripts, with the exit codes of `systemd-analyze compare-versions`. */
#include <stdio.h>
#include <string.h>

#include "base/version.h"

enum { LINE_BYTES = 4096, EQUAL = 0, A_NEWER = 11, B_NEWER = 12, USAGE = 2 };

static int order(const char *a, const char *b)
{
	int r = version_compare(a, b);

	return r == 0 ? EQUAL : r > 0 ? A_NEWER : B_NEWER;
}

/* Lines "A<TAB>B" from stdin; one exit code a line. */
static int from_stdin(void)
{
	char line[LINE_BYTES];

	while (fgets(line, sizeof(line), stdin)) {
		char *tab = strchr(line, '\t');

		if (!tab)
			return USAGE;
		*tab = '\0';
		tab[1 + strcspn(tab + 1, "\n")] = '\0';
		(void)printf("%d\n", order(line, tab + 1));
	}
	return 0;
}

int main(int argc, char **argv)
{
	int at = 1;

	if (argc == 1)
		return from_stdin();
	if (strcmp(argv[at], "compare-versions") == 0)
		at++;
	if (at < argc && strcmp(argv[at], "--") == 0)
		at++;
	if (argc - at != 2) {
		(void)fputs("usage: version-cli [compare-versions] [--] A B, or pairs on stdin\n",
			    stderr);
		return USAGE;
	}
	return order(argv[at], argv[at + 1]);
}
