/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A config that is taken is taken again when it is written out, with the same meaning; merging it
 * with nothing changes nothing; what is refused has a place in it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "ignition-lite/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct ign_config *again(const struct ign_config *c, struct buf *b)
{
	AUTO_IGN_REPORT rep = { 0 };
	struct ign_config *back = NULL;
	struct err e = ERR_INIT;

	must(ign_config_write(c, b, &e) >= 0);
	if (b->n > IGN_CONFIG_MAX)
		return NULL;
	must(ign_config_read(b->p, b->n, "again", &rep, &back, &e) == 1);
	must(rep.count[IGN_ERROR] == 0);
	return back;
}

static void same(const struct buf *a, const struct buf *b)
{
	must(a->n == b->n && memcmp(a->p, b->p, a->n) == 0);
}

static void check_taken(const struct ign_config *c)
{
	AUTO_IGN_CONFIG *empty = NULL, *under = NULL, *back = NULL;
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_BUF text = BUF_INIT, second = BUF_INIT, merged = BUF_INIT;
	struct err e = ERR_INIT;

	back = again(c, &text);
	if (!back)
		return;
	must(ign_config_write(back, &second, &e) >= 0);
	same(&text, &second);
	must(back->files == c->files && back->units == c->units && back->users == c->users);
	must(ign_config_empty(&empty, &e) >= 0);
	must(ign_config_merge(empty, c, &rep, &under, &e) >= 0);
	must(ign_config_write(under, &merged, &e) >= 0);
	(void)!ign_config_refuse(c, NULL, 0, "input", &rep, &e);
}

static void check_places(const struct ign_report *rep)
{
	for (size_t i = 0; i < rep->n; i++)
		must(rep->issue[i].line > 0 && rep->issue[i].column > 0 &&
		     rep->issue[i].path[0] == '$' && rep->issue[i].text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	struct err e = ERR_INIT;
	int r = ign_config_read(data, size, "input", &rep, &c, &e);

	check_places(&rep);
	must((r == 1) == (c != NULL) && (r == 0) == (size == 0));
	if (r < 0)
		must(e.kind == ERR_INPUT && strncmp(e.text, "input", 5) == 0);
	else
		must(rep.count[IGN_ERROR] == 0);
	if (c)
		check_taken(c);
	return 0;
}
