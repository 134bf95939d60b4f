/* SPDX-License-Identifier: Apache-2.0 */
/* ign-merge-cli PARENT CHILD: prints the merged config, for tests/integration. */
#include <fcntl.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/sys.h"
#include "ignition-lite/config.h"

static int load(const char *name, struct ign_report *rep, struct ign_config **ret, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = file_read(sys_linux(), AT_FDCWD, name, IGN_CONFIG_MAX, &b.p, &b.n, e);

	if (r >= 0)
		r = ign_config_read(b.p, b.n, name, rep, ret, e);
	if (r == 0)
		r = ign_config_empty(ret, e);
	return r;
}

int main(int argc, char **argv)
{
	AUTO_IGN_CONFIG *parent = NULL, *child = NULL, *merged = NULL;
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r;

	if (argc != 3)
		return 2;
	r = load(argv[1], &rep, &parent, &e);
	if (r >= 0)
		r = load(argv[2], &rep, &child, &e);
	if (r >= 0)
		r = ign_config_merge(parent, child, &rep, &merged, &e);
	if (r >= 0)
		r = ign_config_write(merged, &b, &e);
	if (r < 0) {
		(void)fprintf(stderr, "ign-merge-cli: %s\n", e.text);
		return 1;
	}
	return puts(b.p) < 0;
}
