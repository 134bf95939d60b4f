/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_PLAN_H
#define IGNITION_LITE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * From a merged config to what is to be done, in order. Pure; borrows from the config, which must
 * outlive the plan. The order is Ignition's: kernel arguments, file systems, groups,
 * users, directories, files and symbolic links by depth of path (of one depth: directories first,
 * then files, then links, each as listed), hard links as listed, units as listed, presets.
 */
enum ign_step_kind {
	IGN_STEP_KARGS,       /* config: kargs_exist, kargs_absent */
	IGN_STEP_FILESYSTEM,  /* filesystem */
	IGN_STEP_GROUP,       /* group: create, modify, or remove when should_exist is IGN_NO */
	IGN_STEP_USER,        /* user: the same, with password and groups */
	IGN_STEP_SSH_KEYS,    /* user: ssh_keys, which are not empty */
	IGN_STEP_DIRECTORY,   /* directory */
	IGN_STEP_FILE,        /* file */
	IGN_STEP_SYMLINK,     /* link */
	IGN_STEP_HARDLINK,    /* link */
	IGN_STEP_UNIT,        /* unit: write its contents, which are not empty */
	IGN_STEP_DROPIN,      /* unit, dropin: write its contents, which are not empty */
	IGN_STEP_UNIT_MASK,   /* unit: remove what is there, link to /dev/null */
	IGN_STEP_UNIT_UNMASK, /* unit: remove a link to /dev/null */
	IGN_STEP_PRESET,      /* preset: append the line to 20-ignition.preset */
};

/*
 * One line of the preset file. A template's instances share a line: "enable echo@.service a b".
 * For a disable, what is enabled is disabled first (systemctl --root disable).
 */
struct ign_preset {
	bool enable;
	char *unit;      /* "echo@.service" */
	char **instance; /* "a", "b"; none for a unit that is no instance */
	size_t instances;
	char *line; /* "enable echo@.service a b", without newline */
};

struct ign_step {
	enum ign_step_kind kind;
	const struct ign_filesystem *filesystem;
	const struct ign_group *group;
	const struct ign_user *user;
	const struct ign_directory *directory;
	const struct ign_file *file;
	const struct ign_link *link;
	const struct ign_unit *unit;
	const struct ign_dropin *dropin;
	const struct ign_preset *preset;
};

/* What to fetch and verify before the first step, in the order of the steps. */
struct ign_fetch {
	const struct ign_resource *resource; /* its source is not NULL */
	const struct ign_file *file;         /* whose contents or append it is */
	bool append;
};

struct ign_plan {
	const struct ign_config *config;
	struct ign_step *step;
	size_t steps;
	struct ign_fetch *fetch;
	size_t fetches;
	struct ign_preset *preset;
	size_t presets;
	bool needs_network; /* a fetch does */
};

void ign_plan_free(struct ign_plan *p);
static inline void ign_plan_freep(struct ign_plan **p)
{
	ign_plan_free(*p);
}
#define AUTO_IGN_PLAN __attribute__((cleanup(ign_plan_freep))) struct ign_plan

/* *ret lives until ign_plan_free(), not longer than c. Only out of memory can make it fail. */
int ign_plan_make(const struct ign_config *c, struct ign_plan **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * One step as a sentence without a full stop, appended to b: "write /etc/hostname (0644, root:root)
 * from data: (12 bytes)". Holds no secrets: no contents, hashes of passwords or URL queries.
 */
int ign_step_explain(const struct ign_plan *p, const struct ign_step *s, struct buf *b,
		     struct err *e) __attribute__((warn_unused_result));

/* The plan as numbered lines, with what is fetched first; "Nothing to do." when it is empty. */
int ign_plan_explain(const struct ign_plan *p, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

#endif
