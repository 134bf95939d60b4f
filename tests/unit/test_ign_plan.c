/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ignition-lite/plan.h"
#include "tests/test.h"

static const char text[] =
	"{'ignition':{'version':'3.3.0'},"
	"'kernelArguments':{'shouldExist':['quiet','a=b'],'shouldNotExist':['nosmt']},"
	"'passwd':{'groups':[{'name':'wheel','gid':10},{'name':'old','shouldExist':false}],"
	"'users':[{'name':'core','uid':1000,'groups':['wheel','docker'],'passwordHash':'$6$secret',"
	"'sshAuthorizedKeys':['ssh-ed25519 secret']},{'name':'gone','shouldExist':false,"
	"'sshAuthorizedKeys':['x']}]},"
	"'storage':{'filesystems':[{'device':'/dev/disk/by-label/"
	"var','format':'ext4','label':'var',"
	"'path':'/var','wipeFilesystem':true}],"
	"'directories':[{'path':'/opt/a','mode':448},{'path':'/opt'}],"
	"'files':[{'path':'/opt/a/"
	"f','mode':384,'user':{'name':'core'},'group':{'id':5},'contents':{"
	"'source':'https://u:secret@h/f?t=secret','compression':'gzip','httpHeaders':[{'name':'X',"
	"'value':'secret'}]},'append':[{'source':'data:,secret'}]},{'path':'/e'},"
	"{'path':'/r','overwrite':true,'contents':{'source':'data:,secret'}}],"
	"'links':[{'path':'/h','target':'/e','hard':true},{'path':'/opt/l','target':'../e'}]},"
	"'systemd':{'units':[{'name':'e@b.service','enabled':true},{'name':'x.service','contents':"
	"'[Unit]\\nDescription=secret','mask':false,'enabled':false,'dropins':[{'name':'1.conf',"
	"'contents':'[A]\\nB=secret'},{'name':'2.conf'}]},{'name':'y.service','mask':true},"
	"{'name':'e@a.service','enabled':true},{'name':'e@.service','enabled':true}]}}";

static const char told[] =
	"before: fetch https://h/f\n"
	"     1  kernel arguments: with quiet, a=b, without nosmt\n"
	"     2  make anew the ext4 file system on /dev/disk/by-label/var, label var, for /var\n"
	"     3  create group wheel, gid 10\n"
	"     4  remove group old\n"
	"     5  create or modify user core, uid 1000, in groups wheel, docker, with a password\n"
	"     6  write 1 SSH key of core\n"
	"     7  remove user gone\n"
	"     8  make directory /opt (0755, root:root)\n"
	"     9  make sure of /e (0644, root:root)\n"
	"    10  replace /r (0644, root:root) from data: (6 bytes)\n"
	"    11  make directory /opt/a (0700, root:root)\n"
	"    12  make the symbolic link /opt/l to ../e\n"
	"    13  write /opt/a/f (0600, core:5) from https://h/f, decompressed, append data: (6 "
	"bytes)\n"
	"    14  make the hard link /h to /e\n"
	"    15  write unit x.service\n"
	"    16  write drop-in 1.conf of x.service\n"
	"    17  unmask unit x.service\n"
	"    18  mask unit y.service\n"
	"    19  preset: enable e@.service b a\n"
	"    20  preset: disable x.service\n"
	"    21  preset: enable e@.service\n";

static struct ign_config *config_of(const char *s)
{
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_BUF b = BUF_INIT;
	struct ign_config *c = NULL;
	struct err e = ERR_INIT;

	CHECK(buf_addf(&b, &e, "%s", s) >= 0, "%s", e.text);
	for (char *p = b.p; *p; p++)
		if (*p == '\'')
			*p = '"';
	CHECK(ign_config_read(b.p, b.n, "c", &rep, &c, &e) == 1, "%s", e.text);
	return c;
}

static void check_told(void)
{
	AUTO_IGN_CONFIG *c = config_of(text);
	AUTO_IGN_PLAN *p = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(ign_plan_make(c, &p, &e) >= 0, "%s", e.text);
	CHECK(ign_plan_explain(p, &b, &e) >= 0, "%s", e.text);
	CHECK(strcmp(b.p, told) == 0, "\n%s", b.p);
	CHECK(!strstr(b.p, "secret"), "a secret is told");
	CHECK(p->needs_network && p->fetches == 3, "%zu fetches", p->fetches);
	CHECK(!p->fetch[0].append && !strncmp(p->fetch[0].resource->source, "data:", 5),
	      "/r first");
	CHECK(p->fetch[2].append && p->fetch[2].file == p->fetch[1].file, "/opt/a/f last");
}

static void check_empty(void)
{
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_IGN_PLAN *p = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(ign_config_empty(&c, &e) >= 0, "%s", e.text);
	CHECK(ign_plan_make(c, &p, &e) >= 0 && p->steps == 0 && !p->needs_network, "%s", e.text);
	CHECK(ign_plan_explain(p, &b, &e) >= 0, "%s", e.text);
	CHECK(strcmp(b.p, "Nothing to do.\n") == 0, "%s", b.p);
}

/* Of one depth as listed, whatever the number: the sort is stable. */
static void check_stable(void)
{
	enum { COUNT = 5000 };
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_IGN_PLAN *p = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	char want[32];

	CHECK(buf_addf(&b, &e, "{'ignition':{'version':'3.0.0'},'storage':{'files':[") >= 0, " ");
	for (unsigned i = 0; i < COUNT; i++)
		CHECK(buf_addf(&b, &e, "%s{'path':'/%s%u'}", i ? "," : "", i % 2 ? "d/" : "",
			       COUNT - i) >= 0,
		      "%s", e.text);
	CHECK(buf_addf(&b, &e, "]}}") >= 0, "%s", e.text);
	c = config_of(b.p);
	CHECK(ign_plan_make(c, &p, &e) >= 0 && p->steps == COUNT, "%s", e.text);
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned place = i < COUNT / 2 ? 2 * i : 2 * (i - COUNT / 2) + 1;

		(void)snprintf(want, sizeof(want), "/%s%u", place % 2 ? "d/" : "", COUNT - place);
		CHECK(strcmp(p->step[i].file->node.path, want) == 0, "step %u: %s", i,
		      p->step[i].file->node.path);
	}
}

int main(void)
{
	check_told();
	check_empty();
	check_stable();
	return 0;
}
