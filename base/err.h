/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* One error type for the whole house. Lives on the caller's stack; never allocates. */

/* What the caller should DO. New kinds need a new behaviour in updater/agent/machine.c. */
enum err_kind {
	ERR_NONE = 0,
	ERR_RETRY,   /* transient: back off and try the same thing again  */
	ERR_REFUSED, /* untrusted or forbidden input: never retry, report */
	ERR_INPUT,   /* malformed config or metadata: a person must fix   */
	ERR_HOST,    /* this machine cannot: disk full, device missing    */
	ERR_BUG,     /* our own invariant broke                           */
};

struct err {
	enum err_kind kind;
	int os;         /* positive errno */
	char text[480]; /* "outer: inner: cause", always NUL-terminated */
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		.kind = ERR_NONE                                                                   \
	}

/* Fill e (may be NULL) and return -os, so that a failure is one statement: return err_set(...); */
int err_set(struct err *e, enum err_kind kind, int os, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), warn_unused_result));

/* Put "context: " in front of what e already says; returns r untouched. */
int err_wrap(struct err *e, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), warn_unused_result));

/* "retry", "refused", "input", "host", "bug"; "none". Stable: journal fields, JSON, metrics. */
const char *err_kind_name(enum err_kind kind);

/*
 * Compilers and analysers learn here what the functions promise: a failure is negative, so what is
 * read after `if (r < 0) return r;` was set.
 */
static inline int err_negative(int r)
{
	if (r >= 0)
		__builtin_unreachable();
	return r;
}
#define err_set(...)  err_negative(err_set(__VA_ARGS__))
#define err_wrap(...) err_negative(err_wrap(__VA_ARGS__))

#endif
