/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_BUILD_H
#define PUBLISHER_BUILD_H

#include <limits.h>

#include "base/buf.h"
#include "base/err.h"
#include "publisher/repo.h"

/*
 * What a release is built from. All results lie in the repository's folder for temporary files; the
 * same input gives the same bytes.
 */

/*
 * An uncompressed erofs of a directory that is /usr (mkfs.erofs, which sorts it by name), built for
 * small deltas: no inline data, everything root's, a UUID that follows from the image id, and one
 * time for all files: $SOURCE_DATE_EPOCH, or BUILD_TIME. Not 0: systemd's ConditionNeedsUpdate=
 * compares the time of /usr. ERR_INPUT: a whole root, no such directory; ERR_HOST: mkfs.erofs.
 */
#define BUILD_TIME 946684800u /* 1 January 2000 */
int build_image(const char *tree, const char *image, const char *out, struct err *e)
	__attribute__((warn_unused_result));

/* The same in the repository's folder for temporary files; ret holds its path. */
int build_erofs(const struct repo *r, const char *tree, char ret[PATH_MAX], struct err *e)
	__attribute__((warn_unused_result));

/*
 * os-release(5) text with IMAGE_ID and IMAGE_VERSION set to these, whatever it said. file NULL:
 * tree/lib/os-release.
 */
int build_osrel(const char *file, const char *tree, const char *image, const char *version,
		struct buf *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * The command line of a UKI: text ("@FILE" reads one; NULL: BUILD_CMDLINE) on one line, with
 * usrhash=<root> behind it. ERR_INPUT when it brings its own usrhash=.
 */
#define BUILD_CMDLINE                                                                              \
	"mount.usr=/dev/mapper/usr mount.usrfstype=erofs mount.usrflags=ro "                       \
	"systemd.verity_usr_options=panic-on-corruption panic=-1 gpt ro"
int build_cmdline(const char *text, const uint8_t root[SHA256_BYTES], struct buf *ret,
		  struct err *e) __attribute__((warn_unused_result));

/* Paths, and contents of the three text sections; uname may be NULL: taken from a bzImage. */
struct build_uki {
	const char *stub, *kernel, *initrd, *uname;
	const struct buf *osrel, *cmdline;
};
/* The stub with sections .osrel .cmdline .uname .linux .initrd (objcopy; UAPI.5). */
int build_uki(const struct repo *r, const struct build_uki *u, char ret[PATH_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* The stub systemd installs for that architecture, or NULL. */
const char *build_stub_default(const char *arch);

/* Signs a UKI for Secure Boot (sbsign). */
int build_sign(const struct repo *r, const char *uki, const char *key, const char *cert,
	       char ret[PATH_MAX], struct err *e) __attribute__((warn_unused_result));

#endif
