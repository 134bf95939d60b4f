/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/hex.h"
#include "ignition-lite/check.h"
#include "ignition-lite/url.h"

/*
 * What stands on disks. Most of it is refused in the end (refuse.c), but a config that is not valid
 * is to be told so first.
 */

/* ---- file systems ---- */

static int check_format(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const char *const formats[] = { "ext4", "btrfs", "xfs", "swap", "vfat", "none" };
	const char *format = ign_str_set(o, "format");
	size_t known = r->minor >= 3 ? 6 : 5;

	if (!format) {
		if (!ign_str_set(o, "path") && !ign_str_set(o, "label") &&
		    !ign_str_set(o, "uuid") && !ign_true(o, "wipeFilesystem") &&
		    ign_len(o, "mountOptions") == 0 && ign_len(o, "options") == 0)
			return 0;
		return ign_say(r, IGN_ERROR, at, "format", e,
			       "is missing: what else is said needs a format");
	}
	for (size_t i = 0; i < known; i++)
		if (strcmp(format, formats[i]) == 0)
			return 0;
	return ign_say(r, IGN_ERROR, at, "format", e, "must be ext4, btrfs, xfs, vfat, swap%s",
		       known > 5 ? " or none" : " (none from spec 3.3.0)");
}

static int check_label(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const struct {
		const char *format;
		size_t max;
	} table[] = {
		{ "ext4", 16 }, { "btrfs", 256 }, { "xfs", 12 }, { "swap", 15 }, { "vfat", 11 }
	};
	const char *format = ign_str_set(o, "format"), *label = ign_str_set(o, "label");

	if (label && !format)
		return ign_say(r, IGN_ERROR, at, "label", e, "needs a format");
	for (size_t i = 0; format && label && i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(format, table[i].format) == 0 && strlen(label) > table[i].max)
			return ign_say(r, IGN_ERROR, at, "label", e,
				       "is longer than the %zu bytes %s has for it", table[i].max,
				       format);
	return 0;
}

int ign_check_filesystem(struct ign_read *r, const struct ign_at *at, const json_t *o,
			 struct err *e)
{
	int n = ign_check_path(r, at, o, "device", e);

	if (n >= 0 && ign_str_set(o, "path"))
		n = ign_check_path(r, at, o, "path", e);
	if (n >= 0)
		n = check_format(r, at, o, e);
	return n < 0 ? n : check_label(r, at, o, e);
}

/* ---- disks ---- */

enum { PARTITIONS_MAX = 128 }; /* of a GPT as every tool writes it */

static int check_guid(struct ign_read *r, const struct ign_at *at, const json_t *o, const char *key,
		      struct err *e)
{
	const char *s = ign_str_set(o, key);
	struct err ignored = ERR_INIT;
	uint8_t guid[16];

	if (!s || uuid_parse(s, key, guid, &ignored) >= 0)
		return 0;
	return ign_say(r, IGN_ERROR, at, key, e, "is not a GUID");
}

int ign_check_partition(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *label = ign_str(o, "label");
	json_int_t number = 0, mib;
	int n = 0;

	(void)ign_int(o, "number", &number);
	if (ign_false(o, "shouldExist") &&
	    (label || ign_str_set(o, "typeGuid") || ign_str_set(o, "guid") ||
	     ign_int(o, "startMiB", &mib) || ign_int(o, "sizeMiB", &mib)))
		n = ign_say(r, IGN_ERROR, at, NULL, e,
			    "is not to exist, so it can have a number only");
	if (n >= 0 && number == 0 && !label)
		n = ign_say(r, IGN_ERROR, at, NULL, e, "needs a number or a label");
	if (n >= 0 && label && strlen(label) > 36)
		n = ign_say(r, IGN_ERROR, at, "label", e, "is longer than 36 bytes");
	if (n >= 0 && label && strchr(label, ':'))
		n = ign_say(r, IGN_ERROR, at, "label", e, "must not hold a colon");
	if (n >= 0)
		n = check_guid(r, at, o, "guid", e);
	return n < 0 ? n : check_guid(r, at, o, "typeGuid", e);
}

