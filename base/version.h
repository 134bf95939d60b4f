/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#include <stdbool.h>

/*
 * UAPI.10 version order: <0, 0, >0. As systemd 252 does, any digit beats no digit, so "0" > "B",
 * where the text of the specification would say the opposite.
 */
int version_compare(const char *a, const char *b);

/*
 * True if v can be a release's version here: 1..64 characters of A-Z a-z 0-9 . -, starting with a
 * letter or digit. It becomes part of boot entry names, partition labels and URLs, where '~', '^'
 * and '+' have no place (UAPI.1) and '_' separates the image from the version.
 */
bool version_valid(const char *v);

/* Likewise for an image id: 1..32 characters of a-z 0-9 -, starting with a letter. */
bool image_id_valid(const char *id);

#endif
