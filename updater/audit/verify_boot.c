/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"
#include "bootctl/uki.h"
#include "updater/audit/predict.h"
#include "updater/audit/verify.h"

/* ---- the auditor's own copies ---- */

void verify_copy_done(struct verify_copy *c)
{
	free(c->pe);
	if (c->fd.fd >= 0)
		(void)c->fd.sys->ops->close(c->fd.sys, c->fd.fd);
}

static int read_copy(struct verify *v, struct verify_copy *c, const char *file, const char *id,
		     struct err *e)
{
	struct sys *sys = v->o->sys;
	struct err why = ERR_INIT;

	if (!file)
		return 0;
	c->file = file;
	c->fd.fd = sys->ops->open(sys, AT_FDCWD, file, O_RDONLY, 0);
	if (c->fd.fd < 0)
		return err_set(e, ERR_INPUT, -c->fd.fd, "%s: %s", file, strerror(-c->fd.fd));
	c->pe = malloc(sizeof(*c->pe));
	if (!c->pe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (pe_open(sys, c->fd.fd, c->pe, &why) < 0 || pe_hash(c->pe, c->authenticode, &why) < 0 ||
	    sha256_fd(sys, c->fd.fd, c->pe->size, c->sha256, &why) < 0)
		return report_unreadable(v->rep, id, &why, e);
	c->have = true;
	return 0;
}

/* ---- PCR 4: what the firmware started ---- */

/* A value that is not there is not what was asked for. */
static int add_missing(struct verify *v, const char *id, unsigned pcr, struct err *e)
{
	bool asked = v->o->ak || v->o->nonce;

	return report_add(
		v->rep, id, asked ? REPORT_FAIL : REPORT_WARN, verify_by(asked ? "nobody" : "node"),
		e,
		"The report has no value of PCR %u: what was measured there is the node's "
		"word.",
		pcr);
}

/* The auditor's own digest, else the one that the report names. */
static bool pick(const struct verify *v, const struct verify_copy *c, const char *subject,
		 uint8_t ret[32])
{
	const char *hex = verify_text(json_object_get(v->in.doc, "subjects"), subject);

	if (c->have)
		memcpy(ret, c->authenticode, 32);
	return c->have || hex_parse(hex, subject, ret, 32, NULL) >= 0;
}

/*
 * Is PCR 4 the loader and the UKI, and nothing besides? That an image's digest is among those that
 * were measured proves nothing: whoever runs later can extend PCR 4 by it too.
 */
static int judge_pcr4(struct verify *v, struct err *e)
{
	uint8_t image[3][32], want[32] = { 0 };
	bool known = pick(v, &v->loader, "loader_authenticode", image[0]) &&
		     pick(v, &v->uki, "uki_authenticode", image[1]);
	int r;

	v->pcr4 = VERIFY_PCR4_OTHER;
	if (!known)
		return 0;
	r = predict_pcr4(image, 2, want, e);
	/* with Secure Boot off, firmware loads the kernel too and measures it */
	if (r >= 0 && !predict_rests_on(4, want, v->pcrs.value[4]) && v->uki.have &&
	    predict_kernel(v->uki.pe, image[2], NULL) >= 0)
		r = predict_pcr4(image, 3, want, e);
	if (r < 0 || !predict_rests_on(4, want, v->pcrs.value[4]))
		return r;
	v->pcr4 = VERIFY_PCR4_WHOLE;
	v->chain = v->quoted && v->loader.have && v->uki.have;
	memcpy(v->image, image, sizeof(v->image));
	return 0;
}

static int check_pcr4(struct verify *v, struct err *e)
{
	bool own = v->loader.have && v->uki.have;
	int r;

	if (!(v->pcrs.have >> 4 & 1))
		return add_missing(v, "attest.pcr4", 4, e);
	r = judge_pcr4(v, e);
	if (r < 0)
		return r;
	if (v->pcr4 == VERIFY_PCR4_WHOLE && own)
		return report_add(v->rep, "attest.pcr4", REPORT_PASS,
				  verify_by(verify_hardware(v->quoted)), e,
				  "PCR 4 is what %s and %s lead to, and nothing else.",
				  v->loader.file, v->uki.file);
	if (v->pcr4 == VERIFY_PCR4_WHOLE)
		return report_add(
			v->rep, "attest.pcr4", REPORT_WARN, verify_by(verify_hardware(v->quoted)),
			e,
			"PCR 4 is what the digests of a boot loader and a UKI lead to, and "
			"nothing else; that they are good ones is the node's word without "
			"copies of your own (--loader, --uki).");
	if (v->uki.have)
		return report_add(v->rep, "attest.pcr4", REPORT_FAIL, verify_by("nobody"), e,
				  "PCR 4 is not what boot loader and UKI lead to: another one was "
				  "started, or something besides.");
	return report_add(v->rep, "attest.pcr4", REPORT_WARN, verify_by("node"), e,
			  "PCR 4 is not what the boot loader and UKI that the report names lead to "
			  "alone; what else was started, only a copy of the UKI tells (--uki).");
}

static bool was_measured(const struct verify *v, const uint8_t digest[32])
{
	for (size_t i = 0; v->logged && i < v->log->n; i++) {
		const struct eventlog_event *ev = &v->log->event[i];
		const uint8_t *d = eventlog_digest(ev, TCG_SHA256);

		if (ev->pcr == 4 && ev->type != EV_NO_ACTION && d && memcmp(d, digest, 32) == 0)
			return true;
	}
	return false;
}

/* digest NULL: none was named. which: its place in PCR 4. */
static int check_started(struct verify *v, const char *id, const char *what, const uint8_t *digest,
			 unsigned which, struct err *e)
{
	if (v->pcr4 == VERIFY_PCR4_NONE)
		return 0;
	if (digest && v->pcr4 == VERIFY_PCR4_WHOLE && memcmp(v->image[which], digest, 32) == 0)
		return report_add(v->rep, id, REPORT_PASS, verify_by(verify_hardware(v->chain)), e,
				  "The firmware started %s.", what);
	if (!v->logged || (digest && was_measured(v, digest)))
		return report_add(
			v->rep, id, REPORT_WARN, verify_by("node"), e,
			"That the firmware started %s is the node's word: PCR 4 as a whole "
			"does not say so.",
			what);
	return report_add(v->rep, id, REPORT_FAIL, verify_by("nobody"), e,
			  "The firmware did not start %s.", what);
}

/* Of the report's subjects. */
static int check_named(struct verify *v, const char *id, const char *subject, const char *what,
		       unsigned which, struct err *e)
{
	const char *hex = verify_text(json_object_get(v->in.doc, "subjects"), subject);
	uint8_t digest[32];
	bool has = hex_parse(hex, subject, digest, 32, NULL) >= 0;

	return check_started(v, id, what, has ? digest : NULL, which, e);
}

static int check_copy(struct verify *v, const struct verify_copy *c, const char *id, unsigned which,
		      struct err *e)
{
	return c->have ? check_started(v, id, c->file, c->authenticode, which, e) : 0;
}

static int check_images(struct verify *v, struct err *e)
{
	int r = check_pcr4(v, e);

	if (r >= 0)
		r = check_named(v, "attest.loader", "loader_authenticode",
				"the boot loader that the report names", 0, e);
	if (r >= 0)
		r = check_copy(v, &v->loader, "attest.loader-own", 0, e);
	if (r >= 0)
		r = check_named(v, "attest.uki", "uki_authenticode",
				"the UKI that the report names", 1, e);
	return r < 0 ? r : check_copy(v, &v->uki, "attest.uki-own", 1, e);
}

/* ---- PCR 12 and 11: what these measured ---- */

/* The whole command line that an event of the loader holds, UTF-16 with its NUL. */
static bool event_cmdline(const struct eventlog_event *ev, char *out, size_t cap)
{
	size_t n = ev->data_n;

	if (n >= 2 && ev->data[n - 1] == 0 && ev->data[n - 2] == 0)
		n -= 2;
	return utf16_to_utf8(ev->data, n, out, cap, NULL) >= 0;
}

/*
 * The command line in PCR 12: its text is in the event, its digest is what was measured. Every one
 * that was measured must name the same root hash. 1: then it is in ret; 0: there is none.
 */
static int cmdline_root(const struct verify *v, uint8_t ret[32], struct err *e)
{
	AUTO_FREE struct uki *u = malloc(sizeof(*u));
	char text[UKI_CMDLINE_MAX + 4]; /* utf16_to_utf8() wants room for one character more */
	int found = 0;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; v->logged && i < v->log->n; i++) {
		const struct eventlog_event *ev = &v->log->event[i];
		const uint8_t *d = eventlog_digest(ev, TCG_SHA256);
		uint8_t h[SHA256_BYTES];

		if (ev->pcr != 12 || ev->type == EV_NO_ACTION)
			continue;
		memset(u, 0, sizeof(*u));
		sha256(ev->data, ev->data_n, h);
		if (!d || memcmp(h, d, 32) != 0 || !event_cmdline(ev, text, sizeof(text)) ||
		    uki_parse_cmdline(text, strlen(text), u, NULL) < 0 || !u->has_usrhash ||
		    (found && memcmp(ret, u->usrhash, 32) != 0))
			return 0;
		memcpy(ret, u->usrhash, 32);
		found = 1;
	}
	return found;
}

