/* SPDX-License-Identifier: Apache-2.0 */
/* Which checks run in which order, what their ends mean, and what follows for the boot entry. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tests/test.h"
#include "updater/health/check.h"
#include "updater/health/fall_back.h"

static void test_kinds(void)
{
	static const struct {
		const char *name;
		unsigned mode;
		bool null;
		enum health_file_kind want;
	} rows[] = {
		{ "10-a.sh", S_IFREG | 0755, false, HEALTH_FILE_RUN },
		{ "10-a", S_IFREG | 0755, false, HEALTH_FILE_RUN },
		{ "10-a.sh", S_IFREG | 0100, false, HEALTH_FILE_RUN },
		{ "10-a.sh", S_IFREG | 0644, false, HEALTH_FILE_BARRED },
		{ "README", S_IFREG | 0644, false, HEALTH_FILE_OTHER },
		{ "10-a.sh", 0, false, HEALTH_FILE_BARRED },
		{ "10-a.sh", S_IFCHR | 0666, true, HEALTH_FILE_MASK },
		{ "10-a.sh", S_IFDIR | 0755, false, HEALTH_FILE_OTHER },
		{ ".", S_IFDIR | 0755, false, HEALTH_FILE_OTHER },
		{ ".hidden.sh", S_IFREG | 0755, false, HEALTH_FILE_OTHER },
		{ "10-a.sh~", S_IFREG | 0755, false, HEALTH_FILE_OTHER },
		{ "10-a.sh.dpkg-old", S_IFREG | 0755, false, HEALTH_FILE_OTHER },
		{ "10-a.sh.rpmsave", S_IFREG | 0755, false, HEALTH_FILE_OTHER },
		{ ".sh", S_IFREG | 0644, false, HEALTH_FILE_OTHER },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK(health_file_kind(rows[i].name, rows[i].mode, rows[i].null) == rows[i].want,
		      "row %zu, %s", i, rows[i].name);
}

static void test_merge(void)
{
	static const struct health_file files[] = {
		{ "50-z.sh", false, HEALTH_FILE_RUN },   { "10-b.sh", false, HEALTH_FILE_RUN },
		{ "10-a.sh", true, HEALTH_FILE_RUN },    { "10-b.sh", true, HEALTH_FILE_RUN },
		{ "20-off.sh", false, HEALTH_FILE_RUN }, { "20-off.sh", true, HEALTH_FILE_MASK },
		{ "README", true, HEALTH_FILE_OTHER },   { "30-x.sh", true, HEALTH_FILE_BARRED },
		{ "40-up.sh", true, HEALTH_FILE_RUN },   { "40-up.sh", false, HEALTH_FILE_MASK },
	};
	static const struct {
		const char *name;
		bool etc, barred;
	} want[] = {
		{ "10-a.sh", true, false },  { "10-b.sh", true, false },  { "30-x.sh", true, true },
		{ "40-up.sh", true, false }, { "50-z.sh", false, false },
	};
	static const struct health_file late = { "00-late.sh", false, HEALTH_FILE_RUN };
	AUTO_FREE struct health_check *c = calloc(HEALTH_CHECKS_MAX, sizeof(*c));
	struct err e = ERR_INIT;
	size_t n = 0;

	CHECK(c, "memory");
	CHECK(health_merge(files, sizeof(files) / sizeof(files[0]), true, c, &n, &e) == 0, "%s",
	      e.text);
	CHECK(n == 5, "%zu checks", n);
	for (size_t i = 0; i < n; i++)
		CHECK(strcmp(c[i].name, want[i].name) == 0 && c[i].etc == want[i].etc &&
			      c[i].barred == want[i].barred && c[i].required &&
			      c[i].end == HEALTH_WAITING,
		      "%zu: %s", i, c[i].name);
	CHECK(health_merge(&late, 1, false, c, &n, &e) == 0 && n == 6, "%s", e.text);
	CHECK(!c[5].required && strcmp(c[5].name, "00-late.sh") == 0, "wanted come after");
}

static void test_greenboot(void)
{
	static const struct health_file files[] = {
		{ "50-z.sh", false, HEALTH_FILE_RUN },    { "10-b.sh", true, HEALTH_FILE_RUN },
		{ "10-b.sh", false, HEALTH_FILE_BARRED }, { "20-off.sh", true, HEALTH_FILE_MASK },
		{ "30-binary", false, HEALTH_FILE_RUN },
	};
	static const struct {
		const char *name;
		bool etc;
	} want[] = { { "10-b.sh", false }, { "50-z.sh", false }, { "10-b.sh", true } };
	AUTO_FREE struct health_check *c = calloc(HEALTH_CHECKS_MAX, sizeof(*c));
	struct err e = ERR_INIT;
	size_t n = 0;

	CHECK(c, "memory");
	CHECK(health_merge_greenboot(files, sizeof(files) / sizeof(files[0]), true, c, &n, &e) == 0,
	      "%s", e.text);
	CHECK(n == 3, "%zu checks", n);
	for (size_t i = 0; i < n; i++)
		CHECK(strcmp(c[i].name, want[i].name) == 0 && c[i].etc == want[i].etc &&
			      !c[i].barred && c[i].source == HEALTH_GREENBOOT,
		      "%zu: %s", i, c[i].name);
}

static void test_units(void)
{
	AUTO_FREE struct health_check *c = calloc(HEALTH_CHECKS_MAX, sizeof(*c));
	struct err e = ERR_INIT;
	char reason[400];
	size_t n = 0;

	CHECK(c, "memory");
	CHECK(health_add_units("  a.service\tb@1.socket --help x foo$(id).service -H.service ",
			       true, c, &n, &e) == 0,
	      "%s", e.text);
	CHECK(n == 6 && strcmp(c[0].name, "a.service") == 0 && strcmp(c[1].name, "b@1.socket") == 0,
	      "%zu", n);
	for (size_t i = 0; i < n; i++)
		CHECK(c[i].barred == (i > 1) && c[i].source == HEALTH_UNIT && c[i].required,
		      "%zu: %s", i, c[i].name);
	c[2].end = HEALTH_FAILED;
	health_reason(&c[2], reason, sizeof(reason));
	CHECK(strcmp(reason, "--help, not the name of a unit ([Health] Units=)") == 0, "%s",
	      reason);
	CHECK(health_add_units("   ", true, c, &n, &e) == 0 && n == 6, "none");
}

static void test_merge_bound(void)
{
	enum { MANY = HEALTH_CHECKS_MAX + 1 };
	AUTO_FREE struct health_file *f = calloc(MANY, sizeof(*f));
	AUTO_FREE struct health_check *c = calloc(HEALTH_CHECKS_MAX, sizeof(*c));
	struct err e = ERR_INIT;
	size_t n = 0;

	CHECK(f && c, "memory");
	for (size_t i = 0; i < MANY; i++) {
		(void)snprintf(f[i].name, sizeof(f[i].name), "%04zu.sh", i);
		f[i].kind = HEALTH_FILE_RUN;
	}
	CHECK(health_merge(f, MANY - 1, true, c, &n, &e) == 0 && n == HEALTH_CHECKS_MAX, "all fit");
	n = 0;
	CHECK(health_merge(f, MANY, true, c, &n, &e) < 0 && e.kind == ERR_INPUT && n == 0,
	      "one too many, n %zu", n);
}

static void test_turns(void)
{
	struct health_check c[4] = {
		{ .name = "a", .required = true, .end = HEALTH_PASSED },
		{ .name = "b", .required = true, .end = HEALTH_WAITING },
		{ .name = "c", .required = true, .end = HEALTH_WAITING },
		{ .name = "w", .required = false, .end = HEALTH_WAITING },
	};

	CHECK(health_turn(c, 1, true) == HEALTH_WAITING, "run");
	CHECK(health_turn(c, 1, false) == HEALTH_LATE, "no time");
	c[1].barred = true;
	CHECK(health_turn(c, 1, true) == HEALTH_FAILED, "cannot be run");
	c[1].barred = false;
	c[1].end = HEALTH_FAILED;
	CHECK(health_turn(c, 2, true) == HEALTH_SKIPPED, "after a failure");
	CHECK(health_turn(c, 2, false) == HEALTH_SKIPPED, "after a failure and late");
	CHECK(health_failure(c, 4) == 1, "first");
	c[1].end = c[2].end = HEALTH_PASSED;
	CHECK(health_failure(c, 4) == 4, "wanted ones do not count");
	c[3].end = HEALTH_LATE;
	CHECK(health_failure(c, 4) == 4 && health_warnings(c, 4) == 1, "a warning");
	c[0].end = HEALTH_LATE;
	CHECK(health_failure(c, 4) == 0, "late is failed");
	CHECK(health_failure(c, 0) == 0, "no checks at all");
}

static void test_texts(void)
{
	struct health_check c = { .name = "20-containerd.sh", .end = HEALTH_FAILED, .code = 1 };
	char out[400], last[HEALTH_LINE_MAX];
	const char noise[] = "one\n  two \033[1m\n \t\n\n";

	health_last_line(noise, sizeof(noise) - 1, c.last);
	CHECK(strcmp(c.last, "two ?[1m") == 0, "'%s'", c.last);
	health_reason(&c, out, sizeof(out));
	CHECK(strcmp(out, "20-containerd.sh, exit 1: two ?[1m") == 0, "%s", out);
	c.last[0] = '\0';
	c.by_signal = true;
	c.code = 9;
	health_reason(&c, out, sizeof(out));
	CHECK(strcmp(out, "20-containerd.sh, signal 9") == 0, "%s", out);
	c.end = HEALTH_LATE;
	health_reason(&c, out, sizeof(out));
	CHECK(strcmp(out, "20-containerd.sh, not done at the deadline") == 0, "%s", out);
	c.end = HEALTH_FAILED;
	c.barred = true;
	health_reason(&c, out, sizeof(out));
	CHECK(strstr(out, "not executable"), "%s", out);
	health_last_line("", 0, last);
	CHECK(last[0] == '\0', "nothing");
	health_last_line("\n\n", 2, last);
	CHECK(last[0] == '\0', "empty lines");
	health_last_line("x", 1, last);
	CHECK(strcmp(last, "x") == 0, "no newline");
}

static struct esp_entry entry(const char *file, const char *image)
{
	struct esp_entry en = { .shown = true };
	struct err e = ERR_INIT;

	CHECK(boot_entry_name_parse(file, strlen(file), &en.name, &e) == 0, "%s", e.text);
	(void)snprintf(en.uki.image_id, sizeof(en.uki.image_id), "%s", image);
	en.uki.has_usrhash = en.name.type == BOOT_ENTRY_UKI;
	return en;
}

static void test_running(void)
{
	struct esp_entry *en = calloc(3, sizeof(*en));

	CHECK(en, "memory");
	en[0] = entry("web_1.1.0+2-1.efi", "web");
	en[1] = entry("web_1.0.0.efi", "web");
	en[2] = entry("rescue.conf", "");
	CHECK(health_running(en, 3, "web_1.1.0+3-0.efi", "") == 0, "with the counter from before");
	CHECK(health_running(en, 3, "WEB_1.1.0+3-0.efi", "") == 0, "FAT knows no case");
	CHECK(health_running(en, 3, "web_1.0.0.efi", "") == 1, "without counter");
	CHECK(health_running(en, 3, "", "\\EFI\\Linux\\web_1.1.0+2-1.efi") == 0, "count path");
	CHECK(health_running(en, 3, "web_9.efi", "") == 3, "another");
	CHECK(health_running(en, 3, "", "") == 3, "no EFI variables");
	CHECK(health_running(en, 3, "", "\\") == 3, "a path that ends");
	CHECK(health_running(NULL, 0, "web_1.0.0.efi", "") == 0, "an empty ESP");
	free(en);
}

static void test_verdict(void)
{
	struct esp_entry *en = calloc(3, sizeof(*en));

	CHECK(en, "memory");
	en[0] = entry("web_1.1.0+2-1.efi", "web");
	en[1] = entry("web_1.0.0.efi", "web");
	en[2] = entry("db_1.0.0.efi", "db");
	CHECK(health_other(en, 3, 0) == 1, "the release before");
	CHECK(health_verdict(en, 3, 0, 1) == HEALTH_FALL_BACK, "goes back");
	CHECK(health_verdict(en, 3, 1, 0) == HEALTH_STAY_GOOD, "proved before");
	CHECK(health_verdict(en, 3, 3, 3) == HEALTH_STAY_UNKNOWN, "which one runs?");
	CHECK(health_verdict(en, 3, 0, 3) == HEALTH_STAY_ONLY, "alone");
	en[1].broken = true;
	CHECK(health_other(en, 3, 0) == 3, "a torn UKI and another product do not count");
	en[1].broken = false;
	en[1].shown = false;
	CHECK(health_other(en, 3, 0) == 3, "not shown");
	en[1] = entry("web_1.0.0+0-3.efi", "web");
	CHECK(health_other(en, 3, 0) == 3, "given up before");
	en[1] = entry("web_1.0.0+1-2.efi", "web");
	CHECK(health_other(en, 3, 0) == 1, "a try left");
	en[1] = entry("web_1.1.0+0-1.efi", "web");
	CHECK(health_other(en, 3, 0) == 3, "itself, torn in two");
	CHECK(health_other(en, 3, 3) == 3, "nothing runs");
	/* the last try: systemd-boot has counted down to nothing before it started this */
	en[0] = entry("web_1.1.0+0-3.efi", "web");
	CHECK(health_verdict(en, 3, 0, 1) == HEALTH_FALL_BACK, "the last try");
	for (int v = HEALTH_FALL_BACK; v <= HEALTH_STAY_PINNED; v++)
		CHECK(strlen(health_verdict_text((enum health_verdict)v)) > 20, "text %d", v);
	free(en);
}

