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
	const struct ign_booted b = { .entry = "" };
	struct err e = ERR_INIT;

	CHECK(ign_kargs_check(&c, "b=2 quiet a=1", &b, &e) == 0, "%s", e.text);
	CHECK(ign_kargs_check(&c, "quiet a=1", &b, &e) < 0 && e.kind == ERR_REFUSED &&
		      strstr(e.text, "'b=2' is not in"),
	      "%s", e.text);
	CHECK(ign_kargs_check(&c, "b=2 quiet a=1 debug", &b, &e) < 0 &&
		      strstr(e.text, "$.kernelArguments.shouldNotExist: 'debug' is in"),
	      "%s", e.text);
}

/* Whatever booted, the sentence names it and what helps there, and nothing that does not. */
static void entries(void)
{
	static const struct {
		const char *entry, *stub, *says, *not ;
	} cases[] = {
		{ "x.conf", "", "loader/entries/x.conf", "UKI" },
		{ "p_1.efi", "systemd-stub 252.39-1~deb12u1", "252.39-1~deb12u1 reads no addons",
		  "extra.d" },
		{ "p_1.efi", "systemd-stub 253", "'p_1.efi'", "extra.d" },
		{ "p_1.efi", "systemd-stub 254.1", "extra.d", "reads no addons" },
		{ "p_1.efi", "other 999", "proa-publish release --cmdline", "extra.d" },
		{ "", "", "signed UKI", "''" },
	};
	static const unsigned char variable[] = "\7\0\0\0p\0_\0\1\1.\0e\0";
	const char *have[] = { "nosmt" };
	struct ign_config c = { .kargs_exist = { .s = have, .n = 1 } };
	char text[6];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ign_booted b = { .entry = "" };
		struct err e = ERR_INIT;

		(void)snprintf(b.entry, sizeof(b.entry), "%s", cases[i].entry);
		(void)snprintf(b.stub, sizeof(b.stub), "%s", cases[i].stub);
		CHECK(ign_kargs_check(&c, "quiet", &b, &e) < 0 && e.kind == ERR_REFUSED &&
			      strstr(e.text, cases[i].says) && !strstr(e.text, cases[i].not ),
		      "%s", e.text);
		CHECK(ign_kargs_check(&c, "nosmt", &b, &e) == 0, "it has it");
	}
	ign_booted_text(variable, sizeof(variable) - 1, text, sizeof(text));
	CHECK(strcmp(text, "p_?.e") == 0, "%s", text);
	ign_booted_text(variable, sizeof(variable) - 1, text, 3);
	CHECK(strcmp(text, "p_") == 0, "%s", text);
	ign_booted_text(variable, 5, text, sizeof(text));
	CHECK(text[0] == '\0', "%s", text);
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
	entries();
	source();
	return 0;
}
