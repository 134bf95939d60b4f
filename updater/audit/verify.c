/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "bootctl/pe.h"
#include "bootctl/uki.h"
#include "updater/audit/attest.h"
#include "updater/audit/credential.h"
#include "updater/audit/dsse.h"
#include "updater/audit/predict.h"
#include "updater/audit/quote.h"
#include "updater/audit/trustview.h"
#include "updater/record/chain.h"

/* One verification: what was read, and what has been proved so far. */
struct verify {
	const struct verify_options *o;
	struct report *rep; /* the answer */
	struct report in;   /* the node's report: the predicate */
	json_t *statement;  /* owner of in.doc's tree */
	struct buf log_bytes;
	struct eventlog *log;
	struct pcr_bank pcrs;
	bool quoted;      /* the PCRs are the TPM's word */
	bool nonce_fresh; /* the nonce that was asked for */
	bool logged;      /* the log leads to quoted PCRs */
	uint8_t usr[32];
	bool has_usr;
};

static void verify_done(struct verify *v)
{
	eventlog_free(v->log);
	buf_done(&v->log_bytes);
	json_decref(v->statement);
	report_done(&v->in);
}
#define AUTO_VERIFY __attribute__((cleanup(verify_done))) struct verify

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_t *by(const char *whom)
{
	return json_pack("{s:s}", "proved_by", whom);
}

static const char *hardware_or_node(bool hardware)
{
	return hardware ? "hardware" : "node";
}

static const json_t *attachment(const struct verify *v, const char *key)
{
	return json_object_get(json_object_get(v->in.doc, "attachments"), key);
}

/* ---- envelope and statement ---- */

static int check_signature(struct verify *v, const struct dsse *d, struct err *e)
{
	struct err why = ERR_INIT;

	if (!v->o->key)
		return report_add(v->rep, "attest.signature", REPORT_WARN, by("nobody"), e,
				  "No key was given (--key): whoever had the file may have written "
				  "it.");
	if (dsse_verify(d, v->o->key, &why) < 0)
		return report_add(v->rep, "attest.signature", REPORT_FAIL, by("nobody"), e,
				  "The envelope is not signed by key %.16s: it is another's, or it "
				  "was edited after signing.",
				  v->o->key->id);
	return report_add(v->rep, "attest.signature", REPORT_PASS, by("signer"), e,
			  "The envelope is signed by key %.16s, and nothing in it was changed "
			  "since.",
			  v->o->key->id);
}

static int read_statement(struct verify *v, const struct dsse *d, struct err *e)
{
	const struct json_limits lim = { .bytes = REPORT_BYTES_MAX, .depth = 20 };
	AUTO_BUF text = BUF_INIT;
	json_t *predicate;
	int r;

	if (strcmp(d->type, DSSE_IN_TOTO) != 0)
		return err_set(e, ERR_INPUT, EPROTO,
			       "the envelope holds '%s', not an in-toto "
			       "statement",
			       d->type);
	r = json_read(d->payload.p, d->payload.n, &lim, "statement", &v->statement, e);
	if (r >= 0 &&
	    (strcmp(text_of(v->statement, "_type"), "https://in-toto.io/Statement/v1") != 0 ||
	     strcmp(text_of(v->statement, "predicateType"), REPORT_PREDICATE_TYPE) != 0))
		return err_set(e, ERR_INPUT, EPROTO, "the statement is not a report of an audit");
	if (r >= 0)
		r = json_get_obj(v->statement, "predicate", "statement", &predicate, e);
	if (r >= 0)
		r = json_write(predicate, false, &text, e);
	return r < 0 ? r : report_read(text.p, text.n, "report", &v->in, e);
}

