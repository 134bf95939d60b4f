/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/reboot.h"

#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"

static bool chance(unsigned one_in)
{
	return dice_below(one_in) == 0;
}

/* --- every combination of what may stand in the way, against a list of rules --- */

static bool has(const struct reboot_next *r, enum reboot_why w)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->reason[i].why == w)
			return true;
	return false;
}

static void rnd_facts(struct reboot_facts *f)
{
	*f = (struct reboot_facts){ .now = 1000000, .boot_id = "b" };
	f->by = chance(2) ? REBOOT_BY_ITSELF : REBOOT_BY_PERSON;
	f->applied = !chance(4);
	f->assessing = chance(6);
	f->policy = (enum config_reboot)dice_below(3);
	f->window_known = !chance(5);
	f->window_open = chance(2);
	f->window_changes = chance(4) ? 0 : f->now + 1 + (int64_t)dice_below(100000);
	f->lock = chance(2);
	f->keep = chance(2);
	f->same = true;
	(void)snprintf(f->window, sizeof(f->window), "Sat 02:00 for 3 h");
	(void)snprintf(f->running, sizeof(f->running), "1.0.0");
	if (f->applied)
		(void)snprintf(f->target, sizeof(f->target), "1.1.0");
	if (chance(4))
		(void)snprintf(f->inhibitor, sizeof(f->inhibitor), "backup (pid 7): runs");
	f->lock_fresh = chance(3);
	f->hooks_passed = chance(3);
}

static void rnd_obstacle(struct reboot_memo *m)
{
	memset(m, 0, sizeof(*m));
	if (chance(2))
		return;
	(void)snprintf(m->boot_id, sizeof(m->boot_id), chance(3) ? "a" : "b");
	m->why = chance(2) ? REBOOT_WHY_LOCK : REBOOT_WHY_HOOK;
	m->next = 1000000 + (int64_t)dice_below(200) - 100;
	(void)snprintf(m->text, sizeof(m->text), "because");
}

static bool closed(const struct reboot_facts *f)
{
	return f->by == REBOOT_BY_ITSELF && f->policy == CONFIG_REBOOT_WINDOW &&
	       (!f->window_known || !f->window_open);
}

/* No reason was given: what comes next. */
static void check_step(const struct reboot_facts *f, const struct reboot_next *r)
{
	if (f->lock && !f->lock_fresh)
		CHECK(r->step == REBOOT_LOCK, "no lock first");
	else
		CHECK(r->step == (f->hooks_passed ? REBOOT_GO : REBOOT_HOOKS), "hooks");
}

/* Reasons were given: nothing is begun, and it is not looked again too early. */
static void check_wait(const struct reboot_facts *f, const struct reboot_next *r)
{
	bool manual = has(r, REBOOT_WHY_MANUAL);

	for (size_t i = 0; i < r->n; i++)
		CHECK(r->reason[i].text[0], "a reason without words");
	CHECK(r->step == REBOOT_WAIT, "goes on against a reason");
	CHECK(!manual || r->look == 0, "looks again for nothing");
	CHECK(manual || !closed(f) || !f->window_known || r->look >= f->window_changes,
	      "looks before the window opens");
}

static void check_reasons(const struct reboot_facts *f, const struct reboot_next *r)
{
	bool own = f->by == REBOOT_BY_ITSELF;

	CHECK(has(r, REBOOT_WHY_MANUAL) == (own && f->policy == CONFIG_REBOOT_MANUAL), "manual");
	CHECK(has(r, REBOOT_WHY_WINDOW) == closed(f), "window");
	CHECK(has(r, REBOOT_WHY_ASSESSING) == (own && f->assessing), "assessing");
	CHECK(has(r, REBOOT_WHY_INHIBITOR) == (f->inhibitor[0] != 0), "inhibitor");
}

/* Who only looks learns what came in the way last in this boot, until the next try has ended. */
static void check_recall(const struct reboot_memo *m, const struct reboot_facts *f,
			 const struct reboot_next *was)
{
	struct reboot_next r = *was;
	bool begins =
		was->step == REBOOT_LOCK || was->step == REBOOT_HOOKS || was->step == REBOOT_GO;
	bool told = begins && was->n == 0 && m->why != REBOOT_WHY_NONE &&
		    strcmp(m->boot_id, f->boot_id) == 0;

	reboot_recall(m, f, &r);
	CHECK(r.step == was->step && r.look == was->look, "another decision");
	CHECK(r.n == was->n + told && (!told || (r.reason[0].why == m->why &&
						 strstr(r.reason[0].text, "because;"))),
	      "recalled %zu", r.n);
}

