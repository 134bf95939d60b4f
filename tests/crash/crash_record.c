/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cut and I/O error at every call of record_store() and record_reset(): the old or the new
 * record, never none and never a third; then the next start can store.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/sys.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"
#include "updater/record/record.h"

#define DIR_PATH "/var/lib/proa"

struct state {
	unsigned before; /* stores that went well */
	bool reset;      /* both copies damaged, record_reset() */
	int r;
	unsigned cut, worlds;
};

static struct record rec, got; /* large */

static int dir_open(struct sys *sys)
{
	return sys->ops->open(sys, AT_FDCWD, DIR_PATH, O_RDONLY | O_DIRECTORY, 0);
}

static int store(struct sys *sys, struct err *e)
{
	AUTO_SYS_FD dir = { .sys = sys, .fd = dir_open(sys) };
	AUTO_SYS_FD lock = { .sys = sys, .fd = -1 };
	struct record_event ev = { .kind = RECORD_EV_STAGED };
	int r = dir.fd;

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "open");
	r = record_lock(sys, dir.fd, &lock, e);
	if (r >= 0)
		r = record_load(sys, dir.fd, &rec, e);
	if (r < 0)
		return r;
	record_add_event(&rec, &ev);
	return record_store(sys, dir.fd, &rec, e);
}

static int reset(struct sys *sys, struct err *e)
{
	AUTO_SYS_FD dir = { .sys = sys, .fd = dir_open(sys) };

	return dir.fd < 0 ? err_set(e, ERR_HOST, -dir.fd, "open") : record_reset(sys, dir.fd, e);
}

static void check_loaded(const struct state *s, const struct sim *w, int r)
{
	if (s->reset) {
		CHECK(r >= 0 || (r == -EUCLEAN && s->r < 0), "reset: cut=%u %s", s->cut,
		      w->outcome);
		return;
	}
	CHECK(r >= 0, "lost: cut=%u %s", s->cut, w->outcome);
	CHECK(got.seq == s->before || got.seq == s->before + 1, "cut=%u: %llu", s->cut,
	      (unsigned long long)got.seq);
	CHECK(s->r < 0 || got.seq == s->before + 1, "success, but old: cut=%u %s", s->cut,
	      w->outcome);
	CHECK(got.n_event == got.seq && got.damaged == 0, "cut=%u %s", s->cut, w->outcome);
}

static void check_world(void *arg, struct sim *w, enum sim_view view)
{
	struct state *s = arg;
	struct sys *sys = sim_sys(w);
	struct err e = ERR_INIT;
	int dir = dir_open(sys);

	(void)view;
	s->worlds++;
	CHECK(dir >= 0, "directory");
	check_loaded(s, w, record_load(sys, dir, &got, &e));
	(void)sys->ops->close(sys, dir);
	if (s->reset)
		CHECK(reset(sys, &e) >= 0, "reset again: cut=%u %s", s->cut, e.text);
	CHECK(store(sys, &e) >= 0, "stuck: cut=%u %s: %s", s->cut, w->outcome, e.text);
	CHECK(sim_open_fds(w) == 0, "descriptors left open");
}

static unsigned run(struct state *s, unsigned crash_at, unsigned fail_at, int fail_errno)
{
	static const struct sim_plan plan = { .seed = 1, .max = 200 };
	struct err e = ERR_INIT;
	struct sim sim;
	unsigned calls;

	sim_init(&sim);
	sim_dir(&sim, DIR_PATH, SIM_POSIX);
	for (unsigned i = 0; i < s->before; i++)
		CHECK(store(sim_sys(&sim), &e) >= 0, "%s", e.text);
	if (s->reset) {
		sim_file(&sim, DIR_PATH "/record.0", "proa", 4);
		sim_file(&sim, DIR_PATH "/record.1", "", 0);
	}
	sim_settle(&sim);
	sim_rearm(&sim);
	sim.write_max = 300;
	sim.crash_at = crash_at;
	sim.fail_at = fail_at;
	sim.fail_errno = fail_errno;
	s->cut = crash_at ? crash_at : fail_at;
	s->r = s->reset ? reset(sim_sys(&sim), &e) : store(sim_sys(&sim), &e);
	CHECK((s->r < 0) == (e.kind != ERR_NONE), "r=%d: %s", s->r, e.text);
	CHECK(s->r >= 0 || crash_at || fail_at, "failed without a reason: %s", e.text);
	(void)sim_outcomes(&sim, &plan, check_world, s);
	calls = crash_at ? sim.changes : sim.calls;
	sim_done(&sim);
	return calls;
}

int main(void)
{
	struct state s = { .r = 0 };

	for (unsigned i = 0; i < 4; i++) {
		unsigned calls;

		s.before = i < 3 ? i : 0;
		s.reset = i == 3;
		calls = run(&s, 0, 0, EIO);
		for (unsigned k = 1; k <= calls; k++) {
			(void)run(&s, k, 0, EIO);
			(void)run(&s, 0, k, EIO);
			(void)run(&s, 0, k, ENOSPC);
		}
	}
	printf("%u worlds\n", s.worlds);
	return 0;
}
