/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static struct spawn_result sh(const char *script, uint64_t deadline_ms, struct buf *out, size_t max)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct spawn s = { .argv = argv, .deadline_ms = deadline_ms, .out = out, .out_max = max };
	struct spawn_result res = { .code = -1 };
	struct err e = ERR_INIT;

	if (out)
		out->n = 0;
	CHECK(spawn_run(&s, &res, &e) == 0, "%s: %s", script, e.text);
	return res;
}

/* Is the process whose number stands in text more than a zombie nobody has waited for? */
static bool lives(const char *text)
{
	char path[64], stat[256] = { 0 };
	const char *p;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%ld/stat", strtol(text, NULL, 10));
	f = fopen(path, "re");
	if (!f)
		return false;
	p = fgets(stat, sizeof(stat), f);
	(void)fclose(f);
	p = p ? strrchr(stat, ')') : NULL;
	return p && p[2] != 'Z' && p[2] != 'X';
}

static void check_ends(void)
{
	AUTO_BUF out = BUF_INIT;
	struct spawn_result r = sh("exit 7", 0, NULL, 0);

	CHECK(r.end == SPAWN_EXIT && r.code == 7, "%d %d", r.end, r.code);
	r = sh("kill -9 $$", 0, NULL, 0);
	CHECK(r.end == SPAWN_SIGNAL && r.code == SIGKILL, "%d %d", r.end, r.code);
	r = sh("sleep 100", 100, NULL, 0);
	CHECK(r.end == SPAWN_TIMEOUT && r.code == SIGTERM, "%d %d", r.end, r.code);
	/* a group that ignores TERM, and whose leader's death does not end it */
	r = sh("trap '' TERM; sleep 100 & echo $!; while :; do sleep 1; done", 300, &out, 100);
	CHECK(r.end == SPAWN_TIMEOUT && r.code == SIGKILL, "%d %d", r.end, r.code);
	CHECK(out.n > 0, "no pid told");
	for (unsigned i = 0; lives(out.p) && i < 500; i++)
		(void)usleep(10000);
	CHECK(!lives(out.p), "the child lives on");
}

static void check_output(void)
{
	AUTO_BUF out = BUF_INIT;
	struct spawn_result r = sh("echo out; echo err >&2", 0, &out, 100);

	CHECK(r.code == 0 && strcmp(out.p, "out\nerr\n") == 0, "'%s'", out.p);
	r = sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done", 0, &out, 20);
	CHECK(r.code == 0 && strcmp(out.p, "ne 19998\nline 19999\n") == 0, "'%s'", out.p);
	r = sh("head -c 3000000 /dev/zero | tr '\\0' x; printf END", 0, &out, 5000);
	CHECK(r.code == 0 && out.n == 5000 && strcmp(out.p + 4996, "xEND") == 0, "%zu", out.n);
	r = sh("true", 0, &out, 20);
	CHECK(r.code == 0 && out.n == 0, "%zu", out.n);
	/* a daemon that keeps the pipe open does not hold us: would hang for 1,000 s */
	r = sh("sleep 1000 & echo $!", 0, &out, 20);
	CHECK(r.code == 0 && out.n > 0, "%zu", out.n);
	(void)kill((pid_t)strtol(out.p, NULL, 10), SIGKILL);
}

static void check_inherits_nothing(void)
{
	AUTO_BUF out = BUF_INIT;
	sigset_t block;

	CHECK(setenv("SECRET", "x", 1) == 0, "setenv");
	(void)sh("env", 0, &out, 4000);
	CHECK(!strstr(out.p, "SECRET") && strstr(out.p, "LANG=C.UTF-8") && strstr(out.p, "PATH="),
	      "%s", out.p);
	(void)sh("cat; readlink /proc/self/fd/0; ls /proc/self/fd", 0, &out, 4000);
	CHECK(strcmp(out.p, "/dev/null\n0\n1\n2\n3\n") == 0, "open in the child: %s", out.p);
	(void)sigemptyset(&block);
	(void)sigaddset(&block, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &block, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sh("grep -E 'Sig(Blk|Ign)' /proc/self/status", 0, &out, 4000);
	CHECK(strcmp(out.p, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n") == 0, "%s",
	      out.p);
	(void)sigprocmask(SIG_UNBLOCK, &block, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}

static void check_errors(void)
{
	const char *const none[] = { "proa-no-such-program", NULL };
	const char *const fails[] = { "sh", "-c", "echo one; echo 'disk is full' >&2; exit 3",
				      NULL };
	const char *const good[] = { "true", NULL };
	struct spawn s = { .argv = none };
	struct spawn_result res = { .code = 77 };
	struct err e = ERR_INIT;

	CHECK(spawn_run(&s, &res, &e) == -ENOENT && e.kind == ERR_HOST && res.code == 77, "%s",
	      e.text);
	CHECK(strstr(e.text, "proa-no-such-program"), "%s", e.text);
	CHECK(spawn_check(good, &e) == 0, "%s", e.text);
	CHECK(spawn_check(fails, &e) < 0, "exit 3 is an error");
	CHECK(strcmp(e.text, "'sh' ended with exit status 3: disk is full") == 0, "%s", e.text);
}

static void check_peer(void)
{
	const char *const argv[] = { "sh", "-c",
				     "[ $LISTEN_PID = $$ ] && echo fds=$LISTEN_FDS $SECRET >&3; "
				     "read x <&3; exit 5",
				     NULL };
	struct err e = ERR_INIT;
	char got[64] = { 0 };
	int fd = -1, status;
	pid_t pid = -1;

	CHECK(spawn_peer(argv, SOCK_STREAM, &pid, &fd, &e) == 0, "%s", e.text);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "our end would leak");
	CHECK(read(fd, got, sizeof(got) - 1) > 0 && strcmp(got, "fds=1 x\n") == 0, "'%s'", got);
	CHECK(kill(pid, 0) == 0, "the child waits for us");
	CHECK(getpgid(pid) == pid, "^C at a terminal would reach the child as well");
	(void)close(fd);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5, "%d", status);
}

int main(void)
{
	check_ends();
	check_output();
	check_inherits_nothing();
	check_errors();
	check_peer();
	return 0;
}
