/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_PACE_H
#define PUBLISHER_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Long steps: they tell how far they are, and end when a signal asks for it. */

/* Signals are blocked while a repository is written; a long step asks now and then. */
bool pace_stop_asked(void);

/* What a step that was stopped returns: -ECANCELED. */
int pace_stopped(struct err *e) __attribute__((warn_unused_result));

/* For the progress callbacks of verity and image; bar: struct progress, or NULL. */
int pace_progress(void *bar, uint64_t done, uint64_t total);

#endif
