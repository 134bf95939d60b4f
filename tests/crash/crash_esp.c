/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cut at every change the ESP store makes. The running entry stays whole; what the loader can
 * see is whole or empty (it skips what is no PE file); after the next start the same step succeeds,
 * and then a further cut changes nothing. Once for FAT as its layout allows, once as vfat does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/digest.h"
#include "bootctl/esp.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"

enum { UKI_BYTES = 300000 };
#define LINUX   "/esp/EFI/Linux"
#define RUNNING "web_1.0.0.efi"
#define OLD     "web_0.9.0.efi"
#define NEW     "web_1.1.0+3-0.efi"
#define BAD     "web_1.1.0+0-0.efi"

static uint8_t uki[3][UKI_BYTES]; /* running, old, new */

/* What is done to the ESP. */
enum step { ADD, REMOVE, CONDEMN };

struct crash {
	enum step step;
	enum sim_trait trait;
	bool finished;
	unsigned cut, cuts, worlds;
};

static ssize_t read_new(void *arg, void *buf, size_t n, uint64_t off, struct err *e)
{
	(void)arg;
	(void)e;
	memcpy(buf, uki[2] + off, n);
	return (ssize_t)n;
}

/* As an agent would: what a cut left under the new name is removed, then written again. */
static int add(struct sys *sys, int esp, struct err *e)
{
	struct esp_source src = { .read = read_new, .bytes = UKI_BYTES };
	int r;

	sha256(uki[2], UKI_BYTES, src.sha256);
	r = esp_write_temp(sys, esp, NEW, &src, e);
	if (r == -EEXIST) {
		r = esp_remove(sys, esp, "web_1.1.0", e);
		if (r >= 0)
			r = esp_write_temp(sys, esp, NEW, &src, e);
	}
	if (r != 0) /* 1: it is there, and what else lies about must not replace it */
		return r;
	r = esp_publish(sys, esp, NEW, e);
	return r < 0 ? r : esp_publish(sys, esp, NEW, e); /* twice is once */
}

static int do_step(struct sys *sys, enum step step, struct err *e)
{
	struct sys_fd esp = { sys, sys->ops->open(sys, AT_FDCWD, "/esp", O_DIRECTORY, 0) };
	int r = esp.fd;

	if (r >= 0 && step == ADD)
		r = add(sys, esp.fd, e);
	else if (r >= 0 && step == REMOVE)
		r = esp_remove(sys, esp.fd, "web_0.9.0", e);
	else if (r >= 0)
		r = esp_condemn(sys, esp.fd, "web_1.1.0", e);
	sys_fd_done(&esp);
	return r;
}

/* Which UKI a file holds: 0 to 2; 3: nothing; 4: rubbish. */
static int content(const struct sim *w, const char *name)
{
	char path[300];
	size_t n = 0;
	void *p;
	int found = 4;

	(void)snprintf(path, sizeof(path), LINUX "/%s", name);
	p = sim_read(w, path, &n);
	CHECK(p, "no '%s'", path);
	for (int i = 0; i < 3; i++)
		if (n == UKI_BYTES && memcmp(p, uki[i], n) == 0)
			found = i;
	free(p);
	return n == 0 ? 3 : found;
}

struct seen {
	struct crash *c;
	const struct sim *w;
	bool running, old, new, bad;
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static void see(void *arg, const char *name)
{
	struct seen *s = arg;
	int got;

	if (!ends_with(name, ".efi"))
		return;
	got = content(s->w, name);
	CHECK(got != 4, "cut %u, %s: '%s' holds rubbish", s->c->cut, s->w->outcome, name);
	s->running = s->running || (got == 0 && strcmp(name, RUNNING) == 0);
	s->old = s->old || got == 1;
	s->new = s->new || (got == 2 && strcmp(name, NEW) == 0);
	s->bad = s->bad || (got == 2 && strcmp(name, BAD) == 0);
}

static struct seen look(struct crash *c, const struct sim *w)
{
	struct seen s = { .c = c, .w = w };

