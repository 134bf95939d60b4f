/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "ignition-lite/url.h"

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static struct ign_step *add_step(struct ign_plan *p, enum ign_step_kind kind)
{
	struct ign_step *s = &p->step[p->steps++];

	s->kind = kind;
	return s;
}

static bool has_text(const char *s)
{
	return s && *s;
}

/* ---- what is fetched ---- */

static void add_fetch(struct ign_plan *p, const struct ign_resource *r, const struct ign_file *f,
		      bool append)
{
	if (!r->source)
		return;
	p->fetch[p->fetches++] = (struct ign_fetch){ r, f, append };
	p->needs_network = p->needs_network || ign_url_needs_network(r->source);
}

static void add_fetches(struct ign_plan *p)
{
	for (size_t i = 0; i < p->steps; i++) {
		const struct ign_file *f = p->step[i].file;

		if (!f)
			continue;
		add_fetch(p, &f->contents, f, false);
		for (size_t k = 0; k < f->appends; k++)
			add_fetch(p, &f->append[k], f, true);
	}
}

/* ---- accounts ---- */

static void add_accounts(struct ign_plan *p)
{
	const struct ign_config *c = p->config;

	for (size_t i = 0; i < c->groups; i++)
		add_step(p, IGN_STEP_GROUP)->group = &c->group[i];
	for (size_t i = 0; i < c->users; i++) {
		add_step(p, IGN_STEP_USER)->user = &c->user[i];
		if (c->user[i].ssh_keys.n > 0 && c->user[i].should_exist != IGN_NO)
			add_step(p, IGN_STEP_SSH_KEYS)->user = &c->user[i];
	}
}

/* ---- directories, files and links ---- */

static const char *path_of(const struct ign_step *s)
{
	if (s->directory)
		return s->directory->node.path;
	if (s->file)
		return s->file->node.path;
	return s->link ? s->link->node.path : "/";
}

/* Of a clean path; "/" has none. */
static size_t depth_of(const char *path)
{
	size_t n = 0;

	for (const char *p = path; *p; p++)
		n += *p == '/';
	return path[1] == '\0' ? 0 : n;
}

struct entry {
	struct ign_step step;
	size_t depth, place;
};

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return x->place < y->place ? -1 : 1;
}

/* Steps from `first` on, which lie as they are listed, by depth. */
static int sort_nodes(struct ign_plan *p, size_t first, struct err *e)
{
	size_t n = p->steps - first;
	struct entry *all = calloc(n + 1, sizeof(*all));

	if (!all)
		return out_of_memory(e);
	for (size_t i = 0; i < n; i++) {
		all[i].step = p->step[first + i];
		all[i].depth = depth_of(path_of(&all[i].step));
		all[i].place = i;
	}
	qsort(all, n, sizeof(*all), compare_entries);
	for (size_t i = 0; i < n; i++)
		p->step[first + i] = all[i].step;
	free(all);
	return 0;
}

static int add_nodes(struct ign_plan *p, struct err *e)
{
	const struct ign_config *c = p->config;
	size_t first = p->steps;
	int r;

	for (size_t i = 0; i < c->directories; i++)
		add_step(p, IGN_STEP_DIRECTORY)->directory = &c->directory[i];
	for (size_t i = 0; i < c->files; i++)
		add_step(p, IGN_STEP_FILE)->file = &c->file[i];
	for (size_t i = 0; i < c->links; i++)
		if (!c->link[i].hard)
			add_step(p, IGN_STEP_SYMLINK)->link = &c->link[i];
	r = sort_nodes(p, first, e);
	for (size_t i = 0; i < c->links; i++)
		if (c->link[i].hard)
			add_step(p, IGN_STEP_HARDLINK)->link = &c->link[i];
	return r;
}

/* ---- units ---- */

static void add_units(struct ign_plan *p)
{
	const struct ign_config *c = p->config;

	for (size_t i = 0; i < c->units; i++) {
		const struct ign_unit *u = &c->unit[i];

		if (has_text(u->contents))
			add_step(p, IGN_STEP_UNIT)->unit = u;
		for (size_t k = 0; k < u->dropins; k++) {
			struct ign_step *s;

			if (!has_text(u->dropin[k].contents))
				continue;
			s = add_step(p, IGN_STEP_DROPIN);
			s->unit = u;
			s->dropin = &u->dropin[k];
		}
		if (u->mask != IGN_UNSET)
			add_step(p, u->mask == IGN_YES ? IGN_STEP_UNIT_MASK : IGN_STEP_UNIT_UNMASK)
				->unit = u;
	}
}

/* "echo@a.service" is the instance "a" of "echo@.service". */
static bool is_instance(const char *name)
{
	const char *at = strchr(name, '@'), *dot = strrchr(name, '.');

	return at && dot && dot > at + 1;
}