/*
 * The loader handed nothing over, so the UKI ran with its own command line: of the auditor's copy,
 * which is the one that was started when PCR 4 is whole.
 */
static int uki_root(const struct verify *v, uint8_t ret[32], struct err *e)
{
	AUTO_FREE struct uki *u = malloc(sizeof(*u));
	unsigned times;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!v->uki.have || v->pcr4 != VERIFY_PCR4_WHOLE || !(v->pcrs.have >> 12 & 1) ||
	    uki_read_fd(v->o->sys, v->uki.fd.fd, u, NULL) < 0 || !u->has_usrhash ||
	    !predict_cmdline_to(u->cmdline, v->pcrs.value[12], &times) || times != 0)
		return 0;
	memcpy(ret, u->usrhash, 32);
	return 1;
}

static int check_usr(struct verify *v, struct err *e)
{
	uint8_t root[32];
	int r;

	if (!v->has_usr)
		return 0;
	r = cmdline_root(v, root, e);
	if (r == 0)
		r = uki_root(v, root, e);
	if (r < 0)
		return r;
	if (r == 0)
		return report_add(
			v->rep, "attest.usr", REPORT_WARN, verify_by("node"), e,
			"No measured command line names a root hash: that this /usr ran is the "
			"node's word.");
	if (memcmp(root, v->usr, 32) != 0)
		return report_add(v->rep, "attest.usr", REPORT_FAIL, verify_by("nobody"), e,
				  "The measured command line names another root hash than the "
				  "report.");
	return report_add(v->rep, "attest.usr", REPORT_PASS, verify_by(verify_hardware(v->chain)),
			  e, "The loader started the kernel with this root hash of /usr (PCR 12).");
}

