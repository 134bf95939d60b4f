/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <syslog.h>

struct err;

/* Only mains and the loop log. To the journal with fields under systemd, else lines on stderr. */

/* Message ids, explained in units/proa.catalog. */
#define MSG_STATE          "8b0c3a7e6f0c4c5e9d0f0a6f0d3f4a11"
#define MSG_FAILED         "5d1be0a4a2be4ac08e6a3d8c8a07c1b2"
#define MSG_STAGED         "52a78d567b284a079b33da6a34ed2959"
#define MSG_APPLIED        "304ed561873e4abba41d6c7961e45cf0"
#define MSG_BLESSED        "a4c2e6f80b1d4f3a9e7c5b3d1f0a8e62"
#define MSG_RELEASE_FAILED "b9fb46b7098c42bb9205921d79cae957"
#define MSG_FALLBACK       "c8f2a1f8b7a84f5f9a3c6fb0a4d1e9c3"
#define MSG_HALTED         "8b15edc4f9e242649e9ff574f215743d"
#define MSG_ROLLED_BACK    "7159727eed2d48a0accba944a9ba56fe"
#define MSG_FORGIVEN       "6df7ddf1a27b44509fda688852fd32ff"
#define MSG_HEALTH         "e1f7b2c8d9304a7b8c6d5e4f3a2b1c0d"
#define MSG_UNHEALTHY      "e9593b9796264f069d5ce27ac8a8d8d9"
#define MSG_HOOK           "d3b07a91c5e84f26a7c09e1b2d6f4385"

/* name: the program's, a literal. setlogmask(3) says which priorities are dropped. */
void log_open(const char *name);

/* One line: priority, message id (NULL for none), text; fields as "KEY=value", NULL-terminated. */
void log_event(int priority, const char *msg_id, const char *const *fields, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A failure: its text, ERRNO= and PROA_KIND= fields. `what` leads the line (NULL: nothing does). */
void log_err(const struct err *e, const char *what);

#endif
