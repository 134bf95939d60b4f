/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_UPDATE_H
#define UPDATER_HEALTH_UPDATE_H

#include <stdbool.h>
#include <stddef.h>

#include "updater/health/check.h"

/*
 * The built-in check "can-update": under this release proad and proa-fetch still fetch metadata and
 * verify it. It asks as a person would, `proactl --json why`.
 *
 * A good release must not be given up because a repository is down, expired or wrong at that
 * moment: then every host that updates would lose it, and for good. So nothing that was, or was
 * not, received from outside decides. What does is what fails on this host alone: the
 * configuration, the disk, the ESP, the record, the first root, a proad or proa-fetch that does not
 * start or answer, an error of our own.
 */
enum health_update_end {
	HEALTH_UPDATE_OK,
	HEALTH_UPDATE_OUTSIDE, /* network, server, or what it sent */
	HEALTH_UPDATE_OURS,    /* this host, so perhaps this release */
};

/*
 * Judges one answer: exit status (or not `exited`) of proactl and what it printed, p[0..n): its
 * notes as lines, then the JSON. Pure; hostile input is HEALTH_UPDATE_OURS with a text.
 */
enum health_update_end health_update_judge(bool exited, int code, const char *p, size_t n,
					   char text[HEALTH_LINE_MAX]);

#define HEALTH_UPDATE_BYTES_MAX ((size_t)256 << 10)

#endif
