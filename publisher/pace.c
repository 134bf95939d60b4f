/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/pace.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "base/progress.h"

bool pace_stop_asked(void)
{
	sigset_t s;

	return sigpending(&s) == 0 &&
	       (sigismember(&s, SIGINT) == 1 || sigismember(&s, SIGTERM) == 1 ||
		sigismember(&s, SIGHUP) == 1);
}

int pace_stopped(struct err *e)
{
	return err_set(e, ERR_RETRY, ECANCELED, "stopped by a signal; the repository is as it was");
}

int pace_progress(void *bar, uint64_t done, uint64_t total)
{
	struct progress *p = bar;

	if (p) {
		p->total = total;
		progress_set(p, done, clock_mono_ms());
	}
	return pace_stop_asked() ? -1 : 0;
}
