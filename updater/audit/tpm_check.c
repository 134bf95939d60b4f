/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "updater/audit/audit.h"
#include "updater/audit/predict.h"

/* ---- the log and its replay ---- */

static int check_log(struct audit *a, struct err *e)
{
	size_t wrong = 0, first = 0;

	for (size_t i = 0; i < a->log->n; i++)
		if (eventlog_matches(&a->log->event[i], a->log->alg[0].alg) == 0 ||
		    eventlog_matches(&a->log->event[i], TCG_SHA256) == 0) {
			first = wrong ? first : i;
			wrong++;
		}
	if (wrong)
		return report_add(
			&a->rep, "tpm.log", REPORT_WARN, NULL, e,
			"%zu of %zu events in the log have a digest that is not of their own "
			"data, the first is event %zu.",
			wrong, a->log->n, first);
	return report_add(
		&a->rep, "tpm.log", REPORT_PASS, NULL, e,
		"The event log has %zu events; each digest that can be checked is that of "
		"its event.",
		a->log->n);
}

static int add_pcr(json_t *o, const char *what, unsigned i, const uint8_t *v, struct err *e)
{
	char key[40];

	(void)snprintf(key, sizeof(key), "%s_pcr%u", what, i);
	return json_put_hex(o, key, v, 32, e);
}

/* PCRs that software may go on extending after the log ends. */
static bool goes_on(unsigned pcr)
{
	return pcr == 10 || pcr == 11 || pcr == 12 || pcr == 13 || pcr == 15 || pcr >= 16;
}

/* The files lead to what the TPM has, so it is the log that is wrong, and nobody went on. */
static bool files_agree(const struct audit *a, unsigned pcr)
{
	const uint8_t *tpm = a->pcrs.value[pcr];
	const char *phases;
	unsigned times;

	if (pcr == 11 && a->has_pcr11)
		return predict_phases_to(a->pcr11, tpm, &phases);
	return pcr == 12 && a->uki.have && predict_cmdline_to(a->cmdline, tpm, &times);
}

static int check_replay(struct audit *a, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct err why = ERR_INIT;
	struct pcr_bank b;
	char wrong[128] = "", later[128] = "";
	int r = eventlog_replay(a->log, TCG_SHA256, &b, &why);

	if (r < 0)
		return report_unreadable(&a->rep, "tpm.replay", &why, e);
	for (unsigned i = 0; r >= 0 && i < TCG_PCRS; i++) {
		const char *phases;
		char *list = wrong;

		if (!(b.have >> i & 1) || !(a->pcrs.have >> i & 1))
			continue;
		r = add_pcr(o, "tpm", i, a->pcrs.value[i], e);
		if (predict_rests_on(i, b.value[i], a->pcrs.value[i]))
			continue;
		if (i == 11 && predict_phases_to(b.value[i], a->pcrs.value[i], &phases))
			continue;
		if (goes_on(i) && !files_agree(a, i))
			list = later;
		(void)snprintf(list + strlen(list), 128 - strlen(list), " %u", i);
		if (r >= 0)
			r = add_pcr(o, "log", i, b.value[i], e);
	}
	if (r < 0)
		return r;
	if (wrong[0])
		return report_add(
			&a->rep, "tpm.replay", REPORT_FAIL, json_incref(o), e,
			"The event log does not lead to the TPM's values: PCR%s. The log was "
			"cut or changed, or is of another boot.",
			wrong);
	if (later[0])
		return report_add(&a->rep, "tpm.replay", REPORT_WARN, json_incref(o), e,
				  "The event log leads to the TPM's values, but for PCR%s, which "
				  "something extended later.",
				  later);
	return report_add(&a->rep, "tpm.replay", REPORT_PASS, json_incref(o), e,
			  "Replaying the event log gives the TPM's values.");
}

/* ---- expected values ---- */

static int compare(struct audit *a, unsigned pcr, const uint8_t want[32], const char *from,
		   struct err *e)
{
	AUTO_JSON *o = json_object();
	char id[16];
	bool same = predict_rests_on(pcr, want, a->pcrs.value[pcr]);
	int r = add_pcr(o, "expected", pcr, same ? a->pcrs.value[pcr] : want, e);

	(void)snprintf(id, sizeof(id), "tpm.pcr%u", pcr);
	if (r >= 0)
		r = add_pcr(o, "tpm", pcr, a->pcrs.value[pcr], e);
	if (r < 0)
		return r;
	if (same)
		return report_add(&a->rep, id, REPORT_PASS, json_incref(o), e, "PCR %u is what %s.",
				  pcr, from);
	return report_add(&a->rep, id, REPORT_FAIL, json_incref(o), e,
			  "PCR %u is not what %s: something else was measured.", pcr, from);
}

