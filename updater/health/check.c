/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && strcmp(s + n - k, end) == 0;
}

/* What editors and package managers leave behind must not run, though it be executable. */
static bool is_leftover(const char *name)
{
	static const char *const ends[] = {
		"~", ".bak", ".swp", ".rpmnew", ".rpmsave", ".rpmorig"
	};

	if (name[0] == '.' || strstr(name, ".dpkg-"))
		return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_in(name, ends[i]))
			return true;
	return false;
}

enum health_file_kind health_file_kind(const char *name, unsigned mode, bool dev_null)
{
	if (is_leftover(name) || strlen(name) >= HEALTH_NAME_MAX)
		return HEALTH_FILE_OTHER;
	if (dev_null)
		return HEALTH_FILE_MASK;
	if (mode == 0)
		return HEALTH_FILE_BARRED;
	if (!S_ISREG(mode))
		return HEALTH_FILE_OTHER;
	if (mode & 0111)
		return HEALTH_FILE_RUN;
	/* a check that silently is not run would let a broken release pass */
	return ends_in(name, ".sh") ? HEALTH_FILE_BARRED : HEALTH_FILE_OTHER;
}

/* By name; of one name /etc first. */
static int compare(const void *a, const void *b)
{
	const struct health_file *x = *(const struct health_file *const *)a;
	const struct health_file *y = *(const struct health_file *const *)b;
	int r = strcmp(x->name, y->name);

	return r ? r : (int)y->etc - (int)x->etc;
}

const char *health_source_name(enum health_source s)
{
	static const char *const names[] = { [HEALTH_SCRIPT] = "script",
					     [HEALTH_GREENBOOT] = "greenboot",
					     [HEALTH_UNIT] = "unit",
					     [HEALTH_BUILT_IN] = "built-in" };

	return names[s];
}

const char *health_end_name(enum health_end end)
{
	static const char *const names[] = { [HEALTH_WAITING] = "waiting",
					     [HEALTH_PASSED] = "passed",
					     [HEALTH_FAILED] = "failed",
					     [HEALTH_LATE] = "late",
					     [HEALTH_SKIPPED] = "skipped" };

	return names[end];
}

int health_add(const char *name, enum health_source source, bool required,
	       struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
{
	if (*n == HEALTH_CHECKS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d health checks",
			       HEALTH_CHECKS_MAX);
	check[*n] = (struct health_check){ .source = source, .required = required };
	(void)snprintf(check[*n].name, sizeof(check[*n].name), "%s", name);
	(*n)++;
	return 0;
}

int health_merge(const struct health_file *file, size_t n_file, bool required,
		 struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
{
	AUTO_FREE const struct health_file **sorted = calloc(n_file + 1, sizeof(void *));
	size_t k = *n;

	if (!sorted)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < n_file; i++)
		sorted[i] = &file[i];
	qsort(sorted, n_file, sizeof(void *), compare);
	for (size_t i = 0; i < n_file; i++) {
		const struct health_file *f = sorted[i];
		int r;

		if (i > 0 && strcmp(f->name, sorted[i - 1]->name) == 0)
			continue;
		if (f->kind == HEALTH_FILE_MASK || f->kind == HEALTH_FILE_OTHER)
			continue;
		r = health_add(f->name, HEALTH_SCRIPT, required, check, &k, e);
		if (r < 0)
			return r;
		check[k - 1].etc = f->etc;
		check[k - 1].barred = f->kind == HEALTH_FILE_BARRED;
	}
	*n = k;
	return 0;
}

int health_merge_greenboot(const struct health_file *file, size_t n_file, bool required,
			   struct health_check check[HEALTH_CHECKS_MAX], size_t *n, struct err *e)
{
	AUTO_FREE const struct health_file **sorted = calloc(n_file + 1, sizeof(void *));
	size_t k = *n;

	if (!sorted)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < n_file; i++)
		sorted[i] = &file[i];
	qsort(sorted, n_file, sizeof(void *), compare);
	for (size_t pass = 0; pass < 2 * n_file; pass++) {
		const struct health_file *f = sorted[pass % n_file];
		int r;

		/* /usr/lib first, then /etc */
		if (f->etc != (pass >= n_file) || !ends_in(f->name, ".sh") ||
		    f->kind == HEALTH_FILE_MASK)
			continue;
		r = health_add(f->name, HEALTH_GREENBOOT, required, check, &k, e);
		if (r < 0)
			return r;
		check[k - 1].etc = f->etc;
	}
	*n = k;
	return 0;
}