/* The subjects of the statement are those of the report. */
static int check_subjects(struct verify *v, struct err *e)
{
	const json_t *list = json_object_get(v->statement, "subject"), *s;
	const json_t *own = json_object_get(v->in.doc, "subjects");
	bool usr = false;
	size_t i;

	json_array_foreach(list, i, s)
	{
		const char *hex = text_of(json_object_get(s, "digest"), "dmVeritySha256");

		if (strcmp(text_of(s, "name"), "usr") == 0 && hex[0])
			usr = strcmp(hex, text_of(own, "usr")) == 0;
	}
	v->has_usr = usr && hex_parse(text_of(own, "usr"), "usr", v->usr, 32, NULL) >= 0;
	return report_add(v->rep, "attest.subjects", v->has_usr ? REPORT_PASS : REPORT_WARN,
			  by("signer"), e,
			  v->has_usr ? "The statement is about the /usr that the report is about, "
				       "root hash %.16s."
				     : "The statement names no root hash of /usr that the report "
				       "names too%.0s.",
			  text_of(own, "usr"));
}

/* ---- the quote ---- */

static int get_blob(const json_t *o, const char *key, struct buf *out, struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, "attachments", &s, e);

	return r < 0 ? r : base64_get(s, key, out, e);
}

static int read_pcrs(struct verify *v, struct err *e)
{
	const json_t *o = attachment(v, "pcrs_sha256");
	struct pcr_bank b = { .alg = TCG_SHA256 };

	for (unsigned i = 0; i < TCG_PCRS; i++) {
		char key[4];
		int r;

		(void)snprintf(key, sizeof(key), "%u", i);
		if (!json_object_get(o, key))
			continue;
		r = json_get_hex(o, key, "attachments", b.value[i], 32, e);
		if (r < 0)
			return r;
		b.have |= 1u << i;
	}
	v->pcrs = b;
	return 0;
}

struct quote_parts {
	struct buf message, signature, key;
	struct quote q;
	struct quote_key ak;
};

static void parts_done(struct quote_parts *p)
{
	buf_done(&p->message);
	buf_done(&p->signature);
	buf_done(&p->key);
	quote_key_done(&p->ak);
}

static int read_parts(const json_t *o, struct quote_parts *p, struct err *e)
{
	int r = get_blob(o, "message", &p->message, e);

	if (r >= 0)
		r = get_blob(o, "signature", &p->signature, e);
	if (r >= 0)
		r = get_blob(o, "key", &p->key, e);
	if (r >= 0)
		r = quote_read((const uint8_t *)p->message.p, p->message.n, &p->q, e);
	if (r >= 0)
		r = quote_key_read((const uint8_t *)p->key.p, p->key.n, &p->ak, e);
	if (r >= 0)
		r = quote_verify(&p->ak, (const uint8_t *)p->message.p, p->message.n,
				 (const uint8_t *)p->signature.p, p->signature.n, e);
	return r;
}

/* Whose key made the quote: known beforehand, or only said by the node. */
static int check_ak(struct verify *v, const struct quote_parts *p, struct err *e)
{
	char name[2 * sizeof(p->ak.name) + 1];

	hex_format(p->ak.name, p->ak.name_n, name);
	if (!p->ak.restricted)
		return report_add(v->rep, "attest.ak", REPORT_FAIL, by("nobody"), e,
				  "The attestation key %s is not one that signs only what its TPM "
				  "made: the quote may be forged.",
				  name);
	if (!v->o->ak)
		return report_add(v->rep, "attest.ak", REPORT_WARN, by("node"), e,
				  "That attestation key %s is in this machine's TPM is the node's "
				  "word: compare it with the name noted at its enrolment (--ak).",
				  name);
	if (strcasecmp(v->o->ak, name) != 0)
		return report_add(v->rep, "attest.ak", REPORT_FAIL, by("nobody"), e,
				  "The quote is by attestation key %s, not by the one expected.",
				  name);
	v->quoted = true;
	return report_add(v->rep, "attest.ak", REPORT_PASS, by("hardware"), e,
			  "The quote is by the expected attestation key, which its TPM never lets "
			  "out.");
}

