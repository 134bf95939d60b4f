/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_SOURCE_H
#define IGNITION_LITE_SOURCE_H

#include <limits.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/load.h"

/*
 * Where a host's config is, in Ignition's order:
 *   1. ignition.config.url= on the kernel command line
 *   2. user.ign in /run/ignition, /etc/ignition or /usr/lib/ignition, the first that is there
 *   3. the platform: ignition.platform.id= on the command line, or what the machine says of itself
 * Below it lie the fragments base.d/ *.ign and base.platform.d/<platform>/ *.ign of
 * /usr/lib/ignition, in the order of their names.
 */
enum ign_platform {
	IGN_PLATFORM_NONE,  /* nothing says: no user config beyond 1 and 2 */
	IGN_PLATFORM_METAL, /* 1 is all there is */
	IGN_PLATFORM_QEMU,  /* fw_cfg: opt/com.coreos/config, opt/org.flatcar-linux/config */
	IGN_PLATFORM_AZURE, /* IMDS user data; when that is empty CustomData.bin of the CD-ROM */
	IGN_PLATFORM_FILE,  /* $IGNITION_CONFIG_FILE, or config.ign in the working directory */
};

enum { IGN_URL_MAX = 2048 };

/* What the kernel command line asks for. */
struct ign_cmdline {
	char url[IGN_URL_MAX]; /* "" if none */
	char platform[64];
	bool first_boot; /* ignition.firstboot or ignition.firstboot=1: also when it was done */
};

/* Pure. ERR_INPUT when a value is too long. */
int ign_source_cmdline(const char *cmdline, struct ign_cmdline *ret, struct err *e)
	__attribute__((warn_unused_result));
/* Pure: ERR_INPUT for a platform whose configs are not known here; "" is IGN_PLATFORM_NONE. */
int ign_source_platform(const char *name, enum ign_platform *ret, struct err *e)
	__attribute__((warn_unused_result));
const char *ign_platform_name(enum ign_platform p);

struct ign_source {
	const char *host; /* where /proc, /sys, /usr/lib, /dev of the host are: "", or below this */
	const char *imds; /* NULL: http://169.254.169.254 */
	const char *given;          /* a file or URL that somebody named: instead of 1 to 3 */
	enum ign_platform platform; /* IGN_PLATFORM_NONE: found out */
	const struct ign_cmdline *cmdline;
	const struct ign_load *load;
};

/* A config as it came, and what to call it in sentences. n 0: there is none. */
struct ign_text {
	struct buf text;
	char what[256];
};
void ign_text_done(struct ign_text *t);
#define AUTO_IGN_TEXT __attribute__((cleanup(ign_text_done))) struct ign_text

/* The user's config. */
int ign_source_user(const struct ign_source *s, struct ign_text *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The fragments of the image, merged: 1 and *ret, or 0 if there are none. */
int ign_source_base(const struct ign_source *s, struct ign_config **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Is the network needed to get the user's config? Looks only at what the host has without it. */
int ign_source_needs_network(const struct ign_source *s, bool *ret, struct err *e)
	__attribute__((warn_unused_result));

/* A small file of the host (below s->host): 1, or 0 if it is not there. */
int ign_source_read(const struct ign_source *s, const char *path, size_t max, struct buf *ret,
		    struct err *e) __attribute__((warn_unused_result));

#endif