static int check_labels(struct ign_read *r, const struct ign_at *at, const json_t *list,
			struct err *e)
{
	AUTO_JSON *seen = json_object();
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = at, .index = i };
		const char *label = ign_str(v, "label");

		if (!label)
			continue;
		if (json_object_get(seen, label))
			n = ign_say(r, IGN_ERROR, &here, "label", e, "is that of another one too");
		else if (json_object_set_new(seen, label, json_true()) < 0)
			n = err_set(e, ERR_HOST, ENOMEM, "out of memory");
		if (n < 0)
			return n;
	}
	return 0;
}

/* false: where it lies is left open. A size of 0 is for "the rest". */
static bool span_of(const json_t *v, json_int_t *ret_first, json_int_t *ret_last)
{
	json_int_t start, size;

	if (!ign_int(v, "startMiB", &start) || !ign_int(v, "sizeMiB", &size) || start == 0)
		return false;
	*ret_first = start;
	if (size == 0 || __builtin_add_overflow(start, size - 1, ret_last))
		*ret_last = start;
	return true;
}

/* As Ignition compares them, also when a size is negative. */
static bool spans_meet(const json_t *a, const json_t *b)
{
	json_int_t a0, a1, b0, b1;

	if (!span_of(a, &a0, &a1) || !span_of(b, &b0, &b1))
		return false;
	return (a0 >= b0 && a0 <= b1) || (a1 >= b0 && a1 <= b1) || (a0 < b0 && a1 > b1);
}

static int check_overlaps(struct ign_read *r, const struct ign_at *at, const json_t *list,
			  struct err *e)
{
	size_t count = json_array_size(list);

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < count; k++) {
			struct ign_at here = { .up = at, .index = k };

			if (i != k && spans_meet(json_array_get(list, i), json_array_get(list, k)))
				return ign_say(r, IGN_ERROR, &here, NULL, e,
					       "overlaps another partition of the disk");
		}
	return 0;
}

static int check_absent(struct ign_read *r, const struct ign_at *at, const json_t *list,
			struct err *e)
{
	bool zero = false, absent = false;
	const json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		json_int_t number = 0;

		zero = zero || !ign_int(v, "number", &number) || number == 0;
		absent = absent || ign_false(v, "shouldExist");
	}
	if (!zero || !absent)
		return 0;
	return ign_say(r, IGN_ERROR, at, NULL, e,
		       "have one that is not to exist, so all of them need a number");
}

int ign_check_disk(struct ign_read *r, const struct ign_at *up, const json_t *o, struct err *e)
{
	struct ign_at at = { .up = up, .key = "partitions" };
	const json_t *list = json_object_get(o, "partitions");
	int n = ign_check_path(r, up, o, "device", e);

	if (n >= 0 && json_array_size(list) > PARTITIONS_MAX)
		return ign_say(r, IGN_ERROR, &at, NULL, e, "are more than a GPT holds (%d)",
			       PARTITIONS_MAX);
	if (n >= 0)
		n = check_labels(r, &at, list, e);
	if (n >= 0)
		n = check_overlaps(r, &at, list, e);
	return n < 0 ? n : check_absent(r, &at, list, e);
}

/* ---- raid ---- */

int ign_check_raid(struct ign_read *r, const struct ign_at *up, const json_t *o, struct err *e)
{
	static const char *const levels[] = { "linear", "raid0",  "0",     "stripe", "raid1",
					      "1",      "mirror", "raid4", "4",      "raid5",
					      "5",      "raid6",  "6",     "raid10", "10" };
	enum { WITHOUT_SPARES = 4 };
	const char *level = ign_str(o, "level");
	struct ign_at at = { .up = up, .key = "devices" };
	json_int_t spares = 0;
	size_t i = 0;
	int n = 0;

	while (level && i < sizeof(levels) / sizeof(levels[0]) && strcmp(level, levels[i]) != 0)
		i++;
	if (!level || i == sizeof(levels) / sizeof(levels[0]))
		n = ign_say(r, IGN_ERROR, up, "level", e,
			    level ? "is not a RAID level that is known" : "is missing");
	else if (i < WITHOUT_SPARES && ign_int(o, "spares", &spares) && spares != 0)
		n = ign_say(r, IGN_ERROR, up, "level", e, "has no spares");
	if (n >= 0 && ign_len(o, "devices") == 0)
		n = ign_say(r, IGN_ERROR, up, "devices", e, "are missing");
	for (i = 0; i < ign_len(o, "devices") && n >= 0; i++) {
		const char *s = json_string_value(json_array_get(json_object_get(o, "devices"), i));
		struct ign_at here = { .up = &at, .index = i };
		const char *fault = ign_path_fault(s);

		if (fault)
			n = ign_say(r, IGN_ERROR, &here, NULL, e, "%s", fault);
	}
	return n;
}

