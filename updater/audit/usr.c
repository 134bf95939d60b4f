/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/hex.h"
#include "updater/audit/audit.h"
#include "updater/record/record.h"
#include "updater/slot/disk.h"
#include "verity/image.h"

static json_t *table_evidence(const struct evidence_usr *u)
{
	AUTO_JSON *o = json_object();
	int r = json_put_str(o, "data_device", u->data, NULL);

	if (r >= 0)
		r = json_put_str(o, "hash_device", u->hash, NULL);
	if (r >= 0)
		r = json_put_hex(o, "root_hash", u->root, 32, NULL);
	if (r >= 0)
		r = json_put_str(o, "algorithm", u->algorithm, NULL);
	if (r >= 0)
		r = json_put_hex(o, "salt", u->salt, u->salt_n, NULL);
	if (r >= 0)
		r = json_put_u64(o, "data_blocks", u->data_blocks, NULL);
	if (r >= 0)
		r = json_put_str(o, "on_corruption", u->on_corruption, NULL);
	return r < 0 ? NULL : json_incref(o);
}

static int check_table(struct audit *a, struct err *e)
{
	const struct evidence_usr *u = &a->usr;
	struct err why = ERR_INIT;
	int r = evidence_usr(&a->ev, &a->usr, &why);

	if (r == -ENODEV || r == -ENOENT)
		return report_add(&a->rep, "usr.verity", REPORT_FAIL, NULL, e,
				  "dm-verity does not protect /usr: %s.", why.text);
	if (r < 0)
		return report_unreadable(&a->rep, "usr.verity", &why, e);
	a->has_root = true;
	memcpy(a->root, u->root, 32);
	if (u->corrupted)
		r = report_add(&a->rep, "usr.corruption", REPORT_FAIL, NULL, e,
			       "The kernel has met a block of /usr that does not match its hash.");
	else
		r = report_add(&a->rep, "usr.corruption", REPORT_PASS, NULL, e,
			       "The kernel has met no bad block of /usr since it was started.");
	if (r < 0)
		return r;
	if (strcmp(u->on_corruption, "ignore") == 0)
		return report_add(&a->rep, "usr.verity", REPORT_FAIL, table_evidence(u), e,
				  "dm-verity is told to ignore corruption: it protects nothing.");
	if (a->uki.have && (!a->has_usrhash || memcmp(a->usrhash, u->root, 32) != 0))
		return report_add(
			&a->rep, "usr.verity", REPORT_FAIL, table_evidence(u), e,
			"The kernel enforces another root hash on /usr than the UKI names.");
	return report_add(&a->rep, "usr.verity", a->uki.have ? REPORT_PASS : REPORT_WARN,
			  table_evidence(u), e,
			  a->uki.have
				  ? "The kernel enforces on /usr the root hash that the UKI names "
				    "(on corruption: %s)."
				  : "dm-verity protects /usr (on corruption: %s), but there is no "
				    "UKI to compare its root hash with.",
			  u->on_corruption);
}

/* ---- slots ---- */

/* A slot's PARTUUIDs are its root hash, so they name it even when nothing else does. */
static void root_of_slot(const struct slot *s, uint8_t ret[32])
{
	memcpy(ret, s->data.uuid, 16);
	memcpy(ret + 16, s->hash.uuid, 16);
}

static json_t *slot_evidence(const struct slot *s)
{
	AUTO_JSON *o = json_object();
	char u[UUID_TEXT_MAX];
	int r = json_put_str(o, "label", s->data.label, NULL);

	uuid_format(s->data.uuid, u);
	if (r >= 0)
		r = json_put_str(o, "data_partuuid", u, NULL);
	uuid_format(s->hash.uuid, u);
	if (r >= 0)
		r = json_put_str(o, "hash_partuuid", u, NULL);
	if (r >= 0)
		r = json_put_u64(o, "data_bytes", s->data.bytes, NULL);
	return r < 0 ? NULL : json_incref(o);
}