static void one_case(void)
{
	struct reboot_facts f;
	struct reboot_memo m;
	struct reboot_next r;
	bool own, held;

	rnd_facts(&f);
	rnd_obstacle(&m);
	reboot_decide(&m, &f, &r);
	check_recall(&m, &f, &r);
	own = f.by == REBOOT_BY_ITSELF;
	if (own && !f.applied) {
		CHECK(r.step == REBOOT_NOTHING && r.n == 0, "nothing to do");
		return;
	}
	held = own && m.why != REBOOT_WHY_NONE && m.boot_id[0] == 'b' && m.next > f.now;
	check_reasons(&f, &r);
	CHECK(!held || has(&r, m.why), "obstacle");
	if (r.n > 0)
		check_wait(&f, &r);
	else
		check_step(&f, &r);
}

static void test_reasons(void)
{
	for (unsigned k = 0; k < 50000; k++)
		one_case();
}

/*
 * --- a small world: a server with places, hosts that are killed and lose power between any two
 * steps, hooks that refuse, releases that fail ---
 */

enum { HOSTS = 3, LOOKS = 60, STEPS = 24 };

struct host {
	struct reboot_memo memo, disk; /* disk: what was stored */
	unsigned boot;
	bool applied, target_bad, failed[64];
	bool assessing;
	unsigned running, target; /* releases by number */
	bool locked;              /* the last release that was booted here, was with a place */
	bool last_failed;         /* and failed, and nothing was booted since */
	bool drained;             /* pre-reboot.d passed in this boot and was not undone */
	/* the firmware or the loader start the old release, whatever the record says */
	bool astray, seen; /* seen: and it shows before the reboot */
	unsigned tries;    /* reboots by itself for the target, which has not started since */
};

struct world {
	unsigned places;
	enum lock_kind kind;
	bool up;
	bool holds[HOSTS];
	bool keep, quiet; /* quiet: no people */
	int64_t now;
	struct host host[HOSTS];
};

static void name(char *out, size_t cap, unsigned release)
{
	if (release)
		(void)snprintf(out, cap, "1.%u", release);
	else
		out[0] = '\0';
}

static bool failed_here(const struct host *h, const char *version)
{
	return version[0] && h->failed[strtoul(version + 2, NULL, 10)];
}

static void facts(const struct world *w, const struct host *h, enum reboot_by by,
		  struct reboot_facts *f)
{
	struct reboot_facts keep = *f;

	*f = (struct reboot_facts){ .now = w->now, .by = by, .policy = CONFIG_REBOOT_WINDOW };
	(void)snprintf(f->boot_id, sizeof(f->boot_id), "boot%u", h->boot);
	f->applied = h->applied && !(h->astray && h->seen);
	if (h->applied && !f->applied)
		(void)snprintf(f->other, sizeof(f->other), "old.efi would boot next");
	f->assessing = h->assessing;
	name(f->target, sizeof(f->target), f->applied ? h->target : 0);
	name(f->running, sizeof(f->running), h->running);
	f->failed = failed_here(h, h->memo.version);
	f->kept = failed_here(h, h->memo.kept);
	f->window_known = true;
	f->window_open = (w->now / 1000) % 2;
	f->window_changes = (w->now / 1000 + 1) * 1000;
	f->lock = true;
	f->keep = w->keep;
	f->same = true;
	f->lock_fresh = keep.lock_fresh;
	f->hooks_passed = keep.hooks_passed;
	f->stuck = keep.stuck;
	f->unlock_failed = keep.unlock_failed;
}

/* Settling has news: a release became good, or was fallen back from. */
static void heard(struct host *h, unsigned release)
{
	char version[16], boot_id[16];

	name(version, sizeof(version), release);
	(void)snprintf(boot_id, sizeof(boot_id), "boot%u", h->boot);
	if (reboot_heard(&h->memo, version, boot_id))
		h->disk = h->memo;
}

