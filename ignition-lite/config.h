/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_CONFIG_H
#define IGNITION_LITE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "ignition-lite/report.h"

/*
 * An Ignition config, spec 3.0.0 to 3.5.0, as a checked struct. Pure: bytes in, struct out. Older
 * versions are translated up, so that there is one struct. All strings and arrays belong to the
 * config they were read from, are valid UTF-8 without NUL and live until ign_config_free(). An
 * absent string is NULL, an absent list has n = 0.
 */

enum { IGN_CONFIG_MAX = 16 << 20 }; /* longest config in bytes */

enum ign_tri { IGN_UNSET, IGN_NO, IGN_YES };

struct ign_strings {
	const char **s;
	size_t n;
};

struct ign_header {
	const char *name;
	const char *value;
};

/* Something to fetch: contents, a CA, another config. */
struct ign_resource {
	const char *source; /* a checked URL (see url.h); NULL: none given; "": empty contents */
	bool gzip;
	bool has_hash;
	enum digest_kind hash_kind; /* over the decompressed contents */
	uint8_t hash[DIGEST_MAX];
	struct ign_header *header;
	size_t headers;
};

struct ign_owner {
	bool has_id;
	uint32_t id;
	const char *name; /* NULL when has_id, or when neither was given */
};

struct ign_node {
	const char *path; /* absolute and clean; unique over files, directories and links */
	struct ign_owner user, group;
	enum ign_tri overwrite;
};

struct ign_file {
	struct ign_node node;
	int mode; /* 0 to 07777; -1: not given */
	struct ign_resource contents;
	struct ign_resource *append;
	size_t appends;
};

struct ign_directory {
	struct ign_node node;
	int mode;
};

struct ign_link {
	struct ign_node node;
	const char *target; /* not empty */
	bool hard;
};

struct ign_dropin {
	const char *name;     /* ends in .conf */
	const char *contents; /* NULL or "": no file is written */
};

struct ign_unit {
	const char *name;     /* a valid unit name, may be an instance foo@bar.service */
	const char *contents; /* NULL or "": no file is written */
	enum ign_tri enabled, mask;
	struct ign_dropin *dropin;
	size_t dropins;
};

struct ign_user {
	const char *name;
	const char *password_hash, *gecos, *home, *shell, *primary_group; /* the first is secret */
	struct ign_strings groups, ssh_keys;
	bool has_uid;
	uint32_t uid;
	enum ign_tri should_exist, system, no_create_home, no_user_group, no_log_init;
};

struct ign_group {
	const char *name;
	const char *password_hash; /* secret */
	bool has_gid;
	uint32_t gid;
	enum ign_tri should_exist, system;
};

struct ign_filesystem {
	const char *device;
	const char *format, *label, *uuid, *path;
	struct ign_strings options, mount_options;
	enum ign_tri wipe;
};

struct ign_timeouts {
	bool has_headers, has_total;
	unsigned headers_s; /* default 10; 0: no limit */
	unsigned total_s;   /* 0: no limit */
};

struct ign_proxy {
	const char *http, *https;
	struct ign_strings none;
};

struct ign_config {
	struct ign_resource *merge; /* ignition.config.merge, in order */
	size_t merges;
	struct ign_resource replace; /* source NULL: not asked for */
	struct ign_resource *ca;     /* security.tls.certificateAuthorities */
	size_t cas;
	struct ign_timeouts timeouts;
	struct ign_proxy proxy;
	struct ign_strings kargs_exist, kargs_absent;
	struct ign_file *file;
	size_t files;
	struct ign_directory *directory;
	size_t directories;
	struct ign_link *link;
	size_t links;
	struct ign_filesystem *filesystem;
	size_t filesystems;
	struct ign_unit *unit;
	size_t units;
	struct ign_user *user;
	size_t users;
	struct ign_group *group;
	size_t groups;
	struct ign_tree *tree; /* what owns all of it */
};

void ign_config_free(struct ign_config *c);
static inline void ign_config_freep(struct ign_config **c)
{
	ign_config_free(*c);
}
#define AUTO_IGN_CONFIG __attribute__((cleanup(ign_config_freep))) struct ign_config

/*
 * Reads and checks the n bytes of one config. `what` (a file name or URL) leads every sentence.
 * Returns 1 and *ret; 0 when n is 0, which Ignition takes for "no config given"; ERR_INPUT when it
 * is not a valid config: e says the first error, rep all of them. rep (required) also takes
 * warnings. Issues of the kind IGN_REFUSED are not looked for here: a child may still replace what
 * asks for them; see ign_config_refuse().
 */
int ign_config_read(const void *p, size_t n, const char *what, struct ign_report *rep,
		    struct ign_config **ret, struct err *e) __attribute__((warn_unused_result));

/* The config of a host that was given none. */
int ign_config_empty(struct ign_config **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * parent <- child, as Ignition merges: per field the child wins where it says something; lists of
 * objects are merged by their key (files, directories and links share one: path; units, drop-ins,
 * users, groups and headers: name; resources: source); append, options and mountOptions
 * concatenate; a header without value removes the parent's. Neither is changed; *ret is
 * independent of both. The result is checked again: two valid configs can merge into one that is
 * not (ERR_INPUT; rep has paths but no lines).
 */
int ign_config_merge(const struct ign_config *parent, const struct ign_config *child,
		     struct ign_report *rep, struct ign_config **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What a valid config asks for that ignition-lite does not do (disks, raid, luks, s3, gs, arn and
 * tftp sources): adds issues of the kind IGN_REFUSED, which say what to do instead. text[0..n) is
 * what the config was read from, for line and column; NULL for a merged one. Returns 0 if there
 * are none, else ERR_REFUSED with the first.
 */
int ign_config_refuse(const struct ign_config *c, const void *text, size_t n, const char *what,
		      struct ign_report *rep, struct err *e) __attribute__((warn_unused_result));

/* The whole of the config as JSON of spec 3.5.0, as it was merged; it holds secrets. */
struct buf;
int ign_config_write(const struct ign_config *c, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

#endif