static int check_nonce(struct verify *v, const struct quote *q, struct err *e)
{
	if (!v->o->nonce)
		return report_add(v->rep, "attest.nonce", REPORT_WARN, by("node"), e,
				  "No nonce was given (--nonce): the quote may be an old one.");
	v->nonce_fresh =
		q->nonce_n == v->o->nonce_n && memcmp(q->nonce, v->o->nonce, q->nonce_n) == 0;
	v->quoted = v->quoted && v->nonce_fresh;
	return report_add(v->rep, "attest.nonce", v->nonce_fresh ? REPORT_PASS : REPORT_FAIL,
			  by(v->nonce_fresh ? hardware_or_node(v->quoted) : "nobody"), e,
			  v->nonce_fresh
				  ? "The quote answers the nonce that was asked."
				  : "The quote answers another nonce: it is an old one, replayed.");
}

/*
 * Which TPM it is. The nonce was sealed for the EK of that certificate together with the expected
 * attestation key, so a quote that answers it comes from the TPM that holds both.
 */
static int check_ek(struct verify *v, struct err *e)
{
	const struct verify_options *o = v->o;
	struct err why = ERR_INIT;
	char issuer[256];
	int r;

	if (!o->ek)
		return report_add(v->rep, "attest.ek", REPORT_ABSENT, NULL, e,
				  "Whose TPM it is was not asked (proa-audit challenge): it is the "
				  "one whose key was noted at the enrolment.");
	if (!v->quoted)
		return report_add(v->rep, "attest.ek", REPORT_FAIL, by("nobody"), e,
				  "The challenge was not answered by the TPM that it was for.");
	if (!o->ek_ca)
		return report_add(
			v->rep, "attest.ek", REPORT_WARN, by("hardware"), e,
			"The TPM with the EK certificate that was noted answered; no CA was "
			"given (--ek-ca) to say who made it.");
	r = ek_cert_check(o->ek->p, o->ek->n, o->ek_ca, o->ek_ca_n, o->now, issuer, &why);
	if (r < 0 && why.kind != ERR_REFUSED)
		return report_unreadable(v->rep, "attest.ek", &why, e);
	if (r < 0)
		return report_add(v->rep, "attest.ek", REPORT_FAIL, by("nobody"), e, "%s.",
				  why.text);
	return report_add(v->rep, "attest.ek", REPORT_PASS, by("manufacturer"), e,
			  "The quote comes from the TPM that %s certified.", issuer);
}

static int check_quote(struct verify *v, struct err *e)
{
	__attribute__((cleanup(parts_done))) struct quote_parts p = { .ak = { .pkey = NULL } };
	const json_t *o = attachment(v, "quote");
	struct err why = ERR_INIT;
	int r;

	if (!o && (v->o->nonce || v->o->ak)) /* what was asked for and left out is not left open */
		return report_add(v->rep, "attest.quote", REPORT_FAIL, by("nobody"), e,
				  "There is no TPM quote, though one was asked for.");
	if (!o)
		return report_add(
			v->rep, "attest.quote", REPORT_WARN, by("node"), e,
			"There is no TPM quote: what follows about the boot is the node's "
			"own word.");
	r = read_parts(o, &p, &why);
	if (r < 0)
		return report_add(v->rep, "attest.quote",
				  why.kind == ERR_REFUSED ? REPORT_FAIL : REPORT_UNREADABLE,
				  by("nobody"), e, "%s.", why.text);
	r = check_ak(v, &p, e);
	if (r >= 0)
		r = check_nonce(v, &p.q, e);
	if (r >= 0)
		r = check_ek(v, e);
	if (r < 0)
		return r;
	if (quote_check(&p.q, &v->pcrs, &why) < 0) {
		v->quoted = false;
		return report_add(v->rep, "attest.quote", REPORT_FAIL, by("nobody"), e,
				  "The report's PCRs are not those that the TPM quoted: %s.",
				  why.text);
	}
	return report_add(v->rep, "attest.quote", REPORT_PASS, by(hardware_or_node(v->quoted)), e,
			  "The TPM signed the PCR values of the report (TPM started %u times).",
			  p.q.resets);
}

