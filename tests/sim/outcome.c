/* SPDX-License-Identifier: Apache-2.0 */
/* What a power cut leaves: subsets of the volatile changes, torn writes, and fsck's choices. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sys_sim.h"

enum how { LOST, KEPT, TORN_FIRST, TORN_MIDDLE, TORN_LAST, TORN_HOLE, HOWS };
enum { ALL_UP_TO = 10, MAX_SUBSETS = 8192, GROUPS_MAX = 3 };

struct crash {
	const struct sim *sim;
	sim_outcome_fn fn;
	void *arg;
	uint64_t rng;
	unsigned subsets, max, calls;
	bool fat;     /* a FAT directory or file is among the changes */
	uint8_t *how; /* per change */
	bool *gone;   /* per node: a change of this POSIX directory's names was lost */
};

static uint64_t rnd(struct crash *c)
{
	c->rng ^= c->rng << 13;
	c->rng ^= c->rng >> 7;
	c->rng ^= c->rng << 17;
	return c->rng;
}

static bool op_is_name(const struct sim_op *op)
{
	return op->kind == SIM_LINK || op->kind == SIM_DROP || op->kind == SIM_RENAME;
}

static bool op_is_fat(const struct sim *sim, const struct sim_op *op)
{
	return op->kind == SIM_FILL || op->kind == SIM_FREE ||
	       sim_is_fat(sim->live.node[op_is_name(op) ? op->dir : op->node].trait);
}

/* More than one sector: it can arrive in part. */
static bool op_tears(const struct sim *sim, const struct sim_op *op)
{
	if (op->kind == SIM_SIZE)
		return op_is_fat(sim, op) && op->off > 1;
	return op->kind == SIM_WRITE && op->n > 0 &&
	       op->off / SIM_SECTOR != (op->off + op->n - 1) / SIM_SECTOR;
}

/* The bytes of a write that lie before the sector boundary nearest below `at` of it. */
static size_t sectors(const struct sim_op *op, size_t at)
{
	uint64_t end = (op->off + at) / SIM_SECTOR * SIM_SECTOR;

	return end > op->off ? (size_t)(end - op->off) : 0;
}

static void apply_torn(struct sim_disk *d, const struct sim_op *op, enum how how)
{
	struct sim_span s = { 0, op->n }, rest = { 0, 0 };
	struct sim_op half = *op;

	switch (how) {
	case TORN_FIRST:
		s.to = sectors(op, SIM_SECTOR);
		break;
	case TORN_MIDDLE:
		s.to = sectors(op, op->n / 2);
		break;
	case TORN_LAST:
		s.to = sectors(op, op->n - 1);
		break;
	case TORN_HOLE:
		s.to = sectors(op, op->n / 3);
		rest = (struct sim_span){ sectors(op, op->n / 3 * 2), op->n };
		break;
	case LOST:
	case KEPT:
	case HOWS:
		break;
	}
	if (op->kind == SIM_SIZE && how != KEPT)
		half.off = how == TORN_FIRST ? 1 : op->off / 2;
	sim_disk_apply(d, &half, s, false);
	if (rest.to > rest.from)
		sim_disk_apply(d, op, rest, false);
}

/* ---- a world ---- */

/* Entries without start and size are empty files; what lies behind a file's end is not in it. */
static void tidy(struct sim *w, const struct sim *sim)
{
	static uint8_t stale[SIM_PAGE];

	memset(stale, 0xa5, sizeof(stale));
	for (size_t i = 0; i < sim->ops; i++) {
		struct sim_node *n = &w->base.node[sim->op[i].node];

		sim_map_cut(&n->map, n->size);
	}
	for (size_t i = 0; i < w->base.nodes; i++) {
		struct sim_node *n = &w->base.node[i];

		if (n->used && n->broken)
			for (uint64_t at = 0; at < n->size; at += SIM_PAGE)
				sim_map_write(&n->map, at, stale,
					      n->size - at < SIM_PAGE ? (size_t)(n->size - at)
								      : SIM_PAGE);
	}
}