static void test_note(void)
{
	static const uint8_t root[32] = { 0xab };
	AUTO_FREE struct record *rec = calloc(1, sizeof(*rec));
	struct health_failure_note f = { .version = "1.1.0",
					 .root = root,
					 .reason = "20-x.sh, exit 1",
					 .boot_id = "aa",
					 .now = 5,
					 .failed = true };

	CHECK(rec, "memory");
	rec->next_event = 1;
	CHECK(health_note(rec, &f), "first");
	CHECK(rec->n_failure == 1 && rec->n_event == 1, "one each");
	CHECK(rec->failure[0].cause == RECORD_HEALTH && rec->event[0].kind == RECORD_EV_FAILED,
	      "kinds");
	CHECK(rec->event[0].root[0] == 0xab && strcmp(rec->event[0].text, f.reason) == 0, "event");
	CHECK(!health_note(rec, &f) && rec->n_failure == 1 && rec->n_event == 1, "again");
	f.boot_id = "bb";
	CHECK(health_note(rec, &f) && rec->n_failure == 1 && rec->n_event == 2, "another boot");
	CHECK(record_forgive(rec, "1.1.0"), "forgive");
	CHECK(health_note(rec, &f) && rec->n_failure == 1 && rec->n_event == 2,
	      "the failure is written again, the event is there");
	f.version = "1.0.0";
	f.failed = false;
	CHECK(health_note(rec, &f) && rec->n_failure == 1 && rec->n_event == 3, "event only");
	CHECK(!health_note(rec, &f), "again");
}

int main(void)
{
	test_kinds();
	test_merge();
	test_greenboot();
	test_units();
	test_merge_bound();
	test_turns();
	test_texts();
	test_running();
	test_verdict();
	test_note();
	return 0;
}
