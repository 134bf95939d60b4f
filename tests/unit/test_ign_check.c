/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a config invalid, in what spec, where, and in which words. */
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/config.h"
#include "tests/test.h"

enum { ALL = 0, NEVER = 9 };

/* The config but its version, ' for "; valid in specs 3.from.0 to 3.to.0. */
static const struct {
	const char *text;
	unsigned from, to;
	const char *says; /* what the first error is, where it is not valid */
} table[] = {
	{ "'storage':{'files':[{'path':'/a','contents':{'source':'data:,x','verification':{'hash':"
	  "'sha256-0000000000000000000000000000000000000000000000000000000000000000'}}}]}",
	  1, 5, "$.storage.files.0.contents.verification.hash: must begin with sha512-" },
	{ "'storage':{'files':[{'path':'/a','contents':{'verification':{'hash':'md5-0'}}}]}", NEVER,
	  0, "$.storage.files.0.contents.verification.hash: has nothing to verify" },
	{ "'storage':{'files':[{'path':'/a','contents':{'source':'gs://b/k'}}]}", 2, 5,
	  "$.storage.files.0.contents.source: is not a URL of a scheme" },
	{ "'storage':{'files':[{'path':'/a','contents':{'source':'arn:aws:s3:::b/k'}}]}", 4, 5,
	  "$.storage.files.0.contents.source: is not a URL of a scheme" },
	{ "'storage':{'files':[{'path':'/a','contents':{'source':'data:,x','compression':'xz'}}]}",
	  NEVER, 0, "$.storage.files.0.contents.compression: must be gzip" },
	{ "'storage':{'files':[{'path':'/a','overwrite':true}]}", NEVER, 0,
	  "$.storage.files.0.overwrite: must be false" },
	{ "'storage':{'files':[{'path':'/a','mode':644000}]}", NEVER, 0,
	  "$.storage.files.0.mode: must be from 0 to 4095" },
	{ "'storage':{'files':[{'path':'/a','user':{'id':1,'name':'x'}}]}", NEVER, 0,
	  "$.storage.files.0.user: has both" },
	{ "'storage':{'files':[{'path':'/a','user':{'id':-1}}]}", NEVER, 0,
	  "$.storage.files.0.user.id: must be from" },
	{ "'storage':{'files':[{'path':'/'}]}", NEVER, 0,
	  "$.storage.files.0.path: is a directory" },
	{ "'storage':{'directories':[{'path':'/'}]}", ALL, 5, NULL },
	{ "'storage':{'files':[{}]}", NEVER, 0, "$.storage.files.0.path: is missing" },
	{ "'storage':{'links':[{'path':'/a'}]}", NEVER, 0, "$.storage.links.0.target: is missing" },
	{ "'storage':{'links':[{'path':'/a','target':'b'},{'path':'/a/b/c','target':'d'}]}", NEVER,
	  0, "$.storage.links.1: lies below a link" },
	{ "'storage':{'links':[{'path':'/a','target':'b'}],'files':[{'path':'/ab'}]}", ALL, 5,
	  NULL },
	{ "'storage':{'directories':[{'path':'/d'}],'links':[{'path':'/d/l','target':'../x','hard':"
	  "true}]}",
	  ALL, 5, NULL },
	{ "'storage':{'directories':[{'path':'/d'}],'links':[{'path':'/d/l','target':'../../d/./x/"
	  "..',"
	  "'hard':true}]}",
	  NEVER, 0, "$.storage.links.0: is a hard link to a directory" },
	{ "'storage':{'filesystems':[{'device':'/dev/a','format':'none'}]}", 3, 5,
	  "$.storage.filesystems.0.format: must be ext4" },
	{ "'storage':{'filesystems':[{'device':'/dev/a','format':'xfs','label':'0123456789abc'}]}",
	  NEVER, 0, "$.storage.filesystems.0.label: is longer than the 12 bytes xfs" },
	{ "'storage':{'disks':[{'device':'/dev/"
	  "a','partitions':[{'number':1,'startMiB':1,'sizeMiB':5}"
	  ",{'number':2,'startMiB':5,'sizeMiB':1}]}]}",
	  NEVER, 0, "$.storage.disks.0.partitions.1: overlaps" },
	{ "'storage':{'luks':[{'name':'a','device':'/dev/a'},{'name':'a','device':'/dev/a'}]}", ALL,
	  1, "$.storage.luks.1: is there twice" },
	{ "'storage':{'luks':[{'name':'a','device':'/dev/"
	  "a','cex':{'enabled':true},'clevis':{'tpm2':"
	  "true}}]}",
	  ALL, 4, "$.storage.luks.0.cex: excludes clevis" },
	{ "'systemd':{'units':[{'name':'a.txt'}]}", NEVER, 0,
	  "$.systemd.units.0.name: must end in .service" },
	{ "'systemd':{'units':[{'name':'../a.service'}]}", NEVER, 0,
	  "$.systemd.units.0.name: is not a name" },
	{ "'systemd':{'units':[{'name':'a.service','contents':'[Unit]\\nfoo'}]}", NEVER, 0,
	  "$.systemd.units.0.contents: holds a line" },
	{ "'systemd':{'units':[{'name':'a.service','dropins':[{'name':'../a.conf'}]}]}", NEVER, 0,
	  "$.systemd.units.0.dropins.0.name: is not the name" },
	{ "'systemd':{'units':[{'name':'a.service','contents':'[Unit]'}]},'storage':{'files':[{'"
	  "path'"
	  ":'/etc/systemd/system/a.service'}]}",
	  NEVER, 0, "$.storage.files.0.path: is written by systemd.units" },
	{ "'systemd':{'units':[{'name':'a.service'}]},'storage':{'files':[{'path':"
	  "'/etc/systemd/system/a.service'}]}",
	  ALL, 5, NULL },
	{ "'passwd':{'users':[{'name':'a:b'}]}", NEVER, 0, "$.passwd.users.0.name: is not a name" },
	{ "'passwd':{'users':[{'name':'a','shell':'/bin/sh\\n'}]}", NEVER, 0,
	  "$.passwd.users.0.shell: must not hold" },
	{ "'passwd':{'users':[{'name':'a','homeDir':'/home/a/'}]}", NEVER, 0,
	  "$.passwd.users.0.homeDir: must be a clean path" },
	{ "'passwd':{'users':[{'name':'a','homeDir':'/home/../etc'}]}", NEVER, 0,
	  "$.passwd.users.0.homeDir: must be a clean path" },
	{ "'passwd':{'users':[{'name':'a','homeDir':'home'}]}", NEVER, 0,
	  "$.passwd.users.0.homeDir: must be an absolute path" },
	{ "'passwd':{'users':[{'name':'a','homeDir':''},{'name':'b','homeDir':'/home/b'}]}", ALL, 5,
	  NULL },
	{ "'kernelArguments':{'shouldExist':['a'],'shouldNotExist':['a']}", ALL, 2,
	  "$.kernelArguments.shouldNotExist.0: is there twice" },
	{ "'passwd':{'users':{}}", NEVER, 0, "$.passwd.users: must be a list" },
	{ "'passwd':{'users':[{'name':'a','uid':1.0}]}", NEVER, 0,
	  "$.passwd.users.0.uid: must be a whole number" },
	{ "'passwd':null,'storage':{'files':null},'systemd':{'units':[]}", ALL, 5, NULL },
};

