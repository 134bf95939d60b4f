/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/hook/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "base/text.h"
#include "updater/hook/find.h"

#define HOOK_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct hooks {
	const struct hook_ask *ask;
	int stop_fd;
	uint64_t end_ms;
	hook_ended_fn ended;
	void *arg;
	struct hook_answer *answer;
};

/* The first failure is what is told. */
static void __attribute__((format(printf, 3, 4)))
failed(struct hook_answer *a, const char *name, const char *fmt, ...)
{
	char text[HOOK_TEXT_MAX];
	va_list ap;

	if (a->text[0])
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->ok = false;
	(void)text_clean(name, strlen(name), a->name, sizeof(a->name));
	(void)text_clean(text, strlen(text), a->text, sizeof(a->text));
}

/* The last line that says something. */
static void last_line(const struct buf *b, char out[200])
{
	size_t end = b->n, begin;

	while (end > 0 && strchr(" \t\r\n", b->p[end - 1]))
		end--;
	for (begin = end; begin > 0 && b->p[begin - 1] != '\n';)
		begin--;
	out[0] = '\0';
	if (end > begin)
		(void)text_clean(b->p + begin, end - begin, out, 200);
}

static int spawn_hook(const struct hooks *h, const char *path, struct buf *out,
		      struct spawn_result *ret, struct err *e)
{
	char var[5][HOOK_VALUE_MAX + 16];
	const char *envp[] = { HOOK_PATH, "LANG=C.UTF-8", var[0], var[1],
			       var[2],    var[3],         var[4], NULL };
	const char *argv[] = { path, NULL };
	uint64_t now = clock_mono_ms();
	struct spawn s = { .argv = argv,
			   .envp = envp,
			   .deadline_ms = h->end_ms > now ? h->end_ms - now : 1,
			   .out = out,
			   .out_max = HOOK_OUTPUT_MAX,
			   .stop_fd = h->stop_fd >= 0 ? h->stop_fd : 0 };

	(void)snprintf(var[0], sizeof(var[0]), "PROA_HOOK=%s", hook_stage_name(h->ask->stage));
	(void)snprintf(var[1], sizeof(var[1]), "PROA_VERSION=%s", h->ask->version);
	(void)snprintf(var[2], sizeof(var[2]), "PROA_FROM=%s", h->ask->from);
	(void)snprintf(var[3], sizeof(var[3]), "PROA_REASON=%s", h->ask->reason);
	(void)snprintf(var[4], sizeof(var[4]), "PROA_OUTCOME=%s", h->ask->outcome);
	return spawn_run(&s, ret, e);
}

static void run_one(const struct hooks *h, const struct hook_file *f)
{
	char path[HOOK_DIRS_MAX + HOOK_NAME_MAX], what[2 * HOOK_NAME_MAX], said[200];
	struct spawn_result res = { .end = SPAWN_EXIT, .code = 127 };
	const char *stage = hook_stage_name(h->ask->stage);
	struct err e = ERR_INIT;
	AUTO_BUF out = BUF_INIT;
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, f->name);
	h->answer->ran++;
	r = spawn_hook(h, path, &out, &res, &e);
	last_line(&out, said);
	if (r < 0)
		(void)snprintf(what, sizeof(what), "%s.d/%s: %.100s", stage, f->name, e.text);
	else if (res.end == SPAWN_TIMEOUT)
		(void)snprintf(what, sizeof(what), "%s.d/%s did not end in time", stage, f->name);
	else
		(void)snprintf(what, sizeof(what), "%s.d/%s: %s %d", stage, f->name,
			       res.end == SPAWN_EXIT ? "exit status" : "signal", res.code);
	if (r < 0 || res.end != SPAWN_EXIT || res.code != 0)
		failed(h->answer, f->name, "%s%s%s", what, said[0] ? ": " : "", said);
	if (h->ended)
		h->ended(h->arg, what, out.p ? out.p : "", out.n);
}

static void run_all(const struct hooks *h)
{
	AUTO_FREE struct hook_file *file = calloc(HOOK_FILES_MAX, sizeof(*file));
	bool goes_on = h->ask->stage == HOOK_POST_BOOT || h->ask->stage == HOOK_POST_FALLBACK;
	struct err e = ERR_INIT;
	size_t n = 0;

	if (!file) {
		failed(h->answer, "", "out of memory");
		return;
	}
	if (hook_find(h->ask->dirs, h->ask->stage, file, &n, &e) < 0) {
		failed(h->answer, "", "%s", e.text);
		return;
	}
	for (size_t i = 0; i < n && (goes_on || h->answer->ok); i++) {
		if (clock_mono_ms() >= h->end_ms)
			failed(h->answer, file[i].name, "%s.d/%s was not run: no time is left",
			       hook_stage_name(h->ask->stage), file[i].name);
		else
			run_one(h, &file[i]);
	}
}

static void set_sentinel(const struct hook_ask *ask, struct hook_answer *ret)
{
	static const char text[] = "*** System restart required ***\n";
	struct sys *sys = sys_linux();
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	AUTO_SYS_FD there = { .sys = sys, .fd = -1 };
	const char *name = strrchr(ask->dirs, '/') + 1; /* hook_dirs_valid() saw one */
	struct err e = ERR_INIT;
	char path[HOOK_DIRS_MAX];
	int r = 0;

	(void)snprintf(path, sizeof(path), "%.*s", (int)(name - ask->dirs), ask->dirs);
	dir.fd = sys->ops->open(sys, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		r = err_set(&e, ERR_HOST, -dir.fd, "%s: %s", path, strerror(-dir.fd));
	else if (ask->outcome[0])
		r = file_replace(sys, dir.fd, name, text, sizeof(text) - 1, &e);
	else
		there.fd = sys->ops->open(sys, dir.fd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (there.fd >= 0)
		r = file_remove(sys, dir.fd, name, &e);
	if (r < 0)
		failed(ret, "", "%s", e.text);
}

void hook_run(const struct hook_ask *ask, int stop_fd, hook_ended_fn ended, void *arg,
	      struct hook_answer *ret)
{
	struct hooks h = { .ask = ask,
			   .stop_fd = stop_fd,
			   .end_ms = clock_mono_ms() + (uint64_t)ask->timeout_s * 1000,
			   .ended = ended,
			   .arg = arg,
			   .answer = ret };

	*ret = (struct hook_answer){ .ok = true };
	if (ask->stage == HOOK_SENTINEL)
		set_sentinel(ask, ret);
	else
		run_all(&h);
}
