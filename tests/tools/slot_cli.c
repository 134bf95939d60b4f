/* SPDX-License-Identifier: Apache-2.0 */
/*
 * updater/slot on the command line, for the integration test:
 *   slot-cli DISK ARCH COMMAND...
 * show (a JSON line), mark A|B LABEL ROOT|-, protect A|B, repair, of ROOT, fits A|B DATA HASH,
 * ours A|B IMAGE, area A|B data|hash ro|rw. Exit status 1 with a sentence at the first failure.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/slot/disk.h"
#include "verity/image.h"

struct args {
	char **v;
	int n, at;
};

static const char *next(struct args *a)
{
	CHECK(a->at < a->n, "argument missing");
	return a->v[a->at++];
}

static enum slot_name next_slot(struct args *a)
{
	return *next(a) == 'A' ? SLOT_A : SLOT_B;
}

static void show_part(const char *name, const struct slot_part *p)
{
	char uuid[UUID_TEXT_MAX], type[UUID_TEXT_MAX];

	uuid_format(p->uuid, uuid);
	uuid_format(p->type, type);
	printf("\"%s\": {\"number\": %u, \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"uuid\": \"%s\", \"type\": \"%s\", \"flags\": %" PRIu64 ", \"label\": \"%s\"}",
	       name, p->number, p->offset, p->bytes, uuid, type, p->flags, p->label);
}

static void show(const struct disk *d)
{
	printf("{\"sector\": %u, \"bytes\": %" PRIu64 ", \"n\": %u, \"primary_bad\": %s, "
	       "\"backup_bad\": %s, ",
	       d->sector, d->bytes, d->n_part, d->primary_bad ? "true" : "false",
	       d->backup_bad ? "true" : "false");
	show_part("a", &d->slot[SLOT_A].data);
	printf(", ");
	show_part("a_hash", &d->slot[SLOT_A].hash);
	printf(", ");
	show_part("b", &d->slot[SLOT_B].data);
	printf(", ");
	show_part("b_hash", &d->slot[SLOT_B].hash);
	printf("}\n");
}

static int mark(struct disk *d, struct args *a, struct err *e)
{
	enum slot_name s = next_slot(a);
	const char *label = next(a), *hex = next(a);
	uint8_t root[32];
	int r = 0;

	if (strcmp(hex, "-") == 0)
		return disk_slot_mark(d, s, label, NULL, e);
	r = hex_parse(hex, "root hash", root, sizeof(root), e);
	return r < 0 ? r : disk_slot_mark(d, s, label, root, e);
}

static int fits(struct disk *d, struct args *a, struct err *e)
{
	enum slot_name s = next_slot(a);
	uint64_t data = strtoull(next(a), NULL, 10);

	return disk_slot_fits(d, s, data, strtoull(next(a), NULL, 10), e);
}

static int of(struct disk *d, struct args *a, struct err *e)
{
	enum slot_name s;
	uint8_t root[32];
	int r = hex_parse(next(a), "root hash", root, sizeof(root), e);

	if (r >= 0)
		r = disk_slot_of(d, root, &s, e);
	if (r >= 0)
		printf("%c\n", slot_letter(s));
	return r;
}

static int area(struct disk *d, struct args *a, struct err *e)
{
	enum slot_name s = next_slot(a);
	bool hash = strcmp(next(a), "hash") == 0;
	struct verity_area v;
	int r = slot_area(d, s, hash, strcmp(next(a), "rw") == 0, &v, e);

	if (r >= 0)
		printf("%" PRIu64 " %" PRIu64 "\n", v.offset, v.bytes);
	return r;
}

static int command(struct disk *d, const char *name, struct args *a, struct err *e)
{
	enum slot_name s;

	if (strcmp(name, "show") == 0) {
		show(d);
		return 0;
	}
	if (strcmp(name, "mark") == 0)
		return mark(d, a, e);
	if (strcmp(name, "repair") == 0)
		return disk_repair(d, e);
	if (strcmp(name, "fits") == 0)
		return fits(d, a, e);
	if (strcmp(name, "of") == 0)
		return of(d, a, e);
	if (strcmp(name, "area") == 0)
		return area(d, a, e);
	if (strcmp(name, "protect") == 0) {
		disk_protect(d, next_slot(a));
		return 0;
	}
	CHECK(strcmp(name, "ours") == 0, "no command '%s'", name);
	s = next_slot(a);
	return disk_slot_check_ours(d, s, next(a), e);
}

int main(int argc, char **argv)
{
	struct args a = { .v = argv, .n = argc, .at = 1 };
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;
	const char *path = next(&a);
	int r = disk_open(sys_linux(), path, next(&a), &d, &e);

	while (r >= 0 && a.at < a.n) {
		const char *name = next(&a);

		r = command(d, name, &a, &e);
	}
	if (r < 0) {
		(void)fprintf(stderr, "slot-cli: %s\n", e.text);
		return 1;
	}
	return 0;
}
