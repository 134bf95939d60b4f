/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"
#include "ignition-lite/config.h"
#include "tests/test.h"

#define V "\"ignition\":{\"version\":\"3.3.0\"}"

/* What stands between the braces, ' for ", besides the version. */
static const struct {
	const char *what, *parent, *child, *merged; /* merged NULL: not valid */
} table[] = {
	{ "nothing", "", "", "" },
	{ "only the parent", "'storage':{'files':[{'path':'/a'}]}", "",
	  "'storage':{'files':[{'path':'/a'}]}" },
	{ "only the child", "", "'storage':{'files':[{'path':'/a'}]}",
	  "'storage':{'files':[{'path':'/a'}]}" },
	{ "fields of one file",
	  "'storage':{'files':[{'path':'/"
	  "a','mode':420,'contents':{'source':'data:,p','compression':"
	  "'gzip'}},{'path':'/b'}]}",
	  "'storage':{'files':[{'path':'/c'},{'path':'/a','overwrite':true,'contents':{'source':"
	  "'data:,c'}}]}",
	  "'storage':{'files':[{'path':'/a','mode':420,'overwrite':true,'contents':{'source':"
	  "'data:,c','compression':'gzip'}},{'path':'/b'},{'path':'/c'}]}" },
	{ "append is concatenated, twice the same too",
	  "'storage':{'files':[{'path':'/"
	  "a','append':[{'source':'data:,1'},{'source':'data:,2'}]}]}",
	  "'storage':{'files':[{'path':'/a','append':[{'source':'data:,1'}]}]}",
	  "'storage':{'files':[{'path':'/a','append':[{'source':'data:,1'},{'source':'data:,2'},{"
	  "'source':'data:,1'}]}]}" },
	{ "a file becomes a link, a directory stays",
	  "'storage':{'files':[{'path':'/a'},{'path':'/b'}],'directories':[{'path':'/d'}]}",
	  "'storage':{'links':[{'path':'/a','target':'b'}]}",
	  "'storage':{'files':[{'path':'/b'}],'directories':[{'path':'/d'}],'links':[{'path':'/a',"
	  "'target':'b'}]}" },
	{ "units and their drop-ins by name",
	  "'systemd':{'units':[{'name':'a.service','enabled':true,'dropins':[{'name':'1.conf',"
	  "'contents':'[A]'},{'name':'2.conf'}]}]}",
	  "'systemd':{'units':[{'name':'a.service','mask':false,'enabled':false,'dropins':[{'name':"
	  "'3.conf'},{'name':'1.conf','contents':'[B]'}]}]}",
	  "'systemd':{'units':[{'name':'a.service','enabled':false,'mask':false,'dropins':[{'name':"
	  "'1.conf','contents':'[B]'},{'name':'2.conf'},{'name':'3.conf'}]}]}" },
	{ "users by name, keys and groups by themselves",
	  "'passwd':{'users':[{'name':'u','uid':1,'sshAuthorizedKeys':['a','b'],'groups':['x']}]}",
	  "'passwd':{'users':[{'name':'v'},{'name':'u','shell':'/s','sshAuthorizedKeys':['c','a'],"
	  "'groups':['y']}]}",
	  "'passwd':{'users':[{'name':'u','uid':1,'shell':'/s','sshAuthorizedKeys':['a','b','c'],"
	  "'groups':['x','y']},{'name':'v'}]}" },
	{ "headers: the parent's are removed, replaced and kept",
	  "'storage':{'files':[{'path':'/a','contents':{'source':'http://h','httpHeaders':[{'name':"
	  "'A','value':'1'},{'name':'B','value':'2'},{'name':'C','value':'3'}]}}]}",
	  "'storage':{'files':[{'path':'/a','contents':{'source':'http://h','httpHeaders':[{'name':"
	  "'B'},{'name':'C','value':'4'},{'name':'D','value':'5'}]}}]}",
	  "'storage':{'files':[{'path':'/a','contents':{'source':'http://h','httpHeaders':[{'name':"
	  "'A','value':'1'},{'name':'C','value':'4'},{'name':'D','value':'5'}]}}]}" },
	{ "kernel arguments change sides",
	  "'kernelArguments':{'shouldExist':['a','b'],'shouldNotExist':['c']}",
	  "'kernelArguments':{'shouldExist':['c'],'shouldNotExist':['b']}",
	  "'kernelArguments':{'shouldExist':['a','c'],'shouldNotExist':['b']}" },
	{ "file systems by device, options concatenated",
	  "'storage':{'filesystems':[{'device':'/"
	  "d','format':'ext4','options':['-a'],'mountOptions':"
	  "['x']}]}",
	  "'storage':{'filesystems':[{'device':'/d','format':'xfs','options':['-a'],'mountOptions':"
	  "['y']}]}",
	  "'storage':{'filesystems':[{'device':'/d','format':'xfs','options':['-a','-a'],"
	  "'mountOptions':['x','y']}]}" },
	{ "two valid ones make one that is not", "'storage':{'links':[{'path':'/a','target':'b'}]}",
	  "'storage':{'files':[{'path':'/a/b'}]}", NULL },
	{ "an owner by id here, by name there",
	  "'storage':{'files':[{'path':'/a','user':{'id':1}}]}",
	  "'storage':{'files':[{'path':'/a','user':{'name':'x'}}]}", NULL },
};

