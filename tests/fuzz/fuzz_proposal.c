/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "publisher/proposal.h"
#include "publisher/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *body(const json_t *doc, const char *when, const char *role)
{
	return json_object_get(json_object_get(json_object_get(doc, when), role), "signed");
}

static int words(const char *role, json_t *now, json_t *next, json_t *out)
{
	if (strcmp(role, "root") == 0)
		return words_root(now, next, out, NULL);
	if (strcmp(role, "targets") == 0)
		return words_targets(now, next, out, NULL);
	return words_channel(role, now, next, out, NULL);
}

/* Whatever the bodies look like: what differs is not told as if nothing did. */
static void check_words(const json_t *doc, const char *role)
{
	json_t *now = body(doc, "now", role), *next = body(doc, "next", role);
	AUTO_JSON *change = json_array();
	AUTO_JSON *none = json_array();

	if (!json_is_object(next) || (now && !json_is_object(now)))
		return;
	if (words(role, now, next, change) < 0 || words(role, next, next, none) < 0)
		abort();
	if (json_array_size(none) < 1 || json_array_size(change) < 1)
		abort();
	if (now && !json_equal(now, next) && json_equal(change, none))
		abort();
}

/* What was accepted can be written, is accepted again, and every change goes forward. */
static void check_read(const struct proposal *p)
{
	AUTO_FREE struct proposal *again = calloc(1, sizeof(*again));
	AUTO_JSON *lines = json_array();
	AUTO_BUF text = BUF_INIT;
	bool done = false;

	if (p->n == 0 || p->n > PROPOSAL_CHANGES_MAX || proposal_tally(p, lines, &done, NULL) < 0 ||
	    json_array_size(lines) < p->n || json_write(p->doc, false, &text, NULL) < 0 ||
	    proposal_read(text.p, text.n, "again", p->root, again, NULL) < 0)
		abort();
	for (size_t i = 0; i < p->n; i++) {
		const struct proposal_change *c = &p->change[i];

		if (proposal_of(p, c->role) != c || !c->next ||
		    (c->now && c->next->version <= c->now->version))
			abort();
	}
	if (proposal_merge(again, p, "itself", NULL) < 0)
		abort();
	proposal_done(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct json_limits lim = { .bytes = PROPOSAL_MAX, .depth = 36 };
	AUTO_FREE struct proposal *p = calloc(1, sizeof(*p));
	AUTO_JSON *doc = NULL;

	if (!p)
		return 0;
	if (proposal_read(data, size, "fuzz", NULL, p, NULL) >= 0) {
		check_read(p);
		proposal_done(p);
	}
	if (json_read((const char *)data, size, &lim, "fuzz", &doc, NULL) >= 0) {
		check_words(doc, "root");
		check_words(doc, "targets");
		check_words(doc, "stable");
	}
	return 0;
}
