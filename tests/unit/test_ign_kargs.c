/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/kargs.h"

#include <string.h>

#include "ignition-lite/source.h"
#include "tests/test.h"

static void words(void)
{
	static const char line[] =
		"BOOT=1 quiet  a.b=\"x y\" ignition.platform.id=qemu a.b=z \"c d\"\n";
	char out[64];

	CHECK(ign_karg_get(line, "BOOT", out, sizeof(out)) && strcmp(out, "1") == 0, "%s", out);
	CHECK(ign_karg_get(line, "a.b", out, sizeof(out)) && strcmp(out, "z") == 0, "%s", out);
	CHECK(!ign_karg_get(line, "a", out, sizeof(out)), "a prefix is no name");
	CHECK(!ign_karg_get(line, "quiet", out, sizeof(out)), "a flag has no value");
	CHECK(ign_karg_has(line, "quiet") && !ign_karg_has(line, "quie"), "whole words");
	CHECK(ign_karg_has(line, "c d") && ign_karg_has(line, "a.b=x y"), "quotes");
	CHECK(!ign_karg_has("", "x"), "empty");
}

static void wanted(void)
{
	const char *have[] = { "quiet", "a=1 b=2" }, *gone[] = { "debug" };
	struct ign_config c = { .kargs_exist = { .s = have, .n = 2 },
				.kargs_absent = { .s = gone, .n = 1 } };
	struct err e = ERR_INIT;

	CHECK(ign_kargs_check(&c, "b=2 quiet a=1", &e) == 0, "%s", e.text);
	CHECK(ign_kargs_check(&c, "quiet a=1", &e) < 0 && e.kind == ERR_REFUSED &&
		      strstr(e.text, "'b=2' is not in"),
	      "%s", e.text);
	CHECK(ign_kargs_check(&c, "b=2 quiet a=1 debug", &e) < 0 &&
		      strstr(e.text, "$.kernelArguments.shouldNotExist: 'debug' is in"),
	      "%s", e.text);
}

static void source(void)
{
	static const struct {
		const char *line, *url, *platform;
		bool first;
	} cases[] = {
		{ "quiet", "", "", false },
		{ "ignition.firstboot", "", "", true },
		{ "ignition.firstboot=1 ignition.platform.id=azure", "", "azure", true },
		{ "ignition.firstboot=0", "", "", false },
		{ "ignition.config.url=http://a/b?c=d", "http://a/b?c=d", "", false },
	};
	static char longest[8192];
	struct ign_cmdline c;
	enum ign_platform p;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK(ign_source_cmdline(cases[i].line, &c, &e) == 0, "%s", e.text);
		CHECK(strcmp(c.url, cases[i].url) == 0 &&
			      strcmp(c.platform, cases[i].platform) == 0 &&
			      c.first_boot == cases[i].first,
		      "%s", cases[i].line);
	}
	memset(longest, 'a', sizeof(longest) - 1);
	memcpy(longest, "ignition.config.url=", 20);
	CHECK(ign_source_cmdline(longest, &c, &e) < 0 && e.kind == ERR_INPUT, "too long");
	CHECK(ign_source_platform("qemu", &p, &e) == 0 && p == IGN_PLATFORM_QEMU, "qemu");
	CHECK(ign_source_platform("", &p, &e) == 0 && p == IGN_PLATFORM_NONE, "none");
	CHECK(ign_source_platform("ec2", &p, &e) < 0 && strstr(e.text, "'ec2'"), "%s", e.text);
}

int main(void)
{
	words();
	wanted();
	source();
	return 0;
}