/* systemd.unit(5): letters, digits and :-_.\@, with the suffix of a kind that can be active. */
static bool is_unit(const char *name, size_t n)
{
	static const char *const ends[] = { ".service", ".socket", ".target", ".mount",
					    ".timer",   ".path",   ".swap",   ".device" };
	char text[HEALTH_NAME_MAX];

	if (n >= sizeof(text) || name[0] == '-' || name[0] == '.')
		return false;
	memcpy(text, name, n);
	text[n] = '\0';
	if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@") !=
	    n)
		return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_in(text, ends[i]))
			return true;
	return false;
}

int health_add_units(const char *units, bool required, struct health_check check[HEALTH_CHECKS_MAX],
		     size_t *n, struct err *e)
{
	size_t k = *n;

	for (const char *p = units + strspn(units, " \t"); *p; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		char name[HEALTH_NAME_MAX];
		int r;

		(void)snprintf(name, sizeof(name), "%.*s", len < 1000 ? (int)len : 1000, p);
		r = health_add(name, HEALTH_UNIT, required, check, &k, e);
		if (r < 0)
			return r;
		check[k - 1].barred = !is_unit(p, len);
		p += len;
	}
	*n = k;
	return 0;
}

enum health_end health_turn(const struct health_check *check, size_t i, bool time_left)
{
	if (health_failure(check, i) < i)
		return HEALTH_SKIPPED;
	if (!time_left)
		return HEALTH_LATE;
	return check[i].barred ? HEALTH_FAILED : HEALTH_WAITING;
}

size_t health_failure(const struct health_check *check, size_t n)
{
	size_t i = 0;

	while (i < n && (!check[i].required || check[i].end == HEALTH_PASSED))
		i++;
	return i;
}

size_t health_warnings(const struct health_check *check, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		k += !check[i].required && check[i].end != HEALTH_PASSED;
	return k;
}

void health_reason(const struct health_check *c, char *out, size_t cap)
{
	const char *colon = c->last[0] ? ": " : "";
	char name[HEALTH_NAME_MAX];

	(void)text_clean(c->name, strlen(c->name), name, sizeof(name));
	switch (c->end) {
	case HEALTH_PASSED:
		(void)snprintf(out, cap, "%s, passed", name);
		return;
	case HEALTH_SKIPPED:
	case HEALTH_WAITING:
		(void)snprintf(out, cap, "%s, not run", name);
		return;
	case HEALTH_LATE:
		(void)snprintf(out, cap, "%s, not done at the deadline%s%s", name, colon, c->last);
		return;
	case HEALTH_FAILED:
		break;
	}
	if (c->barred && c->source == HEALTH_UNIT)
		(void)snprintf(out, cap, "%s, not the name of a unit ([Health] Units=)", name);
	else if (c->source == HEALTH_UNIT || c->source == HEALTH_BUILT_IN)
		(void)snprintf(out, cap, "%s%s%s", name, colon, c->last);
	else if (c->barred)
		(void)snprintf(out, cap, "%s, cannot be run: not executable, or a dead link", name);
	else
		(void)snprintf(out, cap, "%s, %s %d%s%s", name, c->by_signal ? "signal" : "exit",
			       c->code, colon, c->last);
}

void health_last_line(const char *p, size_t n, char out[HEALTH_LINE_MAX])
{
	size_t begin;

	while (n > 0 && (p[n - 1] == '\0' || strchr(" \t\r\n", p[n - 1])))
		n--;
	begin = n;
	while (begin > 0 && p[begin - 1] != '\n')
		begin--;
	while (begin < n && strchr(" \t", p[begin]))
		begin++;
	out[0] = '\0';
	if (begin < n)
		(void)text_clean(p + begin, n - begin, out, HEALTH_LINE_MAX);
}