/* The line of a template: one that other instances of it have begun, or a new one. */
static int line_of(struct ign_plan *p, json_t *lines, bool enable, const char *template,
		   size_t *ret_place, struct err *e)
{
	AUTO_BUF key = BUF_INIT;
	const json_t *place;
	struct ign_preset s = { .enable = enable };
	int r = buf_addf(&key, e, "%d %s", enable, template);

	if (r < 0)
		return r;
	place = json_object_get(lines, key.p);
	*ret_place = place ? (size_t)json_integer_value(place) : p->presets;
	if (place)
		return 0;
	s.unit = strdup(template);
	if (!s.unit)
		return out_of_memory(e);
	p->preset[p->presets++] = s;
	if (json_object_set_new(lines, key.p, json_integer((json_int_t)*ret_place)) < 0)
		return out_of_memory(e);
	return 0;
}

static int add_instance(struct ign_plan *p, json_t *lines, bool enable, const char *name,
			struct err *e)
{
	const char *at = strchr(name, '@'), *dot = strrchr(name, '.');
	AUTO_BUF template = BUF_INIT;
	struct ign_preset *s;
	char *instance;
	size_t place = 0;
	int r = buf_addf(&template, e, "%.*s%s", (int)(at + 1 - name), name, dot);

	if (r >= 0)
		r = line_of(p, lines, enable, template.p, &place, e);
	if (r < 0)
		return r;
	s = &p->preset[place];
	/* doubled when full, which it is at every power of two */
	if ((s->instances & (s->instances - 1)) == 0) {
		char **more = reallocarray(s->instance, 2 * s->instances + 1, sizeof(*more));

		if (!more)
			return out_of_memory(e);
		s->instance = more;
	}
	instance = strndup(at + 1, (size_t)(dot - at - 1));
	if (!instance)
		return out_of_memory(e);
	s->instance[s->instances++] = instance;
	return 0;
}

static int write_line(struct ign_preset *s, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = buf_addf(&b, e, "%s %s", s->enable ? "enable" : "disable", s->unit);

	for (size_t i = 0; i < s->instances && r >= 0; i++)
		r = buf_addf(&b, e, " %s", s->instance[i]);
	if (r < 0)
		return r;
	s->line = b.p;
	b.p = NULL;
	return 0;
}

static int add_presets(struct ign_plan *p, struct err *e)
{
	const struct ign_config *c = p->config;
	AUTO_JSON *lines = json_object();
	int r = lines ? 0 : out_of_memory(e);

	for (size_t i = 0; i < c->units && r >= 0; i++) {
		const struct ign_unit *u = &c->unit[i];
		bool enable = u->enabled == IGN_YES;

		if (u->enabled == IGN_UNSET)
			continue;
		if (is_instance(u->name)) {
			r = add_instance(p, lines, enable, u->name, e);
			continue;
		}
		p->preset[p->presets].enable = enable;
		p->preset[p->presets].unit = strdup(u->name);
		if (!p->preset[p->presets++].unit)
			r = out_of_memory(e);
	}
	for (size_t i = 0; i < p->presets && r >= 0; i++) {
		r = write_line(&p->preset[i], e);
		add_step(p, IGN_STEP_PRESET)->preset = &p->preset[i];
	}
	return r;
}

/* ---- the whole ---- */

static size_t steps_at_most(const struct ign_config *c)
{
	size_t n = 1 + c->filesystems + c->groups + 2 * c->users + c->directories + c->files +
		   c->links;

	for (size_t i = 0; i < c->units; i++)
		n += 3 + c->unit[i].dropins;
	return n;
}

static size_t fetches_at_most(const struct ign_config *c)
{
	size_t n = c->files;

	for (size_t i = 0; i < c->files; i++)
		n += c->file[i].appends;
	return n;
}

static int make(struct ign_plan *p, struct err *e)
{
	const struct ign_config *c = p->config;
	int r;

	p->step = calloc(steps_at_most(c), sizeof(*p->step));
	p->fetch = calloc(fetches_at_most(c) + 1, sizeof(*p->fetch));
	p->preset = calloc(c->units + 1, sizeof(*p->preset));
	if (!p->step || !p->fetch || !p->preset)
		return out_of_memory(e);
	if (c->kargs_exist.n + c->kargs_absent.n > 0)
		(void)add_step(p, IGN_STEP_KARGS);
	for (size_t i = 0; i < c->filesystems; i++)
		add_step(p, IGN_STEP_FILESYSTEM)->filesystem = &c->filesystem[i];
	add_accounts(p);
	r = add_nodes(p, e);
	if (r < 0)
		return r;
	add_units(p);
	r = add_presets(p, e);
	add_fetches(p);
	return r;
}

int ign_plan_make(const struct ign_config *c, struct ign_plan **ret, struct err *e)
{
	AUTO_IGN_PLAN *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return out_of_memory(e);
	p->config = c;
	r = make(p, e);
	if (r < 0)
		return r;
	*ret = p;
	p = NULL;
	return 0;
}

void ign_plan_free(struct ign_plan *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->presets; i++) {
		for (size_t k = 0; k < p->preset[i].instances; k++)
			free(p->preset[i].instance[k]);
		free(p->preset[i].instance);
		free(p->preset[i].unit);
		free(p->preset[i].line);
	}
	free(p->step);
	free(p->fetch);
	free(p->preset);
	free(p);
}