static struct ign_config *config_of(const char *inner)
{
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_BUF b = BUF_INIT;
	struct ign_config *c = NULL;
	struct err e = ERR_INIT;

	CHECK(buf_addf(&b, &e, "{" V "%s%s}", *inner ? "," : "", inner) >= 0, "%s", e.text);
	for (char *p = b.p; *p; p++)
		if (*p == '\'')
			*p = '"';
	CHECK(ign_config_read(b.p, b.n, "c", &rep, &c, &e) == 1, "%s: %s", b.p, e.text);
	return c;
}

static json_t *tree_of(const struct ign_config *c)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	json_t *j = NULL;

	CHECK(ign_config_write(c, &b, &e) >= 0, "%s", e.text);
	CHECK(json_read(b.p, b.n, NULL, "tree", &j, &e) >= 0, "%s", e.text);
	return j;
}

static void check_row(size_t i)
{
	AUTO_IGN_CONFIG *parent = config_of(table[i].parent);
	AUTO_IGN_CONFIG *child = config_of(table[i].child);
	AUTO_IGN_CONFIG *merged = NULL, *want = NULL;
	AUTO_JSON *before = tree_of(parent), *after = NULL, *a = NULL, *b = NULL;
	AUTO_IGN_REPORT rep = { 0 };
	struct err e = ERR_INIT;
	int r = ign_config_merge(parent, child, &rep, &merged, &e);

	CHECK((r >= 0) == (table[i].merged != NULL), "%s: %d %s", table[i].what, r, e.text);
	after = tree_of(parent);
	CHECK(json_equal(before, after), "%s: the parent was changed", table[i].what);
	if (r < 0) {
		CHECK(!merged && e.kind == ERR_INPUT && rep.count[IGN_ERROR] > 0, "%s",
		      table[i].what);
		CHECK(strncmp(e.text, "the merged config: $.storage", 28) == 0, "%s", e.text);
		return;
	}
	want = config_of(table[i].merged);
	a = tree_of(merged);
	b = tree_of(want);
	CHECK(json_equal(a, b), "%s: %s", table[i].what, json_dumps(a, 0));
}

/* A config over itself is itself, but for the lists that concatenate. */
static void check_same(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_IGN_CONFIG *c = config_of(table[i].parent), *twice = NULL;
		AUTO_JSON *a = NULL, *b = NULL;
		AUTO_IGN_REPORT rep = { 0 };
		struct err e = ERR_INIT;

		if (strstr(table[i].parent, "append") || strstr(table[i].parent, "options"))
			continue;
		CHECK(ign_config_merge(c, c, &rep, &twice, &e) >= 0, "%s", e.text);
		a = tree_of(c);
		b = tree_of(twice);
		CHECK(json_equal(a, b), "%s", table[i].what);
	}
}

int main(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		check_row(i);
	check_same();
	return 0;
}
