/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/lock/semaphore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "updater/lock/lock.h"

#define SHOWN 3 /* holders named in a sentence */

void semaphore_done(struct semaphore *s)
{
	json_decref(s->holders);
	s->holders = NULL;
}

int semaphore_new(unsigned places, struct semaphore *ret, struct err *e)
{
	json_t *holders = json_array();

	if (!holders)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = (struct semaphore){ .places = places, .holders = holders };
	return 0;
}

static int bad(struct err *e, const char *why)
{
	return err_set(e, ERR_REFUSED, EBADMSG, "what etcd holds is no semaphore: %s", why);
}

int semaphore_read(const char *p, size_t n, struct semaphore *ret, struct err *e)
{
	const struct json_limits lim = { .bytes = LOCK_ANSWER_MAX, .depth = 4 };
	AUTO_JSON *j = NULL;
	json_t *holders;
	uint64_t places;
	struct err why = ERR_INIT;

	if (json_read(p, n, &lim, "semaphore", &j, &why) < 0 ||
	    json_get_u64(j, "total_slots", "semaphore", UINT32_MAX, &places, &why) < 0 ||
	    json_get_arr(j, "holders", "semaphore", &holders, &why) < 0)
		return bad(e, why.text);
	for (size_t i = 0; i < json_array_size(holders); i++) {
		const char *id = json_string_value(json_array_get(holders, i));
		const char *before = i ? json_string_value(json_array_get(holders, i - 1)) : "";

		if (!id || (i && strcmp(before, id) >= 0))
			return bad(e, "its holders are not strings in order, each once");
	}
	*ret = (struct semaphore){ .places = places, .holders = json_incref(holders) };
	return 0;
}

int semaphore_write(const struct semaphore *s, struct buf *out, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r;

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_u64(j, "total_slots", s->places, e);
	if (r == 0)
		r = json_put(j, "holders", json_incref(s->holders), e);
	return r < 0 ? r : json_write(j, false, out, e);
}

/* Where id stands or would stand. */
static size_t place_of(const struct semaphore *s, const char *id, bool *ret_there)
{
	size_t i;

	*ret_there = false;
	for (i = 0; i < json_array_size(s->holders); i++) {
		int c = strcmp(json_string_value(json_array_get(s->holders, i)), id);

		*ret_there = c == 0;
		if (c >= 0)
			break;
	}
	return i;
}

bool semaphore_holds(const struct semaphore *s, const char *id)
{
	bool there;

	(void)place_of(s, id, &there);
	return there;
}

int semaphore_take(struct semaphore *s, const char *id, struct err *e)
{
	bool there;
	size_t at = place_of(s, id, &there);
	char who[300];

	if (there)
		return 0;
	if (json_array_size(s->holders) >= s->places)
		return err_set(e, ERR_RETRY, EBUSY, "%s", semaphore_show(s, who, sizeof(who)));
	if (json_array_insert_new(s->holders, at, json_string(id)) < 0)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return 1;
}

int semaphore_release(struct semaphore *s, const char *id, struct err *e)
{
	bool there;
	size_t at = place_of(s, id, &there);

	if (!there)
		return 0;
	if (json_array_remove(s->holders, at) < 0)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return 1;
}

char *semaphore_show(const struct semaphore *s, char *out, size_t cap)
{
	size_t n = json_array_size(s->holders), at;

	(void)snprintf(out, cap, "%zu of %llu places taken", n, (unsigned long long)s->places);
	for (size_t i = 0; i < n && i < SHOWN; i++) {
		at = strlen(out);
		(void)snprintf(out + at, cap - at, "%s%.64s", i ? ", " : " by ",
			       json_string_value(json_array_get(s->holders, i)));
	}
	at = strlen(out);
	if (n > SHOWN)
		(void)snprintf(out + at, cap - at, " and %zu more", n - SHOWN);
	return out;
}
