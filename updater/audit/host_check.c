/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "updater/audit/audit.h"
#include "updater/record/chain.h"

enum { LINE = 300 };

/* ---- the kernel ---- */

struct kernel {
	char lockdown[LINE], sig_enforce[LINE], kexec[LINE], fips[LINE], release[LINE];
	char lsm[LINE], selinux[LINE], apparmor[LINE];
	bool ima;
};

static void line(const struct audit *a, const char *path, char out[LINE])
{
	if (evidence_line(&a->ev, path, out, LINE, NULL) < 0)
		out[0] = '\0';
}

/* "none [integrity] confidentiality" -> "integrity" */
static void chosen(char text[LINE])
{
	const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
	size_t n;

	if (!close)
		return;
	n = (size_t)(close - open - 1);
	memmove(text, open + 1, n);
	text[n] = '\0';
}

static int check_lockdown(struct audit *a, const struct kernel *k, struct err *e)
{
	bool on = strcmp(k->lockdown, "integrity") == 0 ||
		  strcmp(k->lockdown, "confidentiality") == 0;

	if (!k->lockdown[0])
		return report_add(&a->rep, "kernel.lockdown", REPORT_WARN, NULL, e,
				  "The kernel has no lockdown: root can change it while it runs.");
	return report_add(&a->rep, "kernel.lockdown", on ? REPORT_PASS : REPORT_WARN, NULL, e,
			  on ? "The kernel is locked down (%s)."
			     : "Lockdown is %s: root can change the kernel while it runs.",
			  k->lockdown);
}

static int check_modules(struct audit *a, const struct kernel *k, struct err *e)
{
	bool on = k->sig_enforce[0] == 'Y' || strcmp(k->lockdown, "integrity") == 0 ||
		  strcmp(k->lockdown, "confidentiality") == 0;

	return report_add(&a->rep, "kernel.modules", on ? REPORT_PASS : REPORT_WARN, NULL, e,
			  on ? "The kernel loads signed modules only."
			     : "The kernel loads modules that nobody signed.");
}

static int check_kexec(struct audit *a, const struct kernel *k, struct err *e)
{
	bool off = strcmp(k->kexec, "1") == 0;

	if (!off &&
	    (strcmp(k->lockdown, "integrity") == 0 || strcmp(k->lockdown, "confidentiality") == 0))
		return report_add(&a->rep, "kernel.kexec", REPORT_PASS, NULL, e,
				  "kexec takes signed kernels only, by lockdown.");
	return report_add(&a->rep, "kernel.kexec", off ? REPORT_PASS : REPORT_WARN, NULL, e,
			  off ? "kexec is disabled."
			      : "kexec is enabled: root can start another kernel past the firmware "
				"(sysctl kernel.kexec_load_disabled=1).");
}

static int check_mac(struct audit *a, const struct kernel *k, struct err *e)
{
	if (k->selinux[0])
		return report_add(&a->rep, "kernel.mac",
				  k->selinux[0] == '1' ? REPORT_PASS : REPORT_WARN, NULL, e,
				  "SELinux is %s.",
				  k->selinux[0] == '1' ? "enforcing" : "permissive");
	return report_add(&a->rep, "kernel.mac", k->apparmor[0] == 'Y' ? REPORT_PASS : REPORT_WARN,
			  NULL, e, "%s",
			  k->apparmor[0] == 'Y' ? "AppArmor is enabled."
						: "Neither SELinux nor AppArmor is enabled.");
}

static int check_release(struct audit *a, const struct kernel *k, struct err *e)
{
	return report_add(&a->rep, "kernel.release", k->release[0] ? REPORT_PASS : REPORT_ABSENT,
			  NULL, e, "The kernel calls itself %s; security modules: %s.",
			  k->release[0] ? k->release : "nothing", k->lsm[0] ? k->lsm : "not known");
}

int audit_kernel(struct audit *a, struct err *e)
{
	struct kernel k = { .ima = false };
	bool fips;
	int r;

	line(a, "sys/kernel/security/lockdown", k.lockdown);
	chosen(k.lockdown);
	line(a, "sys/module/module/parameters/sig_enforce", k.sig_enforce);
	line(a, "proc/sys/kernel/kexec_load_disabled", k.kexec);
	line(a, "proc/sys/crypto/fips_enabled", k.fips);
	line(a, "proc/sys/kernel/osrelease", k.release);
	line(a, "sys/kernel/security/lsm", k.lsm);
	line(a, "sys/fs/selinux/enforce", k.selinux);
	line(a, "sys/module/apparmor/parameters/enabled", k.apparmor);
	k.ima = strstr(a->cmdline, "ima_policy=") || strstr(a->cmdline, "ima_appraise=");
	fips = k.fips[0] == '1';
	r = check_release(a, &k, e);
	if (r >= 0)
		r = check_lockdown(a, &k, e);
	if (r >= 0)
		r = check_modules(a, &k, e);
	if (r >= 0)
		r = check_kexec(a, &k, e);
	if (r >= 0)
		r = check_mac(a, &k, e);
	if (r >= 0)
		r = report_add(&a->rep, "kernel.ima", k.ima ? REPORT_PASS : REPORT_ABSENT, NULL, e,
			       k.ima ? "The signed command line sets an IMA policy."
				     : "The signed command line sets no IMA policy.");
	return r < 0 ? r
		     : report_add(&a->rep, "kernel.fips", fips ? REPORT_PASS : REPORT_ABSENT, NULL,
				  e,
				  fips ? "The kernel is in FIPS mode."
				       : "The kernel is not in FIPS mode.");
}

/* ---- the history ---- */

static int add_history(struct audit *a, const struct chain_head *h, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r = json_put_u64(o, "entries", h->n, e);

	if (r >= 0)
		r = json_put_hex(o, "head", h->hash, sizeof(h->hash), e);
	return r < 0 ? r
		     : report_add(&a->rep, "history.chain", REPORT_PASS, json_incref(o), e,
				  "The history has %llu entries, each follows from the one before, "
				  "and "
				  "it agrees with the record.",
				  (unsigned long long)h->n);
}

int audit_history(struct audit *a, struct err *e)
{
	AUTO_FREE struct record *rec = malloc(sizeof(*rec));
	AUTO_FREE char *text = NULL;
	struct chain_head h;
	struct err why = ERR_INIT;
	size_t n = 0;
	int r;

	if (!rec)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (a->ev.state < 0)
		return report_unreadable(&a->rep, "history.chain", &a->ev.no_state, e);
	r = file_read(a->ev.sys, a->ev.state, CHAIN_FILE, CHAIN_BYTES_MAX, &text, &n, &why);
	if (r == -ENOENT)
		return report_add(&a->rep, "history.chain", REPORT_ABSENT, NULL, e,
				  "This host keeps no chained history.");
	if (r >= 0)
		r = chain_walk(text, n, NULL, NULL, &h, &why);
	if (r >= 0 && record_load(a->ev.sys, a->ev.state, rec, &why) >= 0 && rec->seq)
		r = chain_compare(text, n, rec, &why);
	if (r >= 0)
		return add_history(a, &h, e);
	if (why.kind == ERR_REFUSED || why.kind == ERR_INPUT)
		return report_add(&a->rep, "history.chain", REPORT_FAIL, NULL, e,
				  "The history does not hold together: %s.", why.text);
	return report_unreadable(&a->rep, "history.chain", &why, e);
}
