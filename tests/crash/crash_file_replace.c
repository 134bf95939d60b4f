/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cut and I/O error at every call of file_replace(): old or new, never between. Then the next
 * start: file_replace() works again, whatever the cut left.
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/file.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"

#define DIR_PATH "/var/lib/proa"
#define PATH     DIR_PATH "/state"

static char old_data[1500], new_data[2500];

struct state {
	int r; /* what file_replace() had answered */
	unsigned cut, worlds;
	bool fresh; /* there was no old file */
};

static int replace(struct sys *sys, const void *data, size_t n)
{
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	struct err e = ERR_INIT;
	int r;

	dir.fd = sys->ops->open(sys, AT_FDCWD, DIR_PATH, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return dir.fd;
	r = file_replace(sys, dir.fd, "state", data, n, &e);
	CHECK((r < 0) == (e.kind != ERR_NONE), "result and error object disagree: r=%d", r);
	return r;
}

static void check_world(void *arg, struct sim *w, enum sim_view view)
{
	struct state *s = arg;
	size_t n = 0;
	char *got = sim_read(w, PATH, &n);
	bool is_old = got && n == sizeof(old_data) && !memcmp(got, old_data, n);
	bool is_new = got && n == sizeof(new_data) && !memcmp(got, new_data, n);

	s->worlds++;
	CHECK(is_old || is_new || (s->fresh && !got), "mixed: cut=%u %s n=%zu", s->cut, w->outcome,
	      n);
	CHECK(s->r < 0 || is_new, "success, but old: cut=%u %s", s->cut, w->outcome);
	free(got);
	if (view != SIM_OS)
		return;
	CHECK(replace(sim_sys(w), new_data, sizeof(new_data)) >= 0, "stuck: %s", w->outcome);
	CHECK(sim_volatile(w) == 0, "success, and %zu changes in the air", sim_volatile(w));
	CHECK(sim_open_fds(w) == 0, "descriptors left open");
}

static unsigned run(struct state *s, unsigned crash_at, unsigned fail_at, int fail_errno)
{
	static const struct sim_plan plan = { .seed = 1 };
	struct sim sim;
	unsigned calls;

	sim_init(&sim);
	sim_dir(&sim, DIR_PATH, SIM_POSIX);
	if (!s->fresh)
		sim_file(&sim, PATH, old_data, sizeof(old_data));
	sim.write_max = 1000;
	sim.crash_at = crash_at;
	sim.fail_at = fail_at;
	sim.fail_errno = fail_errno;
	s->cut = crash_at ? crash_at : fail_at;
	s->r = replace(sim_sys(&sim), new_data, sizeof(new_data));
	CHECK(s->r >= 0 || crash_at || fail_at, "failed without a reason: %d", s->r);
	(void)sim_outcomes(&sim, &plan, check_world, s);
	calls = crash_at ? sim.changes : sim.calls;
	sim_done(&sim);
	return calls;
}

int main(void)
{
	struct state s = { .r = 0 };
	unsigned calls;

	memset(old_data, 'o', sizeof(old_data));
	memset(new_data, 'n', sizeof(new_data));
	for (int fresh = 0; fresh < 2; fresh++) {
		s.fresh = fresh;
		calls = run(&s, 0, 0, 5);
		for (unsigned k = 1; k <= calls; k++) {
			(void)run(&s, k, 0, 5);
			(void)run(&s, 0, k, 5);  /* EIO */
			(void)run(&s, 0, k, 28); /* ENOSPC */
		}
	}
	printf("%u worlds\n", s.worlds);
	return 0;
}
