/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tuf-client for many cases in one process, for the random comparison of tests/integration: each
 * line of input is one command, with fields separated by tabs:
 *
 *	TIME METADATA_DIR REPOSITORY_DIR TARGET_DIR VERB [ARGUMENT...]
 *
 * with the time as seconds since 1970 and VERB init ROOT, refresh or download NAME... The
 * repository is REPOSITORY_DIR/metadata and REPOSITORY_DIR/targets, each flat: a '/' in a name that
 * is asked for is %2F there. Each line of output is, again with tabs:
 *
 *	0 or 1, the reason's name, what was asked for separated by blanks, the sentence
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "tests/tools/tuf_run.h"

enum { FIELDS_MAX = 5 + TUF_RUN_NAMES_MAX };

/* Appends the name with each '/' as %2F. */
static int flat(const char *name, struct buf *out, struct err *e)
{
	int r = 0;

	for (; r >= 0 && *name; name++)
		r = *name == '/' ? buf_add(out, "%2F", 3, e) : buf_add(out, name, 1, e);
	return r;
}

/* base is a directory; arg keeps what was asked for. */
static int get(void *arg, const char *base, const char *name, size_t max, struct buf *ret,
	       bool *ret_found, struct err *e)
{
	struct buf *asked = arg;
	AUTO_BUF path = BUF_INIT;
	AUTO_FREE char *p = NULL;
	const char *kind = strrchr(base, '/');
	struct err inner = ERR_INIT;
	size_t n = 0;
	int r;

	r = buf_addf(asked, e, "%s%s/%s", asked->n > 0 ? " " : "", kind ? kind + 1 : "", name);
	if (r >= 0)
		r = buf_addf(&path, e, "%s/", base);
	if (r >= 0)
		r = flat(name, &path, e);
	if (r < 0)
		return r;
	r = file_read(sys_linux(), AT_FDCWD, path.p, max, &p, &n, &inner);
	if (r == -EFBIG) {
		/* that it is too much is all the library looks at */
		n = max + 1;
		p = calloc(1, n);
		r = p ? 0 : err_set(&inner, ERR_HOST, ENOMEM, "out of memory");
	}
	*ret_found = r >= 0;
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = buf_add(ret, n > 0 ? p : "", n, &inner);
	return r < 0 ? err_set(e, ERR_RETRY, EIO, "%s", inner.text) : 0;
}

/* Cuts the line at its tabs; the number of fields. */
static size_t split(char *line, char **field)
{
	size_t n = 0;

	line[strcspn(line, "\n")] = '\0';
	for (char *p = line; p && n < FIELDS_MAX; n++) {
		field[n] = p;
		p = strchr(p, '\t');
		if (p)
			*p++ = '\0';
	}
	return n;
}

static int one(char **field, size_t n, struct buf *asked, enum tuf_reason *why, struct err *e)
{
	struct tuf_run c = { .get = get, .arg = asked, .sys = sys_linux() };
	AUTO_BUF metadata = BUF_INIT;
	AUTO_BUF targets = BUF_INIT;
	int r;

	if (n < 5)
		return err_set(e, ERR_INPUT, EINVAL, "too few fields");
	r = buf_addf(&metadata, e, "%s/metadata", field[2]);
	if (r >= 0)
		r = buf_addf(&targets, e, "%s/targets", field[2]);
	if (r < 0)
		return r;
	c.now = strtoll(field[0], NULL, 10);
	c.metadata_dir = field[1];
	c.metadata_url = metadata.p;
	c.target_url = targets.p;
	c.target_dir = field[3];
	for (size_t i = 5; i < n; i++)
		c.names[c.names_n++] = field[i];
	return tuf_run(&c, field[4], n > 5 ? field[5] : NULL, why, e);
}

int main(void)
{
	char *line = NULL;
	size_t cap = 0;

	while (getline(&line, &cap, stdin) > 0) {
		char *field[FIELDS_MAX];
		AUTO_BUF asked = BUF_INIT;
		enum tuf_reason why = TUF_REASON_NONE;
		struct err e = ERR_INIT;
		int r = one(field, split(line, field), &asked, &why, &e);

		(void)printf("%d\t%s\t%s\t%s\n",
			     r<0, tuf_reason_name(r < 0 ? why : TUF_REASON_NONE), asked.n> 0
				     ? asked.p
				     : "",
			     r < 0 ? e.text : "");
		(void)fflush(stdout);
	}
	free(line);
	return 0;
}