static void boot(struct host *h)
{
	char version[16];

	h->boot++;
	h->drained = false;
	h->memo = h->disk;
	if (h->applied && !h->astray) { /* whoever reboots it, that one starts */
		h->applied = false;
		h->tries = 0;
		name(version, sizeof(version), h->target);
		h->locked = h->disk.lock && strcmp(h->disk.version, version) == 0;
		h->last_failed = h->target_bad && h->locked;
		if (h->target_bad) {
			h->failed[h->target] = true;
			heard(h, h->target);
		} else {
			h->running = h->target;
			h->assessing = true;
		}
	}
}

static unsigned taken(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOSTS; i++)
		n += w->holds[i];
	return n;
}

static enum reboot_end act_lock(struct world *w, unsigned i)
{
	/* airlock says of any trouble with etcd that the lock failed */
	if (w->kind == LOCK_FLEETLOCK && (!w->up || chance(10)))
		return REBOOT_NO;
	if (!w->up)
		return REBOOT_TROUBLE;
	if (w->holds[i])
		return REBOOT_DONE;
	if (taken(w) >= w->places) { /* then it was lost, whatever was before */
		w->host[i].locked = w->host[i].last_failed = false;
		return REBOOT_NO;
	}
	w->holds[i] = true;
	return chance(10) ? REBOOT_TROUBLE : REBOOT_DONE; /* done, but the answer was lost */
}

static enum reboot_end act_unlock(struct world *w, unsigned i, const struct reboot_facts *f)
{
	const struct reboot_memo *m = &w->host[i].memo;
	bool later = strcmp(m->boot_id, f->boot_id) != 0;

	CHECK(!f->assessing || (!later && strcmp(m->version, f->running) != 0),
	      "unlocked before the release was good");
	CHECK(!(w->keep && later && f->failed), "a failed host gave its place back");
	CHECK(!(w->keep && later && w->host[i].last_failed), "the place of a failed update");
	CHECK(!(w->keep && !later && f->kept), "a failed host gave its place back later");
	CHECK(!w->host[i].drained, "unlocked while drained");
	if (!w->up)
		return REBOOT_TROUBLE;
	w->holds[i] = false;
	return REBOOT_DONE;
}

/* They take time, and people do things meanwhile. */
static enum reboot_end act_hooks(struct world *w, unsigned i)
{
	struct host *h = &w->host[i];

	h->drained = !chance(4);
	if (chance(6)) /* frees the place: it is to be noticed */
		w->holds[i] = false;
	if (chance(10)) /* makes the old release the default */
		h->astray = h->seen = true;
	return h->drained ? REBOOT_DONE : REBOOT_NO;
}

/* True: the host has rebooted. */
static bool go(struct world *w, unsigned i, struct reboot_facts *f)
{
	struct host *h = &w->host[i];
	bool force = f->by == REBOOT_BY_FORCE;

	CHECK(w->holds[i] || force, "rebooted without a place");
	CHECK(h->drained || force, "rebooted without its hooks");
	CHECK(f->window_open || force || f->by == REBOOT_BY_PERSON,
	      "rebooted outside of its window");
	CHECK(!(h->astray && h->seen) || f->by != REBOOT_BY_ITSELF,
	      "rebooted by itself into something else");
	if (chance(10))
		return false;
	h->tries += f->by == REBOOT_BY_ITSELF;
	CHECK(h->tries <= 1, "rebooted by itself for ever");
	reboot_ended(&h->memo, f, REBOOT_GO, REBOOT_DONE, "", 0);
	h->disk = h->memo;
	boot(h);
	return true;
}

