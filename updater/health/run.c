/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "base/spawn.h"
#include "updater/health/unit.h"
#include "updater/health/update.h"

/* systemd that is started anew (daemon-reexec) does not answer for a while */
enum { UNIT_STEP_MS = 500, UNIT_MUTE_MAX = 20, UPDATE_STEP_MS = 2000, STATUS_MS = 15000 };

#define CHECK_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *dir_of(enum health_source source, bool etc)
{
	if (source == HEALTH_GREENBOOT)
		return etc ? "/etc/greenboot/check" : "/usr/lib/greenboot/check";
	return etc ? "/etc/proa/health" : "/usr/lib/proa/health";
}

static const char *kind_of(bool required)
{
	return required ? "required.d" : "wanted.d";
}

static void dir_closep(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static enum health_file_kind look(DIR *d, const char *name)
{
	struct stat st;
	bool dev_null;

	if (fstatat(dirfd(d), name, &st, 0) < 0)
		return health_file_kind(name, 0, false);
	dev_null = S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
	return health_file_kind(name, st.st_mode, dev_null);
}

struct files {
	struct health_file *file;
	size_t n, cap;
	enum health_source source;
	bool required;
};

static int add_file(struct files *f, const char *name, bool etc, enum health_file_kind kind,
		    struct err *e)
{
	if (kind == HEALTH_FILE_OTHER)
		return 0;
	if (f->n == f->cap)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d health checks in %s",
			       HEALTH_CHECKS_MAX, dir_of(f->source, etc));
	f->file[f->n] = (struct health_file){ .etc = etc, .kind = kind };
	(void)snprintf(f->file[f->n].name, HEALTH_NAME_MAX, "%s", name);
	f->n++;
	return 0;
}

static int read_dir(const char *root, bool etc, struct files *f, struct err *e)
{
	CLEANUP(dir_closep) DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *de;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s%s/%s", root, dir_of(f->source, etc),
		       kind_of(f->required));
	d = opendir(path);
	if (!d && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!d)
		return err_set(e, ERR_HOST, errno, "%s: %s", path, strerror(errno));
	for (errno = 0; r == 0 && (de = readdir(d)) != NULL; errno = 0)
		r = add_file(f, de->d_name, etc, look(d, de->d_name), e);
	if (r == 0 && errno)
		return err_set(e, ERR_HOST, errno, "%s: %s", path, strerror(errno));
	return r;
}

static int find_scripts(const char *root, enum health_source source, bool required,
			struct health_check *check, size_t *n, struct err *e)
{
	enum { BOTH = 2 * HEALTH_CHECKS_MAX };
	AUTO_FREE struct health_file *file = calloc(BOTH, sizeof(*file));
	struct files f = { .file = file, .cap = BOTH, .source = source, .required = required };
	int r;

	if (!file)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = read_dir(root, false, &f, e);
	if (r == 0)
		r = read_dir(root, true, &f, e);
	if (r == 0 && source == HEALTH_GREENBOOT)
		r = health_merge_greenboot(file, f.n, required, check, n, e);
	else if (r == 0)
		r = health_merge(file, f.n, required, check, n, e);
	return r;
}

static int find_kind(const struct health_want *w, bool required, struct health_check *check,
		     size_t *n, struct err *e)
{
	const char *units = required ? w->units : w->wanted_units;
	int r = find_scripts(w->root, HEALTH_SCRIPT, required, check, n, e);

	if (r == 0 && w->greenboot)
		r = find_scripts(w->root, HEALTH_GREENBOOT, required, check, n, e);
	if (r == 0 && units)
		r = health_add_units(units, required, check, n, e);
	if (r == 0 && required && w->update)
		r = health_add("can-update", HEALTH_BUILT_IN, required, check, n, e);
	return r;
}

int health_find(const struct health_want *w, struct health_check check[HEALTH_CHECKS_MAX],
		size_t *ret_n, struct err *e)
{
	size_t n = 0;
	int r = find_kind(w, true, check, &n, e);

	if (r == 0)
		r = find_kind(w, false, check, &n, e);
	if (r == 0)
		*ret_n = n;
	return r;
}

