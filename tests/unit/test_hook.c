/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/dice.h"
#include "tests/test.h"
#include "updater/hook/ask.h"
#include "updater/hook/find.h"
#include "updater/hook/run.h"

static char top[] = "/tmp/proa-hook.XXXXXX";

static void dir(const char *name)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	CHECK(mkdir(path, 0755) == 0, "%s", path);
}

static void put(const char *name, mode_t mode, const char *text)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
	CHECK(fchmod(fd, mode) == 0 && close(fd) == 0, "%s", path);
}

static struct hook_ask ask_for(enum hook_stage stage)
{
	struct hook_ask a = { .stage = stage, .timeout_s = 30 };

	(void)snprintf(a.dirs, sizeof(a.dirs), "%s/etc %s/usr", top, top);
	(void)snprintf(a.version, sizeof(a.version), "1.1.0");
	(void)snprintf(a.from, sizeof(a.from), "1.0.0");
	(void)snprintf(a.reason, sizeof(a.reason), "update");
	return a;
}

static void test_judge(void)
{
	static const struct {
		mode_t mode;
		uid_t owner, own;
		enum hook_verdict want;
	} table[] = {
		{ S_IFREG | 0755, 0, 0, HOOK_RUN },       { S_IFREG | 0644, 0, 0, HOOK_SKIP },
		{ S_IFREG | 0775, 0, 0, HOOK_REFUSE },    { S_IFREG | 0757, 0, 0, HOOK_REFUSE },
		{ S_IFREG | 0755, 1000, 0, HOOK_REFUSE }, { S_IFREG | 0755, 1000, 1000, HOOK_RUN },
		{ S_IFREG | 0755, 0, 1000, HOOK_RUN },    { S_IFDIR | 0755, 0, 0, HOOK_SKIP },
		{ S_IFCHR | 0666, 0, 0, HOOK_SKIP },      { S_IFREG | 0666, 0, 0, HOOK_SKIP },
		{ S_IFREG | 0100, 0, 0, HOOK_RUN },       { 0, 0, 0, HOOK_SKIP },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK(hook_judge(table[i].mode, table[i].owner, table[i].own) == table[i].want,
		      "%zu", i);
}

static void test_find(void)
{
	struct hook_ask a = ask_for(HOOK_PRE_REBOOT);
	static struct hook_file file[HOOK_FILES_MAX];
	struct err e = ERR_INIT;
	char path[300];
	size_t n = 9;

	CHECK(hook_find(a.dirs, a.stage, file, &n, &e) == 0 && n == 0, "absent: %s", e.text);
	dir("etc");
	dir("usr");
	dir("etc/pre-reboot.d");
	dir("usr/pre-reboot.d");
	put("usr/pre-reboot.d/20-b", 0755, "#!/bin/sh\n");
	put("usr/pre-reboot.d/10-a", 0755, "#!/bin/sh\n");
	put("usr/pre-reboot.d/30-masked", 0755, "#!/bin/sh\nexit 1\n");
	put("usr/pre-reboot.d/README", 0644, "no hook\n");
	put("etc/pre-reboot.d/20-b", 0755, "#!/bin/sh\n");
	put("etc/pre-reboot.d/.hidden", 0755, "#!/bin/sh\n");
	put("etc/pre-reboot.d/old~", 0755, "#!/bin/sh\n");
	(void)snprintf(path, sizeof(path), "%s/etc/pre-reboot.d/30-masked", top);
	CHECK(symlink("/dev/null", path) == 0, "symlink");
	CHECK(hook_find(a.dirs, a.stage, file, &n, &e) == 0 && n == 2, "%zu: %s", n, e.text);
	CHECK(strcmp(file[0].name, "10-a") == 0 && strcmp(file[1].name, "20-b") == 0, "order");
	CHECK(strstr(file[0].dir, "/usr/") && strstr(file[1].dir, "/etc/"), "places");
	put("etc/pre-reboot.d/40-open", 0777, "#!/bin/sh\n");
	CHECK(hook_find(a.dirs, a.stage, file, &n, &e) == -EPERM && e.kind == ERR_REFUSED,
	      "a hook that everybody may change");
	CHECK(strstr(e.text, "40-open"), "%s", e.text);
	put("etc/pre-reboot.d/40-open", 0755, "#!/bin/sh\n");
	(void)snprintf(path, sizeof(path), "%s/etc/pre-reboot.d", top);
	CHECK(chmod(path, 0777) == 0, "chmod");
	CHECK(hook_find(a.dirs, a.stage, file, &n, &e) == -EPERM, "an open directory");
	CHECK(chmod(path, 0755) == 0, "chmod");
	put("etc/pre-reboot.d/40-open", 0644, "");
}

struct seen {
	char text[3][300];
	unsigned n;
	size_t bytes;
};

static void on_ended(void *arg, const char *what, const char *output, size_t n)
{
	struct seen *s = arg;

	(void)what;
	if (s->n < 3)
		(void)snprintf(s->text[s->n], sizeof(s->text[0]), "%.*s", (int)n, output);
	s->bytes = n;
	s->n++;
}

static void test_run(void)
{
	struct hook_ask a = ask_for(HOOK_PRE_REBOOT);
	struct hook_answer r;
	struct seen s = { .n = 0 };

	put("usr/pre-reboot.d/10-a", 0755,
	    "#!/bin/sh\necho $PROA_HOOK $PROA_FROM $PROA_VERSION $PROA_REASON$PROA_OUTCOME "
	    "$HOME$SECRET $#\n");
	CHECK(setenv("SECRET", "leaks", 1) == 0, "setenv");
	hook_run(&a, -1, on_ended, &s, &r);
	CHECK(r.ok && r.ran == 2 && s.n == 2 && !r.text[0], "%u: %s", r.ran, r.text);
	CHECK(strcmp(s.text[0], "pre-reboot 1.0.0 1.1.0 update 0\n") == 0, "'%s'", s.text[0]);

	/* the first that refuses ends it, and its last words are told */
	put("usr/pre-reboot.d/10-a", 0755,
	    "#!/bin/sh\necho one; echo '  not\33[2J now  '; exit 3\n");
	memset(&s, 0, sizeof(s));
	hook_run(&a, -1, on_ended, &s, &r);
	CHECK(!r.ok && r.ran == 1 && s.n == 1 && strcmp(r.name, "10-a") == 0, "%s", r.text);
	CHECK(strstr(r.text, "10-a: exit status 3:") && strstr(r.text, "not?[2J now"), "%s",
	      r.text);

	/* a flood is read and dropped but for its end */
	put("usr/pre-reboot.d/10-a", 0755,
	    "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho\necho end\nexit 1\n");
	memset(&s, 0, sizeof(s));
	hook_run(&a, -1, on_ended, &s, &r);
	CHECK(!r.ok && s.bytes <= HOOK_OUTPUT_MAX && strstr(r.text, "end"), "%zu: %s", s.bytes,
	      r.text);

	put("usr/pre-reboot.d/10-a", 0755, "#!/nowhere/sh\n");
	hook_run(&a, -1, NULL, NULL, &r);
	CHECK(!r.ok && strstr(r.text, "10-a"), "%s", r.text);
}

static void test_hang(void)
{
	struct hook_ask a = ask_for(HOOK_PRE_REBOOT);
	struct hook_answer r;
	int pair[2];

	put("usr/pre-reboot.d/10-a", 0755, "#!/bin/sh\nsleep 1000 &\nsleep 1000\n");
	a.timeout_s = 1;
	hook_run(&a, -1, NULL, NULL, &r);
	CHECK(!r.ok && strstr(r.text, "10-a did not end in time"), "%s", r.text);
	CHECK(r.ran == 1, "no time is left for others");

	/* who asked is gone */
	a.timeout_s = 1000;
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	CHECK(close(pair[1]) == 0, "close");
	hook_run(&a, pair[0], NULL, NULL, &r);
	CHECK(!r.ok, "%s", r.text);
	(void)close(pair[0]);
}

/* What comes after a boot is run to its end: one that fails does not leave a node cordoned. */
static void test_goes_on(void)
{
	struct hook_ask a = ask_for(HOOK_POST_BOOT);
	struct hook_answer r;
	struct seen s = { .n = 0 };

	dir("usr/post-boot.d");
	put("usr/post-boot.d/1", 0755, "#!/bin/sh\nexit 1\n");
	put("usr/post-boot.d/2", 0755, "#!/bin/sh\necho $PROA_OUTCOME\n");
	(void)snprintf(a.outcome, sizeof(a.outcome), "good");
	hook_run(&a, -1, on_ended, &s, &r);
	CHECK(!r.ok && r.ran == 2 && strcmp(r.name, "1") == 0, "%u %s", r.ran, r.text);
	CHECK(strcmp(s.text[1], "good\n") == 0, "%s", s.text[1]);
}

static void test_sentinel(void)
{
	struct hook_ask a = ask_for(HOOK_SENTINEL);
	struct hook_answer r;

	(void)snprintf(a.dirs, sizeof(a.dirs), "%s/reboot-required", top);
	for (unsigned k = 0; k < 2; k++) { /* twice is fine */
		(void)snprintf(a.outcome, sizeof(a.outcome), "on");
		hook_run(&a, -1, NULL, NULL, &r);
		CHECK(r.ok && access(a.dirs, R_OK) == 0, "%s", r.text);
	}
	a.outcome[0] = '\0';
	for (unsigned k = 0; k < 2; k++) {
		hook_run(&a, -1, NULL, NULL, &r);
		CHECK(r.ok && access(a.dirs, R_OK) < 0, "%s", r.text);
	}
	(void)snprintf(a.dirs, sizeof(a.dirs), "%s/nowhere/x", top);
	(void)snprintf(a.outcome, sizeof(a.outcome), "on");
	hook_run(&a, -1, NULL, NULL, &r);
	CHECK(!r.ok && strstr(r.text, "nowhere"), "%s", r.text);
}

static void value(char *out, size_t max)
{
	size_t n = dice_below((unsigned)max);

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(' ' + dice_below(95));
	out[n] = '\0';
}

static void test_messages(void)
{
	for (unsigned k = 0; k < 5000; k++) {
		struct hook_ask a = { .stage = (enum hook_stage)dice_below(5) }, b;
		struct hook_answer r = { .ok = dice_below(2) != 0 }, q;
		struct err e = ERR_INIT;
		AUTO_BUF t = BUF_INIT;
		AUTO_BUF u = BUF_INIT;

		(void)snprintf(a.dirs, sizeof(a.dirs), dice_below(2) ? "/a /b" : "/a");
		a.timeout_s = 1 + dice_below(HOOK_SECONDS_MAX);
		value(a.version, sizeof(a.version));
		value(a.from, sizeof(a.from));
		value(a.reason, sizeof(a.reason));
		value(a.outcome, sizeof(a.outcome));
		CHECK(hook_ask_format(&a, &t, &e) == 0 && t.n <= HOOK_PACKET_MAX, "%s", e.text);
		CHECK(hook_ask_parse(t.p, t.n, &b, &e) == 0, "%s: %s", e.text, t.p);
		CHECK(b.stage == a.stage && b.timeout_s == a.timeout_s &&
			      strcmp(b.version, a.version) == 0 && strcmp(b.from, a.from) == 0 &&
			      strcmp(b.reason, a.reason) == 0 && strcmp(b.outcome, a.outcome) == 0,
		      "%s", t.p);
		r.ran = dice_below(100);
		value(r.name, sizeof(r.name));
		value(r.text, sizeof(r.text));
		if (r.ok || !r.text[0])
			(void)snprintf(r.text, sizeof(r.text), "%s", r.ok ? "" : "x");
		CHECK(hook_answer_format(&r, &u, &e) == 0 && u.n <= HOOK_PACKET_MAX, "%s", e.text);
		CHECK(hook_answer_parse(u.p, u.n, &q, &e) == 0, "%s: %s", e.text, u.p);
		CHECK(q.ok == r.ok && q.ran == r.ran && strcmp(q.text, r.text) == 0, "%s", u.p);
	}
	CHECK(hook_dirs_valid("/a /b") && !hook_dirs_valid("a") && !hook_dirs_valid("") &&
		      !hook_dirs_valid("/a b") && !hook_dirs_valid("/a  /b"),
	      "directories");
}

int main(void)
{
	char cmd[100];

	dice_seed();
	(void)umask(022);
	CHECK(mkdtemp(top), "mkdtemp");
	test_judge();
	test_find();
	test_run();
	test_hang();
	test_goes_on();
	test_sentinel();
	test_messages();
	(void)snprintf(cmd, sizeof(cmd), "rm -r %s", top);
	return system(cmd) == 0 ? 0 : 1;
}
