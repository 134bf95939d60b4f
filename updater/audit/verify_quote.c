/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "updater/audit/credential.h"
#include "updater/audit/predict.h"
#include "updater/audit/quote.h"
#include "updater/audit/verify.h"

static int read_pcrs(struct verify *v, struct err *e)
{
	const json_t *o = verify_attachment(v, "pcrs_sha256");
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
	int r = verify_blob(o, "message", &p->message, e);

	if (r >= 0)
		r = verify_blob(o, "signature", &p->signature, e);
	if (r >= 0)
		r = verify_blob(o, "key", &p->key, e);
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
		return report_add(v->rep, "attest.ak", REPORT_FAIL, verify_by("nobody"), e,
				  "The attestation key %s is not one that signs only what its TPM "
				  "made: the quote may be forged.",
				  name);
	if (!v->o->ak)
		return report_add(v->rep, "attest.ak", REPORT_WARN, verify_by("node"), e,
				  "That attestation key %s is in this machine's TPM is the node's "
				  "word: compare it with the name noted at its enrolment (--ak).",
				  name);
	if (strcasecmp(v->o->ak, name) != 0)
		return report_add(v->rep, "attest.ak", REPORT_FAIL, verify_by("nobody"), e,
				  "The quote is by attestation key %s, not by the one expected.",
				  name);
	v->quoted = true;
	return report_add(v->rep, "attest.ak", REPORT_PASS, verify_by("hardware"), e,
			  "The quote is by the expected attestation key, which its TPM never lets "
			  "out.");
}