void health_path(const char *root, const struct health_check *c, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s%s/%s/%s", root, dir_of(c->source, c->etc),
		       kind_of(c->required), c->name);
}

static int run_argv(const struct health_run *h, const char *const *argv, uint64_t ms, size_t max,
		    struct buf *out, struct spawn_result *res, struct err *e)
{
	char version[128];
	const char *envp[] = { CHECK_PATH, "LANG=C.UTF-8", version, NULL };
	struct spawn s = {
		.argv = argv, .envp = envp, .deadline_ms = ms, .out = out, .out_max = max
	};

	(void)snprintf(version, sizeof(version), "PROA_VERSION=%s", h->version);
	return spawn_run(&s, res, e);
}

static void run_script(const struct health_run *h, struct health_check *c, uint64_t ms,
		       struct buf *out)
{
	char path[PATH_MAX];
	/* greenboot gives its scripts to bash, executable or not */
	const char *bash[] = { "/usr/bin/bash", path, NULL };
	const char *const *argv = c->source == HEALTH_GREENBOOT ? bash : bash + 1;
	struct spawn_result res = { .end = SPAWN_EXIT, .code = 127 };
	struct err e = ERR_INIT;

	health_path(h->root, c, path, sizeof(path));
	if (run_argv(h, argv, ms, HEALTH_OUTPUT_MAX, out, &res, &e) < 0) {
		c->end = HEALTH_FAILED;
		c->code = 127;
		health_last_line(e.text, strlen(e.text), c->last);
		return;
	}
	c->code = res.code;
	c->by_signal = res.end == SPAWN_SIGNAL;
	if (res.end == SPAWN_TIMEOUT)
		c->end = HEALTH_LATE;
	else
		c->end = res.end == SPAWN_EXIT && res.code == 0 ? HEALTH_PASSED : HEALTH_FAILED;
	if (out->n)
		health_last_line(out->p, out->n, c->last);
}

