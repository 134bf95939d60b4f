/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/unit_text.h"

#include <stddef.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Behind the line that begins at p. */
static const char *next_line(const char *p)
{
	const char *end = strchr(p, '\n');

	return end ? end + 1 : p + strlen(p);
}

/* Of the line at p without its end; *ret_next is the line after it. */
static size_t line_length(const char *p, const char **ret_next)
{
	*ret_next = next_line(p);
	return (size_t)(*ret_next - p) - (*ret_next > p && (*ret_next)[-1] == '\n');
}

static const char *skip_comment(const char *p)
{
	for (;;) {
		const char *line = p;
		size_t n = line_length(line, &p);

		n -= n > 0 && line[n - 1] == ' ';
		if (n == 0 || line[n - 1] != '\\')
			return p;
	}
}

static const char *skip_value(const char *p)
{
	for (;;) {
		const char *line = p;
		size_t n = line_length(line, &p), i = 0;

		while (i < n && is_blank(line[i]))
			i++;
		if (i == n || line[n - 1] != '\\')
			return p;
	}
}

/* Behind the section's line; NULL and *ret_fault when it is none. */
static const char *skip_section(const char *p, bool *ret_is_install, const char **ret_fault)
{
	const char *end = strchr(p, ']'), *next;
	size_t n;

	*ret_fault = "holds a section without its ]";
	if (!end)
		return NULL;
	*ret_is_install = (size_t)(end - p) == strlen("Install") &&
			  strncmp(p, "Install", (size_t)(end - p)) == 0;
	n = line_length(end + 1, &next);
	*ret_fault = "holds text behind the ] of a section";
	for (size_t i = 0; i < n; i++)
		if (!is_blank(end[1 + i]))
			return NULL;
	return next;
}

const char *ign_unit_text_fault(const char *text, bool *ret_install)
{
	bool in_section = false, is_install = false;
	const char *fault = NULL;

	for (const char *p = text; p && *p;) {
		const char *equals;

		if (*p == '[') {
			p = skip_section(p + 1, &is_install, &fault);
			if (!p)
				return fault;
			in_section = true;
		} else if (*p == '#' || *p == ';') {
			p = skip_comment(p + 1);
		} else if (!in_section || is_blank(*p)) {
			p++;
		} else {
			equals = p + strcspn(p, "=\r\n");
			if (*equals != '=')
				return "holds a line that is no NAME=VALUE";
			p = skip_value(equals + 1);
			*ret_install = *ret_install || is_install;
		}
	}
	return NULL;
}
