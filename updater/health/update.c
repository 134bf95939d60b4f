/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/update.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

/* The answer begins with the first line that is a brace alone or opens one. */
static const char *json_begin(const char *p, size_t n, size_t *ret_n)
{
	for (size_t at = 0; at < n;) {
		const char *nl = memchr(p + at, '\n', n - at);

		if (p[at] == '{') {
			*ret_n = n - at;
			return p + at;
		}
		if (!nl)
			break;
		at = (size_t)(nl - p) + 1;
	}
	return NULL;
}

static void cannot(const char *what, const char *detail, size_t n, char text[HEALTH_LINE_MAX])
{
	char clean[HEALTH_LINE_MAX];

	(void)text_clean(detail, n, clean, sizeof(clean));
	(void)snprintf(text, HEALTH_LINE_MAX, "%s%.130s", what, clean);
}

static enum health_update_end judge_answer(const json_t *o, char text[HEALTH_LINE_MAX])
{
	const char *error = NULL, *kind = NULL;
	struct err e = ERR_INIT;

	if (json_is_object(json_object_get(o, "decision"))) {
		(void)snprintf(text, HEALTH_LINE_MAX, "metadata was fetched and verified");
		return HEALTH_UPDATE_OK;
	}
	if (json_get_str(o, "error", "answer", &error, &e) < 0 ||
	    json_get_str(o, "kind", "answer", &kind, &e) < 0) {
		cannot("cannot update: ", e.text, strlen(e.text), text);
		return HEALTH_UPDATE_OURS;
	}
	/* the verb ran and found the network so, or it did not come to run: then nothing is said of
	 * the state of this host */
	if (strcmp(kind, "retry") == 0 && !json_object_get(o, "status")) {
		cannot("not known, as proad did not get to it: ", error, strlen(error), text);
		return HEALTH_UPDATE_BUSY;
	}
	/* "refused" says which check of TUF the metadata did not pass; null when none did */
	if (strcmp(kind, "retry") == 0 || strcmp(kind, "refused") == 0 ||
	    json_is_object(json_object_get(o, "refused"))) {
		cannot("not known, as the repository does not answer as it should: ", error,
		       strlen(error), text);
		return HEALTH_UPDATE_OUTSIDE;
	}
	cannot("cannot update: ", error, strlen(error), text);
	return HEALTH_UPDATE_OURS;
}

enum health_update_end health_update_judge(bool exited, int code, const char *p, size_t n,
					   char text[HEALTH_LINE_MAX])
{
	const struct json_limits lim = { .bytes = HEALTH_UPDATE_BYTES_MAX, .depth = 16 };
	AUTO_JSON *o = NULL;
	struct err e = ERR_INIT;
	char last[HEALTH_LINE_MAX];
	const char *json;
	size_t len = 0;

	/* what was answered counts, also when it is that nothing could be learnt, which is status 1
	 */
	json = exited ? json_begin(p, n, &len) : NULL;
	if (json && json_read(json, len, &lim, "answer", &o, &e) >= 0)
		return judge_answer(o, text);
	if (!exited || code != 0) {
		health_last_line(p, n, last);
		(void)snprintf(text, HEALTH_LINE_MAX, "cannot update: %.150s",
			       last[0] ? last : "proactl failed and said nothing");
		return HEALTH_UPDATE_OURS;
	}
	cannot("proad's answer cannot be read: ", json ? e.text : "it is empty",
	       strlen(json ? e.text : "it is empty"), text);
	return HEALTH_UPDATE_OURS;
}

void health_update_note(struct health_update_tries *t, enum health_update_end end)
{
	t->known = true;
	t->end = end;
	if (t->strict)
		t->bad = end != HEALTH_UPDATE_OK;
	else if (end != HEALTH_UPDATE_BUSY)
		t->bad = end == HEALTH_UPDATE_OURS;
}

bool health_update_goes_on(const struct health_update_tries *t, uint64_t now_ms,
			   uint64_t give_up_ms, uint64_t end_ms)
{
	if ((t->known && t->end == HEALTH_UPDATE_OK) || now_ms >= end_ms)
		return false;
	return !t->known || t->bad || now_ms < give_up_ms;
}

bool health_update_counts(const struct health_update_tries *t)
{
	return t->strict || !t->known || t->end == HEALTH_UPDATE_OURS || t->end == HEALTH_UPDATE_OK;
}
