/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_CONFIG_H
#define UPDATER_AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/agent/config_reboot.h"
#include "updater/agent/window.h"
#include "updater/release/decide.h"

#define CONFIG_PATH_MAX 256
#define CONFIG_URL_MAX  1024 /* of one mirror */
#define CONFIG_URLS_MAX 4096

#define CONFIG_WHERE_MAX  300 /* "FILE, line N" */
#define CONFIG_REASON_MAX 201

/*
 * What a person says with `proactl pin` and `hold` lies in the state directory, not in /etc, which
 * may be read-only and belongs to whoever manages the host. It counts before all other files.
 */
#define CONFIG_OVERRIDE "proactl.conf"

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
	char hold_reason[CONFIG_REASON_MAX]; /* [Update] HoldReason= */
	char socket[CONFIG_PATH_MAX];        /* [Fetch] Socket=: of proa-fetch */
	uint64_t limit;      /* [Fetch] BandwidthLimit=: bytes per second, 0: none */
	uint64_t min_rate;   /* [Fetch] MinimumRate=: bytes per second, 0: any ... */
	uint32_t min_time_s; /* [Fetch] MinimumTime=: ... over so many seconds */
	uint32_t deadline_s; /* [Fetch] Deadline=: seconds for one file of metadata */
};

/*
 * Reads file (NULL: the layered proa/proa.conf of the host). ERR_INPUT names file, line and key.
 * `warn` is given a sentence for every key that is not known (may be NULL).
 */
typedef void (*config_warn_fn)(void *arg, const char *text);
int config_load(const char *file, config_warn_fn warn, void *arg, struct config *ret, struct err *e)
	__attribute__((warn_unused_result));

/* cfg->policy with its pointers set, into cfg. */
struct release_policy config_policy(const struct config *cfg);

/*
 * Every mistake in the files of config_load(), not only the first: fn is given a sentence that
 * begins with file and line where there is one; systemd is asked whether it understands the
 * windows. *ret: how many.
 */
int config_check(const char *file, config_warn_fn fn, void *arg, size_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Every key with the value in force, in the order of proa.conf(5); path NULL and line 0: the
 * default. Values are as written, not checked.
 */
struct config_setting {
	const char *section, *key, *value, *path;
	uint64_t line;
};
typedef int (*config_each_fn)(void *arg, const struct config_setting *s, struct err *e);
int config_each(const char *file, config_each_fn fn, void *arg, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What a person said, in CONFIG_OVERRIDE. Texts of config_override_format() are what config_load()
 * reads back; an override that says nothing is an empty text. Pure.
 */
struct config_override {
	char pin[RELEASE_VERSION_MAX]; /* empty: none */
	bool hold;
	char reason[CONFIG_REASON_MAX]; /* of the hold */
};
int config_override_format(const struct config_override *o, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/* The one in the state directory (a path); all zero when there is none. */
int config_override_load(const char *state, struct config_override *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
