/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "bootctl/esp.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"
#include "updater/audit/audit.h"
#include "updater/audit/predict.h"

#define IMAGE_ID_VAR "LoaderImageIdentifier-" LOADER_GUID

enum { SBAT_MAX = 4096 };

int audit_was_started(const struct audit *a, const uint8_t authenticode[32])
{
	if (!a->log)
		return -1;
	for (size_t i = 0; i < a->log->n; i++) {
		const struct eventlog_event *ev = &a->log->event[i];
		const uint8_t *d = eventlog_digest(ev, TCG_SHA256);

		if (ev->pcr == 4 && ev->type == EV_EFI_BOOT_SERVICES_APPLICATION && d &&
		    memcmp(d, authenticode, 32) == 0)
			return 1;
	}
	return 0;
}

static int judge(const struct audit *a, const struct pe *pe, struct audit_image *ret, struct err *e)
{
	int r = pe_hash(pe, ret->authenticode, e);

	if (r >= 0)
		r = sha256_fd(pe->sys, pe->fd, pe->size, ret->sha256, e);
	return r < 0 ? r
		     : sb_judge(pe, a->db.p ? a->db.p : (const uint8_t *)"", a->db.n,
				a->dbx.p ? a->dbx.p : (const uint8_t *)"", a->dbx.n, &ret->sb, e);
}

int audit_image_read(const struct audit *a, int dir, const char *file, struct audit_image *ret,
		     struct err *e)
{
	struct sys *sys = a->ev.sys;
	AUTO_SYS_FD fd = { sys, sys->ops->open(sys, dir, file, O_RDONLY, 0) };
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	struct audit_image img = { .have = true };
	int r;