/* ---- the event log ---- */

static int check_log(struct verify *v, struct err *e)
{
	struct pcr_bank b;
	struct err why = ERR_INIT;
	char wrong[128] = "";
	int r;

	if (!attachment(v, "eventlog"))
		return report_add(v->rep, "attest.log", v->quoted ? REPORT_FAIL : REPORT_WARN,
				  by(v->quoted ? "nobody" : "node"), e,
				  v->quoted
					  ? "There is no event log: the quote says nothing of what "
					    "was started."
					  : "There is no event log.");
	r = get_blob(json_object_get(v->in.doc, "attachments"), "eventlog", &v->log_bytes, &why);
	if (r >= 0)
		r = eventlog_read((const uint8_t *)v->log_bytes.p, v->log_bytes.n, &v->log, &why);
	if (r >= 0)
		r = eventlog_replay(v->log, TCG_SHA256, &b, &why);
	if (r < 0)
		return report_unreadable(v->rep, "attest.log", &why, e);
	/* 10 and 11 go on after the log: IMA, the phases of the boot */
	for (unsigned i = 0; i < 10; i++)
		if ((b.have >> i & 1) &&
		    (!(v->pcrs.have >> i & 1) || memcmp(b.value[i], v->pcrs.value[i], 32) != 0))
			(void)snprintf(wrong + strlen(wrong), sizeof(wrong) - strlen(wrong), " %u",
				       i);
	if ((b.have >> 12 & 1) && memcmp(b.value[12], v->pcrs.value[12], 32) != 0)
		(void)snprintf(wrong + strlen(wrong), sizeof(wrong) - strlen(wrong), " 12");
	v->logged = !wrong[0];
	if (wrong[0])
		return report_add(
			v->rep, "attest.log", REPORT_FAIL, by("nobody"), e,
			"The event log does not lead to the PCRs%s: it was cut, reordered "
			"or changed.",
			wrong);
	return report_add(v->rep, "attest.log", REPORT_PASS, by(hardware_or_node(v->quoted)), e,
			  "The event log leads to the PCRs, so its digests are what was measured.");
}

static bool started(const struct verify *v, const uint8_t digest[32])
{
	for (size_t i = 0; v->logged && i < v->log->n; i++) {
		const struct eventlog_event *ev = &v->log->event[i];
		const uint8_t *d = eventlog_digest(ev, TCG_SHA256);

		if (ev->pcr == 4 && ev->type == EV_EFI_BOOT_SERVICES_APPLICATION && d &&
		    memcmp(d, digest, 32) == 0)
			return true;
	}
	return false;
}

static int check_started(struct verify *v, const char *id, const char *subject, const char *what,
			 struct err *e)
{
	uint8_t digest[32];
	bool ok;

	if (!v->logged)
		return 0;
	ok = hex_parse(text_of(json_object_get(v->in.doc, "subjects"), subject), what, digest, 32,
		       NULL) >= 0 &&
	     started(v, digest);
	return report_add(v->rep, id, ok ? REPORT_PASS : REPORT_FAIL,
			  by(ok ? hardware_or_node(v->quoted) : "nobody"), e,
			  ok ? "The firmware started the %s that the report names."
			     : "The firmware did not start the %s that the report names.",
			  what);
}

/*
 * The command line in PCR 12: its text is in the event, its digest is what was measured. Every one
 * that was measured must name the same root hash.
 */
