/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_UKI_H
#define BOOTCTL_UKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

struct sys;

enum { UKI_FIELD_MAX = 128, UKI_CMDLINE_MAX = 4097 /* with NUL */, UKI_OSREL_MAX = 64 << 10 };

/* What a unified kernel image (UAPI.5) says about itself. Absent fields are "". */
struct uki {
	char image_id[UKI_FIELD_MAX]; /* IMAGE_ID */
	char id[UKI_FIELD_MAX];       /* ID */
	char version[UKI_FIELD_MAX];  /* IMAGE_VERSION, else VERSION, VERSION_ID, BUILD_ID */
	char pretty[UKI_FIELD_MAX];   /* PRETTY_NAME, else IMAGE_ID, NAME, ID */
	char sort_key[UKI_FIELD_MAX]; /* IMAGE_ID, else ID */
	char uname[UKI_FIELD_MAX];    /* .uname */
	char cmdline[UKI_CMDLINE_MAX];
	char machine[16]; /* "x86-64", "arm64", or the number */
	bool has_usrhash; /* usrhash= stands on the command line exactly once, well formed */
	uint8_t usrhash[SHA256_BYTES];
	uint64_t bytes;
};

/*
 * Reads the UKI in fd (or in file `name` of dir). It must have .linux and an .osrel the loader
 * would show; ERR_INPUT otherwise, and when usrhash= is malformed or stands twice (two hashes would
 * let firmware vouch for one and the initrd mount another).
 */
int uki_read_fd(struct sys *sys, int fd, struct uki *ret, struct err *e)
	__attribute__((warn_unused_result));
int uki_read(struct sys *sys, int dir, const char *name, struct uki *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The pure halves. os-release(5): KEY=value lines with shell-like quoting; fills the five os
 * fields. Command line: words split at white space, double quotes honoured as the kernel does.
 */
int uki_parse_osrel(const char *p, size_t n, struct uki *uki, struct err *e)
	__attribute__((warn_unused_result));
int uki_parse_cmdline(const char *p, size_t n, struct uki *uki, struct err *e)
	__attribute__((warn_unused_result));

#endif