	if (!pe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (fd.fd < 0)
		return err_set(e, ERR_HOST, -fd.fd, "%s: %s", file, strerror(-fd.fd));
	(void)snprintf(img.file, sizeof(img.file), "%s", file);
	r = pe_open(sys, fd.fd, pe, e);
	if (r >= 0)
		r = judge(a, pe, &img, e);
	if (r < 0)
		return err_wrap(e, r, "%s", file);
	*ret = img;
	return 0;
}

static json_t *image_evidence(const struct audit_image *img)
{
	AUTO_JSON *o = json_object();
	int r = json_put_str(o, "file", img->file, NULL);

	if (r >= 0)
		r = json_put_hex(o, "sha256", img->sha256, 32, NULL);
	if (r >= 0)
		r = json_put_hex(o, "authenticode_sha256", img->authenticode, 32, NULL);
	if (r >= 0)
		r = json_put_str(o, "signer", img->sb.signer, NULL);
	return r < 0 ? NULL : json_incref(o);
}

/* Signature against db and dbx. The verdict's own words begin with "its UKI". */
static int add_signature(struct audit *a, const char *id, const char *what,
			 const struct audit_image *img, struct err *e)
{
	static const char subject[] = "its UKI";
	const char *says = img->sb.text;

	if (strncmp(says, subject, sizeof(subject) - 1) == 0)
		says += sizeof(subject) - 1;
	if (!a->sb.efi)
		return report_add(&a->rep, id, REPORT_ABSENT, image_evidence(img), e,
				  "%s is signed by \"%s\"; there is no db to judge it by.", what,
				  img->sb.signer[0] ? img->sb.signer : "nobody");
	return report_add(&a->rep, id, img->sb.accepted ? REPORT_PASS : REPORT_FAIL,
			  image_evidence(img), e, "%s%s.", what, says);
}

static int add_started(struct audit *a, const char *id, const char *what,
		       const struct audit_image *img, struct err *e)
{
	int started = audit_was_started(a, img->authenticode);

	if (started < 0)
		return report_add(&a->rep, id, REPORT_ABSENT, NULL, e,
				  "There is no TPM event log to compare the %s with.", what);
	if (started > 0)
		return report_add(&a->rep, id, REPORT_PASS, image_evidence(img), e,
				  "The file on the ESP is the %s that the firmware measured into "
				  "PCR 4.",
				  what);
	return report_add(&a->rep, id, REPORT_FAIL, image_evidence(img), e,
			  "The file on the ESP is not the %s that the firmware started: PCR 4 got "
			  "other digests. It was replaced since, or something else was started.",
			  what);
}

/* ---- the loader ---- */

/* "\EFI\systemd\systemd-bootx64.efi" as the loader says it, with '/' and without the first. */
static void loader_path(const struct audit *a, char out[300])
{
	AUTO_FREE uint8_t *p = NULL;
	size_t n = 0;
	char path[300] = "";

	out[0] = '\0';
	if (evidence_efivar(&a->ev, IMAGE_ID_VAR, &p, &n, NULL) < 0 || n < 4)
		return;
	if (p[n - 1] == 0 && p[n - 2] == 0)
		n -= 2;
	if (utf16_to_utf8(p, n, path, sizeof(path), NULL) < 0 || path[0] != '\\' ||
	    strstr(path, ".."))
		return;
	for (char *c = path; *c; c++)
		if (*c == '\\')
			*c = '/';
	(void)snprintf(out, 300, "%s", path + 1);
}

int audit_loader(struct audit *a, struct err *e)
{
	static const char *const usual[] = { "EFI/systemd/systemd-bootx64.efi",
					     "EFI/systemd/systemd-bootaa64.efi",
					     "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI" };
	struct err why = ERR_INIT;
	char path[300];
	int r;

	if (a->ev.esp < 0)
		return report_unreadable(&a->rep, "loader.signature", &a->ev.no_esp, e);
	loader_path(a, path);
	r = path[0] ? audit_image_read(a, a->ev.esp, path, &a->loader, &why) : -ENOENT;
	for (size_t i = 0; r == -ENOENT && i < 4; i++)
		r = audit_image_read(a, a->ev.esp, usual[i], &a->loader, &why);
	if (r < 0)
		return report_unreadable(&a->rep, "loader.signature", &why, e);
	r = add_signature(a, "loader.signature", "The boot loader", &a->loader, e);
	return r < 0 ? r : add_started(a, "loader.started", "boot loader", &a->loader, e);
}

/* ---- UKIs ---- */

static int put_sections(json_t *o, const struct pe *pe, struct err *e)
{
	json_t *list = json_array();
	const struct pe_section *sbat = pe_section_find(pe, ".sbat");
	int r = json_put(o, "sections", list, e);

	for (size_t i = 0; r >= 0 && i < pe->n_sections; i++)
		r = json_push(list, json_string(pe->section[i].name), e);
	if (r >= 0 && sbat) {
		AUTO_FREE char *text = NULL;
		char clean[SBAT_MAX];
		size_t n = 0;

		if (pe_section_read(pe, sbat, SBAT_MAX, &text, &n, NULL) >= 0)
			r = json_put_str(o, "sbat",
					 text_clean(text, strcspn(text, ""), clean, sizeof(clean)),
					 e);
	}
	return r;
}

/* What else is needed of the running UKI: predictions, and what is inside. */
static int look_inside(struct audit *a, int dir, const char *file, json_t *o, struct err *e)
{
	struct sys *sys = a->ev.sys;
	AUTO_SYS_FD fd = { sys, sys->ops->open(sys, dir, file, O_RDONLY, 0) };
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	unsigned version = 0;
	int r;

	if (!pe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (fd.fd < 0)
		return err_set(e, ERR_HOST, -fd.fd, "%s: %s", file, strerror(-fd.fd));
	r = pe_open(sys, fd.fd, pe, e);
	if (r >= 0)
		r = put_sections(o, pe, e);
	if (r < 0)
		return r;
	a->has_kernel = predict_kernel(pe, a->kernel, NULL) >= 0;
	a->has_pcr11 = predict_pcr11(pe, "", a->pcr11, &a->no_pcr11) >= 0;
	if (predict_stub_version(pe, &version, NULL) >= 0)
		r = json_put_u64(o, "stub_version", version, e);
	return r;
}

static void take_uki(struct audit *a, const struct uki *u)
{
	a->has_usrhash = u->has_usrhash;
	memcpy(a->usrhash, u->usrhash, 32);
	(void)snprintf(a->cmdline, sizeof(a->cmdline), "%s", u->cmdline);
	(void)snprintf(a->version, sizeof(a->version), "%.64s", u->version);
}

static int add_inside(struct audit *a, int dir, const struct esp_entry *en, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct err why = ERR_INIT;
	int r = look_inside(a, dir, en->name.file, o, &why);

	if (r < 0)
		return report_unreadable(&a->rep, "uki.content", &why, e);
	r = json_put_str(o, "version", en->uki.version, e);
	if (r >= 0)
		r = json_put_str(o, "kernel", en->uki.uname, e);
	if (r >= 0 && en->uki.has_usrhash)
		r = json_put_hex(o, "usrhash", en->uki.usrhash, 32, e);
	if (r < 0)
		return r;
	if (!en->uki.has_usrhash)
		return report_add(
			&a->rep, "uki.content", REPORT_FAIL, json_incref(o), e,
			"The UKI names no usrhash=: what it mounts as /usr is not bound to "
			"its signature.");
	return report_add(&a->rep, "uki.content", REPORT_PASS, json_incref(o), e,
			  "The UKI is %s with kernel %s and binds /usr by usrhash=.",
			  en->uki.pretty[0] ? en->uki.pretty : en->uki.version,
			  en->uki.uname[0] ? en->uki.uname : "of a version it does not name");
}

static int add_counters(struct audit *a, const struct esp_entry *en, struct err *e)
{
	const struct boot_entry_name *n = &en->name;
	bool good = boot_entry_is_good(n);

	return report_add(&a->rep, "uki.counters", good ? REPORT_PASS : REPORT_WARN, NULL, e,
			  good ? "The running entry %s is blessed."
			       : "The running entry %s still counts boots: it was not found good "
				 "yet.",
			  n->file);
}

static int check_running(struct audit *a, int dir, const struct esp_entry *en, struct err *e)
{
	struct err why = ERR_INIT;
	int r;

	if (en->broken || audit_image_read(a, dir, en->name.file, &a->uki, &why) < 0) {
		if (en->broken)
			(void)!err_set(&why, ERR_INPUT, EBADMSG, "%s", en->reason);
		return report_unreadable(&a->rep, "uki.signature", &why, e);
	}
	take_uki(a, &en->uki);
	r = add_signature(a, "uki.signature", "The running UKI", &a->uki, e);
	if (r >= 0)
		r = add_started(a, "uki.started", "UKI", &a->uki, e);
	if (r >= 0)
		r = add_inside(a, dir, en, e);
	return r < 0 ? r : add_counters(a, en, e);
}

static int check_other(struct audit *a, int dir, const struct esp_entry *en, struct err *e)
{
	struct audit_image img = { .have = false };
	struct err why = ERR_INIT;
	char id[BOOT_NAME_MAX + 16], what[BOOT_NAME_MAX + 16];

	(void)snprintf(id, sizeof(id), "uki.other.%s", en->name.id);
	(void)snprintf(what, sizeof(what), "The other entry %s", en->name.file);
	if (en->name.type != BOOT_ENTRY_UKI)
		return report_add(&a->rep, id, REPORT_WARN, NULL, e,
				  "%s is not a UKI: nothing binds its command line and initrd.",
				  what);
	if (en->broken)
		return report_add(&a->rep, id, REPORT_WARN, NULL, e, "%s is broken: %s.", what,
				  en->reason);
	if (audit_image_read(a, dir, en->name.file, &img, &why) < 0)
		return report_unreadable(&a->rep, id, &why, e);
	return add_signature(a, id, what, &img, e);
}

static size_t find_running(struct audit *a, const struct esp_entry *en, size_t n, struct err *why)
{
	char selected[LOADER_VAR_MAX];

	if (a->ev.efivars < 0) {
		(void)!err_set(why, ERR_HOST, ENOENT, "there are no EFI variables");
		return n;
	}
	if (loader_var_read(a->ev.sys, a->ev.efivars, LOADER_ENTRY_SELECTED, selected, why) < 0)
		return n;
	for (size_t i = 0; i < n; i++)
		if (boot_entry_is_called(&en[i].name, selected))
			return i;
	(void)!err_set(why, ERR_HOST, ENOENT, "the loader started %s, which is not on the ESP",
		       selected);
	return n;
}

static int check_entries(struct audit *a, int dir, const struct esp_entry *en, size_t n,
			 struct err *e)
{
	struct err why = ERR_INIT;
	size_t running = find_running(a, en, n, &why);
	int r;

	if (running < n && en[running].name.type != BOOT_ENTRY_UKI) {
		(void)!err_set(&why, ERR_INPUT, EINVAL,
			       "the loader started %s, which is no UKI: nothing binds the command "
			       "line that it hands over",
			       en[running].name.file);
		running = n;
	}
	if (running == n)
		r = report_add(&a->rep, "uki.selected",
			       a->ev.efivars < 0 ? REPORT_ABSENT : REPORT_FAIL, NULL, e,
			       "Which entry runs is not known: %s.", why.text);
	else
		r = report_add(&a->rep, "uki.selected", REPORT_PASS, NULL, e,
			       "The loader says that it started %s, which is on the ESP.",
			       en[running].name.file);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = i == running ? check_running(a, dir, &en[i], e)
				 : check_other(a, dir, &en[i], e);
	return r;
}

int audit_uki(struct audit *a, struct err *e)
{
	AUTO_FREE struct esp_entry *entries = NULL;
	AUTO_SYS_FD dir = { a->ev.sys, -1 };
	struct err why = ERR_INIT;
	size_t n = 0;

	if (a->ev.esp < 0)
		return report_unreadable(&a->rep, "uki.selected", &a->ev.no_esp, e);
	if (esp_list(a->ev.sys, a->ev.esp, &entries, &n, &why) < 0)
		return report_unreadable(&a->rep, "uki.selected", &why, e);
	dir.fd = a->ev.sys->ops->open(a->ev.sys, a->ev.esp, "EFI/Linux", O_RDONLY | O_DIRECTORY, 0);
	return check_entries(a, dir.fd, entries, n, e);
}

/* ---- the command line ---- */

static bool has_word(const char *line, const char *word, size_t n)
{
	while (*line) {
		size_t k = strcspn(line, " \n");

		if (k == n && memcmp(line, word, n) == 0)
			return true;
		line += k;
		line += strspn(line, " \n");
	}
	return false;
}

static int words_missing(const char *from, const char *in, struct buf *out, struct err *e)
{
	int r = 0;

	from += strspn(from, " \n");
	while (r >= 0 && *from) {
		size_t k = strcspn(from, " \n");

		if (!has_word(in, from, k))
			r = buf_addf(out, e, "%s%.*s", out->n ? " " : "", (int)k, from);
		from += k;
		from += strspn(from, " \n");
	}
	return r;
}

int audit_cmdline_diff(const char *embedded, const char *running, struct buf *added,
		       struct buf *missing, struct err *e)
{
	size_t a = strlen(embedded), b = strlen(running);
	int r;

	while (a > 0 && strchr(" \n", embedded[a - 1]))
		a--;
	while (b > 0 && strchr(" \n", running[b - 1]))
		b--;
	if (a == b && memcmp(embedded, running, a) == 0)
		return 0;
	r = words_missing(running, embedded, added, e);
	if (r >= 0)
		r = words_missing(embedded, running, missing, e);
	return r < 0 ? r : 1;
}

int audit_cmdline(struct audit *a, struct err *e)
{
	AUTO_FREE char *running = NULL;
	AUTO_BUF added = BUF_INIT;
	AUTO_BUF missing = BUF_INIT;
	AUTO_JSON *o = json_object();
	struct err why = ERR_INIT;
	size_t n = 0;
	int r = evidence_read(&a->ev, "proc/cmdline", 8192, &running, &n, &why);

	if (r < 0)
		return report_unreadable(&a->rep, "cmdline.same", &why, e);
	running[strcspn(running, "\n")] = '\0';
	r = json_put_str(o, "running", running, e);
	if (r >= 0 && !a->uki.have)
		return report_add(&a->rep, "cmdline.same", REPORT_ABSENT, json_incref(o), e,
				  "There is no running UKI to compare the command line with.");
	if (r >= 0)
		r = audit_cmdline_diff(a->cmdline, running, &added, &missing, e);
	if (r < 0)
		return r;
	if (r == 0)
		return report_add(&a->rep, "cmdline.same", REPORT_PASS, json_incref(o), e,
				  "The kernel runs with the command line of the signed UKI.");
	r = json_put_str(o, "uki", a->cmdline, e);
	if (r >= 0)
		r = json_put_str(o, "added", added.p ? added.p : "", e);
	if (r >= 0)
		r = json_put_str(o, "missing", missing.p ? missing.p : "", e);
	return r < 0 ? r
		     : report_add(&a->rep, "cmdline.same", REPORT_FAIL, json_incref(o), e,
				  "The command line is not that of the UKI: added \"%s\", missing "
				  "\"%s\", or in another order.",
				  added.p ? added.p : "", missing.p ? missing.p : "");
}
