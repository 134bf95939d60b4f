/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_REFUSE_H
#define TUF_REFUSE_H

/* Inside this room only: a refusal is an err for people and a reason for programs. */

#include "base/err.h"
#include "updater/tuf/reason.h"

static inline void tuf_why(enum tuf_reason *ret_why, enum tuf_reason r)
{
	if (ret_why)
		*ret_why = r;
}

#define TUF_REFUSE(ret_why, reason, e, os, ...)                                                    \
	(tuf_why(ret_why, reason), err_set(e, ERR_REFUSED, os, __VA_ARGS__))

/* What json_get_*() says of a file from the network: nobody here can correct it. */
static inline int tuf_malformed(int r, enum tuf_reason *ret_why, struct err *e)
{
	if (e && e->kind == ERR_INPUT)
		e->kind = ERR_REFUSED;
	tuf_why(ret_why, TUF_REASON_MALFORMED);
	return r;
}

#endif
