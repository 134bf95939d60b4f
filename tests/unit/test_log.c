/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr; the journal's fields are seen in the VM scenarios. */
#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "tests/test.h"

/* What fn() wrote to stderr. */
static char *caught(void (*fn)(void), char *out, size_t cap)
{
	int real = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3),
	    fd = memfd_create("stderr", MFD_CLOEXEC);
	ssize_t n;

	CHECK(real >= 0 && fd >= 0 && dup2(fd, STDERR_FILENO) >= 0, "stderr");
	fn();
	CHECK(dup2(real, STDERR_FILENO) >= 0, "stderr");
	n = pread(fd, out, cap - 1, 0);
	CHECK(n >= 0, "pread");
	out[n] = '\0';
	(void)close(fd);
	(void)close(real);
	return out;
}

static void three_lines(void)
{
	const char *const fields[] = { "PROA_VERSION=1.1.0", NULL };
	struct err e = ERR_INIT;
	int r = err_set(&e, ERR_HOST, 28, "write 'x': No space left on device");

	log_event(LOG_INFO, MSG_STATE, fields, "state %s -> %s", "idle", "staging");
	log_event(LOG_NOTICE, NULL, NULL, "hostile \033[2J\nproad: forged line");
	log_err(&e, "stage 1.1.0");
	CHECK(r == -28, "%d", r);
}

static void masked(void)
{
	int before = setlogmask(LOG_UPTO(LOG_WARNING));

	log_event(LOG_INFO, NULL, NULL, "not wanted");
	log_event(LOG_WARNING, NULL, NULL, "wanted");
	(void)setlogmask(before);
}

static void endless(void)
{
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_event(LOG_INFO, NULL, NULL, "%s", text);
}

int main(void)
{
	char got[4096];

	log_open("proad");
	(void)caught(three_lines, got, sizeof(got));
	CHECK(strcmp(got, "proad: state idle -> staging\n"
			  "proad: hostile ?[2J?proad: forged line\n"
			  "proad: stage 1.1.0: write 'x': No space left on device\n") == 0,
	      "'%s'", got);
	(void)caught(masked, got, sizeof(got));
	CHECK(strcmp(got, "proad: wanted\n") == 0, "'%s'", got);
	(void)caught(endless, got, sizeof(got));
	CHECK(strlen(got) > 1000 && strlen(got) < 2100 &&
		      strchr(got, '\n') == got + strlen(got) - 1,
	      "%zu bytes", strlen(got));
	/* a stale variable, inherited from a service: the socket it names is not our stderr */
	CHECK(setenv("JOURNAL_STREAM", "8:12345", 1) == 0, "setenv");
	(void)caught(masked, got, sizeof(got));
	CHECK(strcmp(got, "proad: wanted\n") == 0, "'%s'", got);
	return 0;
}
