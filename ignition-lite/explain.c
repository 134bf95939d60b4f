/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/url.h"

/* The plan as sentences. Names and paths come from outside: they are cleaned for a terminal. */

enum { SHOWN_MAX = 256 };

static const char *shown(const char *s, char out[SHOWN_MAX])
{
	return text_clean(s, strlen(s), out, SHOWN_MAX);
}

static int add_shown(struct buf *b, const char *before, const char *s, struct err *e)
{
	char room[SHOWN_MAX];

	return buf_addf(b, e, "%s%s", before, shown(s, room));
}

/* Appended as ", a, b" behind `before`; nothing for an empty list. */
static int add_list(struct buf *b, const char *before, const struct ign_strings *list,
		    struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < list->n && r >= 0; i++)
		r = add_shown(b, i == 0 ? before : ", ", list->s[i], e);
	return r;
}

static void owner_text(const struct ign_owner *o, char out[SHOWN_MAX])
{
	if (o->has_id)
		(void)snprintf(out, SHOWN_MAX, "%u", o->id);
	else
		(void)shown(o->name ? o->name : "root", out);
}

/* " (0644, root:root)"; a mode or an owner that is not given is left as it is found */
static int add_owner(struct buf *b, int mode, const char *usual, const struct ign_node *n,
		     struct err *e)
{
	char user[SHOWN_MAX], group[SHOWN_MAX], digits[8];

	owner_text(&n->user, user);
	owner_text(&n->group, group);
	(void)snprintf(digits, sizeof(digits), "%04o", (unsigned)mode & 07777u);
	return buf_addf(b, e, " (%s, %s:%s)", mode < 0 ? usual : digits, user, group);
}

static int add_source(struct buf *b, const char *before, const struct ign_resource *r,
		      struct err *e)
{
	char url[2 * SHOWN_MAX];

	return buf_addf(b, e, "%s%s%s%s", before, ign_url_show(r->source, url, sizeof(url)),
			r->gzip ? ", decompressed" : "", r->has_hash ? ", verified" : "");
}

static int explain_file(const struct ign_file *f, struct buf *b, struct err *e)
{
	bool replaces = f->node.overwrite == IGN_YES;
	const char *verb = replaces ? "replace " : f->contents.source ? "write " : "make sure of ";
	int r = add_shown(b, verb, f->node.path, e);

	if (r >= 0)
		r = add_owner(b, f->mode, "0644", &f->node, e);
	if (r >= 0 && f->contents.source)
		r = add_source(b, " from ", &f->contents, e);
	for (size_t i = 0; i < f->appends && r >= 0; i++)
		if (f->append[i].source)
			r = add_source(b, ", append ", &f->append[i], e);
	return r;
}

static int explain_link(const struct ign_link *l, struct buf *b, struct err *e)
{
	bool replaces = l->node.overwrite == IGN_YES;
	int r = buf_addf(b, e, "%s%s link ", replaces ? "replace by a " : "make the ",
			 l->hard ? "hard" : "symbolic");

	if (r >= 0)
		r = add_shown(b, "", l->node.path, e);
	return r < 0 ? r : add_shown(b, " to ", l->target, e);
}

static int explain_user(const struct ign_user *u, struct buf *b, struct err *e)
{
	int r = add_shown(b, u->should_exist == IGN_NO ? "remove user " : "create or modify user ",
			  u->name, e);

	if (r < 0 || u->should_exist == IGN_NO)
		return r;
	if (u->has_uid)
		r = buf_addf(b, e, ", uid %u", u->uid);
	if (r >= 0 && u->primary_group)
		r = add_shown(b, ", primary group ", u->primary_group, e);
	if (r >= 0)
		r = add_list(b, ", in groups ", &u->groups, e);
	if (r >= 0 && u->home)
		r = add_shown(b, ", home ", u->home, e);
	if (r >= 0 && u->shell)
		r = add_shown(b, ", shell ", u->shell, e);
	if (r >= 0 && u->password_hash)
		r = buf_addf(b, e, ", with a password");
	return r;
}

static int explain_group(const struct ign_group *g, struct buf *b, struct err *e)
{
	int r = add_shown(b, g->should_exist == IGN_NO ? "remove group " : "create group ", g->name,
			  e);

	if (r >= 0 && g->has_gid && g->should_exist != IGN_NO)
		r = buf_addf(b, e, ", gid %u", g->gid);
	return r;
}

