/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_VERB_H
#define IGNITION_LITE_VERB_H

/* The verbs of the program; argv[0] is the verb. They print and answer the exit status. */
enum { IGN_EXIT_DONE = 0, IGN_EXIT_FAILED = 1, IGN_EXIT_USAGE = 2, IGN_EXIT_NOTHING = 3 };

int ign_verb_validate(int argc, char **argv);
int ign_verb_apply(int argc, char **argv);
int ign_verb_probe(int argc, char **argv);

#endif
