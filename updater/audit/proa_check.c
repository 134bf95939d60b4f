/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/conf.h"
#include "base/num.h"
#include "updater/audit/audit.h"

enum { KEYS_MAX = 256, VALUE_MAX = 512, STATUS_MAX = 16 << 10 };

/* ---- settings ---- */

struct settings {
	struct conf *c;
	json_t *o;
	size_t n;
};

static void see_setting(void *arg, const char *section, const char *key, const char *path,
			uint64_t at)
{
	struct settings *s = arg;
	char name[200], value[600];
	const char *v = NULL;

	if (s->n++ >= KEYS_MAX || conf_str(s->c, section, key, "", &v, NULL) < 0)
		return;
	(void)snprintf(name, sizeof(name), "%.80s.%.80s", section, key);
	(void)snprintf(value, sizeof(value), "%.300s (%.200s:%llu)", v, path,
		       (unsigned long long)at);
	(void)!json_put_str(s->o, name, value, NULL);
}

static int check_settings(struct audit *a, struct err *e)
{
	static const char *const none[] = { NULL };
	AUTO_CONF *c = NULL;
	AUTO_JSON *o = json_object();
	struct settings s = { .o = o };
	struct err why = ERR_INIT;
	int r = conf_load(a->ev.root_path, "proa", &c, &why);

	s.c = c;
	if (r >= 0)
		r = conf_check(c, none, see_setting, &s, &why);
	if (r < 0)
		return report_unreadable(&a->rep, "proa.settings", &why, e);
	return report_add(&a->rep, "proa.settings", REPORT_PASS, json_incref(o), e,
			  "%zu settings are in force, each with its file and line.", s.n);
}

/* ---- units ---- */

/* What units/ gives to every unit of Proa but those that run the product's own checks. */
static const char *const hardening[] = {
	"NoNewPrivileges=yes",
	"LockPersonality=yes",
	"MemoryDenyWriteExecute=yes",
	"ProtectClock=yes",
	"ProtectControlGroups=yes",
	"ProtectHome=yes",
	"ProtectHostname=yes",
	"ProtectKernelLogs=yes",
	"ProtectKernelModules=yes",
	"ProtectKernelTunables=yes",
	"ProtectProc=invisible",
	"ProtectSystem=strict",
	"PrivateTmp=yes",
	"RestrictNamespaces=yes",
	"RestrictRealtime=yes",
	"RestrictSUIDSGID=yes",
	"SystemCallArchitectures=native",
	"UMask=0077",
};

