/* SPDX-License-Identifier: Apache-2.0 */
/* ignition-lite: provisions a host at first boot from an Ignition config. */
#include <stdio.h>
#include <string.h>

#include "ignition-lite/verb.h"

static const char usage[] =
	"Usage: ignition-lite validate [OPTION]... FILE|-\n"
	"       ignition-lite apply --root DIR [OPTION]...\n"
	"       ignition-lite probe --root DIR [OPTION]...\n"
	"Provisions a host at its first boot from an Ignition config (spec 3.0.0 to 3.5.0).\n"
	"\n"
	"  validate   check a config; what is wrong is told with line and column\n"
	"  apply      find the config, fetch what it needs, provision the tree at DIR: all or "
	"nothing\n"
	"  probe      does that need the network?\n"
	"\n"
	"      --help, --version\n"
	"\n"
	"Exit status: 0 done; 1 failed, or the config is not valid; 2 usage;\n"
	"3 nothing to do.\n"
	"Example: ignition-lite apply --root /sysroot --config config.ign --explain";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "validate", ign_verb_validate },
	{ "apply", ign_verb_apply },
	{ "probe", ign_verb_probe },
};

static int say(const char *line)
{
	if (puts(line) < 0 || fflush(stdout) != 0) {
		(void)fprintf(stderr, "ignition-lite: cannot write to standard output\n");
		return IGN_EXIT_FAILED;
	}
	return IGN_EXIT_DONE;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
		return say(usage);
	if (strcmp(verb, "--version") == 0)
		return say("ignition-lite " PROA_VERSION);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verb, verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	(void)fprintf(stderr, "ignition-lite: %s '%s'; see ignition-lite --help\n",
		      *verb ? "no verb" : "a verb is needed, not", verb);
	return IGN_EXIT_USAGE;
}
