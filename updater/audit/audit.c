/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/num.h"
#include "bootctl/esp.h"
#include "bootctl/pe.h"
#include "updater/audit/predict.h"
#include "updater/slot/disk.h"
#include "verity/image.h"

#define EVENT_LOG "sys/kernel/security/tpm0/binary_bios_measurements"

void audit_done(struct audit *a)
{
	eventlog_free(a->log);
	free(a->log_bytes.p);
	free(a->secure_boot.p);
	free(a->pk.p);
	free(a->kek.p);
	free(a->db.p);
	free(a->dbx.p);
	a->log = NULL;
	a->log_bytes.p = a->secure_boot.p = a->pk.p = a->kek.p = a->db.p = a->dbx.p = NULL;
}

static int load_log(struct audit *a, struct err *e)
{
	struct err why = ERR_INIT;
	char *p = NULL;
	size_t n = 0;
	int r = evidence_read(&a->ev, EVENT_LOG, EVENTLOG_BYTES_MAX, &p, &n, &why);

	if (r == -ENOENT)
		return report_add(&a->rep, "tpm.eventlog", REPORT_ABSENT, NULL, e,
				  "There is no TPM event log (%s).", why.text);
	if (r < 0)
		return report_unreadable(&a->rep, "tpm.eventlog", &why, e);
	a->log_bytes = (struct audit_blob){ (uint8_t *)p, n };
	if (eventlog_read(a->log_bytes.p, n, &a->log, &why) < 0)
		return report_unreadable(&a->rep, "tpm.eventlog", &why, e);
	return report_add(&a->rep, "tpm.eventlog", REPORT_PASS, NULL, e,
			  "The event log reads: %zu events.", a->log->n);
}

/* Whom and when the report is about. */
static int put_head(struct audit *a, struct err *e)
{
	char text[300];
	int r = json_put_time(a->rep.doc, "time", a->now, e);

	if (r >= 0 &&
	    evidence_line(&a->ev, "proc/sys/kernel/hostname", text, sizeof(text), NULL) < 0)
		(void)snprintf(text, sizeof(text), "%s", "unknown host");
	if (r >= 0)
		r = json_put_str(a->rep.doc, "host", text, e);
	if (r >= 0 &&
	    evidence_line(&a->ev, "proc/sys/kernel/random/boot_id", text, sizeof(text), NULL) >= 0)
		r = json_put_str(a->rep.doc, "boot_id", text, e);
	return r < 0 ? r : json_put_str(a->rep.doc, "proa", PROA_VERSION, e);
}

/* What the report vouches for, by digest: the subjects of an attestation. */
static int put_subjects(struct audit *a, struct err *e)
{
	json_t *o = json_object();
	int r = json_put(a->rep.doc, "subjects", o, e);

	if (r >= 0 && a->has_root)
		r = json_put_hex(o, "usr", a->root, 32, e);
	if (r >= 0 && a->uki.have)
		r = json_put_hex(o, "uki", a->uki.sha256, 32, e);
	if (r >= 0 && a->uki.have)
		r = json_put_hex(o, "uki_authenticode", a->uki.authenticode, 32, e);
	if (r >= 0 && a->loader.have)
		r = json_put_hex(o, "loader_authenticode", a->loader.authenticode, 32, e);
	if (r >= 0 && a->version[0])
		r = json_put_str(a->rep.doc, "version", a->version, e);
	return r;
}

int audit_run(struct audit *a, struct err *e)
{
	int (*const parts[])(struct audit *, struct err *) = {
		put_head,      load_log,     audit_firmware, audit_loader, audit_uki,
		audit_cmdline, audit_usr,    audit_release,  audit_tpm,    audit_kernel,
		audit_history, audit_anchor, audit_proa,     put_subjects,
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int r = parts[i](a, e);

		if (r < 0)
			return r;
	}
	return report_finish(&a->rep, e);
}

/* ---- what boots next ---- */

static int next_slot(struct audit *a, const struct esp_entry *en, struct err *e)
{
	AUTO_DISK *d = NULL;
	struct err why = ERR_INIT;
	enum slot_name s;

	if (!a->ev.disk[0])
		return report_add(&a->rep, "next.slot", REPORT_ABSENT, NULL, e,
				  "No disk was found or given (--disk).");
	if (disk_open(a->ev.sys, a->ev.disk, NULL, &d, &why) < 0)
		return report_unreadable(&a->rep, "next.slot", &why, e);
	if (disk_slot_of(d, en->uki.usrhash, &s, &why) < 0)
		return report_add(&a->rep, "next.slot", REPORT_FAIL, NULL, e,
				  "No slot has the PARTUUIDs that %s asks for: it would not boot.",
				  en->name.file);
	if (a->deep && audit_slot_verify(a, d, s, en->uki.usrhash, NULL, &why) < 0)
		return report_add(&a->rep, "next.slot",
				  why.kind == ERR_REFUSED ? REPORT_FAIL : REPORT_UNREADABLE, NULL,
				  e, "Slot %c is not whole: %s.", slot_letter(s), why.text);
	return report_add(&a->rep, "next.slot", REPORT_PASS, NULL, e,
			  a->deep ? "Slot %c holds exactly what %s asks for."
				  : "Slot %c has the PARTUUIDs that %s asks for (--deep reads it).",
			  slot_letter(s), en->name.file);
}