static bool cmdline_root(const struct verify *v, uint8_t ret[32])
{
	bool found = false;

	for (size_t i = 0; v->logged && i < v->log->n; i++) {
		const struct eventlog_event *ev = &v->log->event[i];
		AUTO_FREE struct uki *u = calloc(1, sizeof(*u));
		const uint8_t *d = eventlog_digest(ev, TCG_SHA256);
		char text[UKI_CMDLINE_MAX];
		uint8_t h[SHA256_BYTES];

		if (!u || !d || ev->pcr != 12 || ev->type == EV_NO_ACTION)
			continue;
		sha256(ev->data, ev->data_n, h);
		(void)eventlog_text(ev, text, sizeof(text));
		if (memcmp(h, d, 32) != 0 || uki_parse_cmdline(text, strlen(text), u, NULL) < 0 ||
		    !u->has_usrhash || (found && memcmp(ret, u->usrhash, 32) != 0))
			return false;
		memcpy(ret, u->usrhash, 32);
		found = true;
	}
	return found;
}

static int check_usr(struct verify *v, struct err *e)
{
	uint8_t root[32];

	if (!v->has_usr || !v->logged)
		return 0;
	if (!cmdline_root(v, root))
		return report_add(
			v->rep, "attest.usr", REPORT_WARN, by("node"), e,
			"The measured command line names no root hash: that this /usr ran is "
			"the node's word.");
	if (memcmp(root, v->usr, 32) != 0)
		return report_add(v->rep, "attest.usr", REPORT_FAIL, by("nobody"), e,
				  "The measured command line names another root hash than the "
				  "report.");
	return report_add(v->rep, "attest.usr", REPORT_PASS, by(hardware_or_node(v->quoted)), e,
			  "The loader started the kernel with this root hash of /usr (PCR 12).");
}

/* ---- the publisher ---- */

static int open_repository(const struct verify_options *o, int dir, struct trustview *t,
			   struct err *e)
{
	AUTO_FREE char *root = NULL;
	struct trustview_options to = {
		.sys = o->sys, .dir = dir, .repository = true, .channel = o->channel, .now = o->now
	};
	int r = file_read(o->sys, AT_FDCWD, o->root, 512u << 10, &root, &to.root_n, e);

	to.root = root;
	return r < 0 ? err_wrap(e, r, "%s", o->root) : trustview_open(&to, t, e);
}

/* Who signed, role by role. */
static json_t *by_roles(const struct trustview *t)
{
	json_t *o = by("publisher");
	AUTO_JSON *roles = NULL;

	if (o && trustview_roles(t, &roles, NULL) >= 0)
		(void)json_object_update(o, roles);
	return o;
}

static int compare_release(struct verify *v, const struct trustview *t,
			   const struct release_manifest *m, struct err *e)
{
	bool expired = t->expired[0] != '\0';
	uint8_t uki[32];
	int r;

	if (!v->has_usr || memcmp(m->root, v->usr, 32) != 0)
		return report_add(
			v->rep, "attest.release", REPORT_FAIL, by("publisher"), e,
			"The publisher's release %s has another root hash than the report.",
			m->version);
	r = report_add(v->rep, "attest.release", expired ? REPORT_WARN : REPORT_PASS, by_roles(t),
		       e, "The publisher signed this root hash as %s %s%s%s.", m->image, m->version,
		       expired ? ", but has not renewed it: " : "", t->expired);
	if (r < 0)
		return r;
	if (hex_parse(text_of(json_object_get(v->in.doc, "subjects"), "uki"), "uki", uki, 32,
		      NULL) >= 0 &&
	    memcmp(uki, m->uki_sha256, 32) == 0)
		return report_add(v->rep, "attest.uki-file", REPORT_PASS, by("publisher"), e,
				  "The UKI that the report names is the one of that release.");
	return report_add(v->rep, "attest.uki-file", REPORT_FAIL, by("publisher"), e,
			  "The UKI that the report names is not the one of release %s.",
			  m->version);
}

