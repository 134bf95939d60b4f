/* SPDX-License-Identifier: Apache-2.0 */
/* Values, origins and refusals; which files count is judged in tests/integration/test_conf.py. */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_layer.h"
#include "tests/test.h"

static char file_name[] = "/tmp/proa-conf-XXXXXX";

static int load(const char *text, size_t n, struct conf **ret, struct err *e)
{
	int fd = open(file_name, O_WRONLY | O_TRUNC | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, n) == (ssize_t)n, "write '%s'", file_name);
	(void)close(fd);
	return conf_load_file(file_name, ret, e);
}

static void check_order(void)
{
	static char names[][8] = { "20.conf", "10.conf", "20.conf", "05.conf",
				   "20.conf", "9.conf",  "10.conf" };
	struct conf_seen seen[] = {
		{ names[0], 2, false }, { names[1], 1, true }, { names[2], 0, false },
		{ names[3], 2, false }, { names[4], 1, true }, { names[5], 0, false },
		{ names[6], 2, false },
	};
	size_t n = conf_layer_order(seen, 7);

	CHECK(n == 3, "%zu", n);
	CHECK(strcmp(seen[0].name, "05.conf") == 0 && seen[0].dir == 2, "%s", seen[0].name);
	CHECK(strcmp(seen[1].name, "20.conf") == 0 && seen[1].dir == 0, "%s", seen[1].name);
	CHECK(strcmp(seen[2].name, "9.conf") == 0, "%s", seen[2].name);
	for (size_t i = 0; i < 7; i++) {
		unsigned times = 0;

		for (size_t k = 0; k < 7; k++)
			times += seen[k].name == names[i];
		CHECK(times == 1, "element %zu is there %u times", i, times);
	}
	CHECK(conf_layer_order(seen, 0) == 0, "nothing");
}

static void check_refused(void)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{ "[A]\nx=1\n  more\n", ":3: 'more' is neither" },
		{ "[A]\nfoo\n", ":2: 'foo' is neither" },
		{ "[A\nx=1\n", ":1" },
		{ "[]\nx=1\n", ":1" },
		{ "[A] t\nx=1\n", ":1" },
		{ "[A]\n\n# c\nk v=1\n", ":4" },
		{ "[A]\nx=1\n[B]\nx=1\n[A]\nx=2\n", ":6: x: is set twice" },
		{ "[A]\nu=http://h/p#f\n", ":2: u: a value cannot hold" },
		{ "[A]\nu=a;b\n", ":2: u: a value cannot hold" },
		{ "[A]\n=5\n", ":2: no name" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct err e = ERR_INIT;
		AUTO_CONF *c = NULL;

		CHECK(load(table[i].text, strlen(table[i].text), &c, &e) < 0 && !c, "'%s'",
		      table[i].text);
		CHECK(e.kind == ERR_INPUT && strstr(e.text, table[i].says) &&
			      strncmp(e.text, file_name, strlen(file_name)) == 0,
		      "'%s': %s", table[i].text, e.text);
	}
}

static void check_odd(void)
{
	static const char *const empty[] = { "", "\n", "# c\n", "; c\n", "[A]\n", "\r\n" };
	struct err e = ERR_INIT;
	AUTO_CONF *c = NULL;

	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		AUTO_CONF *d = NULL;

		CHECK(load(empty[i], strlen(empty[i]), &d, &e) == 0, "'%s': %s", empty[i], e.text);
	}
	CHECK(load("[A]\nx=\0\n", 8, &c, &e) < 0 && strstr(e.text, "NUL"), "%s", e.text);
	CHECK(conf_load_file("/nonexistent/x.conf", &c, &e) == -ENOENT && e.kind == ERR_HOST, "%s",
	      e.text);
	CHECK(conf_load("/nonexistent", "proa", &c, &e) == 0 && c, "absent files: %s", e.text);
}

static const char text[] = "# comment\n"
			   "[Update]\n"
			   "Channel = stable   # which\n"
			   "Repository=\"https://host/a?b=c\"\n"
			   "Empty=\n"
			   "Yes=On\n"
			   "No=0\n"
			   "Maybe=perhaps\n"
			   "Tries=3\n"
			   "Limit=64K\n"
			   "Every=1h 30min\n"
			   "Typo=1\n"
			   "[Other]\n"
			   "Channel=beta\n";