static int next_pcr(struct audit *a, int dir, const char *file, const char *phases, struct err *e)
{
	struct sys *sys = a->ev.sys;
	AUTO_SYS_FD fd = { sys, sys->ops->open(sys, dir, file, O_RDONLY, 0) };
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	AUTO_JSON *o = json_object();
	struct err why = ERR_INIT;
	uint8_t v[32];
	int r;

	if (!pe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = pe_open(sys, fd.fd, pe, &why);
	if (r >= 0)
		r = predict_pcr11(pe, phases, v, &why);
	if (r == -EOPNOTSUPP)
		return report_add(&a->rep, "next.pcr11", REPORT_ABSENT, NULL, e,
				  "What PCR 11 will be cannot be told: %s.", why.text);
	if (r < 0)
		return report_unreadable(&a->rep, "next.pcr11", &why, e);
	r = json_put_hex(o, "pcr11_sha256", v, 32, e);
	if (r >= 0)
		r = json_put_str(o, "phases", phases, e);
	return r < 0 ? r
		     : report_add(&a->rep, "next.pcr11", REPORT_PASS, json_incref(o), e,
				  "PCR 11 will be known before the boot.");
}

static int next_entry(struct audit *a, const struct esp_entry *en, const char *phases,
		      struct err *e)
{
	struct audit_image img = { .have = false };
	struct err why = ERR_INIT;
	AUTO_SYS_FD dir = { a->ev.sys, a->ev.sys->ops->open(a->ev.sys, a->ev.esp, "EFI/Linux",
							    O_RDONLY | O_DIRECTORY, 0) };
	int r;

	if (en->broken || en->name.type != BOOT_ENTRY_UKI)
		return report_add(&a->rep, "next.signature", REPORT_FAIL, NULL, e,
				  "%s boots next and is %s.", en->name.file,
				  en->broken ? en->reason : "no UKI");
	if (audit_image_read(a, dir.fd, en->name.file, &img, &why) < 0)
		return report_unreadable(&a->rep, "next.signature", &why, e);
	r = report_add(&a->rep, "next.signature",
		       img.sb.accepted  ? REPORT_PASS
		       : a->sb.enforced ? REPORT_FAIL
					: REPORT_WARN,
		       NULL, e, "%s: this firmware's db %s it%s.", en->name.file,
		       img.sb.accepted ? "accepts" : "does not accept",
		       a->sb.enforced ? "" : ", but Secure Boot is off");
	if (r >= 0)
		r = next_slot(a, en, e);
	return r < 0 ? r : next_pcr(a, dir.fd, en->name.file, phases, e);
}

int audit_next(struct audit *a, const char *phases, struct err *e)
{
	AUTO_FREE struct esp_entry *entries = NULL;
	enum choice_why how = CHOICE_NONE;
	struct err why = ERR_INIT;
	size_t n = 0, next = 0;
	int r = put_head(a, e);

	if (r >= 0)
		r = audit_firmware(a, e);
	if (r < 0)
		return r;
	if (a->ev.esp < 0)
		return report_unreadable(&a->rep, "next.entry", &a->ev.no_esp, e);
	r = esp_list(a->ev.sys, a->ev.esp, &entries, &n, &why);
	if (r >= 0)
		r = esp_next(a->ev.sys, a->ev.esp, a->ev.efivars, entries, n, &next, &how, &why);
	if (r < 0)
		r = report_unreadable(&a->rep, "next.entry", &why, e);
	else if (how == CHOICE_UNSURE)
		r = report_add(&a->rep, "next.entry", REPORT_WARN, NULL, e,
			       "What boots next cannot be told, it is chosen by %s.",
			       choice_why_text(how));
	else if (next == n)
		r = report_add(&a->rep, "next.entry", REPORT_FAIL, NULL, e,
			       "The loader will find no entry.");
	else
		r = report_add(&a->rep, "next.entry",
			       boot_entry_is_bad(&entries[next].name) ? REPORT_FAIL : REPORT_PASS,
			       NULL, e, "The loader will start %s (%s).", entries[next].name.file,
			       choice_why_text(how));
	if (r >= 0 && next < n)
		r = next_entry(a, &entries[next], phases, e);
	return r < 0 ? r : report_finish(&a->rep, e);
}