/* An empty file in place of what the name led to. */
static void empty_name(struct sim_disk *d, size_t name)
{
	size_t i = 1;

	while (i < d->nodes && d->node[i].used)
		i++;
	if (i == d->nodes) {
		struct sim_node *p = realloc(d->node, (d->nodes + 8) * sizeof(*p));

		if (!p)
			abort();
		memset(p + d->nodes, 0, 8 * sizeof(*p));
		d->node = p;
		d->nodes += 8;
	}
	d->node[i] = (struct sim_node){ .used = true,
					.trait = d->node[d->name[name].dir].trait,
					.parent = d->name[name].dir };
	d->name[name].node = (uint32_t)i;
	d->name[name].bare = false;
}

static bool reachable(const struct sim_disk *d, uint32_t dir)
{
	while (dir != 0) {
		bool named = false;

		for (size_t i = 0; i < d->names && !named; i++)
			named = d->name[i].node == dir;
		if (!named)
			return false;
		dir = d->node[dir].parent;
	}
	return true;
}

static void drop_lost_names(struct sim_disk *d)
{
	for (size_t i = 0; i < d->names;) {
		if (reachable(d, d->name[i].dir)) {
			i++;
			continue;
		}
		free(d->name[i].name);
		d->name[i] = d->name[--d->names];
	}
}

static void make_world(const struct crash *c, struct sim *w)
{
	const struct sim *sim = c->sim;
	size_t n = 0, kept = 0;

	memset(w, 0, sizeof(*w));
	w->sys = sim->sys;
	w->fail_errno = sim->fail_errno;
	w->write_max = sim->write_max;
	sim_disk_clone(&sim->base, &w->base);
	for (size_t i = 0; i < sim->ops; i++) {
		if (c->how[i] != LOST)
			apply_torn(&w->base, &sim->op[i], (enum how)c->how[i]);
		kept += c->how[i] != LOST;
		if (n < sizeof(w->outcome) - 48)
			w->outcome[n++] = ".KfmlH"[c->how[i]];
	}
	(void)snprintf(w->outcome + n, sizeof(w->outcome) - n, " (%zu of %zu changes)", kept,
		       sim->ops);
	drop_lost_names(&w->base);
	for (size_t i = 0; i < w->base.names; i++)
		if (w->base.name[i].bare)
			empty_name(&w->base, i);
	tidy(w, sim);
}

/* ---- fsck ---- */

/* The other name of the same file, or SIZE_MAX. */
static size_t twin(const struct sim_disk *d, size_t i)
{
	for (size_t k = i + 1; k < d->names; k++)
		if (d->name[k].node == d->name[i].node)
			return k;
	return SIZE_MAX;
}

static unsigned count_twins(const struct sim_disk *d)
{
	unsigned n = 0;

	for (size_t i = 0; i < d->names; i++)
		n += twin(d, i) != SIZE_MAX;
	return n < GROUPS_MAX ? n : GROUPS_MAX;
}

/* Of names that share clusters one keeps the file, the other is cut to nothing: bit 0, 1.. of c. */
static void fsck(struct sim_disk *d, unsigned c)
{
	for (size_t i = 0; i < d->names; i++) {
		size_t k = twin(d, i);

		if (k == SIZE_MAX)
			continue;
		empty_name(d, c & 1 ? i : k);
		c >>= 1;
	}
	for (size_t i = 0; i < d->nodes; i++)
		if (d->node[i].used && d->node[i].broken) {
			sim_node_resize(&d->node[i], 0);
			d->node[i].broken = false;
		}
}

static void call(struct crash *c, const struct sim *world, enum sim_view view, unsigned choice)
{
	struct sim w;

	sim_clone(world, &w);
	if (view == SIM_OS)
		fsck(&w.base, choice);
	sim_disk_done(&w.live);
	sim_disk_clone(&w.base, &w.live);
	c->fn(c->arg, &w, view);
	c->calls++;
	sim_done(&w);
}

/* All that follows from c->how. */
static void show(struct crash *c)
{
	struct sim w;
	unsigned twins;

	make_world(c, &w);
	sim_disk_clone(&w.base, &w.live);
	if (c->fat)
		call(c, &w, SIM_FIRMWARE, 0);
	twins = count_twins(&w.base);
	for (unsigned choice = 0; choice < 1u << twins; choice++)
		call(c, &w, SIM_OS, choice);
	sim_done(&w);
	c->subsets++;
}

/* ---- which subsets ---- */

/*
 * POSIX directories keep their changes in order: behind a lost one all are lost. False if c->how
 * said otherwise.
 */
