/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/schema.h"

#include <stdio.h>
#include <string.h>

#include "ignition-lite/check.h"

#define S  IGN_TYPE_STRING
#define I  IGN_TYPE_INT
#define B  IGN_TYPE_BOOL
#define O  IGN_TYPE_OBJECT
#define SS IGN_TYPE_STRINGS
#define OO IGN_TYPE_OBJECTS

#define FIELDS(a) .field = (a), .fields = sizeof(a) / sizeof((a)[0])

static const struct ign_field header_fields[] = {
	{ "name", S },
	{ "value", S },
};
const struct ign_object ign_header_schema = { FIELDS(header_fields), .key = "name",
					      .check = ign_check_header };

static const struct ign_field verification_fields[] = {
	{ "hash", S },
};
static const struct ign_object verification = { FIELDS(verification_fields),
						.check = ign_check_verification };

/* the contents of files had compression from the start */
static const struct ign_field contents_fields[] = {
	{ "compression", S },
	{ "httpHeaders", OO, &ign_header_schema, 1 },
	{ "source", S },
	{ "verification", O, &verification },
};
static const struct ign_object contents = { FIELDS(contents_fields), .key = "source",
					    .check = ign_check_resource };

static const struct ign_field resource_fields[] = {
	{ "compression", S, NULL, 1 },
	{ "httpHeaders", OO, &ign_header_schema, 1 },
	{ "source", S },
	{ "verification", O, &verification },
};
static const struct ign_object resource = { FIELDS(resource_fields), .key = "source",
					    .check = ign_check_resource };

/* ---- ignition ---- */

static const struct ign_field ignition_config_fields[] = {
	{ "merge", OO, &resource },
	{ "replace", O, &resource },
};
static const struct ign_object ignition_config = { FIELDS(ignition_config_fields),
						   .check = ign_check_ignition_config };

static const struct ign_field proxy_fields[] = {
	{ "httpProxy", S },
	{ "httpsProxy", S },
	{ "noProxy", SS },
};
static const struct ign_object proxy = { FIELDS(proxy_fields), .check = ign_check_proxy };

static const struct ign_field tls_fields[] = {
	{ "certificateAuthorities", OO, &resource },
};
static const struct ign_object tls = { FIELDS(tls_fields), .check = ign_check_tls };

static const struct ign_field security_fields[] = {
	{ "tls", O, &tls },
};
static const struct ign_object security = { FIELDS(security_fields) };

static const struct ign_field timeouts_fields[] = {
	{ "httpResponseHeaders", I },
	{ "httpTotal", I },
};
static const struct ign_object timeouts = { FIELDS(timeouts_fields), .check = ign_check_timeouts };

static const struct ign_field ignition_fields[] = {
	{ "config", O, &ignition_config }, { "proxy", O, &proxy, 1 }, { "security", O, &security },
	{ "timeouts", O, &timeouts },      { "version", S },
};
static const struct ign_object ignition = { FIELDS(ignition_fields) };

/* ---- kernelArguments, passwd, systemd ---- */

static const struct ign_field kargs_fields[] = {
	{ "shouldExist", SS, .shares_keys = true },
	{ "shouldNotExist", SS, .shares_keys = true },
};
static const struct ign_object kargs = { FIELDS(kargs_fields), .check = ign_check_kargs };

static const struct ign_field group_fields[] = {
	{ "gid", I },    { "name", S }, { "passwordHash", S }, { "shouldExist", B, NULL, 2 },
	{ "system", B },
};
static const struct ign_object group = { FIELDS(group_fields), .key = "name",
					 .check = ign_check_group };

static const struct ign_field user_fields[] = {
	{ "gecos", S },        { "groups", SS },
	{ "homeDir", S },      { "name", S },
	{ "noCreateHome", B }, { "noLogInit", B },
	{ "noUserGroup", B },  { "passwordHash", S },
	{ "primaryGroup", S }, { "sshAuthorizedKeys", SS },
	{ "shell", S },        { "shouldExist", B, NULL, 2 },
	{ "system", B },       { "uid", I },
};
static const struct ign_object user = { FIELDS(user_fields), .key = "name",
					.check = ign_check_user };

static const struct ign_field passwd_fields[] = {
	{ "groups", OO, &group },
	{ "users", OO, &user },
};
static const struct ign_object passwd = { FIELDS(passwd_fields) };

static const struct ign_field dropin_fields[] = {
	{ "contents", S },
	{ "name", S },
};
static const struct ign_object dropin = { FIELDS(dropin_fields), .key = "name",
					  .check = ign_check_dropin };

static const struct ign_field unit_fields[] = {
	{ "contents", S }, { "dropins", OO, &dropin }, { "enabled", B }, { "mask", B },
	{ "name", S },
};
static const struct ign_object unit = { FIELDS(unit_fields), .key = "name",
					.check = ign_check_unit };

static const struct ign_field systemd_fields[] = {
	{ "units", OO, &unit },
};
static const struct ign_object systemd = { FIELDS(systemd_fields), .check = ign_check_systemd };

/* ---- storage: files, directories, links ---- */

static const struct ign_field owner_fields[] = {
	{ "id", I },
	{ "name", S },
};
static const struct ign_object owner = { FIELDS(owner_fields), .check = ign_check_owner };

static const struct ign_field directory_fields[] = {
	{ "group", O, &owner }, { "mode", I },         { "overwrite", B },
	{ "path", S },          { "user", O, &owner },
};
static const struct ign_object directory = { FIELDS(directory_fields), .key = "path",
					     .check = ign_check_directory };