/* The PARTUUIDs of a slot exchanged, or one of each slot: as good as gone, but worth its name. */
static bool is_crossed(const struct disk *d, const uint8_t root[32])
{
	uint8_t data[16], hash[16];

	slot_uuids(root, data, hash);
	for (int i = 0; i < 2; i++)
		if (memcmp(d->slot[i].data.uuid, hash, 16) == 0 ||
		    memcmp(d->slot[i].hash.uuid, data, 16) == 0 ||
		    memcmp(d->slot[i].data.uuid, data, 16) == 0 ||
		    memcmp(d->slot[i].hash.uuid, hash, 16) == 0)
			return true;
	return false;
}

static int check_super(struct audit *a, struct disk *d, enum slot_name s, struct err *e)
{
	const struct slot *sl = &d->slot[s];
	const struct verity_area hash = { d->fd, sl->hash.offset, sl->hash.bytes };
	const struct evidence_usr *u = &a->usr;
	struct verity_super super;
	struct err why = ERR_INIT;

	if (verity_super_read(a->ev.sys, &hash, &super, &why) < 0)
		return report_unreadable(&a->rep, "usr.superblock", &why, e);
	if (strcmp(digest_name(super.algorithm), u->algorithm) != 0 ||
	    super.data_block != u->data_block || super.hash_block != u->hash_block ||
	    super.data_blocks != u->data_blocks || super.salt_n != u->salt_n ||
	    memcmp(super.salt, u->salt, u->salt_n) != 0)
		return report_add(
			&a->rep, "usr.superblock", REPORT_FAIL, NULL, e,
			"The superblock on the disk describes another tree than the kernel "
			"uses.");
	return report_add(&a->rep, "usr.superblock", REPORT_PASS, NULL, e,
			  "The superblock on the disk describes the tree that the kernel uses.");
}

static int check_slot_running(struct audit *a, struct disk *d, struct err *e)
{
	enum slot_name s;
	struct err why = ERR_INIT;
	int r;

	if (disk_slot_of(d, a->root, &s, &why) < 0)
		return report_add(
			&a->rep, "usr.partuuids", REPORT_FAIL, NULL, e,
			is_crossed(d, a->root)
				? "No slot has both PARTUUIDs of the running root hash: they "
				  "were exchanged or changed."
				: "No slot on %s has the PARTUUIDs of the running root hash.",
			d->path);
	r = report_add(&a->rep, "usr.partuuids", REPORT_PASS, slot_evidence(&d->slot[s]), e,
		       "/usr runs from slot %c, whose PARTUUIDs are the running root hash.",
		       slot_letter(s));
	return r < 0 ? r : check_super(a, d, s, e);
}

/* ---- the whole of a slot, read and hashed ---- */

static const char *bad_kind(const struct verity_bad *b)
{
	switch (b->kind) {
	case VERITY_BAD_SUPER:
		return "its superblock is another one";
	case VERITY_BAD_HASH:
		return "a block of its hash tree is wrong";
	case VERITY_BAD_DATA:
		return "a block of its data is wrong";
	case VERITY_BAD_NONE:
		break;
	}
	return "it does not match";
}

int audit_slot_verify(const struct audit *a, const struct disk *d, enum slot_name s,
		      const uint8_t root[32], struct verity_bad *bad, struct err *e)
{
	const struct slot *sl = &d->slot[s];
	struct verity_check c = {
		.data = { d->fd, sl->data.offset, sl->data.bytes },
		.hash = { d->fd, sl->hash.offset, sl->hash.bytes },
		.root = root,
	};
	const struct verity_work w = { .progress = a->progress, .arg = a->progress_arg };
	struct sys *sys = a->ev.sys;
	struct verity_super super;
	int r;

	/* the medium is asked, not what a reader of this device has left in memory */
	(void)sys->ops->forget(sys, d->fd, sl->data.offset, sl->data.bytes);
	(void)sys->ops->forget(sys, d->fd, sl->hash.offset, sl->hash.bytes);
	r = verity_super_read(sys, &c.hash, &super, e);
	c.super = &super;
	return r < 0 ? r : verity_verify(sys, &c, &w, bad, e);
}

