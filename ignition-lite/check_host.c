/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/check.h"
#include "ignition-lite/unit_text.h"

/* Accounts and units. */

enum { ACCOUNT_NAME_MAX = 256 };

/* ---- accounts ---- */

/* What would break a line of passwd(5) or group(5), or lead useradd(8) astray. */
static bool is_account_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= ACCOUNT_NAME_MAX && *s != '-' && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0 && !strpbrk(s, ":,/ \\\"") && !ign_has_control(s);
}

static int check_name(struct ign_read *r, const struct ign_at *at, const json_t *o, const char *key,
		      struct err *e)
{
	const char *s = ign_str(o, key);

	if (s && is_account_name(s))
		return 0;
	return ign_say(r, IGN_ERROR, at, key, e,
		       s && *s ? "is not a name an account may have" : "is missing");
}

/* A field of passwd(5). */
static int check_field(struct ign_read *r, const struct ign_at *at, const json_t *o,
		       const char *key, struct err *e)
{
	const char *s = ign_str(o, key);

	if (!s || (!strchr(s, ':') && !ign_has_control(s)))
		return 0;
	return ign_say(r, IGN_ERROR, at, key, e, "must not hold a colon or control characters");
}

static int check_id(struct ign_read *r, const struct ign_at *at, const json_t *o, const char *key,
		    struct err *e)
{
	json_int_t id;

	if (!ign_int(o, key, &id) || (id >= 0 && id < UINT32_MAX))
		return 0;
	return ign_say(r, IGN_ERROR, at, key, e, "must be from 0 to 4294967294");
}

int ign_check_group(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	int n = check_name(r, at, o, "name", e);

	if (n >= 0)
		n = check_field(r, at, o, "passwordHash", e);
	return n < 0 ? n : check_id(r, at, o, "gid", e);
}

static int check_member_of(struct ign_read *r, const struct ign_at *up, const json_t *o,
			   struct err *e)
{
	struct ign_at at = { .up = up, .key = "groups" };
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(o, "groups"), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };

		if (!is_account_name(json_string_value(v)))
			n = ign_say(r, IGN_ERROR, &here, NULL, e, "is not a name a group may have");
		if (n < 0)
			return n;
	}
	return 0;
}

static int check_home(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	return ign_str_set(o, "homeDir") ? ign_check_path(r, at, o, "homeDir", e) : 0;
}

int ign_check_user(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const char *const fields[] = { "passwordHash", "gecos", "homeDir", "shell",
					      "primaryGroup" };
	int n = check_name(r, at, o, "name", e);

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && n >= 0; i++)
		n = check_field(r, at, o, fields[i], e);
	if (n >= 0)
		n = check_home(r, at, o, e);
	if (n >= 0)
		n = check_id(r, at, o, "uid", e);
	return n < 0 ? n : check_member_of(r, at, o, e);
}

/* ---- units ---- */

/* From the last dot on; "" without one. */
static const char *suffix_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot : "";
}

static bool is_unit_suffix(const char *s)
{
	static const char *const all[] = { ".service",   ".socket",   ".device", ".mount",
					   ".automount", ".swap",     ".target", ".path",
					   ".timer",     ".snapshot", ".slice",  ".scope" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(s, all[i]) == 0)
			return true;
	return false;
}

/* systemd.unit(5): ASCII letters, digits, : - _ . \ and @ */
static bool is_unit_name(const char *s)
{
	static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    ":-_.\\@";

	return strspn(s, valid) == strlen(s) && strlen(s) <= NAME_MAX && *s != '.' && *s != '@';
}

static int check_contents(struct ign_read *r, const struct ign_at *at, const json_t *o,
			  bool *ret_install, struct err *e)
{
	const char *contents = ign_str(o, "contents");
	const char *fault = contents ? ign_unit_text_fault(contents, ret_install) : NULL;

	return fault ? ign_say(r, IGN_ERROR, at, "contents", e, "%s", fault) : 0;
}

int ign_check_dropin(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *name = ign_str(o, "name");
	bool install = false;
	int n = check_contents(r, at, o, &install, e);

	if (n < 0)
		return n;
	if (!name || strcmp(suffix_of(name), ".conf") != 0)
		return ign_say(r, IGN_ERROR, at, "name", e, "must end in .conf");
	if (strchr(name, '/') || strlen(name) > NAME_MAX || ign_has_control(name))
		return ign_say(r, IGN_ERROR, at, "name", e, "is not the name of a file");
	return 0;
}

int ign_check_unit(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *name = ign_str(o, "name");
	bool install = false;
	int n = 0;

	if (!name || !is_unit_suffix(suffix_of(name)))
		n = ign_say(r, IGN_ERROR, at, "name", e,
			    "must end in .service or in another type of unit");
	else if (!is_unit_name(name))
		n = ign_say(r, IGN_ERROR, at, "name", e, "is not a name a unit may have");
	if (n >= 0)
		n = check_contents(r, at, o, &install, e);
	if (n >= 0 && ign_true(o, "enabled") && ign_str_set(o, "contents") && !install)
		n = ign_say(r, IGN_WARNING, at, "contents", e,
			    "has no [Install] section, so enabling it does nothing");
	return n;
}

/* The contents of the template of instance `name`; NULL: there are none. */
static int template_contents(const json_t *units, const char *name, const char **ret, struct err *e)
{
	const char *at = strchr(name, '@'), *dot = strrchr(name, '.');
	AUTO_BUF b = BUF_INIT;
	int n;

	*ret = NULL;
	if (!at || !dot || dot <= at + 1)
		return 0;
	n = buf_add(&b, name, (size_t)(at + 1 - name), e);
	if (n >= 0)
		n = buf_addf(&b, e, "%s", dot);
	if (n >= 0)
		*ret = ign_str_set(json_object_get(units, b.p), "contents");
	return n;
}

int ign_check_systemd(struct ign_read *r, const struct ign_at *up, const json_t *o, struct err *e)
{
	struct ign_at at = { .up = up, .key = "units" };
	AUTO_JSON *units = NULL;
	const json_t *u;
	size_t i;
	int n = ign_names_of(o, "units", "name", &units, e);

	if (n < 0)
		return n;
	json_array_foreach(json_object_get(o, "units"), i, u)
	{
		struct ign_at here = { .up = &at, .index = i };
		const char *name = ign_str(u, "name");
		const char *contents = NULL;
		bool install = false;

		if (name && ign_true(u, "enabled"))
			n = template_contents(units, name, &contents, e);
		if (n >= 0 && contents && !ign_unit_text_fault(contents, &install) && !install)
			n = ign_say(r, IGN_WARNING, &here, "name", e,
				    "is enabled, but its template has no [Install] section");
		if (n < 0)
			return n;
	}
	return 0;
}
