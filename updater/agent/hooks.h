/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_HOOKS_H
#define UPDATER_AGENT_HOOKS_H

#include "base/err.h"
#include "updater/hook/ask.h"
#include "updater/wire/client.h"

/* proa-hook as proad asks it: a socket (a service), or a program as a child. */
struct hooks_link {
	const char *socket;
	const char *program; /* NULL: the socket */
	wire_wait_fn wait;   /* see wire_client_set_wait(); may be NULL */
	void *arg;
};

/*
 * Has the hooks of ask->stage run, and waits for their end. No hooks: a success, and nobody is
 * asked. A hook that fails is an answer, not an error; errors are those of asking: ERR_HOST with
 * what to do, ERR_RETRY -ECANCELED.
 */
int hooks_run(const struct hooks_link *l, const struct hook_ask *ask, struct hook_answer *ret,
	      struct err *e) __attribute__((warn_unused_result));

#endif