	sim_names(w, LINUX, see, &s);
	CHECK(s.running, "cut %u, %s: the running entry is gone", c->cut, w->outcome);
	return s;
}

/* What must hold once the step has succeeded, whatever was not synced. */
static void check_done(void *arg, struct sim *w, enum sim_view view)
{
	struct crash *c = arg;
	struct seen s = look(c, w);

	(void)view;
	CHECK(c->step != ADD || s.new, "%s: added, but not there", w->outcome);
	CHECK(c->step != REMOVE || !s.old, "%s: removed, but there", w->outcome);
	CHECK(c->step != CONDEMN || (s.bad && !s.new), "%s: condemned, but not", w->outcome);
	c->worlds++;
}

static void check_world(void *arg, struct sim *w, enum sim_view view)
{
	static const struct sim_plan few = { .seed = 2, .max = 20 };
	struct crash *c = arg;
	struct err e = ERR_INIT;
	struct seen s = look(c, w);
	int r;

	c->worlds++;
	CHECK(c->step == REMOVE || s.old, "%s: another entry is gone", w->outcome);
	if (view != SIM_OS)
		return;
	r = do_step(sim_sys(w), c->step, &e);
	if (c->step == CONDEMN && r < 0) {
		/* both names were lost: FAT cannot promise more, and nothing bad boots */
		CHECK(r == -ENOENT && !s.new && !s.bad, "%s: %s", w->outcome, e.text);
		return;
	}
	CHECK(r >= 0, "cut %u, %s: cannot go on: %s", c->cut, w->outcome, e.text);
	CHECK(sim_open_fds(w) == 0, "cut %u, %s: descriptors left open", c->cut, w->outcome);
	if (c->step != CONDEMN || s.new || s.bad)
		(void)sim_outcomes(w, &few, check_done, c);
}

/* Only the program is killed: nothing is lost, and nothing of it is durable either. */
static void check_killed(struct crash *c, const struct sim *sim)
{
	static const struct sim_plan few = { .seed = 4, .max = 40 };
	struct err e = ERR_INIT;
	struct sim w;
	int r;

	sim_clone(sim, &w);
	sim_rearm(&w);
	r = do_step(sim_sys(&w), c->step, &e);
	CHECK(r >= 0, "killed at %u: cannot go on: %s", c->cut, e.text);
	(void)sim_outcomes(&w, &few, check_done, c);
	sim_done(&w);
}

static void at_cut(struct sim *sim, void *arg)
{
	static const struct sim_plan plan = { .seed = 1, .max = 64 };
	struct crash *c = arg;

	c->cut = sim->changes;
	c->cuts++;
	(void)sim_outcomes(sim, &plan, check_world, c);
	check_killed(c, sim);
	sim->crash_at++; /* this change happens; the next one is looked at again */
}

static void run(enum step step, enum sim_trait trait)
{
	static const struct sim_plan plan = { .seed = 1 };
	struct crash c = { .step = step, .trait = trait };
	struct err e = ERR_INIT;
	struct sim sim;

	sim_init(&sim);
	sim_dir(&sim, LINUX, trait);
	sim_capacity(&sim, "/esp", 2u << 20);
	sim_file(&sim, LINUX "/" RUNNING, uki[0], UKI_BYTES);
	sim_file(&sim, LINUX "/" OLD, uki[1], UKI_BYTES);
	if (step == CONDEMN)
		sim_file(&sim, LINUX "/" NEW, uki[2], UKI_BYTES);
	sim.crash_at = 1;
	sim.on_crash = at_cut;
	sim.on_crash_arg = &c;
	CHECK(do_step(sim_sys(&sim), step, &e) >= 0, "%s", e.text);
	CHECK(sim_open_fds(&sim) == 0, "descriptors left open");
	(void)sim_outcomes(&sim, &plan, check_done, &c);
	printf("step %d trait %d: %u cuts, %u worlds\n", (int)step, (int)trait, c.cuts, c.worlds);
	sim_done(&sim);
}

/* The head of a real PE file, so that the store takes them for UKIs; the rest differs. */
static void make_ukis(void)
{
	static const char pe[] = "tests/corpus/pe/tiny";
	FILE *f = fopen(pe, "rbe");
	size_t n;

	CHECK(f, "no '%s' here", pe);
	n = fread(uki[0], 1, UKI_BYTES, f);
	(void)fclose(f);
	for (unsigned i = 0; i < 3; i++) {
		memcpy(uki[i], uki[0], n);
		for (size_t k = n; k < UKI_BYTES; k++)
			uki[i][k] = (uint8_t)(k * (i + 3) >> 5);
	}
}

int main(void)
{
	make_ukis();
	for (int step = ADD; step <= CONDEMN; step++)
		for (int trait = SIM_FAT; trait <= SIM_FAT_STRICT; trait++)
			run((enum step)step, (enum sim_trait)trait);
	return 0;
}
