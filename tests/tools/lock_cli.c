/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock-cli take|release fleetlock|etcd GROUP ID PLACES: updater/lock without a network. Prints each
 * call as "PATH<tab>FLEETLOCK<tab>BODY", reads each answer as "STATUS<tab>BODY", then prints
 * "got", "full<tab>TEXT" or "error<tab>KIND<tab>TEXT".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "updater/lock/lock.h"

static int fail(const struct err *e)
{
	(void)printf("error\t%d\t%s\n", (int)e->kind, e->text);
	return 1;
}

/* 0: more, 1: ended */
static int step(struct lock *l, struct err *e)
{
	const struct lock_call c = lock_call(l);
	AUTO_FREE char *line = NULL;
	enum lock_state state;
	size_t cap = 0;
	ssize_t n;
	char *body;

	(void)printf("%s\t%d\t%s\n", c.path, c.fleetlock, c.body);
	(void)fflush(stdout);
	n = getline(&line, &cap, stdin);
	body = n > 0 ? strchr(line, '\t') : NULL;
	if (!body)
		return err_set(e, ERR_HOST, 5, "no answer on standard input");
	line[n - 1] = '\0';
	body++;
	if (lock_answer(l, (unsigned)strtoul(line, NULL, 10), body, strlen(body), &state, e) < 0)
		return -1;
	if (state == LOCK_GOT)
		(void)puts("got");
	if (state == LOCK_FULL)
		(void)printf("full\t%s\n", lock_text(l));
	return state != LOCK_ASK;
}

int main(int argc, char **argv)
{
	struct lock_terms t = { .kind = LOCK_FLEETLOCK };
	struct err e = ERR_INIT;
	AUTO_LOCK *l = NULL;
	int r = 0;

	if (argc != 6)
		return 2;
	if (strcmp(argv[2], "etcd") == 0)
		t.kind = LOCK_ETCD;
	(void)snprintf(t.group, sizeof(t.group), "%s", argv[3]);
	(void)snprintf(t.id, sizeof(t.id), "%s", argv[4]);
	t.places = (unsigned)strtoul(argv[5], NULL, 10);
	if (lock_new(&t, strcmp(argv[1], "take") == 0 ? LOCK_TAKE : LOCK_RELEASE, &l, &e) < 0)
		return fail(&e);
	while (r == 0)
		r = step(l, &e);
	return r < 0 ? fail(&e) : 0;
}