static int check_release(struct verify *v, struct err *e)
{
	struct sys *sys = v->o->sys;
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	AUTO_TRUSTVIEW t = { .tuf = NULL };
	struct err why = ERR_INIT;
	AUTO_SYS_FD dir = { sys, -1 };
	int r;

	if (!m)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!v->o->repository)
		return report_add(
			v->rep, "attest.release", REPORT_WARN, by("node"), e,
			"No repository was given (--repository, --root): that a publisher "
			"released this is the node's word.");
	dir.fd = sys->ops->open(sys, AT_FDCWD, v->o->repository, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_INPUT, -dir.fd, "%s: %s", v->o->repository,
			       strerror(-dir.fd));
	r = open_repository(v->o, dir.fd, &t, &why);
	if (r >= 0)
		r = trustview_manifest(&t, text_of(v->in.doc, "version"), m, &why);
	if (r < 0)
		return report_add(v->rep, "attest.release",
				  why.kind == ERR_HOST ? REPORT_UNREADABLE : REPORT_FAIL,
				  by("nobody"), e, "No release of the publisher's: %s.", why.text);
	return compare_release(v, &t, m, e);
}

/* What the stub measured is computed anew: from the auditor's file to the quoted value. */
static int check_pcr11(struct verify *v, const struct pe *pe, struct err *e)
{
	AUTO_JSON *o = by(hardware_or_node(v->quoted));
	const char *phases = NULL;
	struct err why = ERR_INIT;
	uint8_t pcr[32];
	int r;

	if (!(v->pcrs.have >> 11 & 1))
		return 0;
	if (predict_pcr11(pe, "", pcr, &why) < 0)
		return report_unreadable(v->rep, "attest.pcr11", &why, e);
	if (predict_phases_to(pcr, v->pcrs.value[11], &phases)) {
		r = phases[0] ? json_put_str(o, "phases", phases, e) : 0;
		return r < 0 ? r
			     : report_add(v->rep, "attest.pcr11", REPORT_PASS, json_incref(o), e,
					  "The sections of %s lead to PCR 11.", v->o->uki);
	}
	r = json_put_hex(o, "expected_pcr11", pcr, 32, e);
	return r < 0 ? r
		     : report_add(v->rep, "attest.pcr11", REPORT_FAIL, json_incref(o), e,
				  "PCR 11 is not what the sections of %s lead to: another UKI, or "
				  "something was measured besides.",
				  v->o->uki);
}

/* And what the loader handed over: the UKI's own command line, or words of somebody else. */
static int check_pcr12(struct verify *v, int fd, struct err *e)
{
	AUTO_FREE struct uki *u = malloc(sizeof(*u));
	AUTO_JSON *o = NULL;
	struct err why = ERR_INIT;
	uint8_t pcr[32];
	bool same;
	int r;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!(v->pcrs.have >> 12 & 1))
		return 0;
	if (uki_read_fd(v->o->sys, fd, u, &why) < 0 || predict_pcr12(u->cmdline, pcr, &why) < 0)
		return report_unreadable(v->rep, "attest.pcr12", &why, e);
	same = memcmp(pcr, v->pcrs.value[12], 32) == 0;
	o = by(same ? hardware_or_node(v->quoted) : "nobody");
	r = json_put_hex(o, "expected_pcr12", pcr, 32, e);
	return r < 0 ? r
		     : report_add(v->rep, "attest.pcr12", same ? REPORT_PASS : REPORT_FAIL,
				  json_incref(o), e,
				  same ? "The command line of %s leads to PCR 12."
				       : "PCR 12 is not what the command line of %s leads to: the "
					 "loader was told to hand over another one.",
				  v->o->uki);
}

