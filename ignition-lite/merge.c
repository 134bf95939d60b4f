/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/check.h"
#include "ignition-lite/config.h"
#include "ignition-lite/schema.h"
#include "ignition-lite/take.h"
#include "ignition-lite/walk.h"

/* Merging makes new objects and lists and shares what is taken whole: trees are never changed. */

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static int push(json_t *list, json_t *v, struct err *e)
{
	return json_array_append(list, v) < 0 ? out_of_memory(e) : 0;
}

static int push_all(json_t *list, json_t *from, struct err *e)
{
	if (from && json_array_extend(list, from) < 0)
		return out_of_memory(e);
	return 0;
}

static int merge_object(const struct ign_object *o, json_t *parent, json_t *child, json_t **ret,
			struct err *e);

/* The entries of a list by their keys; of equal ones the last. */
static int index_list(const struct ign_field *f, json_t *list, json_t *by_key, struct err *e)
{
	char room[IGN_KEY_MAX];
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) if (json_object_set(by_key, ign_key(f, v, room), v) <
					   0) return out_of_memory(e);
	return 0;
}

/* A parent's entry whose key is in the child's list of the same name. */
static int merge_entry(const struct ign_field *f, json_t *parent, json_t *child, json_t *into,
		       struct err *e)
{
	AUTO_JSON *both = NULL;
	int r;

	if (f->type == IGN_TYPE_STRINGS)
		return push(into, child, e);
	if (f->of == &ign_header_schema && !ign_str(child, "value"))
		return 0; /* removes the parent's */
	r = merge_object(f->of, parent, child, &both, e);
	return r < 0 ? r : push(into, both, e);
}

/*
 * Parent's entries first, merged with the child's of the same key, then what only the child has. An
 * entry of the parent that stands in another list of the child (a file that becomes a link) is
 * left to that list.
 */
static int merge_keyed(const struct ign_field *f, json_t *parent, json_t *child,
		       const json_t *elsewhere, json_t *into, struct err *e)
{
	AUTO_JSON *in_parent = json_object(), *in_child = json_object();
	char room[IGN_KEY_MAX];
	json_t *v;
	size_t i;
	int r = in_parent && in_child ? index_list(f, child, in_child, e) : out_of_memory(e);

	if (r >= 0)
		r = index_list(f, parent, in_parent, e);
	if (r < 0)
		return r;
	json_array_foreach(parent, i, v)
	{
		const char *key = ign_key(f, v, room);
		json_t *same = json_object_get(in_child, key);

		if (same)
			r = merge_entry(f, v, same, into, e);
		else if (!json_object_get(elsewhere, key))
			r = push(into, v, e);
		if (r < 0)
			return r;
	}
	json_array_foreach(child, i, v)
	{
		if (!json_object_get(in_parent, ign_key(f, v, room)))
			r = push(into, v, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int merge_list(const struct ign_field *f, json_t *parent, json_t *child,
		      const json_t *elsewhere, json_t **ret, struct err *e)
{
	AUTO_JSON *list = json_array();
	int r = list ? 0 : out_of_memory(e);

	if (r >= 0 && f->concat) {
		r = push_all(list, parent, e);
		if (r >= 0)
			r = push_all(list, child, e);
	} else if (r >= 0) {
		r = merge_keyed(f, parent, child, elsewhere, list, e);
	}
	if (r >= 0)
		*ret = json_incref(list);
	return r;
}

static bool is_list(const struct ign_field *f)
{
	return f->type == IGN_TYPE_STRINGS || f->type == IGN_TYPE_OBJECTS;
}

static int merge_field(const struct ign_field *f, json_t *parent, json_t *child,
		       const json_t *elsewhere, json_t *into, struct err *e)
{
	AUTO_JSON *v = NULL;
	int r = 0;

	if (is_list(f) && (parent || child))
		r = merge_list(f, parent, child, elsewhere, &v, e);
	else if (f->type == IGN_TYPE_OBJECT && parent && child)
		r = merge_object(f->of, parent, child, &v, e);
	else
		v = json_incref(child ? child : parent);
	if (r >= 0 && v && json_object_set(into, f->name, v) < 0)
		return out_of_memory(e);
	return r;
}

static int merge_object(const struct ign_object *o, json_t *parent, json_t *child, json_t **ret,
			struct err *e)
{
	AUTO_JSON *into = json_object(), *shared = json_object();
	int r = into && shared ? 0 : out_of_memory(e);

	for (size_t i = 0; i < o->fields && r >= 0; i++)
		if (o->field[i].shares_keys)
			r = index_list(&o->field[i], json_object_get(child, o->field[i].name),
				       shared, e);
	for (size_t i = 0; i < o->fields && r >= 0; i++) {
		const struct ign_field *f = &o->field[i];

		r = merge_field(f, json_object_get(parent, f->name),
				json_object_get(child, f->name), f->shares_keys ? shared : NULL,
				into, e);
	}
	if (r >= 0)
		*ret = json_incref(into);
	return r;
}

/* What each of the two is warned of was said when it was read. */
static int keep_errors(const struct ign_report *from, struct ign_report *to, struct err *e)
{
	for (size_t i = 0; i < from->n; i++) {
		int r = from->issue[i].kind == IGN_ERROR ? ign_report_add(to, &from->issue[i], e)
							 : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_merged(const json_t *root, struct ign_report *rep, struct err *e)
{
	AUTO_IGN_REPORT found = { 0 };
	struct ign_read r = { .what = "the merged config",
			      .minor = IGN_MINOR_MAX,
			      .report = &found };
	const struct ign_issue *first;
	char line[sizeof(e->text)];
	int n = ign_walk_checks(&r, root, e);

	if (n >= 0)
		n = keep_errors(&found, rep, e);
	if (n < 0 || found.count[IGN_ERROR] == 0)
		return n;
	first = ign_report_first(&found, IGN_ERROR);
	return err_set(e, ERR_INPUT, EINVAL, "%s",
		       first ? ign_issue_format(first, r.what, line, sizeof(line)) : r.what);
}

int ign_config_merge(const struct ign_config *parent, const struct ign_config *child,
		     struct ign_report *rep, struct ign_config **ret, struct err *e)
{
	json_t *root = NULL;
	int r = merge_object(&ign_schema, ign_config_tree(parent), ign_config_tree(child), &root,
			     e);

	if (r < 0)
		return r;
	r = check_merged(root, rep, e);
	if (r < 0) {
		json_decref(root);
		return r;
	}
	return ign_take(root, ret, e);
}

int ign_config_write(const struct ign_config *c, struct buf *b, struct err *e)
{
	return json_write(ign_config_tree(c), true, b, e);
}