static int check_pcr4(struct audit *a, struct err *e)
{
	uint8_t image[3][32], want[32];
	int r;

	if (!a->loader.have || !a->uki.have)
		return 0;
	memcpy(image[0], a->loader.authenticode, 32);
	memcpy(image[1], a->uki.authenticode, 32);
	memcpy(image[2], a->kernel, 32);
	r = predict_pcr4(image, 2, want, e);
	/* with Secure Boot off, firmware loads the kernel too and measures it */
	if (r >= 0 && !predict_rests_on(4, want, a->pcrs.value[4]) && a->has_kernel &&
	    !a->sb.enforced)
		r = predict_pcr4(image, 3, want, e);
	return r < 0 ? r : compare(a, 4, want, "loader and UKI on the ESP lead to", e);
}

/* The db entry that vouched, with its owner, as firmware measures it. */
static void add_authority(struct predict_secure *s, const struct audit_image *img)
{
	if (img->have && img->sb.by)
		s->authority[s->n_authority++] =
			(struct predict_var){ img->sb.by - 16, img->sb.by_n + 16 };
}

static int check_pcr7(struct audit *a, struct err *e)
{
	struct predict_secure s = {
		.secure_boot = { a->secure_boot.p, a->secure_boot.n },
		.pk = { a->pk.p, a->pk.n },
		.kek = { a->kek.p, a->kek.n },
		.db = { a->db.p, a->db.n },
		.dbx = { a->dbx.p, a->dbx.n },
	};
	uint8_t want[32];
	int r;

	if (!a->sb.efi)
		return 0;
	if (a->sb.enforced) {
		add_authority(&s, &a->loader);
		add_authority(&s, &a->uki);
	}
	r = predict_pcr7(&s, want, e);
	return r < 0 ? r : compare(a, 7, want, "the firmware's keys and db lead to", e);
}

static int check_pcr11(struct audit *a, struct err *e)
{
	const char *phases;

	if (!a->has_pcr11)
		return a->uki.have ? report_add(&a->rep, "tpm.pcr11", REPORT_ABSENT, NULL, e,
						"What PCR 11 should be cannot be told: %s.",
						a->no_pcr11.text)
				   : 0;
	if (predict_phases_to(a->pcr11, a->pcrs.value[11], &phases)) {
		uint8_t want[32];
		int r;

		memcpy(want, a->pcr11, 32);
		r = predict_phases(want, phases, e);
		return r < 0 ? r
			     : compare(a, 11, want,
				       phases[0] ? "the UKI and the phases of the boot lead to"
						 : "the sections of the UKI lead to",
				       e);
	}
	return compare(a, 11, a->pcr11, "the sections of the UKI lead to", e);
}

static int check_pcr12(struct audit *a, struct err *e)
{
	uint8_t want[32];
	unsigned times;
	int r;

	if (!a->uki.have)
		return 0;
	if (predict_cmdline_to(a->cmdline, a->pcrs.value[12], &times) && times != 1)
		return compare(a, 12, a->pcrs.value[12],
			       times == 0 ? "it is when the loader hands no command line over, and "
					    "the UKI's own is taken"
					  : "the command line of the UKI, measured twice, leads to",
			       e);
	r = predict_pcr12(a->cmdline, want, e);
	return r < 0 ? r : compare(a, 12, want, "the command line of the UKI leads to", e);
}

static int check_pcrs(struct audit *a, struct err *e)
{
	int r = check_pcr4(a, e);

	if (r >= 0)
		r = check_pcr7(a, e);
	if (r >= 0)
		r = check_pcr11(a, e);
	return r < 0 ? r : check_pcr12(a, e);
}

int audit_tpm(struct audit *a, struct err *e)
{
	struct err why = ERR_INIT;
	int r = evidence_pcrs(&a->ev, TCG_SHA256, &a->pcrs, &why);

	if (r == -ENOENT)
		return report_add(&a->rep, "tpm.present", REPORT_ABSENT, NULL, e,
				  "There is no TPM, or it has no SHA-256 PCRs.");
	if (r < 0)
		return report_unreadable(&a->rep, "tpm.present", &why, e);
	a->has_pcrs = true;
	r = report_add(&a->rep, "tpm.present", REPORT_PASS, NULL, e,
		       "There is a TPM with SHA-256 PCRs.");
	if (r < 0)
		return r;
	if (a->log) {
		r = check_log(a, e);
		if (r >= 0)
			r = check_replay(a, e);
	}
	return r < 0 ? r : check_pcrs(a, e);
}
