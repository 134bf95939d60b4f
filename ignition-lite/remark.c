/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/remark.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MAX = 8192 };

/* The beginning of a small file; "" when it is not there. */
static int peek(const struct ign_root *root, const char *path, char out[LOOK_MAX], struct err *e)
{
	AUTO_IGN_FD fd = -1;
	ssize_t n = 0;
	int r = ign_root_read_open(root, path, &fd, e);

	out[0] = '\n';
	out[1] = '\0';
	if (r < 0 || fd < 0)
		return r;
	do
		n = read(fd, out + 1, LOOK_MAX - 2);
	while (n < 0 && errno == EINTR);
	out[n > 0 ? 1 + n : 1] = '\0';
	return 0;
}

static bool enables(const struct ign_plan *p)
{
	for (size_t i = 0; i < p->presets; i++)
		if (p->preset[i].enable)
			return true;
	return false;
}

static bool is_policy(const char *config)
{
	return strstr(config, "\nSELINUX=enforcing") || strstr(config, "\nSELINUX=permissive");
}

int ign_remarks(const struct ign_root *root, const struct ign_plan *p,
		void (*say)(void *arg, const char *text), void *arg, struct err *e)
{
	char text[LOOK_MAX];
	int r = peek(root, "/etc/machine-id", text, e);

	/* see machine-id(5), "First Boot Semantics" */
	if (r == 0 && text[1] && strncmp(text + 1, "uninitialized", 13) != 0 && enables(p))
		say(arg,
		    "this root has a machine id, so systemd takes the next boot for no first one "
		    "and enables no unit by presets; an image must come without "
		    "/etc/machine-id, or with 'uninitialized' in it");
	if (r == 0)
		r = peek(root, "/etc/selinux/config", text, e);
	if (r == 0 && is_policy(text))
		say(arg,
		    "this root has an SELinux policy, and ignition-lite sets no labels; let the "
		    "host relabel itself at its first boot (/.autorelabel)");
	return r;
}