/* ---- luks ---- */

static bool has_clevis(const json_t *clevis)
{
	json_int_t threshold = 0;

	return ign_str_set(json_object_get(clevis, "custom"), "pin") ||
	       ign_len(clevis, "tang") > 0 || ign_true(clevis, "tpm2") ||
	       (ign_int(clevis, "threshold", &threshold) && threshold);
}

/* A key of a CEX card is the only one. */
static int check_cex(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	if (!ign_true(json_object_get(o, "cex"), "enabled"))
		return 0;
	if (!has_clevis(json_object_get(o, "clevis")) &&
	    !ign_str_set(json_object_get(o, "keyFile"), "source"))
		return 0;
	return ign_say(r, IGN_ERROR, at, "cex", e, "excludes clevis and keyFile");
}

int ign_check_luks(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const json_t *clevis = json_object_get(o, "clevis");
	const json_t *custom = json_object_get(clevis, "custom");
	const char *name = ign_str(o, "name"), *label = ign_str(o, "label");
	json_int_t threshold = 0;
	int n = ign_check_path(r, at, o, "device", e);

	if (n >= 0 && name && strchr(name, '/'))
		n = ign_say(r, IGN_ERROR, at, "name", e, "must not hold a slash");
	if (n >= 0 && label && strlen(label) > 47)
		n = ign_say(r, IGN_ERROR, at, "label", e, "is longer than 47 bytes");
	(void)ign_int(clevis, "threshold", &threshold);
	if (n >= 0 && (r->minor == 2 ? custom != NULL : ign_str_set(custom, "pin") != NULL) &&
	    (ign_len(clevis, "tang") > 0 || ign_true(clevis, "tpm2") || threshold != 0))
		n = ign_say(r, IGN_ERROR, at, "clevis", e,
			    "has custom and others: leave one of them");
	return n < 0 ? n : check_cex(r, at, o, e);
}

int ign_check_custom(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *pin = ign_str_set(o, "pin"), *config = ign_str_set(o, "config");
	bool network = r->minor > 2 && ign_true(o, "needsNetwork");
	int n = 0;

	if (!pin && !config && !network)
		return 0;
	if (!pin ||
	    (strcmp(pin, "tpm2") != 0 && strcmp(pin, "tang") != 0 && strcmp(pin, "sss") != 0))
		n = ign_say(r, IGN_ERROR, at, "pin", e, "must be tpm2, tang or sss");
	if (n >= 0 && !config)
		n = ign_say(r, IGN_ERROR, at, "config", e, "is missing");
	return n;
}

int ign_check_tang(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *url = ign_str(o, "url"), *advertisement = ign_str_set(o, "advertisement");
	enum ign_scheme scheme = IGN_URL_NONE;
	struct err why = ERR_INIT;
	AUTO_JSON *j = NULL;
	int n = 0;

	if (!url || ign_url_check(url, &scheme, &why) < 0 ||
	    (scheme != IGN_URL_HTTP && scheme != IGN_URL_HTTPS))
		n = ign_say(r, IGN_ERROR, at, "url", e, "must be http:// or https://");
	if (n >= 0 && !ign_str_set(o, "thumbprint"))
		n = ign_say(r, IGN_ERROR, at, "thumbprint", e, "is missing");
	if (n >= 0 && advertisement &&
	    json_read(advertisement, strlen(advertisement), NULL, "it", &j, &why) < 0)
		n = ign_say(r, IGN_ERROR, at, "advertisement", e, "is not JSON");
	return n;
}