static void check_row(size_t i, unsigned minor)
{
	bool valid = minor >= table[i].from && minor <= table[i].to;
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	int r;

	CHECK(buf_addf(&b, &e, "{'ignition':{'version':'3.%u.0'},%s}", minor, table[i].text) >= 0,
	      "%s", e.text);
	for (char *p = b.p; *p; p++)
		if (*p == '\'')
			*p = '"';
	r = ign_config_read(b.p, b.n, "w", &rep, &c, &e);
	CHECK((r == 1) == valid, "3.%u.0: %s: %s", minor, table[i].text, e.text);
	if (valid)
		return;
	CHECK(e.kind == ERR_INPUT && !c && rep.n > 0 && rep.issue[0].line == 1, "%s",
	      table[i].text);
	CHECK(strstr(e.text, table[i].says), "3.%u.0: %s: %s", minor, table[i].text, e.text);
}

/* No finding repeats what may be secret. */
static void check_secrets(void)
{
	static const char text[] =
		"{\"ignition\":{\"version\":\"3.3.0\"},\"passwd\":{\"users\":[{\"name\":\"a\","
		"\"passwordHash\":\"secret:\"}]},\"storage\":{\"files\":[{\"path\":\"/"
		"a\",\"contents\":"
		"{\"source\":\"http://u:secret@:80/?secret\",\"httpHeaders\":[{\"name\":\"a\","
		"\"value\":\"secret\\n\"}]}}]}}";
	AUTO_IGN_REPORT rep = { 0 };
	AUTO_IGN_CONFIG *c = NULL;
	struct err e = ERR_INIT;

	CHECK(ign_config_read(text, strlen(text), "w", &rep, &c, &e) < 0, "taken");
	CHECK(rep.count[IGN_ERROR] == 3, "%zu errors", rep.count[IGN_ERROR]);
	for (size_t i = 0; i < rep.n; i++)
		CHECK(!strstr(rep.issue[i].text, "secret"), "%s", rep.issue[i].text);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (unsigned minor = 0; minor <= 5; minor++)
			check_row(i, minor);
	check_secrets();
	return 0;
}
