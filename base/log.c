/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* the place in our source says nothing to who reads a journal; MESSAGE_ID does */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/err.h"
#include "base/text.h"

enum { LINE_BYTES = 2048, FIELDS_MAX = 32, HEAD_MAX = 4 };

void log_open(const char *name)
{
	/* the C library's own place for it, so that none of ours is needed */
	memcpy(&program_invocation_short_name, &name, sizeof(name));
}

/* JOURNAL_STREAM tells device and inode of the socket that is stderr when journald reads it. */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;
	char *end;

	if (!s || fstat(STDERR_FILENO, &st) < 0)
		return false;
	dev = strtoumax(s, &end, 10);
	if (*end != ':')
		return false;
	ino = strtoumax(end + 1, &end, 10);
	return *end == '\0' && dev == st.st_dev && ino == st.st_ino;
}

static struct iovec field(const char *s)
{
	struct iovec v = { .iov_len = strlen(s) };

	memcpy(&v.iov_base, &s, sizeof(s));
	return v;
}

static int to_journal(int priority, const char *msg_id, const char *const *fields, const char *line)
{
	char text[LINE_BYTES + 16], level[16], id[64], name[80];
	struct iovec iov[HEAD_MAX + FIELDS_MAX];
	int n = 0;

	(void)snprintf(text, sizeof(text), "MESSAGE=%s", line);
	(void)snprintf(level, sizeof(level), "PRIORITY=%d", priority);
	(void)snprintf(name, sizeof(name), "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
	iov[n++] = field(text);
	iov[n++] = field(level);
	iov[n++] = field(name);
	if (msg_id) {
		(void)snprintf(id, sizeof(id), "MESSAGE_ID=%s", msg_id);
		iov[n++] = field(id);
	}
	for (int i = 0; fields && fields[i] && i < FIELDS_MAX; i++)
		iov[n++] = field(fields[i]);
	return sd_journal_sendv(iov, n);
}

void log_event(int priority, const char *msg_id, const char *const *fields, const char *fmt, ...)
{
	char raw[LINE_BYTES], line[LINE_BYTES];
	va_list ap;

	if (!(setlogmask(0) & LOG_MASK(priority)))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	(void)text_clean(raw, strlen(raw), line, sizeof(line));
	if (stderr_is_journal() && to_journal(priority, msg_id, fields, line) >= 0)
		return;
	(void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

void log_err(const struct err *e, const char *what)
{
	char kind[32], os[32];
	const char *const fields[] = { kind, os, NULL };

	(void)snprintf(kind, sizeof(kind), "PROA_KIND=%s", err_kind_name(e->kind));
	(void)snprintf(os, sizeof(os), "ERRNO=%d", e->os);
	log_event(LOG_ERR, MSG_FAILED, fields, "%s%s%s", what ? what : "", what ? ": " : "",
		  e->text);
}
