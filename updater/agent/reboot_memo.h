/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_REBOOT_MEMO_H
#define UPDATER_AGENT_REBOOT_MEMO_H

#include "base/buf.h"
#include "base/sys.h"
#include "updater/agent/reboot.h"

/* The memo in the state directory: one JSON file, replaced durably. */
#define REBOOT_MEMO_FILE  "reboot.json"
#define REBOOT_MEMO_BYTES ((size_t)16 << 10)

/*
 * An absent file is an empty memo. ERR_HOST -EUCLEAN for one that is damaged: whether this host
 * holds a place is not known then, and a person must look.
 */
int reboot_memo_load(struct sys *sys, int dir, struct reboot_memo *ret, struct err *e)
	__attribute__((warn_unused_result));
int reboot_memo_store(struct sys *sys, int dir, const struct reboot_memo *m, struct err *e)
	__attribute__((warn_unused_result));

/* The two halves. Pure; ERR_INPUT for what is no memo. */
int reboot_memo_format(const struct reboot_memo *m, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));
int reboot_memo_parse(const void *p, size_t n, struct reboot_memo *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
