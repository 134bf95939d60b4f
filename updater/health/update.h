/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_UPDATE_H
#define UPDATER_HEALTH_UPDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "updater/health/check.h"

/*
 * The built-in check "can-update": under this release proad and proa-fetch still fetch metadata and
 * verify it. It asks as a person would, `proactl --json why`.
 *
 * A good release must not be given up because a repository is down, expired or wrong at that
 * moment: then every host that updates would lose it, and for good. So nothing that was, or was
 * not, received from outside decides. What does is what fails on this host alone: the
 * configuration, the disk, the ESP, the record, the first root, a proad or proa-fetch that does not
 * start or answer, an error of our own. A proad that has other work has not said anything yet.
 */
enum health_update_end {
	HEALTH_UPDATE_OK,
	HEALTH_UPDATE_OUTSIDE, /* network, server, or what it sent */
	HEALTH_UPDATE_BUSY,    /* proad answers, and did not get to it: busy, cancelled */
	HEALTH_UPDATE_OURS,    /* this host, so perhaps this release */
};

/*
 * What many tries come to: what the last of them said. So it counts against the release only if the
 * last one does, and one that was cut off says nothing. Pure.
 *
 * What passes is given some time: a network that comes up, a proad that is busy. What would count
 * against the release has all the time there is: a host that starts everything it has at once may
 * not get round to proad for minutes, and a good release given up for that is lost here.
 */
struct health_update_tries {
	bool strict; /* set by the caller: whatever does not pass counts against the release */
	/* zero at first */
	bool known; /* one try has said something */
	bool bad;   /* this would count, and nothing after it has disproved it */
	enum health_update_end end;
};
void health_update_note(struct health_update_tries *t, enum health_update_end end);
/* One more try at now_ms? give_up_ms: for what passes; end_ms: for everything. */
bool health_update_goes_on(const struct health_update_tries *t, uint64_t now_ms,
			   uint64_t give_up_ms, uint64_t end_ms);
/* The check is a required one; else what did not pass is only reported. */
bool health_update_counts(const struct health_update_tries *t);

/*
 * Judges one answer: exit status (or not `exited`) of proactl and what it printed, p[0..n): its
 * notes as lines, then the JSON. Pure; hostile input is HEALTH_UPDATE_OURS with a text.
 */
enum health_update_end health_update_judge(bool exited, int code, const char *p, size_t n,
					   char text[HEALTH_LINE_MAX]);

#define HEALTH_UPDATE_BYTES_MAX ((size_t)256 << 10)

#endif