/* The auditor's own copy of the UKI: its digest in PCR 4, its sections in PCR 11. */
static int check_uki(struct verify *v, struct err *e)
{
	struct sys *sys = v->o->sys;
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	AUTO_SYS_FD fd = { sys, -1 };
	uint8_t digest[32];
	struct err why = ERR_INIT;
	bool ok;
	int r;

	if (!v->o->uki)
		return 0;
	fd.fd = sys->ops->open(sys, AT_FDCWD, v->o->uki, O_RDONLY, 0);
	if (!pe || fd.fd < 0)
		return err_set(e, ERR_INPUT, fd.fd < 0 ? -fd.fd : ENOMEM, "%s: %s", v->o->uki,
			       strerror(fd.fd < 0 ? -fd.fd : ENOMEM));
	if (pe_open(sys, fd.fd, pe, &why) < 0 || pe_hash(pe, digest, &why) < 0)
		return report_unreadable(v->rep, "attest.uki-own", &why, e);
	ok = started(v, digest);
	r = !v->logged ? 0
		       : report_add(v->rep, "attest.uki-own", ok ? REPORT_PASS : REPORT_FAIL,
				    by(ok ? hardware_or_node(v->quoted) : "nobody"), e,
				    ok ? "The firmware started %s, byte for byte what its "
					 "signature covers."
				       : "The firmware did not start %s.",
				    v->o->uki);
	if (r >= 0)
		r = check_pcr11(v, pe, e);
	return r < 0 ? r : check_pcr12(v, fd.fd, e);
}

/* ---- the rest is the node's word ---- */

static int check_history(struct verify *v, struct err *e)
{
	AUTO_BUF text = BUF_INIT;
	struct chain_head h;
	struct err why = ERR_INIT;
	int r;

	if (!attachment(v, "history"))
		return 0;
	r = get_blob(json_object_get(v->in.doc, "attachments"), "history", &text, &why);
	if (r >= 0)
		r = chain_walk(text.p, text.n, NULL, NULL, &h, &why);
	if (r < 0)
		return report_add(v->rep, "attest.history", REPORT_FAIL, by("nobody"), e, "%s.",
				  why.text);
	return report_add(v->rep, "attest.history", REPORT_PASS, by("node"), e,
			  "The history's %llu entries follow from each other; keep this report to "
			  "see that none is taken away later.",
			  (unsigned long long)h.n);
}

static int check_node(struct verify *v, struct err *e)
{
	enum report_verdict own = report_verdict(&v->in);

	return report_add(v->rep, "attest.report", own, by("node"), e,
			  "The node's own verdict at %.40s is \"%s\", of %zu checks.",
			  text_of(v->in.doc, "time"), report_verdict_name(own),
			  json_array_size(v->in.checks));
}

static int check_all(struct verify *v, struct err *e)
{
	struct err why = ERR_INIT;
	int r = check_subjects(v, e);

	if (r >= 0 && read_pcrs(v, &why) < 0)
		r = report_unreadable(v->rep, "attest.pcrs", &why, e);
	if (r >= 0)
		r = check_quote(v, e);
	if (r >= 0)
		r = check_log(v, e);
	if (r >= 0)
		r = check_started(v, "attest.loader", "loader_authenticode", "boot loader", e);
	if (r >= 0)
		r = check_started(v, "attest.uki", "uki_authenticode", "UKI", e);
	if (r >= 0)
		r = check_usr(v, e);
	if (r >= 0)
		r = check_release(v, e);
	if (r >= 0)
		r = check_uki(v, e);
	if (r >= 0)
		r = check_history(v, e);
	return r < 0 ? r : check_node(v, e);
}

int attest_verify(const void *p, size_t n, const struct verify_options *o, struct report *rep,
		  struct err *e)
{
	AUTO_VERIFY v = { .o = o, .rep = rep };
	AUTO_DSSE *d = NULL;
	int r = dsse_read(p, n, &d, e);

	if (r >= 0)
		r = check_signature(&v, d, e);
	if (r >= 0)
		r = read_statement(&v, d, e);
	if (r >= 0)
		r = json_put_str(rep->doc, "host", text_of(v.in.doc, "host"), e);
	if (r >= 0)
		r = json_put_str(rep->doc, "time", text_of(v.in.doc, "time"), e);
	if (r >= 0)
		r = check_all(&v, e);
	return r < 0 ? r : report_finish(rep, e);
}
