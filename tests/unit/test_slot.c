/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of updater/slot, and sysfs as a directory. Disks: tests/integration/test_slot.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/slot/arch.h"
#include "updater/slot/disk.h"
#include "updater/slot/find.h"
#include "updater/slot/gpt.h"

static void test_label(void)
{
	static const struct {
		const char *label;
		enum slot_label_kind kind;
		const char *version;
	} table[] = {
		{ "", SLOT_LABEL_FREE, "" },
		{ "_empty", SLOT_LABEL_FREE, "" },
		{ "web_1.0.0", SLOT_LABEL_OURS, "1.0.0" },
		{ "web_1.0.0_verity", SLOT_LABEL_OURS, "1.0.0" },
		{ "PRT#web_1.0.0", SLOT_LABEL_PARTIAL, "" },
		{ "PND#web_1.0.0", SLOT_LABEL_PARTIAL, "" },
		{ "PRT#db_1.0.0", SLOT_LABEL_FOREIGN, "" },
		{ "web", SLOT_LABEL_FOREIGN, "" },
		{ "web_", SLOT_LABEL_FOREIGN, "" },
		{ "web_verity", SLOT_LABEL_OURS, "verity" },
		{ "web_1 2", SLOT_LABEL_FOREIGN, "" },
		{ "web_1_2", SLOT_LABEL_FOREIGN, "" },
		{ "webb_1", SLOT_LABEL_FOREIGN, "" },
		{ "we_1", SLOT_LABEL_FOREIGN, "" },
		{ "_Empty", SLOT_LABEL_FOREIGN, "" },
		{ "_verity", SLOT_LABEL_FOREIGN, "" },
		{ "usr", SLOT_LABEL_FOREIGN, "" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char version[65] = "";
		enum slot_label_kind k = slot_label_parse(table[i].label, "web", version);

		CHECK(k == table[i].kind && strcmp(version, table[i].version) == 0,
		      "'%s': kind %d version '%s'", table[i].label, (int)k, version);
	}
}

static void test_label_format(void)
{
	char out[SLOT_LABEL_CHARS + 1] = "";
	struct err e = ERR_INIT;

	CHECK(slot_label_format("web", "1.0.0", out, &e) == 0 && strcmp(out, "web_1.0.0") == 0,
	      "%s", out);
	CHECK(slot_label_format("web", "12345678901234567890123456789012", out, &e) == 0, "36");
	CHECK(strlen(out) == SLOT_LABEL_CHARS, "%s", out);
	CHECK(slot_label_format("web", "123456789012345678901234567890123", out, &e) ==
		      -ENAMETOOLONG,
	      "37 characters");
	CHECK(e.kind == ERR_REFUSED && strlen(out) == SLOT_LABEL_CHARS, "out is untouched");
	CHECK(slot_label_format("web", "1_2", out, &e) == -EINVAL, "version");
	CHECK(slot_label_format("Web", "1", out, &e) == -EINVAL, "image");
}

static void test_slot_label(void)
{
	static const struct {
		const char *data, *hash;
		enum slot_label_kind kind;
	} table[] = {
		{ "web_1", "web_1", SLOT_LABEL_OURS },
		{ "web_1", "web_1_verity", SLOT_LABEL_OURS },
		{ "web_1", "web_2", SLOT_LABEL_PARTIAL },
		{ "web_1", "_empty", SLOT_LABEL_PARTIAL },
		{ "_empty", "", SLOT_LABEL_FREE },
		{ "_empty", "db_1", SLOT_LABEL_FOREIGN },
		{ "db_1", "web_1", SLOT_LABEL_FOREIGN },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct slot s = { 0 };

		(void)snprintf(s.data.label, sizeof(s.data.label), "%s", table[i].data);
		(void)snprintf(s.hash.label, sizeof(s.hash.label), "%s", table[i].hash);
		CHECK(disk_slot_label(&s, "web", NULL) == table[i].kind, "%s + %s", table[i].data,
		      table[i].hash);
	}
}

enum { LAST = 1023, SECTOR = 512 };

/* A good primary header; the cases below break one field each. */
static void header_make(uint8_t p[SECTOR])
{
	memset(p, 0, SECTOR);
	memcpy(p, "EFI PART", sizeof("EFI PART") - 1); /* NOLINT(bugprone-not-null*) */
	p[10] = 1;
	le32_put(p + 12, 92);
	le64_put(p + 24, 1);
	le64_put(p + 32, LAST);
	le64_put(p + 40, 34);
	le64_put(p + 48, LAST - 33);
	le64_put(p + 72, 2);
	le32_put(p + 80, 128);
	le32_put(p + 84, 128);
}

static int header_try(uint8_t p[SECTOR])
{
	struct gpt_header h;
	struct err e = ERR_INIT;
	uint32_t n = le32_get(p + 12);

	le32_put(p + 16, 0);
	if (n <= SECTOR)
		le32_put(p + 16, gpt_crc32(p, n));
	return gpt_header_parse(p, SECTOR, 1, LAST, &h, &e);
}

static void test_header(void)
{
	static const struct {
		unsigned at, width;
		uint64_t value;
		int ok;
	} table[] = {
		{ 24, 8, 1, 1 },          { 24, 8, 2, 0 },          { 12, 4, 91, 0 },
		{ 12, 4, 93, 1 },         { 12, 4, 512, 1 },        { 12, 4, 513, 0 },
		{ 12, 4, UINT32_MAX, 0 }, { 32, 8, 0, 0 },          { 32, 8, 1, 0 },
		{ 32, 8, LAST + 1, 0 },   { 32, 8, 500, 0 },        { 32, 8, 33, 0 },
		{ 32, 8, LAST - 5, 1 },   { 40, 8, 33, 0 },         { 40, 8, 35, 1 },
		{ 40, 8, LAST, 0 },       { 48, 8, LAST, 0 },       { 48, 8, UINT64_MAX, 0 },
		{ 48, 8, LAST - 1, 1 },   { 72, 8, 0, 0 },          { 72, 8, 1, 0 },
		{ 72, 8, 3, 0 },          { 72, 8, UINT64_MAX, 0 }, { 72, 8, UINT64_MAX - 30, 0 },
		{ 72, 8, LAST - 32, 0 },  { 72, 8, 600, 0 },        { 80, 4, 0, 0 },
		{ 80, 4, 4, 1 },          { 80, 4, 129, 0 },        { 80, 4, UINT32_MAX, 0 },
		{ 84, 4, 256, 0 },        { 84, 4, 0, 0 },          { 0, 4, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint8_t p[SECTOR];
		int r;

		header_make(p);
		if (table[i].width == 8)
			le64_put(p + table[i].at, table[i].value);
		else
			le32_put(p + table[i].at, (uint32_t)table[i].value);
		r = header_try(p);
		CHECK((r == 0) == table[i].ok, "offset %u value %llu: %d", table[i].at,
		      (unsigned long long)table[i].value, r);
	}
}

static void test_only_marked(void)
{
	uint8_t a[4 * 128], b[4 * 128];

	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = (uint8_t)(i * 7);
	memcpy(b, a, sizeof(a));
	CHECK(gpt_only_marked(a, b, 4, 0, 0), "same");
	for (size_t i = 0; i < sizeof(a); i++) {
		/* entries 2 and 4: PARTUUID, label, and bits 59 and 60 of the flags are free */
		size_t n = i / 128 + 1, at = i % 128;
		bool may = (n == 2 || n == 4) && ((at >= 16 && at < 32) || at >= 56);

		b[i] ^= 0x20;
		CHECK(gpt_only_marked(a, b, 4, 2, 4) == may, "byte %zu of entry %zu", at, n);
		CHECK(!gpt_only_marked(a, b, 4, 0, 0), "byte %zu", i);
		b[i] ^= 0x20;
	}
	b[128 + 55] ^= 0x18;
	CHECK(gpt_only_marked(a, b, 4, 2, 4), "the two flags");
}

static void dir_make(const char *path)
{
	CHECK(mkdir(path, 0700) == 0, "%s: %s", path, strerror(errno));
}

static void attr_make(const char *dir, const char *name, const char *text)
{
	char path[300];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void link_make(const char *to, const char *path)
{
	CHECK(symlink(to, path) == 0, "%s", path);
}

/* /sys of a host with one disk vda (252:0), its partitions 1 and 2, and usr (253:0) over vda2. */
static void sysfs_make(void)
{
	dir_make("dev");
	dir_make("dev/block");
	dir_make("block");
	dir_make("block/vda");
	attr_make("block/vda", "dev", "252:0\n");
	dir_make("block/vda/vda1");
	attr_make("block/vda/vda1", "dev", "252:1\n");
	attr_make("block/vda/vda1", "partition", "1\n");
	attr_make("block/vda/vda1", "start", "2048\n");
	attr_make("block/vda/vda1", "size", "4096\n");
	dir_make("block/vda/vda2");
	attr_make("block/vda/vda2", "dev", "252:2\n");
	attr_make("block/vda/vda2", "partition", "2\n");
	attr_make("block/vda/vda2", "start", "8192\n");
	attr_make("block/vda/vda2", "size", "16\n");
	dir_make("block/dm-0");
	attr_make("block/dm-0", "dev", "253:0\n");
	dir_make("block/dm-0/slaves");
	link_make("../../vda/vda2", "block/dm-0/slaves/vda2");
	link_make("../../block/vda", "dev/block/252:0");
	link_make("../../block/vda/vda1", "dev/block/252:1");
	link_make("../../block/vda/vda2", "dev/block/252:2");
	link_make("../../block/dm-0", "dev/block/253:0");
}

static void test_find(void)
{
	char tmp[] = "/tmp/proa-test-slot.XXXXXX", path[DISK_PATH_MAX] = "";
	char cmd[] = "rm -rf /tmp/proa-test-slot.XXXXXX";
	struct slot_part p = { .number = 2,
			       .offset = UINT64_C(8192) * 512,
			       .bytes = UINT64_C(16) * 512 };
	struct disk_node node;
	struct sys *sys = sys_linux();
	struct err e = ERR_INIT;

	CHECK(mkdtemp(tmp) && chdir(tmp) == 0, "temporary directory");
	memcpy(cmd + 7, tmp, sizeof(tmp));
	sysfs_make();

	CHECK(disk_find_number(sys, tmp, 252, 1, path, &e) == 0 && !strcmp(path, "/dev/vda"),
	      "%s %s", path, e.text);
	path[0] = '\0';
	CHECK(disk_find_number(sys, tmp, 253, 0, path, &e) == 0 && !strcmp(path, "/dev/vda"),
	      "%s %s", path, e.text);
	CHECK(disk_find_number(sys, tmp, 252, 0, path, &e) == -ENODEV, "a whole disk");
	CHECK(disk_find_number(sys, tmp, 9, 9, path, &e) == -ENODEV, "unknown");

	CHECK(disk_part_node(sys, tmp, 252, 0, &p, &node, &e) == 0, "%s", e.text);
	CHECK(!strcmp(node.path, "/dev/vda2") && node.major == 252 && node.minor == 2, "%s",
	      node.path);
	p.bytes += 512;
	CHECK(disk_part_node(sys, tmp, 252, 0, &p, &node, &e) == -ESTALE, "another size");
	p.number = 3;
	CHECK(disk_part_node(sys, tmp, 252, 0, &p, &node, &e) == 0 && node.path[0] == '\0',
	      "no node");
	CHECK(chdir("/") == 0 && system(cmd) == 0, "%s", cmd); /* NOLINT(cert-env33-c) */
}

static void test_arch(void)
{
	const struct slot_arch *a = NULL, *b = NULL;
	struct err e = ERR_INIT;

	CHECK(slot_arch_by_name("arm64", &a, &e) == 0 && !strcmp(a->efi, "aa64"), "arm64");
	CHECK(slot_arch_by_name("sparc", &b, &e) == -EOPNOTSUPP && !b, "sparc");
	CHECK(slot_arch_by_name(NULL, &b, &e) == 0 && b, "own");
}

int main(void)
{
	CHECK(gpt_crc32("123456789", 9) == 0xcbf43926, "CRC-32 check value");
	test_label();
	test_label_format();
	test_slot_label();
	test_header();
	test_only_marked();
	test_find();
	test_arch();
	return 0;
}
