/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_CHECK_H
#define IGNITION_LITE_CHECK_H

#include "ignition-lite/schema.h"

/*
 * What the types of the schema do not say, one function for each kind of object (see ign_check_fn).
 * They follow Ignition's own rules for the spec in hand; where they are stricter,
 * docs/ignition-lite.md says so and why.
 */

ign_check_fn ign_check_root, ign_check_ignition_config, ign_check_proxy, ign_check_tls,
	ign_check_timeouts, ign_check_resource, ign_check_header, ign_check_verification,
	ign_check_kargs; /* check_source.c, check.c */
ign_check_fn ign_check_user, ign_check_group, ign_check_unit, ign_check_dropin,
	ign_check_systemd; /* check_host.c */
ign_check_fn ign_check_owner, ign_check_file, ign_check_directory, ign_check_link,
	ign_check_storage; /* check.c */
ign_check_fn ign_check_filesystem, ign_check_disk, ign_check_partition, ign_check_raid,
	ign_check_luks, ign_check_custom, ign_check_tang; /* check_disk.c */

/* A member that must be an absolute, clean path; absent counts as empty. */
int ign_check_path(struct ign_read *r, const struct ign_at *at, const json_t *o, const char *key,
		   struct err *e) __attribute__((warn_unused_result));

/* What is wrong with it, as a clause ("must be ..."); NULL: nothing. */
const char *ign_path_fault(const char *s);

/*
 * The entries of the list o[list] by their member `key` ("" where it is absent), as an object that
 * shares them; the last of equal ones. Freed by the caller.
 */
int ign_names_of(const json_t *o, const char *list, const char *key, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Has a string control characters in it? */
bool ign_has_control(const char *s);

#endif