static void pause_ms(long ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

static int ask_systemd(const struct health_run *h, const char *unit, uint64_t ms,
		       struct health_unit_state *ret, struct err *e)
{
	const char *argv[] = { "/usr/bin/systemctl", "show", HEALTH_UNIT_SHOW, "--", unit, NULL };
	AUTO_BUF out = BUF_INIT;
	struct spawn_result res;
	char last[HEALTH_LINE_MAX] = "";
	int r = run_argv(h, argv, ms, HEALTH_UNIT_BYTES_MAX, &out, &res, e);

	if (r < 0)
		return r;
	if (res.end == SPAWN_EXIT && res.code == 0)
		return health_unit_parse(out.p ? out.p : "", out.n, ret, e);
	if (out.n)
		health_last_line(out.p, out.n, last);
	return err_set(e, ERR_HOST, EIO, "systemd does not answer: %s",
		       res.end == SPAWN_TIMEOUT ? "not in time" : last);
}

static void watch_unit(const struct health_run *h, struct health_check *c, uint64_t end)
{
	struct health_watch w = { .stay_ms = h->stay_ms };
	struct health_unit_state s = { .load = "loaded", .active = "not known" };
	char state[HEALTH_LINE_MAX];
	uint64_t now = clock_mono_ms();
	unsigned mute = 0;

	for (; now < end; now = clock_mono_ms()) {
		struct err e = ERR_INIT;

		if (ask_systemd(h, c->name, end - now, &s, &e) == 0) {
			mute = 0;
			c->end = health_watch_step(&w, &s, clock_mono_ms(), c->last);
		} else if (++mute == UNIT_MUTE_MAX) {
			c->end = HEALTH_FAILED;
			health_last_line(e.text, strlen(e.text), c->last);
		}
		if (c->end != HEALTH_WAITING)
			return;
		pause_ms(UNIT_STEP_MS);
	}
	c->end = HEALTH_LATE;
	health_unit_text(&s, state);
	(void)snprintf(c->last, sizeof(c->last), "%.150s%s", state,
		       w.active ? ", not long enough yet" : "");
}

/* `proactl --json VERB`, with what the caller puts in front of it. */
static int ask_proad(const struct health_run *h, const char *verb, uint64_t ms, struct buf *out,
		     struct spawn_result *res, struct err *e)
{
	const char *argv[HEALTH_PROACTL_MAX + 3] = { NULL };
	size_t n = 0;

	for (; n < HEALTH_PROACTL_MAX && h->proactl[n]; n++)
		argv[n] = h->proactl[n];
	argv[n] = "--json";
	argv[n + 1] = verb;
	return run_argv(h, argv, ms, HEALTH_UPDATE_BYTES_MAX, out, res, e);
}

/* No answer in time: a network that swallows everything, if proad itself still answers. */
static enum health_update_end judge_silence(const struct health_run *h, char text[HEALTH_LINE_MAX])
{
	AUTO_BUF out = BUF_INIT;
	struct spawn_result res;
	struct err e = ERR_INIT;

	if (ask_proad(h, "status", STATUS_MS, &out, &res, &e) == 0 && res.end == SPAWN_EXIT &&
	    res.code == 0) {
		(void)snprintf(text, HEALTH_LINE_MAX,
			       "not known, as the repository does not answer in time");
		return HEALTH_UPDATE_OUTSIDE;
	}
	(void)snprintf(text, HEALTH_LINE_MAX, "cannot update: proad does not answer");
	return HEALTH_UPDATE_OURS;
}

/* False: it was cut off, and what the tries before it found is worth more. */
static bool try_once(const struct health_run *h, uint64_t ms, const struct health_update_tries *t,
		     enum health_update_end *ret, char text[HEALTH_LINE_MAX])
{
	AUTO_BUF out = BUF_INIT;
	struct spawn_result res;
	struct err e = ERR_INIT;

	if (ask_proad(h, "why", ms, &out, &res, &e) < 0) {
		(void)snprintf(text, HEALTH_LINE_MAX, "cannot update: %.150s", e.text);
		*ret = HEALTH_UPDATE_OURS;
		return true;
	}
	if (res.end != SPAWN_TIMEOUT) {
		*ret = health_update_judge(res.end == SPAWN_EXIT, res.code, out.p ? out.p : "",
					   out.n, text);
		return true;
	}
	/* a mistake of this host shows at once: what hangs for long has got past that */
	if (t->known && (t->end == HEALTH_UPDATE_OUTSIDE || ms < STATUS_MS))
		return false;
	*ret = judge_silence(h, text);
	return true;
}

static void try_update(const struct health_run *h, struct health_check *c, uint64_t end)
{
	struct health_update_tries t = { .strict = h->outside_counts };
	uint64_t now = clock_mono_ms(), give_up = now + h->update_ms;

	while (health_update_goes_on(&t, now, give_up, end)) {
		uint64_t until = now < give_up && give_up < end ? give_up : end;
		enum health_update_end found;

		if (try_once(h, until - now, &t, &found, c->last))
			health_update_note(&t, found);
		if (t.known && t.end == HEALTH_UPDATE_OK)
			break;
		pause_ms(UPDATE_STEP_MS);
		now = clock_mono_ms();
	}
	c->required = health_update_counts(&t);
	c->end = t.known && t.end == HEALTH_UPDATE_OK ? HEALTH_PASSED : HEALTH_FAILED;
}

static void run_one(const struct health_run *h, struct health_check *c, uint64_t now, uint64_t end,
		    struct buf *out)
{
	if (c->source == HEALTH_UNIT)
		watch_unit(h, c, end);
	else if (c->source == HEALTH_BUILT_IN)
		try_update(h, c, end);
	else
		run_script(h, c, end - now, out);
}

void health_run(const struct health_run *h, struct health_check *check, size_t n)
{
	uint64_t end = clock_mono_ms() + h->deadline_ms;

	for (size_t i = 0; i < n; i++) {
		AUTO_BUF out = BUF_INIT;
		uint64_t now = clock_mono_ms();

		check[i].end = health_turn(check, i, now < end);
		if (check[i].end == HEALTH_WAITING)
			run_one(h, &check[i], now, end, &out);
		check[i].took_ms = clock_mono_ms() - now;
		if (h->ended)
			h->ended(h->arg, &check[i], out.p ? out.p : "", out.n);
	}
}