/* True: the host has rebooted. */
static bool take_step(struct world *w, unsigned i, struct reboot_facts *f, enum reboot_step step)
{
	struct reboot_place place = { .url = "http://lock/", .terms.kind = w->kind };
	struct host *h = &w->host[i];
	enum reboot_end end = REBOOT_DONE;

	if (step == REBOOT_GO && f->by != REBOOT_BY_ITSELF)
		h->tries = 0; /* a person who asks allows one more */
	if (reboot_begin(&h->memo, f, step, &place, w->now)) {
		if (chance(12))
			return true; /* killed before it was stored */
		h->disk = h->memo;
	}
	if (chance(12))
		return true;
	if (step == REBOOT_LOCK) {
		end = act_lock(w, i);
	} else if (step == REBOOT_HOOKS) {
		end = act_hooks(w, i);
	} else if (step == REBOOT_UNLOCK) {
		end = act_unlock(w, i, f);
	} else if (step == REBOOT_POST_BOOT || step == REBOOT_POST_FALLBACK) {
		CHECK((step == REBOOT_POST_FALLBACK) ==
			      (f->failed && strcmp(h->memo.boot_id, f->boot_id) != 0),
		      "hooks of the other end");
		h->drained = false;
	} else if (step == REBOOT_GO) {
		if (go(w, i, f))
			return true;
		end = REBOOT_TROUBLE;
	}
	if (chance(12))
		return true;
	reboot_ended(&h->memo, f, step, end, "text", w->now + 1 + (int64_t)dice_below(300));
	h->disk = h->memo;
	return false;
}

static void look(struct world *w, unsigned i)
{
	struct host *h = &w->host[i];
	struct reboot_facts f = { .now = 0 };
	/* a person may reboot at any time, also what is still being assessed */
	enum reboot_by by = w->quiet || !chance(8) ? REBOOT_BY_ITSELF
			    : chance(3)            ? REBOOT_BY_FORCE
						   : REBOOT_BY_PERSON;

	h->memo = h->disk;
	for (unsigned k = 0;; k++) {
		struct reboot_next r;

		facts(w, h, by, &f);
		reboot_decide(&h->memo, &f, &r);
		CHECK(k < STEPS, "no end: step %d", (int)r.step);
		if (r.step == REBOOT_WAIT || r.step == REBOOT_NOTHING)
			break;
		if (take_step(w, i, &f, r.step))
			break;
	}
	/* what the server has of us is remembered */
	CHECK(!w->holds[i] || h->disk.lock, "a place was forgotten");
}

static void live(struct world *w, unsigned i)
{
	struct host *h = &w->host[i];

	h->memo = h->disk;
	if (h->assessing && chance(2)) { /* blessed, or found unhealthy */
		unsigned judged = h->running;

		h->assessing = false;
		if (chance(4)) {
			h->failed[h->running] = true;
			h->last_failed = h->locked;
			h->running = 1;
			h->boot++;
			h->drained = false;
			h->memo = h->disk;
		}
		heard(h, judged);
	}
	if (!h->applied && !h->assessing && h->target < 60 && chance(6)) {
		h->target++;
		h->applied = true;
		h->target_bad = chance(4);
		h->astray = chance(5);
		h->seen = chance(2);
		h->tries = 0;
	}
	if (chance(20))
		h->astray = false; /* a person put it right; nobody need tell */
	if (chance(30))
		boot(h); /* the power fails */
	if (chance(40))
		h->applied = false; /* rolled back */
}

static void settle_down(struct world *w)
{
	w->up = w->quiet = true;
	for (unsigned k = 0; k < 400; k++) {
		w->now += 101;
		for (unsigned i = 0; i < HOSTS; i++) {
			w->host[i].assessing = false;
			/* what waits for a person, waits on: without a place, and undrained */
			if (!(w->host[i].astray && w->host[i].seen))
				w->host[i].applied = false;
			look(w, i);
		}
	}
	for (unsigned i = 0; i < HOSTS; i++) {
		const struct host *h = &w->host[i];
		bool kept = w->keep &&
			    (failed_here(h, h->disk.version) || failed_here(h, h->disk.kept));

		CHECK(!w->holds[i] || h->disk.lock, "host %u: a place was forgotten", i);
		CHECK(!h->disk.lock || kept, "host %u: remembers what it has given back", i);
		CHECK(!w->holds[i] || kept, "host %u holds a place for nothing", i);
		CHECK(!h->disk.hooked && !h->drained, "host %u stays drained", i);
	}
}

static void run_world(struct world *w)
{
	w->keep = chance(2);
	for (unsigned i = 0; i < HOSTS; i++)
		w->host[i].running = w->host[i].target = 1;
	for (unsigned n = 0; n < LOOKS; n++) {
		unsigned i = dice_below(HOSTS);

		w->now += (int64_t)dice_below(200);
		w->up = chance(5) ? !w->up : w->up;
		live(w, i);
		look(w, i);
		CHECK(taken(w) <= w->places, "more holders than places");
	}
}