static const struct ign_field file_fields[] = {
	{ "append", OO, &contents, .concat = true },
	{ "contents", O, &contents },
	{ "group", O, &owner },
	{ "mode", I },
	{ "overwrite", B },
	{ "path", S },
	{ "user", O, &owner },
};
static const struct ign_object file = { FIELDS(file_fields), .key = "path",
					.check = ign_check_file };

static const struct ign_field link_fields[] = {
	{ "group", O, &owner }, { "hard", B },   { "overwrite", B },
	{ "path", S },          { "target", S }, { "user", O, &owner },
};
static const struct ign_object symlink = { FIELDS(link_fields), .key = "path",
					   .check = ign_check_link };

/* ---- storage: what stands on disks ---- */

static const struct ign_field partition_fields[] = {
	{ "guid", S },
	{ "label", S },
	{ "number", I },
	{ "resize", B, NULL, 2 },
	{ "shouldExist", B },
	{ "sizeMiB", I },
	{ "startMiB", I },
	{ "typeGuid", S },
	{ "wipePartitionEntry", B },
};
static const struct ign_object partition = { FIELDS(partition_fields), .key = "number",
					     .check = ign_check_partition };

static const struct ign_field disk_fields[] = {
	{ "device", S },
	{ "partitions", OO, &partition },
	{ "wipeTable", B },
};
static const struct ign_object disk = { FIELDS(disk_fields), .key = "device",
					.check = ign_check_disk };

static const struct ign_field filesystem_fields[] = {
	{ "device", S },
	{ "format", S },
	{ "label", S },
	{ "mountOptions", SS, NULL, 1, .concat = true },
	{ "options", SS, .concat = true },
	{ "path", S },
	{ "uuid", S },
	{ "wipeFilesystem", B },
};
static const struct ign_object filesystem = { FIELDS(filesystem_fields), .key = "device",
					      .check = ign_check_filesystem };

static const struct ign_field raid_fields[] = {
	{ "devices", SS }, { "level", S }, { "name", S }, { "options", SS, .concat = true },
	{ "spares", I },
};
static const struct ign_object raid = { FIELDS(raid_fields), .key = "name",
					.check = ign_check_raid };

static const struct ign_field tang_fields[] = {
	{ "advertisement", S, NULL, 4 },
	{ "thumbprint", S },
	{ "url", S },
};
static const struct ign_object tang = { FIELDS(tang_fields), .key = "url",
					.check = ign_check_tang };

static const struct ign_field custom_fields[] = {
	{ "config", S },
	{ "needsNetwork", B },
	{ "pin", S },
};
static const struct ign_object custom = { FIELDS(custom_fields), .check = ign_check_custom };

static const struct ign_field clevis_fields[] = {
	{ "custom", O, &custom },
	{ "tang", OO, &tang },
	{ "threshold", I },
	{ "tpm2", B },
};
static const struct ign_object clevis = { FIELDS(clevis_fields) };

static const struct ign_field cex_fields[] = {
	{ "enabled", B },
};
static const struct ign_object cex = { FIELDS(cex_fields) };

static const struct ign_field luks_fields[] = {
	{ "cex", O, &cex, 5 },
	{ "clevis", O, &clevis },
	{ "device", S },
	{ "discard", B, NULL, 4 },
	{ "keyFile", O, &contents },
	{ "label", S },
	{ "name", S },
	{ "openOptions", SS, NULL, 4 },
	{ "options", SS, .concat = true },
	{ "uuid", S },
	{ "wipeVolume", B },
};
static const struct ign_object luks = { FIELDS(luks_fields), .key = "name",
					.check = ign_check_luks };

static const struct ign_field storage_fields[] = {
	{ "directories", OO, &directory, .shares_keys = true },
	{ "disks", OO, &disk },
	{ "files", OO, &file, .shares_keys = true },
	{ "filesystems", OO, &filesystem },
	{ "links", OO, &symlink, .shares_keys = true },
	{ "luks", OO, &luks, 2 },
	{ "raid", OO, &raid },
};
static const struct ign_object storage = { FIELDS(storage_fields), .check = ign_check_storage };

static const struct ign_field root_fields[] = {
	{ "ignition", O, &ignition }, { "kernelArguments", O, &kargs, 3 }, { "passwd", O, &passwd },
	{ "storage", O, &storage },   { "systemd", O, &systemd },
};
const struct ign_object ign_schema = { FIELDS(root_fields), .check = ign_check_root };

const struct ign_field *ign_field_find(const struct ign_object *o, const char *name)
{
	for (size_t i = 0; i < o->fields; i++)
		if (strcmp(o->field[i].name, name) == 0)
			return &o->field[i];
	return NULL;
}

const char *ign_key(const struct ign_field *f, const json_t *v, char room[IGN_KEY_MAX])
{
	const char *s;

	if (f->type == IGN_TYPE_STRINGS)
		return json_string_value(v);
	if (f->of == &partition) {
		json_int_t n = 0;

		if (ign_int(v, "number", &n) && n != 0)
			(void)snprintf(room, IGN_KEY_MAX, "number:%" JSON_INTEGER_FORMAT, n);
		else if (ign_str(v, "label"))
			(void)snprintf(room, IGN_KEY_MAX, "label:%s", ign_str(v, "label"));
		else
			room[0] = '\0';
		return room;
	}
	s = ign_str(v, f->of->key);
	return s ? s : "";
}