static bool put_in_order(struct crash *c)
{
	const struct sim *sim = c->sim;
	bool was = true;

	memset(c->gone, 0, sim->live.nodes * sizeof(*c->gone));
	for (size_t i = 0; i < sim->ops; i++) {
		const struct sim_op *op = &sim->op[i];

		if (!op_is_name(op) || op_is_fat(sim, op))
			continue;
		if (c->how[i] == LOST)
			c->gone[op->dir] = true;
		else if (c->gone[op->dir])
			was = false;
		if (c->gone[op->dir])
			c->how[i] = LOST;
	}
	return was;
}

/* Tears every kept write that can be; false if none can. */
static bool tear(struct crash *c, enum how style)
{
	bool any = false;

	for (size_t i = 0; i < c->sim->ops; i++)
		if (c->how[i] != LOST && op_tears(c->sim, &c->sim->op[i])) {
			c->how[i] = (uint8_t)style;
			any = true;
		}
	return any;
}

static void show_all(struct crash *c)
{
	size_t n = c->sim->ops;

	for (uint64_t mask = 0; mask < UINT64_C(1) << n; mask++) {
		for (size_t i = 0; i < n; i++)
			c->how[i] = mask >> i & 1 ? KEPT : LOST;
		if (!put_in_order(c))
			continue; /* it has its turn as another mask */
		show(c);
		for (int style = TORN_FIRST; style < HOWS && tear(c, (enum how)style); style++)
			show(c);
	}
}

static void set_all(struct crash *c, enum how how)
{
	memset(c->how, (int)how, c->sim->ops);
}

static void show_ordered(struct crash *c)
{
	if (c->subsets >= c->max)
		return;
	(void)put_in_order(c);
	show(c);
}

/* Everything up to one change, everything but one, nothing but one. */
static void show_single(struct crash *c, size_t i)
{
	set_all(c, LOST);
	memset(c->how, KEPT, i);
	show_ordered(c);
	set_all(c, KEPT);
	c->how[i] = LOST;
	show_ordered(c);
	set_all(c, LOST);
	c->how[i] = KEPT;
	show_ordered(c);
}

static void show_random(struct crash *c)
{
	uint64_t density = 1 + rnd(c) % 7;

	for (size_t i = 0; i < c->sim->ops; i++) {
		c->how[i] = rnd(c) % 8 < density ? KEPT : LOST;
		if (c->how[i] == KEPT && op_tears(c->sim, &c->sim->op[i]) && rnd(c) % 4 == 0)
			c->how[i] = (uint8_t)(TORN_FIRST + rnd(c) % (HOWS - TORN_FIRST));
	}
	show_ordered(c);
}

static void show_sample(struct crash *c)
{
	size_t n = c->sim->ops;

	set_all(c, LOST);
	show_ordered(c);
	set_all(c, KEPT);
	show_ordered(c);
	for (int style = TORN_FIRST; style < HOWS && tear(c, (enum how)style); style++)
		show_ordered(c);
	if (n * 3 <= c->max / 2)
		for (size_t i = 0; i < n; i++)
			show_single(c, i);
	else
		while (c->subsets < c->max / 2)
			show_single(c, (size_t)(rnd(c) % n));
	while (c->subsets < c->max)
		show_random(c);
}

unsigned sim_outcomes(const struct sim *sim, const struct sim_plan *plan, sim_outcome_fn fn,
		      void *arg)
{
	unsigned all_up_to = plan->all_up_to ? plan->all_up_to : ALL_UP_TO;
	struct crash c = { .sim = sim, .fn = fn, .arg = arg };

	c.rng = plan->seed * UINT64_C(0x9e3779b97f4a7c15) + sim->changes + 1;
	c.rng = c.rng ? c.rng : 1;
	c.max = plan->max ? plan->max : MAX_SUBSETS;
	c.how = calloc(sim->ops + 1, sizeof(*c.how));
	c.gone = calloc(sim->live.nodes, sizeof(*c.gone));
	if (!c.how || !c.gone)
		abort();
	for (size_t i = 0; i < sim->ops; i++)
		c.fat = c.fat || op_is_fat(sim, &sim->op[i]);
	/* none torn and four ways of tearing */
	if (sim->ops <= all_up_to && sim->ops < 32 && (UINT64_C(5) << sim->ops) <= c.max)
		show_all(&c);
	else
		show_sample(&c);
	free(c.how);
	free(c.gone);
	return c.calls;
}
