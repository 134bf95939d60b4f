/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_CONFIG_H
#define UPDATER_AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/agent/config_reboot.h"
#include "updater/agent/window.h"
#include "updater/release/decide.h"

#define CONFIG_PATH_MAX 256
#define CONFIG_URL_MAX  1024 /* of one mirror */
#define CONFIG_URLS_MAX 4096

#define CONFIG_WHERE_MAX 300 /* "FILE, line N" */

/* What may happen by itself, each including the ones before it. */
enum config_mode { CONFIG_MANUAL, CONFIG_CHECK, CONFIG_STAGE, CONFIG_AUTO };

/* Whether an unattended update reboots. */
enum config_reboot { CONFIG_REBOOT_MANUAL, CONFIG_REBOOT_IMMEDIATE, CONFIG_REBOOT_WINDOW };

const char *config_mode_name(enum config_mode m);     /* "manual", ... */
const char *config_reboot_name(enum config_reboot r); /* "manual", ... */

/* proa.conf(5), read and checked. Strings that say "auto" in the file are empty here. */
struct config {
	char image[33];                /* [Host] Image=: default IMAGE_ID of /usr/lib/os-release */
	char disk[CONFIG_PATH_MAX];    /* [Host] Disk=: block device or image file; empty: auto */
	char esp[CONFIG_PATH_MAX];     /* [Host] ESP=: directory; empty: auto */
	char state[CONFIG_PATH_MAX];   /* [Host] State=: /var/lib/proa */
	char efivars[CONFIG_PATH_MAX]; /* [Host] Efivars=: empty: the host's own, if Disk= runs */
	char metrics[CONFIG_PATH_MAX]; /* [Host] Metrics=: file; empty: auto; "no": none */
	char message[CONFIG_PATH_MAX]; /* [Host] Message=: likewise */
	char arch[16];                 /* [Host] Architecture=: empty: this program's own */
	/* [Source] URL=: of the repository's mirrors, each ends in '/', one blank between two */
	char url[CONFIG_URLS_MAX];
	char root[CONFIG_PATH_MAX]; /* [Source] Root=: first trusted TUF root */
	char channel[65];           /* [Update] Channel=: stable */
	unsigned fallback_limit;    /* [Update] FallbackLimit=: in a row; 0: any number */
	unsigned tries;             /* [Update] Tries=: boots before falling back, 1 to 9 */
	enum config_mode mode;      /* [Update] Mode= */
	enum config_reboot reboot;  /* [Update] Reboot= */
	struct windows windows;     /* [Update] RebootWindow= */
	struct config_lock lock;
	struct config_hooks hooks;
	struct config_reboot_terms terms;
	/* [Update] MaxDownload=: bytes, or percent of the whole release; 0 and 0: any number */
	uint64_t max_fetch;
	unsigned max_percent;
	/*
	 * [Update] Pin=, Hold=, MinimumAge=, MinimumVersion=, MaximumVersion=, CriticalAtOnce=; its
	 * own `where` pointers are not set, these are what they should point to
	 */
	struct release_policy policy;
	char pin_where[CONFIG_WHERE_MAX], hold_where[CONFIG_WHERE_MAX];
	char socket[CONFIG_PATH_MAX]; /* [Fetch] Socket=: of proa-fetch */
	uint64_t limit;               /* [Fetch] BandwidthLimit=: bytes per second, 0: none */
	uint64_t min_rate;            /* [Fetch] MinimumRate=: bytes per second, 0: any ... */
	uint32_t min_time_s;          /* [Fetch] MinimumTime=: ... over so many seconds */
	uint32_t deadline_s;          /* [Fetch] Deadline=: seconds for one file of metadata */
};

/*
 * Reads file (NULL: the layered proa/proa.conf of the host). ERR_INPUT names file, line and key.
 * `warn` is given a sentence for every key that is not known (may be NULL).
 */
typedef void (*config_warn_fn)(void *arg, const char *text);
int config_load(const char *file, config_warn_fn warn, void *arg, struct config *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