/* And what makes each of them what it is, in `systemctl show`'s words. */
static const struct {
	const char *unit;
	const char *own[6];
} units[] = {
	{ "proad.service",
	  { "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "DevicePolicy=closed" } },
	{ "proa-settle.service",
	  { "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "DevicePolicy=closed" } },
	{ "proa-update.service",
	  { "PrivateNetwork=yes", "PrivateDevices=yes", "RestrictAddressFamilies=AF_UNIX",
	    "ProcSubset=pid" } },
	{ "proa-anchor.service",
	  { "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "DevicePolicy=closed" } },
	{ "proa-fetch@audit.service",
	  { "PrivateDevices=yes", "DynamicUser=yes", "PrivateUsers=yes", "PrivateIPC=yes",
	    "ProcSubset=pid" } },
};

/*
 * The block of a unit, from one empty line to the next, appended to out with a newline before each
 * of its lines; nothing when it is not there.
 */
static int find_block(const char *show, const char *unit, struct buf *out, struct err *e)
{
	char id[80];
	int n = snprintf(id, sizeof(id), "Id=%s\n", unit);

	for (const char *p = show; *p;) {
		const char *end = strstr(p, "\n\n"), *at = strstr(p, id);
		size_t len = end ? (size_t)(end - p) : strlen(p);
		int r;

		if (!at)
			break;
		if (at + n > p + len + 1 || (at > p && at[-1] != '\n')) {
			p += len;
			p += strspn(p, "\n");
			continue;
		}
		r = buf_add(out, "\n", 1, e);
		if (r >= 0)
			r = buf_add(out, p, len, e);
		return r < 0 ? r : buf_add(out, "\n", 1, e);
	}
	return 0;
}

static bool says(const struct buf *block, const char *line)
{
	char want[100];

	(void)snprintf(want, sizeof(want), "\n%s\n", line);
	return strstr(block->p, want) != NULL;
}

/* The value of "Key=value" in the block, cut to VALUE_MAX; "" when it is not there. */
static const char *value(const struct buf *block, const char *key, char out[VALUE_MAX])
{
	char want[80];
	const char *p;
	size_t n;

	(void)snprintf(want, sizeof(want), "\n%s=", key);
	p = strstr(block->p, want);
	p = p ? p + strlen(want) : "";
	n = strcspn(p, "\n");
	(void)snprintf(out, VALUE_MAX, "%.*s", (int)(n < VALUE_MAX ? n : VALUE_MAX - 1), p);
	return out;
}

struct seen {
	size_t known;
	struct buf missing, drop_ins;
	json_t *o; /* unit to what is known of it */
};

static int demand(struct seen *s, const char *unit, bool ok, const char *line, struct err *e)
{
	return ok ? 0 : buf_addf(&s->missing, e, "%s%s: %s", s->missing.n ? "; " : "", unit, line);
}

/* The kernel's word on the process, where there is one: the unit may have been changed since. */
static int check_process(const struct audit *a, const char *unit, const char *pid, struct seen *s,
			 json_t *o, struct err *e)
{
	static const char *const lines[] = { "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n" };
	static const char *const names[] = { "the process has no_new_privs",
					     "the process has a system call filter" };
	AUTO_FREE char *text = NULL;
	char path[64];
	size_t n = 0;
	int r = 0;

	if (!pid[0] || strcmp(pid, "0") == 0 || strlen(pid) > 10 ||
	    strspn(pid, "0123456789") != strlen(pid))
		return 0;
	(void)snprintf(path, sizeof(path), "proc/%s/status", pid);
	if (evidence_read(&a->ev, path, STATUS_MAX, &text, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; r >= 0 && i < 2; i++)
		r = demand(s, unit, strstr(text, lines[i]), names[i], e);
	return r < 0 ? r : json_put_str(o, "process", pid, e);
}

/* Not installed is no fault here; masked, or what systemd cannot read, does not do its work. */
static int check_not_loaded(const char *unit, const char *state, struct seen *s, struct err *e)
{
	char line[VALUE_MAX + 16];
	int r = json_put_str(s->o, unit, state, e);

	(void)snprintf(line, sizeof(line), "LoadState=%s", state);
	return r < 0 ? r : demand(s, unit, strcmp(state, "not-found") == 0, line, e);
}

static int check_unit(const struct audit *a, const char *show, size_t i, struct seen *s,
		      struct err *e)
{
	const char *unit = units[i].unit;
	AUTO_BUF block = BUF_INIT;
	char text[VALUE_MAX];
	json_t *o;
	int r = find_block(show, unit, &block, e);

	if (r < 0 || !block.p)
		return r;
	if (!says(&block, "LoadState=loaded"))
		return check_not_loaded(unit, value(&block, "LoadState", text), s, e);
	s->known++;
	for (size_t k = 0; r >= 0 && k < sizeof(hardening) / sizeof(hardening[0]); k++)
		r = demand(s, unit, says(&block, hardening[k]), hardening[k], e);
	for (size_t k = 0; r >= 0 && k < 6 && units[i].own[k]; k++)
		r = demand(s, unit, says(&block, units[i].own[k]), units[i].own[k], e);
	if (r < 0)
		return r;
	o = json_object();
	r = json_put(s->o, unit, o, e);
	if (r >= 0)
		r = json_put_str(o, "state", value(&block, "ActiveState", text), e);
	if (r >= 0)
		r = json_put_str(o, "file", value(&block, "FragmentPath", text), e);
	(void)value(&block, "DropInPaths", text);
	if (r >= 0 && text[0])
		r = json_put_str(o, "drop_ins", text, e);
	if (r >= 0 && text[0])
		r = buf_addf(&s->drop_ins, e, "%s%s", s->drop_ins.n ? " " : "", text);
	return r < 0 ? r : check_process(a, unit, value(&block, "MainPID", text), s, o, e);
}

static int tell_units(struct audit *a, struct seen *s, struct err *e)
{
	int r = 0;

	if (s->known == 0 && !s->missing.n)
		return report_add(&a->rep, "proa.units", REPORT_ABSENT, NULL, e,
				  "Proa's units are not loaded here.");
	if (s->missing.n)
		r = json_put_str(s->o, "missing", s->missing.p, e);
	if (r < 0)
		return r;
	if (s->missing.n)
		return report_add(&a->rep, "proa.units", REPORT_FAIL, json_incref(s->o), e,
				  "Proa's units do not run as they ship: %s.", s->missing.p);
	if (s->drop_ins.n)
		return report_add(
			&a->rep, "proa.units", REPORT_WARN, json_incref(s->o), e,
			"Proa's units are as hardened as they ship, but this host changes "
			"them: %s.",
			s->drop_ins.p);
	return report_add(
		&a->rep, "proa.units", REPORT_PASS, json_incref(s->o), e,
		"Proa's %zu units run as hardened as they ship: no network where there are "
		"devices, no devices where there is a network.",
		s->known);
}

static int check_units(struct audit *a, struct err *e)
{
	AUTO_BUF show = BUF_INIT;
	AUTO_JSON *o = json_object();
	struct seen s = { .missing = BUF_INIT, .drop_ins = BUF_INIT, .o = o };
	struct err why = ERR_INIT;
	int r = evidence_units(&a->ev, &show, &why);

	if (r < 0 || show.n == 0)
		return report_add(&a->rep, "proa.units", REPORT_ABSENT, NULL, e,
				  "There are no units to look at: %s.",
				  r < 0 ? why.text : "systemctl says nothing");
	for (size_t i = 0; r >= 0 && i < sizeof(units) / sizeof(units[0]); i++)
		r = check_unit(a, show.p, i, &s, e);
	if (r >= 0)
		r = tell_units(a, &s, e);
	buf_done(&s.missing);
	buf_done(&s.drop_ins);
	return r;
}

int audit_proa(struct audit *a, struct err *e)
{
	int r = check_settings(a, e);

	return r < 0 ? r : check_units(a, e);
}