static int check_deep(struct audit *a, struct disk *d, enum slot_name s, struct err *e)
{
	struct verity_bad bad = { .kind = VERITY_BAD_NONE };
	struct err why = ERR_INIT;
	uint8_t root[32];
	char id[32];
	int r;

	(void)snprintf(id, sizeof(id), "usr.deep.%c", slot_letter(s));
	if (strcmp(d->slot[s].data.label, SLOT_LABEL_EMPTY) == 0 || !d->slot[s].data.label[0])
		return report_add(&a->rep, id, REPORT_ABSENT, NULL, e, "Slot %c is empty.",
				  slot_letter(s));
	root_of_slot(&d->slot[s], root);
	r = audit_slot_verify(a, d, s, root, &bad, &why);
	if (r >= 0)
		return report_add(
			&a->rep, id, REPORT_PASS, slot_evidence(&d->slot[s]), e,
			"Every block of slot %c was read and leads to the root hash of its "
			"PARTUUIDs.",
			slot_letter(s));
	if (why.kind != ERR_REFUSED)
		return report_unreadable(&a->rep, id, &why, e);
	return report_add(&a->rep, id, REPORT_FAIL, slot_evidence(&d->slot[s]), e,
			  "Slot %c does not hold what its PARTUUIDs say: %s (byte %llu).",
			  slot_letter(s), bad_kind(&bad), (unsigned long long)bad.at);
}

static int check_disk(struct audit *a, struct err *e)
{
	AUTO_DISK *d = NULL;
	struct err why = ERR_INIT;
	int r;

	if (!a->ev.disk[0])
		return report_add(
			&a->rep, "usr.partuuids", REPORT_ABSENT, NULL, e,
			"No disk was found or given (--disk): its slots are not checked.");
	if (disk_open(a->ev.sys, a->ev.disk, NULL, &d, &why) < 0)
		return report_unreadable(&a->rep, "usr.partuuids", &why, e);
	r = a->has_root ? check_slot_running(a, d, e) : 0;
	if (r >= 0 && a->deep)
		r = check_deep(a, d, SLOT_A, e);
	if (r >= 0 && a->deep)
		r = check_deep(a, d, SLOT_B, e);
	return r;
}

/* ---- the record ---- */

static int check_record(struct audit *a, struct err *e)
{
	AUTO_FREE struct record *rec = malloc(sizeof(*rec));
	struct err why = ERR_INIT;

	if (!rec)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (a->ev.state < 0)
		return report_unreadable(&a->rep, "usr.record", &a->ev.no_state, e);
	if (record_load(a->ev.sys, a->ev.state, rec, &why) < 0)
		return report_unreadable(&a->rep, "usr.record", &why, e);
	if (rec->damaged)
		return report_add(&a->rep, "usr.record", REPORT_WARN, NULL, e,
				  "A copy of the record does not match its checksum.");
	if (!a->has_root || !rec->seq)
		return report_add(&a->rep, "usr.record", REPORT_ABSENT, NULL, e,
				  "There is no record, or no root hash to look for in it.");
	if (memcmp(rec->good.root, a->root, 32) == 0)
		return report_add(&a->rep, "usr.record", REPORT_PASS, NULL, e,
				  "The record says that this root hash, %s, was found good here.",
				  rec->good.version);
	if (rec->phase == RECORD_APPLIED && memcmp(rec->target.root, a->root, 32) == 0)
		return report_add(
			&a->rep, "usr.record", REPORT_WARN, NULL, e,
			"The record says that this root hash, %s, was applied; it was not "
			"found good yet.",
			rec->target.version);
	return report_add(&a->rep, "usr.record", REPORT_FAIL, NULL, e,
			  "The record knows nothing of the root hash that runs.");
}

int audit_usr(struct audit *a, struct err *e)
{
	int r = check_table(a, e);

	if (r >= 0)
		r = check_disk(a, e);
	return r < 0 ? r : check_record(a, e);
}
