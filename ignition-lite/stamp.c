/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "ignition-lite/files.h"

enum { TEXT_MAX = 64 << 10 };

/* 1 and *ret, 0 if there is none. */
static int read_doc(const struct ign_root *root, const char *path, json_t **ret, struct err *e)
{
	static const struct json_limits lim = { .bytes = TEXT_MAX, .depth = 16 };
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	AUTO_FREE char *text = NULL;
	struct stat st = { .st_mode = 0 };
	size_t n = 0;
	int r = ign_root_find(root, path, false, &s, e);

	if (r == 0)
		r = ign_spot_stat(&s, &st, e);
	if (r <= 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_HOST, EINVAL, "'%s' is no regular file", path);
	r = file_read(sys_linux(), s.dir, s.name, TEXT_MAX, &text, &n, e);
	if (r == 0)
		r = json_read(text, n, &lim, path, ret, e);
	return r < 0 ? r : 1;
}

int ign_stamp_read(const struct ign_root *root, struct ign_stamp *ret, struct err *e)
{
	AUTO_JSON *doc = NULL;
	const char *run = "", *config = "", *date = "";
	int r = read_doc(root, IGN_STAMP, &doc, e);

	if (r <= 0)
		return r;
	r = json_get_str(doc, "run", IGN_STAMP, &run, e);
	if (r == 0)
		r = json_get_str(doc, "configHash", IGN_STAMP, &config, e);
	if (r == 0)
		r = json_get_str(doc, "date", IGN_STAMP, &date, e);
	if (r < 0)
		return r;
	(void)snprintf(ret->run, sizeof(ret->run), "%s", run);
	(void)snprintf(ret->config, sizeof(ret->config), "%s",
		       strncmp(config, "sha256-", 7) == 0 ? config + 7 : "");
	(void)snprintf(ret->date, sizeof(ret->date), "%s", date);
	return 1;
}

static int put_hash(json_t *doc, const struct ign_stamp *s, struct err *e)
{
	char text[SHA256_HEX_MAX + 8];

	(void)snprintf(text, sizeof(text), "%s%s", s->config[0] ? "sha256-" : "", s->config);
	return json_put_str(doc, "configHash", text, e);
}

int ign_stamp_write(const struct ign_root *root, const struct ign_stamp *s, struct err *e)
{
	AUTO_IGN_SPOT spot = IGN_SPOT_INIT;
	AUTO_JSON *doc = json_object();
	AUTO_BUF text = { .max = TEXT_MAX };
	int r = ign_root_find(root, IGN_STAMP, true, &spot, e);

	if (r == 0)
		r = json_put_str(doc, "run", s->run, e);
	if (r == 0)
		r = put_hash(doc, s, e);
	if (r == 0)
		r = json_put_str(doc, "date", s->date, e);
	if (r == 0)
		r = json_write(doc, true, &text, e);
	return r < 0 ? r : file_replace(sys_linux(), spot.dir, spot.name, text.p, text.n, e);
}

int ign_stamp_withdraw(const struct ign_root *root, const char *run, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct ign_stamp found = { .run = "" };
	int r = ign_stamp_read(root, &found, e);

	if (r > 0 && strcmp(found.run, run) != 0)
		return 0;
	/* also when there is none: the sync of an earlier removal may have failed */
	if (r >= 0)
		r = ign_root_find(root, IGN_STAMP, false, &s, e);
	return r < 0 || s.dir < 0 ? r : file_remove(sys_linux(), s.dir, s.name, e);
}

static void boot_id(char out[64])
{
	AUTO_IGN_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, 63) : 0;

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static int result_doc(const struct ign_stamp *s, bool user, json_t *previous, json_t *doc,
		      struct err *e)
{
	char id[64];
	int r;

	boot_id(id);
	r = json_put_str(doc, "provisioningBootID", id, e);
	if (r == 0)
		r = json_put_str(doc, "provisioningDate", s->date, e);
	if (r == 0)
		r = json_put(doc, "userConfigProvided", json_boolean(user), e);
	if (r == 0)
		r = put_hash(doc, s, e);
	if (r == 0)
		r = json_put_str(doc, "provisionedBy", "ignition-lite " PROA_VERSION, e);
	if (r < 0 || !previous)
		return r;
	(void)json_object_del(previous, "previousReport");
	return json_put(doc, "previousReport", json_incref(previous), e);
}

int ign_result_write(const struct ign_root *root, const struct ign_stamp *s, bool user,
		     struct ign_undo *u, struct err *e)
{
	static const struct ign_attr attr = { .mode = 0600 };
	AUTO_JSON *doc = json_object();
	AUTO_JSON *previous = NULL;
	AUTO_BUF text = { .max = TEXT_MAX };
	int r;

	/* one that is damaged is none: it must not stop a host */
	if (read_doc(root, IGN_RESULT, &previous, NULL) <= 0 || !json_is_object(previous))
		r = result_doc(s, user, NULL, doc, e);
	else
		r = result_doc(s, user, previous, doc, e);
	if (r == 0)
		r = json_write(doc, true, &text, e);
	return r < 0 ? r : ign_files_put(u, IGN_RESULT, text.p, text.n, &attr, e);
}
