/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef err_set
#undef err_wrap

int err_set(struct err *e, enum err_kind kind, int os, const char *fmt, ...)
{
	va_list ap;

	assert(kind != ERR_NONE);
	assert(os > 0);
	if (os <= 0)
		os = EIO; /* a failure is one even if a caller lost its errno */

	if (!e)
		return -os;

	e->kind = kind;
	e->os = os;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -os;
}

int err_wrap(struct err *e, int r, const char *fmt, ...)
{
	char inner[sizeof(e->text)];
	size_t n;
	va_list ap;

	assert(r < 0);
	if (r >= 0)
		r = -EIO;

	if (!e)
		return r;

	memcpy(inner, e->text, sizeof(inner));
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	(void)snprintf(e->text + n, sizeof(e->text) - n, ": %s", inner);
	return r;
}

const char *err_kind_name(enum err_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",   [ERR_RETRY] = "retry", [ERR_REFUSED] = "refused",
		[ERR_INPUT] = "input", [ERR_HOST] = "host",   [ERR_BUG] = "bug",
	};

	return names[kind];
}
