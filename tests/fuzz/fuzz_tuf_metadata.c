/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/tuf/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted holds what the header promises, and means the same written another way. */
static void check(const struct tuf_md *md)
{
	AUTO_TUF_MD *again = NULL;
	AUTO_BUF text = BUF_INIT;
	struct tuf_signers s;

	if (md->version == 0 || md->version > TUF_VERSION_MAX || md->keys_n > TUF_KEYS_MAX ||
	    md->roles_n > TUF_DELEGATIONS_MAX)
		abort();
	for (size_t i = 0; i < md->roles_n; i++) {
		const struct tuf_role *r = &md->roles[i];

		if (r->threshold == 0 || tuf_md_role(md, r->name) != r)
			abort();
		(void)tuf_role_covers(r, "stable/web_1.0.0.json");
		tuf_md_signers(md, md, r, &s);
		if (s.n > s.claimed)
			abort();
	}
	if (json_write(md->doc, false, &text, NULL) < 0 ||
	    tuf_md_read(text.p, text.n, md->type, "again", &again, NULL, NULL) < 0)
		abort();
	if (again->canon.n != md->canon.n || again->version != md->version ||
	    again->expires != md->expires || again->roles_n != md->roles_n ||
	    memcmp(again->canon.p, md->canon.p, md->canon.n) != 0)
		abort();
}

/* Every target can be asked for, or is refused for lack of a known hash. */
static void check_targets(const struct tuf_md *md)
{
	const char *path;
	json_t *o;

	json_object_foreach(json_object_get(md->body, "targets"), path, o)
	{
		enum tuf_reason why = TUF_REASON_NONE;
		struct tuf_target t;
		AUTO_BUF name = BUF_INIT;

		if (tuf_md_target(md, path, &t, &why, NULL) < 0) {
			if (why != TUF_REASON_UNKNOWN_HASH)
				abort();
			continue;
		}
		if (tuf_target_remote(&t, true, &name, NULL) < 0 || strchr(name.p, ' '))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int t = TUF_ROOT; t <= TUF_TARGETS; t++) {
		enum tuf_reason why = TUF_REASON_NONE;
		struct err e = ERR_INIT;
		AUTO_TUF_MD *md = NULL;

		if (tuf_md_read(data, size, (enum tuf_type)t, "input", &md, &why, &e) < 0) {
			if (why == TUF_REASON_NONE || e.kind != ERR_REFUSED || !e.text[0])
				abort();
			continue;
		}
		check(md);
		if (t == TUF_TARGETS)
			check_targets(md);
	}
	return 0;
}