static void test_world(void)
{
	unsigned reboots = 0, kept = 0;

	for (unsigned k = 0; k < 1000; k++) {
		struct world w = { .places = 1 + dice_below(2),
				   .kind = chance(2) ? LOCK_ETCD : LOCK_FLEETLOCK,
				   .up = true,
				   .now = 1000000 };

		run_world(&w);
		settle_down(&w);
		for (unsigned i = 0; i < HOSTS; i++) {
			reboots += w.host[i].boot;
			kept += w.holds[i];
		}
	}
	CHECK(reboots > 500 && kept > 50, "nothing happened: %u boots, %u kept", reboots, kept);
}

static void test_person(void)
{
	struct reboot_facts f = { .now = 1000, .by = REBOOT_BY_PERSON, .lock = true, .same = true };
	struct reboot_place place = { .url = "http://lock/", .terms.kind = LOCK_ETCD };
	struct reboot_memo m = { .lock = false };
	struct reboot_next r;

	(void)snprintf(f.boot_id, sizeof(f.boot_id), "b");
	f.policy = CONFIG_REBOOT_MANUAL;
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_LOCK, "a person need not wait for Reboot=");
	CHECK(reboot_begin(&m, &f, r.step, &place, 0) && m.lock, "not announced");
	reboot_ended(&m, &f, r.step, REBOOT_NO, "others have it", 2000);
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_WAIT && has(&r, REBOOT_WHY_LOCK), "a person is told why");
	CHECK(strcmp(r.reason[0].text, "others have it") == 0, "%s", r.reason[0].text);
	f.stuck = false;
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_LOCK, "and may ask again at once");
	f.by = REBOOT_BY_FORCE;
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_GO, "force");
	/* a reboot that was asked for is not asked for twice, until it is clear that it failed */
	f.by = REBOOT_BY_PERSON;
	CHECK(reboot_begin(&m, &f, REBOOT_GO, NULL, 1000), "not announced");
	reboot_ended(&m, &f, REBOOT_GO, REBOOT_DONE, "", 0);
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_WAIT && has(&r, REBOOT_WHY_UNDER_WAY), "twice");
	f.now += REBOOT_PATIENCE_S;
	reboot_decide(&m, &f, &r);
	CHECK(r.step == REBOOT_LOCK, "%d", (int)r.step);
}

/* A release that started, or was forgiven, may be rebooted for once more; another does not count.
 */
static void test_asked_again(void)
{
	for (unsigned how = 0; how < 4; how++) {
		struct reboot_facts f = { .now = 1000,
					  .by = REBOOT_BY_ITSELF,
					  .policy = CONFIG_REBOOT_IMMEDIATE,
					  .applied = true };
		struct reboot_memo m = { .lock = false };
		struct reboot_next r;

		(void)snprintf(f.boot_id, sizeof(f.boot_id), "b");
		(void)snprintf(f.target, sizeof(f.target), "1.1.0");
		(void)snprintf(f.running, sizeof(f.running), "1.0.0");
		f.hooks_passed = true;
		CHECK(reboot_begin(&m, &f, REBOOT_GO, NULL, 1000), "not announced");
		(void)snprintf(f.boot_id, sizeof(f.boot_id), "c");
		(void)reboot_ended(&m, &f, REBOOT_POST_BOOT, REBOOT_DONE, "", 0);
		f.hooks_passed = true;
		reboot_decide(&m, &f, &r);
		CHECK(r.step == REBOOT_WAIT && has(&r, REBOOT_WHY_NOT_STARTED) && r.look == 0,
		      "again by itself");
		if (how == 0)
			CHECK(reboot_forgiven(&m, "1.1.0"), "not forgiven");
		if (how == 1)
			CHECK(reboot_heard(&m, "1.1.0", "c"), "not heard");
		if (how == 2)
			(void)snprintf(f.target, sizeof(f.target), "1.2.0");
		if (how == 3)
			f.by = REBOOT_BY_PERSON;
		m.hooked = false;
		reboot_decide(&m, &f, &r);
		CHECK(r.step == REBOOT_GO, "way %u: %d", how, (int)r.step);
	}
}

int main(void)
{
	dice_seed();
	test_reasons();
	test_person();
	test_asked_again();
	test_world();
	return 0;
}
