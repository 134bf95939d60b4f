/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/azure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "ignition-lite/http.h"
#include "ignition-lite/root.h"
#include "ignition-lite/url.h"

enum { IMDS_TOTAL_S = 120, BODY_MAX = 1 << 20 };

static int body_begin(void *arg, struct err *e)
{
	struct buf *b = arg;

	(void)e;
	b->n = 0;
	return 0;
}

static int body_add(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

int ign_azure_imds(const char *imds, const struct ign_load *l, struct buf *ret, struct err *e)
{
	static const struct ign_header header = { .name = "Metadata", .value = "true" };
	struct ign_http h = { .timeouts = { .has_total = true,
					    .total_s = l->timeout_s ? l->timeout_s : IMDS_TOTAL_S },
			      .note = l->note,
			      .note_arg = l->note_arg };
	AUTO_BUF body = { .max = BODY_MAX };
	AUTO_BUF data = { .max = BODY_MAX + 64 };
	struct ign_http_sink sink = { .begin = body_begin, .add = body_add, .arg = &body };
	char url[512];
	struct ign_http_get get = {
		.url = url, .header = &header, .headers = 1, .kind = IGN_HTTP_IMDS
	};
	int r;

	(void)snprintf(url, sizeof(url),
		       "%s/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
		       imds ? imds : IGN_IMDS);
	r = ign_http_get(&h, &get, &sink, e);
	while (r == 0 && body.n > 0 && strchr(" \t\r\n", body.p[body.n - 1]))
		body.n--;
	if (r < 0 || body.n == 0)
		return r < 0 ? err_wrap(e, r, "azure user data") : 0;
	r = buf_addf(&data, e, "data:;base64,");
	if (r == 0)
		r = buf_add(&data, body.p, body.n, e);
	if (r == 0)
		r = ign_url_data(data.p, ret, e);
	return r < 0 ? err_wrap(e, r, "azure user data is not base64") : 0;
}

/* 0 also when one of the two files is not there. */
static int read_custom(const char *dir, struct buf *ret, struct err *e)
{
	AUTO_IGN_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	size_t n;
	int r;

	if (fd < 0 || faccessat(fd, "ovf-env.xml", F_OK, 0) < 0 ||
	    faccessat(fd, "CustomData.bin", F_OK, 0) < 0)
		return 0;
	r = file_read(sys_linux(), fd, "CustomData.bin", IGN_CONFIG_MAX, &text, &n, e);
	return r < 0 ? r : buf_add(ret, text, n, e);
}

int ign_azure_cdrom(const char *host, struct buf *ret, struct err *e)
{
	static const char *const devices[] = { "/dev/disk/by-id/ata-Virtual_CD", "/dev/sr0",
					       "/dev/sr1" };
	static const char *const types[] = { "udf", "iso9660" };
	char dir[] = "/run/ignition-lite.XXXXXX", below[PATH_MAX];
	struct stat st;
	int r = 0;

	if (host[0]) {
		(void)snprintf(below, sizeof(below), "%s/media/cdrom", host);
		return read_custom(below, ret, e);
	}
	if (!mkdtemp(dir))
		return err_set(e, ERR_HOST, errno, "make '%s': %s", dir, strerror(errno));
	for (size_t i = 0; r == 0 && ret->n == 0 && i < 6; i++) {
		const char *device = devices[i / 2];

		if (stat(device, &st) < 0 ||
		    mount(device, dir, types[i % 2], MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			  NULL) < 0)
			continue;
		r = read_custom(dir, ret, e);
		(void)umount2(dir, MNT_DETACH);
	}
	(void)rmdir(dir);
	return r;
}