/* What the stub measured is computed anew: from the auditor's file to the quoted value. */
static int check_pcr11(struct verify *v, struct err *e)
{
	AUTO_JSON *o = NULL;
	const char *phases = NULL;
	struct err why = ERR_INIT;
	uint8_t pcr[32];
	int r;

	if (!(v->pcrs.have >> 11 & 1))
		return add_missing(v, "attest.pcr11", 11, e);
	r = predict_pcr11(v->uki.pe, "", pcr, &why);
	if (r == -EOPNOTSUPP)
		return report_add(v->rep, "attest.pcr11", REPORT_WARN, verify_by("node"), e,
				  "What PCR 11 should be cannot be told from %s: %s.", v->uki.file,
				  why.text);
	if (r < 0)
		return report_unreadable(v->rep, "attest.pcr11", &why, e);
	if (predict_phases_to(pcr, v->pcrs.value[11], &phases)) {
		o = verify_by(verify_hardware(v->chain));
		r = phases[0] ? json_put_str(o, "phases", phases, e) : 0;
		return r < 0 ? r
			     : report_add(v->rep, "attest.pcr11", REPORT_PASS, json_incref(o), e,
					  "The sections of %s lead to PCR 11.", v->uki.file);
	}
	o = verify_by("nobody");
	r = json_put_hex(o, "expected_pcr11", pcr, 32, e);
	return r < 0 ? r
		     : report_add(v->rep, "attest.pcr11", REPORT_FAIL, json_incref(o), e,
				  "PCR 11 is not what the sections of %s lead to: another UKI, or "
				  "something was measured besides.",
				  v->uki.file);
}

/* And what the loader handed over: the UKI's own command line, or words of somebody else. */
static int check_pcr12(struct verify *v, struct err *e)
{
	AUTO_FREE struct uki *u = malloc(sizeof(*u));
	AUTO_JSON *o = NULL;
	struct err why = ERR_INIT;
	uint8_t pcr[32];
	unsigned times;
	bool same;
	int r;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!(v->pcrs.have >> 12 & 1))
		return add_missing(v, "attest.pcr12", 12, e);
	if (uki_read_fd(v->o->sys, v->uki.fd.fd, u, &why) < 0 ||
	    predict_pcr12(u->cmdline, pcr, &why) < 0)
		return report_unreadable(v->rep, "attest.pcr12", &why, e);
	same = predict_cmdline_to(u->cmdline, v->pcrs.value[12], &times);
	o = verify_by(same ? verify_hardware(v->chain) : "nobody");
	r = json_put_hex(o, "expected_pcr12", same ? v->pcrs.value[12] : pcr, 32, e);
	return r < 0 ? r
		     : report_add(
			       v->rep, "attest.pcr12", same ? REPORT_PASS : REPORT_FAIL,
			       json_incref(o), e,
			       same && times == 0 ? "The loader handed no command line over, and "
						    "that of %s is taken (PCR 12)."
			       : same             ? "The command line of %s leads to PCR 12."
				      : "PCR 12 is not what the command line of %s leads to: the "
					"loader was told to hand over another one.",
			       v->uki.file);
}

int verify_boot(struct verify *v, struct err *e)
{
	int r = read_copy(v, &v->loader, v->o->loader, "attest.loader-own", e);

	if (r >= 0)
		r = read_copy(v, &v->uki, v->o->uki, "attest.uki-own", e);
	if (r >= 0)
		r = check_images(v, e);
	if (r >= 0)
		r = check_usr(v, e);
	if (r >= 0 && v->uki.have)
		r = check_pcr11(v, e);
	return r >= 0 && v->uki.have ? check_pcr12(v, e) : r;
}