static int explain_filesystem(const struct ign_filesystem *f, struct buf *b, struct err *e)
{
	int r = buf_addf(b, e, "%s ", f->wipe == IGN_YES ? "make anew the" : "use or make the");

	if (r >= 0)
		r = add_shown(b, "", f->format ? f->format : "none", e);
	if (r >= 0)
		r = add_shown(b, " file system on ", f->device, e);
	if (r >= 0 && f->label)
		r = add_shown(b, ", label ", f->label, e);
	if (r >= 0 && f->path)
		r = add_shown(b, ", for ", f->path, e);
	return r;
}

static int explain_kargs(const struct ign_config *c, struct buf *b, struct err *e)
{
	int r = buf_addf(b, e, "kernel arguments:");

	if (r >= 0)
		r = add_list(b, " with ", &c->kargs_exist, e);
	return r < 0 ? r
		     : add_list(b, c->kargs_exist.n > 0 ? ", without " : " without ",
				&c->kargs_absent, e);
}

static int explain_unit(const struct ign_step *s, struct buf *b, struct err *e)
{
	int r;

	if (s->kind == IGN_STEP_DROPIN) {
		r = add_shown(b, "write drop-in ", s->dropin->name, e);
		return r < 0 ? r : add_shown(b, " of ", s->unit->name, e);
	}
	if (s->kind == IGN_STEP_UNIT)
		return add_shown(b, "write unit ", s->unit->name, e);
	return add_shown(b, s->kind == IGN_STEP_UNIT_MASK ? "mask unit " : "unmask unit ",
			 s->unit->name, e);
}

int ign_step_explain(const struct ign_plan *p, const struct ign_step *s, struct buf *b,
		     struct err *e)
{
	int r;

	switch (s->kind) {
	case IGN_STEP_KARGS:
		return explain_kargs(p->config, b, e);
	case IGN_STEP_FILESYSTEM:
		return explain_filesystem(s->filesystem, b, e);
	case IGN_STEP_GROUP:
		return explain_group(s->group, b, e);
	case IGN_STEP_USER:
		return explain_user(s->user, b, e);
	case IGN_STEP_SSH_KEYS:
		r = buf_addf(b, e, "write %zu SSH key%s", s->user->ssh_keys.n,
			     s->user->ssh_keys.n == 1 ? "" : "s");
		return r < 0 ? r : add_shown(b, " of ", s->user->name, e);
	case IGN_STEP_DIRECTORY:
		r = add_shown(b,
			      s->directory->node.overwrite == IGN_YES ? "replace by a directory "
								      : "make directory ",
			      s->directory->node.path, e);
		return r < 0 ? r : add_owner(b, s->directory->mode, "0755", &s->directory->node, e);
	case IGN_STEP_FILE:
		return explain_file(s->file, b, e);
	case IGN_STEP_SYMLINK:
	case IGN_STEP_HARDLINK:
		return explain_link(s->link, b, e);
	case IGN_STEP_PRESET:
		return add_shown(b, "preset: ", s->preset->line, e);
	case IGN_STEP_UNIT:
	case IGN_STEP_DROPIN:
	case IGN_STEP_UNIT_MASK:
	case IGN_STEP_UNIT_UNMASK:
	default:
		return explain_unit(s, b, e);
	}
}

static int explain_fetches(const struct ign_plan *p, struct buf *b, struct err *e)
{
	char url[2 * SHOWN_MAX];
	int r = 0;

	for (size_t i = 0; i < p->fetches && r >= 0; i++)
		if (ign_url_needs_network(p->fetch[i].resource->source))
			r = buf_addf(b, e, "before: fetch %s\n",
				     ign_url_show(p->fetch[i].resource->source, url, sizeof(url)));
	return r;
}

int ign_plan_explain(const struct ign_plan *p, struct buf *b, struct err *e)
{
	int r;

	if (p->steps == 0)
		return buf_addf(b, e, "Nothing to do.\n");
	r = explain_fetches(p, b, e);
	for (size_t i = 0; i < p->steps && r >= 0; i++) {
		r = buf_addf(b, e, "%6zu  ", i + 1);
		if (r >= 0)
			r = ign_step_explain(p, &p->step[i], b, e);
		if (r >= 0)
			r = buf_addf(b, e, "\n");
	}
	return r;
}
