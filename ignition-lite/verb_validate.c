/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "ignition-lite/config.h"
#include "ignition-lite/verb.h"

static const char usage[] =
	"Usage: ignition-lite validate [--json] FILE|-\n"
	"Checks an Ignition config (spec 3.0.0 to 3.5.0), from standard input with -.\n"
	"\n"
	"      --json   machine-readable findings on standard output\n"
	"      --help\n"
	"\n"
	"Exit status: 0 valid, and ignition-lite does all of it; 1 not so; 2 usage.\n"
	"Example: ignition-lite validate config.ign";

struct findings {
	const char *what;
	struct ign_report report;
	struct err e;
	bool none, valid, taken;
};

static void findings_done(struct findings *f)
{
	ign_report_done(&f->report);
}

static int say(const char *line)
{
	if (puts(line) < 0 || fflush(stdout) != 0) {
		(void)fprintf(stderr, "ignition-lite: cannot write to standard output\n");
		return IGN_EXIT_FAILED;
	}
	return IGN_EXIT_DONE;
}

static int read_stdin(struct buf *b, struct err *e)
{
	enum { PIECE = 64 << 10 };

	for (;;) {
		ssize_t n;
		int r = buf_reserve(b, PIECE, e);

		if (r < 0)
			return err_wrap(e, r, "standard input");
		n = read(STDIN_FILENO, b->p + b->n, PIECE);
		if (n == 0)
			return 0;
		if (n > 0 && b->n + (size_t)n > IGN_CONFIG_MAX)
			return err_set(e, ERR_INPUT, EFBIG, "standard input: more than %d bytes",
				       IGN_CONFIG_MAX);
		if (n < 0 && errno != EINTR)
			return err_set(e, ERR_HOST, errno, "cannot read standard input: %s",
				       strerror(errno));
		b->n += n > 0 ? (size_t)n : 0;
	}
}

static int read_input(const char *name, struct buf *b, struct err *e)
{
	if (strcmp(name, "-") == 0)
		return read_stdin(b, e);
	return file_read(sys_linux(), AT_FDCWD, name, IGN_CONFIG_MAX, &b->p, &b->n, e);
}

static int judge(const struct buf *b, struct findings *f)
{
	AUTO_IGN_CONFIG *c = NULL;
	int r = ign_config_read(b->p, b->n, f->what, &f->report, &c, &f->e);

	f->none = r == 0;
	f->valid = r >= 0;
	if (r > 0)
		r = ign_config_refuse(c, b->p, b->n, f->what, &f->report, &f->e);
	f->taken = r >= 0;
	return r;
}

/* ---- for people ---- */

static void print_issues(const struct findings *f)
{
	static const char *const kinds[] = { "warning", "error", "refused" };
	char line[IGN_ISSUE_PATH_MAX + IGN_ISSUE_TEXT_MAX + 512];
	size_t all = 0;

	for (size_t i = 0; i < f->report.n; i++)
		(void)fprintf(stderr, "%s: %s\n", kinds[f->report.issue[i].kind],
			      ign_issue_format(&f->report.issue[i], f->what, line, sizeof(line)));
	for (size_t k = 0; k < 3; k++)
		all += f->report.count[k];
	if (all > f->report.n)
		(void)fprintf(stderr, "%s: and %zu more\n", f->what, all - f->report.n);
}

static int print_text(const struct findings *f)
{
	size_t n = f->report.count[IGN_ERROR] + f->report.count[IGN_REFUSED];
	char line[512];

	print_issues(f);
	if (n == 0 && !f->taken) {
		(void)fprintf(stderr, "error: %s\n", f->e.text);
		return IGN_EXIT_FAILED;
	}
	if (!f->taken) {
		(void)fprintf(stderr, "%s: %s\n", f->what,
			      f->valid ? "valid, but not all of it is done by ignition-lite"
				       : "not valid");
		return IGN_EXIT_FAILED;
	}
	(void)snprintf(line, sizeof(line), "%s: %s", f->what,
		       f->none ? "empty: no config given" : "valid");
	return say(line);
}

/* ---- for programs ---- */

static int put_issue(json_t *list, const struct ign_issue *i, struct err *e)
{
	static const char *const kinds[] = { "warning", "error", "refused" };
	json_t *o = json_object();
	int r = json_push(list, o, e);

	if (r >= 0)
		r = json_put_str(o, "kind", kinds[i->kind], e);
	if (r >= 0)
		r = json_put_str(o, "path", i->path, e);
	if (r >= 0 && i->line > 0)
		r = json_put_u64(o, "line", i->line, e);
	if (r >= 0 && i->line > 0)
		r = json_put_u64(o, "column", i->column, e);
	return r < 0 ? r : json_put_str(o, "text", i->text, e);
}

static int put_findings(json_t *o, const struct findings *f, struct err *e)
{
	json_t *list = json_array();
	int r = json_put(o, "valid", json_boolean(f->valid), e);

	if (r >= 0)
		r = json_put(o, "taken", json_boolean(f->taken), e);
	if (r >= 0 && !f->taken)
		r = json_put_str(o, "error", f->e.text, e);
	if (r < 0) {
		json_decref(list);
		return r;
	}
	r = json_put(o, "issues", list, e);
	for (size_t i = 0; i < f->report.n && r >= 0; i++)
		r = put_issue(list, &f->report.issue[i], e);
	return r;
}

static int print_json(const struct findings *f)
{
	AUTO_JSON *o = json_object();
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r = put_findings(o, f, &e);

	if (r >= 0)
		r = json_write(o, true, &b, &e);
	if (r < 0) {
		(void)fprintf(stderr, "ignition-lite: %s\n", e.text);
		return IGN_EXIT_FAILED;
	}
	r = say(b.p);
	return r == IGN_EXIT_DONE && !f->taken ? IGN_EXIT_FAILED : r;
}

int ign_verb_validate(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	__attribute__((cleanup(findings_done))) struct findings f = { 0 };
	AUTO_BUF b = BUF_INIT;
	bool json = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (c == 'h')
			return say(usage);
		if (c != 'j') {
			(void)fprintf(stderr,
				      "ignition-lite: option '%s' is not known; see "
				      "ignition-lite validate --help\n",
				      argv[optind - 1]);
			return IGN_EXIT_USAGE;
		}
		json = true;
	}
	if (argc - optind != 1) {
		(void)fprintf(stderr, "ignition-lite: validate needs one FILE or -; see "
				      "ignition-lite validate --help\n");
		return IGN_EXIT_USAGE;
	}
	f.what = argv[optind];
	if (read_input(f.what, &b, &f.e) >= 0)
		(void)judge(&b, &f);
	return json ? print_json(&f) : print_text(&f);
}
