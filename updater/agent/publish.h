/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_PUBLISH_H
#define UPDATER_AGENT_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "updater/agent/host.h"
#include "updater/agent/machine.h"
#include "updater/record/record.h"

/* What others read without asking: metrics, and the message to those who log in. */

/* What proa-health left in the state directory (updater/health/result.h); *ret NULL: nothing. */
#define PUBLISH_HEALTH     "health.json"
#define PUBLISH_HEALTH_BAD "health-failed.json"
int publish_health_read(const struct host *h, const char *name, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * `proactl health`: {"boot_id", "last", "failed"}, results or null: of the last boot that was
 * judged, and of the last that was not healthy.
 */
int publish_health(const struct host *h, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* The metrics of this host; health: results of this boot, or NULL. Pure. */
int publish_metrics(const struct host *h, const struct record *rec, const struct machine_facts *f,
		    const json_t *health, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What somebody who logs in should know: fell back, not healthy, nothing new is taken, a reboot is
 * waited for; dead_end: that what runs is one and why, or NULL. Nothing when all is well. Pure.
 */
int publish_notice(const struct host *h, const struct record *rec, const struct machine_facts *f,
		   const json_t *health, const char *dead_end, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Writes both where [Host] Metrics= and Message= say, world-readable; every file is tried. */
int publish(const struct host *h, const struct record *rec, const struct machine_facts *f,
	    const char *dead_end, struct err *e) __attribute__((warn_unused_result));

#endif
