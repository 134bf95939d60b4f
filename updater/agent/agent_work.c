/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"
#include "updater/agent/agent_steps.h"

#include <time.h>

static int act_blob(void *arg, const struct release_blob *b, struct image_source *ret,
		    struct err *e)
{
	struct fetcher *f = arg;
	char path[RELEASE_BLOB_PATH_MAX];

	return fetcher_source(f, release_blob_path(b->sha256, path), b->bytes, ret, e);
}

static int work_blob(void *arg, const struct release_blob *b, struct image_source *ret,
		     struct err *e)
{
	return act_blob(((struct agent_work *)arg)->fetch, b, ret, e);
}

static int work_elsewhere(void *arg, const struct release_blob *b)
{
	const struct agent_work *w = arg;
	struct image_source src;

	return act_blob(w->fetch, b, &src, NULL) == 0 &&
	       fetcher_blame(w->fetch, &src, "what it sent is not what the release says");
}

static void work_note(void *arg, const char *text)
{
	const struct agent *a = ((struct agent_work *)arg)->agent;

	if (a->note)
		a->note(a->arg, text);
}

static int work_progress(void *arg, enum act_phase phase, uint64_t done, uint64_t total)
{
	struct agent *a = ((struct agent_work *)arg)->agent;

	a->acting = true;
	a->phase = phase;
	a->done = done;
	a->total = total;
	if (a->progress)
		a->progress(a->arg, a->busy, phase, done, total);
	return a->pump ? a->pump(a->arg) : 0;
}

int64_t agent_now(const struct agent *a)
{
	int64_t behind;

	return machine_clock(a->verified, a->built, time(NULL), &behind);
}

struct act agent_act(struct agent *a, struct agent_work *w)
{
	struct act act = { .host = a->host,
			   .now = agent_now(a),
			   .began_ms = clock_mono_ms(),
			   .blob = work_blob,
			   .elsewhere = work_elsewhere,
			   .note = work_note,
			   .progress = work_progress,
			   .arg = w };

	return act;
}

bool agent_cancelled(struct agent *a)
{
	return a->pump && a->pump(a->arg) < 0;
}
