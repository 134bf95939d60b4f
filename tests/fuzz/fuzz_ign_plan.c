/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of any config holds each of its entries once and in order: parents before what lies in
 * them, hard links behind all else of storage, what is fetched in the order of its use; it can be
 * told in printable lines that hold no contents.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static const struct ign_node *node_of(const struct ign_step *s)
{
	if (s->directory)
		return &s->directory->node;
	if (s->file)
		return &s->file->node;
	return s->link ? &s->link->node : NULL;
}

static size_t depth_of(const char *path)
{
	size_t n = 0;

	for (; *path; path++)
		n += *path == '/' && path[1];
	return n;
}

static void check_order(const struct ign_plan *p)
{
	size_t nodes = 0, depth = 0;

	for (size_t i = 0; i < p->steps; i++) {
		const struct ign_node *n = node_of(&p->step[i]);

		must(i == 0 || p->step[i].kind >= p->step[i - 1].kind ||
		     p->step[i - 1].kind < IGN_STEP_HARDLINK || p->step[i].kind >= IGN_STEP_UNIT);
		if (!n)
			continue;
		nodes++;
		if (p->step[i].kind == IGN_STEP_HARDLINK)
			continue;
		must(depth_of(n->path) >= depth);
		depth = depth_of(n->path);
	}
	must(nodes == p->config->files + p->config->directories + p->config->links);
}

static void check_fetches(const struct ign_plan *p)
{
	size_t k = 0, presets = 0;

	for (size_t i = 0; i < p->steps; i++) {
		presets += p->step[i].kind == IGN_STEP_PRESET;
		while (p->step[i].file && k < p->fetches && p->fetch[k].file == p->step[i].file)
			must(p->fetch[k++].resource->source != NULL);
	}
	must(k == p->fetches && presets == p->presets);
}

static void check_told(const struct ign_plan *p)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	size_t lines = 0;

	must(ign_plan_explain(p, &b, &e) >= 0);
	for (size_t i = 0; i < b.n; i++) {
		must((unsigned char)b.p[i] >= ' ' || b.p[i] == '\n');
		lines += b.p[i] == '\n';
	}
	must(lines >= p->steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_IGN_PLAN *p = NULL;
	struct err e = ERR_INIT;

	if (ign_config_read(data, size, "input", &rep, &c, &e) <= 0)
		return 0;
	must(ign_plan_make(c, &p, &e) >= 0);
	check_order(p);
	check_fetches(p);
	check_told(p);
	return 0;
}