static void check_values(struct conf *c)
{
	struct err e = ERR_INIT;
	const char *s = "before";
	bool b = false;
	uint64_t n = 77;

	CHECK(conf_str(c, "Update", "Channel", "d", &s, &e) == 0 && strcmp(s, "stable") == 0, "%s",
	      s);
	CHECK(conf_str(c, "Other", "Channel", "d", &s, &e) == 0 && strcmp(s, "beta") == 0, "%s", s);
	CHECK(conf_str(c, "Update", "Repository", NULL, &s, &e) == 0 &&
		      strcmp(s, "https://host/a?b=c") == 0,
	      "%s", s);
	CHECK(conf_str(c, "Update", "Empty", "d", &s, &e) == 0 && strcmp(s, "d") == 0, "%s", s);
	CHECK(conf_str(c, "Update", "None", NULL, &s, &e) == 0 && !s, "absent");
	CHECK(conf_str(c, "update", "channel", NULL, &s, &e) == 0 && !s, "case matters");
	CHECK(conf_bool(c, "Update", "Yes", false, &b, &e) == 0 && b, "Yes");
	CHECK(conf_bool(c, "Update", "No", true, &b, &e) == 0 && !b, "No");
	CHECK(conf_bool(c, "Update", "Empty", true, &b, &e) == 0 && b, "default");
	CHECK(conf_bool(c, "Update", "Maybe", false, &b, &e) == -EINVAL && b, "touched");
	CHECK(strstr(e.text, ":8: [Update] Maybe=: ") && strstr(e.text, "perhaps"), "%s", e.text);
	CHECK(conf_u64(c, "Update", "Tries", 1, 5, 2, &n, &e) == 0 && n == 3, "Tries");
	CHECK(conf_u64(c, "Update", "Tries", 4, 5, 4, &n, &e) == -ERANGE && n == 3, "range");
	CHECK(conf_u64(c, "Update", "Empty", 4, 5, 4, &n, &e) == 0 && n == 4, "default");
	CHECK(conf_u64(c, "Update", "Limit", 0, 99, 4, &n, &e) == -EINVAL && e.kind == ERR_INPUT,
	      "not a number");
	CHECK(conf_bytes(c, "Update", "Limit", 0, &n, &e) == 0 && n == 65536, "Limit");
	CHECK(conf_seconds(c, "Update", "Every", 0, &n, &e) == 0 && n == 5400, "Every");
	CHECK(conf_seconds(c, "Update", "Limit", 0, &n, &e) < 0 && strstr(e.text, ":10"), "%s",
	      e.text);
	CHECK(conf_bytes(c, "Update", "None", 5, &n, &e) == 0 && n == 5, "default");
	CHECK(conf_seconds(c, "Update", "None", 6, &n, &e) == 0 && n == 6, "default");
}

static void unknown(void *arg, const char *section, const char *key, const char *path,
		    uint64_t line)
{
	unsigned *times = arg;

	CHECK(strcmp(section, "Update") == 0 && strcmp(key, "Typo") == 0 && line == 12 &&
		      strcmp(path, file_name) == 0,
	      "[%s] %s %s:%ju", section, key, path, (uintmax_t)line);
	(*times)++;
}

static void check_origin(struct conf *c)
{
	static const char *const known[] = { "Update.Channel", "Update.Repository", "Update.Empty",
					     "Update.Yes",     "Update.No",         "Update.Maybe",
					     "Update.Tries",   "Update.Limit",      "Update.Every",
					     "Other.Channel",  "Other.Typo",        NULL };
	struct err e = ERR_INIT;
	const char *path = NULL;
	uint64_t line = 0;
	unsigned times = 0;

	CHECK(conf_origin(c, "Other", "Channel", &path, &line, &e) == 0 && line == 14 &&
		      strcmp(path, file_name) == 0,
	      "%s:%ju", path, (uintmax_t)line);
	CHECK(conf_origin(c, "Other", "None", &path, &line, &e) == -ENOENT && line == 14, "absent");
	CHECK(conf_check(c, known, unknown, &times, &e) == 0 && times == 1, "%u", times);
}

int main(void)
{
	struct err e = ERR_INIT;
	AUTO_CONF *c = NULL;
	int fd = mkstemp(file_name);

	CHECK(fd >= 0, "mkstemp");
	(void)close(fd);
	check_order();
	check_refused();
	check_odd();
	CHECK(load(text, sizeof(text) - 1, &c, &e) == 0, "%s", e.text);
	check_values(c);
	check_origin(c);
	(void)unlink(file_name);
	return 0;
}
