/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/walk.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "ignition-lite/schema.h"

/* ---- types ---- */

static const char *type_name(enum ign_type t)
{
	switch (t) {
	case IGN_TYPE_STRING:
		return "a string";
	case IGN_TYPE_INT:
		return "a whole number";
	case IGN_TYPE_BOOL:
		return "true or false";
	case IGN_TYPE_OBJECT:
		return "an object";
	case IGN_TYPE_STRINGS:
	case IGN_TYPE_OBJECTS:
	default:
		return "a list";
	}
}

static bool has_type(const json_t *v, enum ign_type t)
{
	switch (t) {
	case IGN_TYPE_STRING:
		return json_is_string(v);
	case IGN_TYPE_INT:
		return json_is_integer(v);
	case IGN_TYPE_BOOL:
		return json_is_boolean(v);
	case IGN_TYPE_OBJECT:
		return json_is_object(v);
	case IGN_TYPE_STRINGS:
	case IGN_TYPE_OBJECTS:
	default:
		return json_is_array(v);
	}
}

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* Ignition reads names of members without regard to case; dropping such a one would be a trap. */
static int unknown_key(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
		       const char *key, struct err *e)
{
	char clean[64];

	for (size_t i = 0; i < o->fields; i++)
		if (o->field[i].since <= r->minor && strcasecmp(o->field[i].name, key) == 0)
			return ign_say(r, IGN_ERROR, at, key, e, "is spelled '%s'",
				       o->field[i].name);
	text_clean(key, strlen(key), clean, sizeof(clean));
	for (size_t i = 0; i < o->fields; i++)
		if (strcmp(o->field[i].name, key) == 0)
			return ign_say(r, IGN_WARNING, at, key, e,
				       "is ignored: spec 3.%u.0 does not know it, 3.%u.0 does",
				       r->minor, o->field[i].since);
	return ign_say(r, IGN_WARNING, at, key, e, "unused key '%s'", clean);
}

static int types_of_object(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
			   json_t *v, struct err *e);

static int types_of_list(struct ign_read *r, const struct ign_at *at, const struct ign_field *f,
			 json_t *list, struct err *e)
{
	enum ign_type want = f->type == IGN_TYPE_STRINGS ? IGN_TYPE_STRING : IGN_TYPE_OBJECT;
	int n = 0;

	for (size_t i = 0; i < json_array_size(list) && n >= 0; i++) {
		struct ign_at here = { .up = at, .index = i };
		json_t *v = json_array_get(list, i);

		if (json_is_null(v)) {
			v = want == IGN_TYPE_STRING ? json_string("") : json_object();
			if (json_array_set_new(list, i, v) < 0)
				return out_of_memory(e);
		}
		if (!has_type(v, want))
			n = ign_say(r, IGN_ERROR, &here, NULL, e, "must be %s", type_name(want));
		else if (want == IGN_TYPE_OBJECT)
			n = types_of_object(r, &here, f->of, v, e);
	}
	return n;
}

static int types_of_value(struct ign_read *r, const struct ign_at *at, const struct ign_field *f,
			  json_t *v, struct err *e)
{
	if (!has_type(v, f->type))
		return ign_say(r, IGN_ERROR, at, NULL, e, "must be %s", type_name(f->type));
	if (f->type == IGN_TYPE_OBJECT)
		return types_of_object(r, at, f->of, v, e);
	if (f->type == IGN_TYPE_STRINGS || f->type == IGN_TYPE_OBJECTS)
		return types_of_list(r, at, f, v, e);
	return 0;
}

static int types_of_object(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
			   json_t *v, struct err *e)
{
	const char *key;
	json_t *member;
	void *next;
	int n = 0;

	json_object_foreach_safe(v, next, key, member)
	{
		const struct ign_field *f = ign_field_find(o, key);
		struct ign_at here = { .up = at, .key = key };

		if (!f || f->since > r->minor) {
			n = unknown_key(r, at, o, key, e);
			(void)json_object_del(v, key);
		} else if (json_is_null(member)) {
			(void)json_object_del(v, key);
		} else {
			n = types_of_value(r, &here, f, member, e);
		}
		if (n < 0)
			return n;
	}
	return 0;
}

int ign_walk_types(struct ign_read *r, json_t *root, struct err *e)
{
	static const struct ign_at top = { .up = NULL };

	if (!json_is_object(root))
		return ign_say(r, IGN_ERROR, &top, NULL, e, "must be an object");
	return types_of_object(r, &top, &ign_schema, root, e);
}

/* ---- checks ---- */

/* One set of keys for the lists that share them, else one for this list alone. */
static int repeated(struct ign_read *r, const struct ign_at *at, const struct ign_field *f,
		    const json_t *list, json_t *set, struct err *e)
{
	char room[IGN_KEY_MAX];
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = at, .index = i };
		const char *key = ign_key(f, v, room);

		if (json_object_get(set, key))
			n = ign_say(r, IGN_ERROR, &here, NULL, e,
				    "is there twice: another entry has the same %s",
				    f->of ? f->of->key : "value");
		else if (json_object_set_new(set, key, json_true()) < 0)
			return out_of_memory(e);
		if (n < 0)
			return n;
	}
	return 0;
}

static int repeated_in_object(struct ign_read *r, const struct ign_at *at,
			      const struct ign_object *o, const json_t *v, struct err *e)
{
	AUTO_JSON *shared = json_object();
	int n = 0;

	if (!shared)
		return out_of_memory(e);
	for (size_t i = 0; i < o->fields && n >= 0; i++) {
		const struct ign_field *f = &o->field[i];
		const json_t *list = json_object_get(v, f->name);
		struct ign_at here = { .up = at, .key = f->name };
		AUTO_JSON *own = NULL;

		if (f->concat || json_array_size(list) == 0)
			continue;
		own = f->shares_keys ? json_incref(shared) : json_object();
		if (!own)
			return out_of_memory(e);
		n = repeated(r, &here, f, list, own, e);
	}
	return n;
}

static int checks_of_object(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
			    const json_t *v, struct err *e);

static int checks_of_list(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
			  const json_t *list, struct err *e)
{
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = at, .index = i };

		n = checks_of_object(r, &here, o, v, e);
		if (n < 0)
			return n;
	}
	return 0;
}

static int checks_of_object(struct ign_read *r, const struct ign_at *at, const struct ign_object *o,
			    const json_t *v, struct err *e)
{
	int n = o->check ? o->check(r, at, v, e) : 0;

	if (n >= 0)
		n = repeated_in_object(r, at, o, v, e);
	for (size_t i = 0; i < o->fields && n >= 0; i++) {
		const struct ign_field *f = &o->field[i];
		const json_t *member = json_object_get(v, f->name);
		struct ign_at here = { .up = at, .key = f->name };

		if (!member)
			continue;
		if (f->type == IGN_TYPE_OBJECT)
			n = checks_of_object(r, &here, f->of, member, e);
		else if (f->type == IGN_TYPE_OBJECTS)
			n = checks_of_list(r, &here, f->of, member, e);
	}
	return n;
}

int ign_walk_checks(struct ign_read *r, const json_t *root, struct err *e)
{
	static const struct ign_at top = { .up = NULL };

	return checks_of_object(r, &top, &ign_schema, root, e);
}