static int check_nonce(struct verify *v, const struct quote *q, struct err *e)
{
	bool fresh = v->o->nonce && q->nonce_n == v->o->nonce_n &&
		     memcmp(q->nonce, v->o->nonce, q->nonce_n) == 0;

	v->quoted = v->quoted && fresh;
	if (!v->o->nonce)
		return report_add(v->rep, "attest.nonce", REPORT_WARN, verify_by("node"), e,
				  "No nonce was given (--nonce): the quote may be an old one, so "
				  "the hardware proves nothing about this boot.");
	return report_add(v->rep, "attest.nonce", fresh ? REPORT_PASS : REPORT_FAIL,
			  verify_by(fresh ? verify_hardware(v->quoted) : "nobody"), e,
			  fresh ? "The quote answers the nonce that was asked."
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
		return report_add(v->rep, "attest.ek", REPORT_FAIL, verify_by("nobody"), e,
				  "The challenge was not answered by the TPM that it was for.");
	if (!o->ek_ca)
		return report_add(
			v->rep, "attest.ek", REPORT_WARN, verify_by("hardware"), e,
			"The TPM with the EK certificate that was noted answered; no CA was "
			"given (--ek-ca) to say who made it.");
	r = ek_cert_check(o->ek->p, o->ek->n, o->ek_ca, o->ek_ca_n, o->now, issuer, &why);
	if (r < 0 && why.kind != ERR_REFUSED)
		return report_unreadable(v->rep, "attest.ek", &why, e);
	if (r < 0)
		return report_add(v->rep, "attest.ek", REPORT_FAIL, verify_by("nobody"), e, "%s.",
				  why.text);
	return report_add(v->rep, "attest.ek", REPORT_PASS, verify_by("manufacturer"), e,
			  "The quote comes from the TPM that %s certified.", issuer);
}

static int check_quote(struct verify *v, struct err *e)
{
	__attribute__((cleanup(parts_done))) struct quote_parts p = { .ak = { .pkey = NULL } };
	const json_t *o = verify_attachment(v, "quote");
	struct err why = ERR_INIT;
	int r;

	if (!o && (v->o->nonce || v->o->ak)) /* what was asked for and left out is not left open */
		return report_add(v->rep, "attest.quote", REPORT_FAIL, verify_by("nobody"), e,
				  "There is no TPM quote, though one was asked for.");
	if (!o)
		return report_add(
			v->rep, "attest.quote", REPORT_WARN, verify_by("node"), e,
			"There is no TPM quote: what follows about the boot is the node's "
			"own word.");
	r = read_parts(o, &p, &why);
	if (r < 0)
		return report_add(v->rep, "attest.quote",
				  why.kind == ERR_REFUSED ? REPORT_FAIL : REPORT_UNREADABLE,
				  verify_by("nobody"), e, "%s.", why.text);
	/* not its values: nothing of the report is proved then, whoever signed the quote */
	if (quote_check(&p.q, &v->pcrs, ATTEST_PCRS, &why) < 0)
		return report_add(v->rep, "attest.quote", REPORT_FAIL, verify_by("nobody"), e,
				  "The report's PCRs are not those that the TPM quoted: %s.",
				  why.text);
	v->pcrs.have &= p.q.bank[0].pcrs;
	r = check_ak(v, &p, e);
	if (r >= 0)
		r = check_nonce(v, &p.q, e);
	if (r >= 0)
		r = check_ek(v, e);
	return r < 0 ? r
		     : report_add(v->rep, "attest.quote", REPORT_PASS,
				  verify_by(verify_hardware(v->quoted)), e,
				  "The TPM signed the PCR values of the report (TPM started %u "
				  "times).",
				  p.q.resets);
}

/* ---- the event log ---- */

static int check_log(struct verify *v, struct err *e)
{
	struct pcr_bank b;
	struct err why = ERR_INIT;
	char wrong[128] = "";
	int r;

	if (!verify_attachment(v, "eventlog"))
		return report_add(v->rep, "attest.log", v->quoted ? REPORT_FAIL : REPORT_WARN,
				  verify_by(v->quoted ? "nobody" : "node"), e,
				  v->quoted
					  ? "There is no event log: the quote says nothing of what "
					    "was started."
					  : "There is no event log.");
	r = verify_blob(json_object_get(v->in.doc, "attachments"), "eventlog", &v->log_bytes, &why);
	if (r >= 0)
		r = eventlog_read((const uint8_t *)v->log_bytes.p, v->log_bytes.n, &v->log, &why);
	if (r >= 0)
		r = eventlog_replay(v->log, TCG_SHA256, &b, &why);
	if (r < 0)
		return report_unreadable(v->rep, "attest.log", &why, e);
	/*
	 * 10 and 11 go on after the log: IMA, the phases of the boot. What the log has no event of
	 * must be what the TPM began with.
	 */
	for (unsigned i = 0; i <= 12; i++)
		if (i != 10 && i != 11 &&
		    (!(v->pcrs.have >> i & 1) ||
		     !predict_rests_on(i, b.value[i], v->pcrs.value[i])))
			(void)snprintf(wrong + strlen(wrong), sizeof(wrong) - strlen(wrong), " %u",
				       i);
	v->logged = !wrong[0];
	if (wrong[0])
		return report_add(
			v->rep, "attest.log", REPORT_FAIL, verify_by("nobody"), e,
			"The event log does not lead to the PCRs%s: it was cut, reordered "
			"or changed.",
			wrong);
	return report_add(v->rep, "attest.log", REPORT_PASS, verify_by(verify_hardware(v->quoted)),
			  e,
			  "The event log leads to the PCRs, so its digests are what was measured.");
}

/* ---- Secure Boot ---- */

/*
 * The firmware measures the variable SecureBoot into PCR 7 before all else. Nobody can put anything
 * before it later; the types of events and their data are only what the log says.
 */
static int check_secure_boot(struct verify *v, struct err *e)
{
	const uint8_t *first = NULL;
	bool proved = v->quoted && v->logged;
	uint8_t on[SHA256_BYTES], off[SHA256_BYTES];
	int r = predict_secure_boot(true, on, e);

	if (r >= 0)
		r = predict_secure_boot(false, off, e);
	if (r < 0)
		return r;
	for (size_t i = 0; v->logged && !first && i < v->log->n; i++)
		if (v->log->event[i].pcr == 7 && v->log->event[i].type != EV_NO_ACTION)
			first = eventlog_digest(&v->log->event[i], TCG_SHA256);
	if (first && memcmp(first, on, sizeof(on)) == 0)
		return report_add(v->rep, "attest.secure-boot", REPORT_PASS,
				  verify_by(verify_hardware(proved)), e,
				  "Secure Boot was on (PCR 7).");
	if (first && memcmp(first, off, sizeof(off)) == 0)
		return report_add(v->rep, "attest.secure-boot", REPORT_FAIL,
				  verify_by(verify_hardware(proved)), e,
				  "Secure Boot was off (PCR 7).");
	return report_add(v->rep, "attest.secure-boot", REPORT_WARN, verify_by("node"), e,
			  "PCR 7 does not say whether Secure Boot was on: it is the node's word.");
}

int verify_quote(struct verify *v, struct err *e)
{
	struct err why = ERR_INIT;
	int r = read_pcrs(v, &why);

	if (r < 0)
		r = report_unreadable(v->rep, "attest.pcrs", &why, e);
	if (r >= 0)
		r = check_quote(v, e);
	if (r >= 0)
		r = check_log(v, e);
	return r < 0 ? r : check_secure_boot(v, e);
}
