/* SPDX-License-Identifier: Apache-2.0 */
/* conf_load() for scripts: every setting as "section.key=value<TAB>path:line", in no given order.
 */
#include <stdio.h>

#include "base/conf.h"

struct show {
	struct conf *conf;
};

static void show(void *arg, const char *section, const char *key, const char *path, uint64_t line)
{
	const struct show *s = arg;
	const char *value = NULL;

	if (conf_str(s->conf, section, key, "", &value, NULL) == 0)
		(void)printf("%s.%s=%s\t%s:%ju\n", section, key, value, path, (uintmax_t)line);
}

int main(int argc, char **argv)
{
	static const char *const none[] = { NULL };
	struct err e = ERR_INIT;
	AUTO_CONF *c = NULL;
	struct show s;
	int r;

	if (argc != 2 && argc != 3) {
		(void)fputs("usage: conf-cli ROOT NAME | FILE\n", stderr);
		return 2;
	}
	r = argc == 3 ? conf_load(argv[1], argv[2], &c, &e) : conf_load_file(argv[1], &c, &e);
	if (r < 0) {
		(void)fprintf(stderr, "conf-cli: %s\n", e.text);
		return 1;
	}
	s.conf = c;
	return conf_check(c, none, show, &s, &e) < 0;
}
