/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "bootctl/loader_vars.h"
#include "updater/audit/audit.h"

static int check_state(struct audit *a, struct err *e)
{
	struct err why = ERR_INIT;

	if (sb_state_read(a->ev.sys, a->ev.efivars, &a->sb, &why) < 0)
		return report_unreadable(&a->rep, "firmware.secure-boot", &why, e);
	if (!a->sb.efi)
		return report_add(&a->rep, "firmware.secure-boot", REPORT_ABSENT, NULL, e,
				  "This machine shows no EFI variables: nothing is known of its "
				  "firmware.");
	if (a->sb.setup_mode)
		return report_add(
			&a->rep, "firmware.secure-boot", REPORT_FAIL, NULL, e,
			"The firmware is in setup mode: whoever reaches it can enrol keys.");
	if (!a->sb.enforced)
		return report_add(&a->rep, "firmware.secure-boot", REPORT_FAIL, NULL, e,
				  "Secure Boot is off: the firmware starts what nobody signed.");
	return report_add(&a->rep, "firmware.secure-boot", REPORT_PASS, NULL, e,
			  "Secure Boot is on and the firmware is not in setup mode.");
}

static int put_db(json_t *o, const char *name, const struct audit_blob *b, int64_t now,
		  struct sigdb_counts *c, struct err *e)
{
	char key[32];
	uint8_t h[SHA256_BYTES];
	json_t *list;
	int r = sigdb_describe(b->p, b->n, now, &list, c, e);

	if (r < 0)
		return err_wrap(e, r, "%s", name);
	sha256(b->p ? b->p : (const uint8_t *)"", b->n, h);
	(void)snprintf(key, sizeof(key), "%s_sha256", name);
	r = json_put(o, name, list, e);
	if (r >= 0)
		r = json_put_hex(o, key, h, sizeof(h), e);
	(void)snprintf(key, sizeof(key), "%s_hashes", name);
	return r < 0 ? r : json_put_u64(o, key, c->sha256 + c->x509_sha256, e);
}

static int check_keys(struct audit *a, struct err *e)
{
	const struct {
		const char *name, *var;
		struct audit_blob *b;
	} dbs[] = {
		{ "PK", "PK-" EFI_GLOBAL_GUID, &a->pk },
		{ "KEK", "KEK-" EFI_GLOBAL_GUID, &a->kek },
		{ "db", "db-" EFI_DB_GUID, &a->db },
		{ "dbx", "dbx-" EFI_DB_GUID, &a->dbx },
	};
	struct sigdb_counts c[4];
	AUTO_JSON *o = json_object();
	struct err why = ERR_INIT;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < 4; i++) {
		r = evidence_efivar(&a->ev, dbs[i].var, &dbs[i].b->p, &dbs[i].b->n, &why);
		if (r >= 0)
			r = put_db(o, dbs[i].name, dbs[i].b, a->now, &c[i], &why);
	}
	if (r < 0)
		return report_unreadable(&a->rep, "firmware.keys", &why, e);
	if (!a->pk.n || !a->db.n)
		return report_add(&a->rep, "firmware.keys", a->sb.efi ? REPORT_WARN : REPORT_ABSENT,
				  json_incref(o), e, "The firmware has no platform key or no db.");
	if (c[3].x509 + c[3].sha256 + c[3].x509_sha256 == 0)
		return report_add(
			&a->rep, "firmware.keys", REPORT_WARN, json_incref(o), e,
			"db holds %zu certificates and %zu hashes; dbx is empty, so nothing "
			"that was ever signed is revoked.",
			c[2].x509, c[2].sha256);
	return report_add(
		&a->rep, "firmware.keys", REPORT_PASS, json_incref(o), e,
		"db holds %zu certificates and %zu hashes, dbx %zu entries; %zu "
		"certificates of db are past their date, which firmware does not look at.",
		c[2].x509, c[2].sha256, c[3].x509 + c[3].sha256 + c[3].x509_sha256, c[2].expired);
}

int audit_firmware(struct audit *a, struct err *e)
{
	int r = check_state(a, e);

	if (evidence_efivar(&a->ev, "SecureBoot-" EFI_GLOBAL_GUID, &a->secure_boot.p,
			    &a->secure_boot.n, NULL) < 0)
		a->secure_boot.n = 0;
	return r < 0 ? r : check_keys(a, e);
}
