/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/config.h"
#include "ignition-lite/plan.h"
#include "tests/test.h"

static const char whole[] =
	"{\"ignition\":{\"version\":\"3.4.0\"},\n"
	" \"storage\":{\n"
	"  \"directories\":[{\"path\":\"/etc/a\",\"mode\":448}],\n"
	"  \"files\":[{\"path\":\"/etc/a/b\",\"user\":{\"name\":\"core\"},\n"
	"    \"contents\":{\"source\":\"data:,x\"},\"append\":[{\"source\":\"https://h/y\"}]},\n"
	"   {\"path\":\"/f\",\"mode\":420}],\n"
	"  \"links\":[{\"path\":\"/l\",\"target\":\"f\"},{\"path\":\"/h\",\"target\":\"/f\","
	"\"hard\":true}]},\n"
	" \"systemd\":{\"units\":[{\"name\":\"e@a.service\",\"enabled\":true},\n"
	"  {\"name\":\"x.service\",\"contents\":\"[Unit]\",\"mask\":true},\n"
	"  {\"name\":\"e@b.service\",\"enabled\":true}]}}";

static void check_whole(void)
{
	static const enum ign_step_kind order[] = {
		IGN_STEP_FILE,     IGN_STEP_SYMLINK, IGN_STEP_DIRECTORY, IGN_STEP_FILE,
		IGN_STEP_HARDLINK, IGN_STEP_UNIT,    IGN_STEP_UNIT_MASK, IGN_STEP_PRESET,
	};
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_IGN_PLAN *p = NULL;
	struct err e = ERR_INIT;

	CHECK(ign_config_read(whole, strlen(whole), "w", &rep, &c, &e) == 1, "%s", e.text);
	CHECK(c->files == 2 && c->directories == 1 && c->links == 2 && c->units == 3, "counts");
	CHECK(c->directory[0].mode == 0700 && c->file[0].mode == -1, "modes");
	CHECK(strcmp(c->file[0].node.user.name, "core") == 0, "owner");
	CHECK(ign_plan_make(c, &p, &e) >= 0, "%s", e.text);
	CHECK(p->steps == sizeof(order) / sizeof(order[0]), "%zu steps", p->steps);
	for (size_t i = 0; i < p->steps; i++)
		CHECK(p->step[i].kind == order[i], "step %zu is %d", i, p->step[i].kind);
	CHECK(p->fetches == 2 && p->needs_network && p->fetch[1].append, "fetches");
	CHECK(strcmp(p->preset[0].line, "enable e@.service a b") == 0, "%s", p->preset[0].line);
}

static void check_bad(void)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{ "{", "w: line 1" },
		{ "{}", "w:1:1: $.ignition: is missing" },
		{ "{\"ignition\":{\"version\":\"2.3.0\"}}", "w:1:24: $.ignition.version: spec 1" },
		{ "{\"ignition\":{\"version\":\"3.0.0\"},\n\"storage\":{\"files\":[{\"path\":1}]}}",
		  "w:2:29: $.storage.files.0.path: must be a string" },
		{ "{\"ignition\":{\"version\":\"3.0.0\"},\"Storage\":{}}",
		  "w:1:43: $.Storage: is spelled 'storage'" },
		{ "{\"ignition\":{\"version\":\"3.0.0\"},\"storage\":{\"files\":[{\"path\":\"/"
		  "a\"}],"
		  "\n \"links\":[{\"path\":\"/a\",\"target\":\"b\"}]}}",
		  "w:2:11: $.storage.links.0: is there twice" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_IGN_REPORT rep = { 0 };
		AUTO_IGN_CONFIG *c = NULL;
		struct err e = ERR_INIT;
		int r = ign_config_read(table[i].text, strlen(table[i].text), "w", &rep, &c, &e);

		CHECK(r < 0 && !c && e.kind == ERR_INPUT, "%s: %d", table[i].text, r);
		CHECK(strncmp(e.text, table[i].says, strlen(table[i].says)) == 0, "%s: %s",
		      table[i].text, e.text);
	}
}

/* However much is warned of, the error is told, with its place. */
static void check_many(void)
{
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(buf_addf(&b, &e, "{\"ignition\":{\"version\":\"3.0.0\"}") >= 0, "%s", e.text);
	for (unsigned i = 0; i < 1000; i++)
		CHECK(buf_addf(&b, &e, ",\"x%u\":1", i) >= 0, "%s", e.text);
	CHECK(buf_addf(&b, &e, ",\n\"storage\":[]}") >= 0, "%s", e.text);
	CHECK(ign_config_read(b.p, b.n, "w", &rep, &c, &e) < 0, "taken");
	CHECK(strcmp(e.text, "w:2:11: $.storage: must be an object") == 0, "%s", e.text);
	CHECK(rep.count[IGN_WARNING] == 1000 && rep.count[IGN_ERROR] == 1, "counts");
	CHECK(rep.n == IGN_ISSUES_MAX + 1, "%zu kept", rep.n);
}

int main(void)
{
	check_whole();
	check_bad();
	check_many();
	return 0;
}
