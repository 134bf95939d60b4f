/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_UNIT_TEXT_H
#define IGNITION_LITE_UNIT_TEXT_H

#include <stdbool.h>

/*
 * What is wrong with the text of a unit or a drop-in, as a clause ("holds ..."); NULL: nothing.
 * As Ignition reads it: sections in brackets, then NAME=VALUE lines with backslashes that continue
 * them; what stands before the first section is ignored. *ret_install becomes true when a section
 * [Install] has an assignment, else it is untouched.
 */
const char *ign_unit_text_fault(const char *text, bool *ret_install);

#endif
