/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/label.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"

#define VERSION_BYTES 65

/* "<image>_<version>" with the version copied out. */
static bool ours(const char *label, const char *image, char *ret_version)
{
	const size_t n = strlen(image);

	if (strncmp(label, image, n) != 0 || label[n] != '_' || !version_valid(label + n + 1))
		return false;
	if (ret_version)
		(void)snprintf(ret_version, VERSION_BYTES, "%s", label + n + 1);
	return true;
}

enum slot_label_kind slot_label_parse(const char *label, const char *image, char *ret_version)
{
	static const char verity[] = "_verity";
	const size_t n = strlen(label), vn = sizeof(verity) - 1;
	char cut[VERSION_BYTES + 64];

	if (n == 0 || strcmp(label, SLOT_LABEL_EMPTY) == 0)
		return SLOT_LABEL_FREE;
	if (strncmp(label, "PRT#", 4) == 0 || strncmp(label, "PND#", 4) == 0)
		return ours(label + 4, image, NULL) ? SLOT_LABEL_PARTIAL : SLOT_LABEL_FOREIGN;
	if (ours(label, image, ret_version))
		return SLOT_LABEL_OURS;
	/* what systemd's own tools call the hash partition beside "<image>_<version>" */
	if (n > vn && n < sizeof(cut) && strcmp(label + n - vn, verity) == 0) {
		memcpy(cut, label, n - vn);
		cut[n - vn] = '\0';
		if (ours(cut, image, ret_version))
			return SLOT_LABEL_OURS;
	}
	return SLOT_LABEL_FOREIGN;
}

int slot_label_format(const char *image, const char *version, char out[SLOT_LABEL_CHARS + 1],
		      struct err *e)
{
	char label[33 + 65];
	size_t n;

	if (!image_id_valid(image))
		return err_set(e, ERR_INPUT, EINVAL, "'%.40s' cannot be an image id", image);
	if (!version_valid(version))
		return err_set(e, ERR_INPUT, EINVAL, "'%.70s' cannot be a version", version);
	n = strlen(image) + 1 + strlen(version);
	if (snprintf(label, sizeof(label), "%s_%s", image, version) > SLOT_LABEL_CHARS)
		return err_set(e, ERR_REFUSED, ENAMETOOLONG,
			       "the partition label '%s_%s' would have %zu characters, but a GPT "
			       "label holds %d: choose a shorter version",
			       image, version, n, SLOT_LABEL_CHARS);
	memcpy(out, label, n + 1);
	return 0;
}
