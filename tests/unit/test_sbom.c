/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/buf.h"
#include "tests/test.h"
#include "updater/audit/sbom.h"

#define HASH "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static const char spdx[] = "{\"spdxVersion\":\"SPDX-2.3\",\"name\":\"web_1.0.0\",\"packages\":["
			   "{\"name\":\"libc6\",\"versionInfo\":\"2.36\",\"checksums\":["
			   "{\"algorithm\":\"SHA1\",\"checksumValue\":\"x\"},"
			   "{\"algorithm\":\"SHA256\",\"checksumValue\":\"" HASH "\"}]},"
			   "{\"name\":\"zlib\\u001b[2J\"}]}";
static const char cyclone[] =
	"{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.6\",\"metadata\":{\"component\":{"
	"\"type\":\"operating-system\",\"name\":\"web\",\"version\":\"1.0.0\"}},\"components\":["
	"{\"type\":\"library\",\"name\":\"libc6\",\"version\":\"2.36\",\"hashes\":["
	"{\"alg\":\"SHA-256\",\"content\":\"" HASH "\"}]}]}";

struct seen {
	size_t n, hashed;
};

static int see(void *arg, const char *name, const char *version, const char *hash)
{
	struct seen *s = arg;

	CHECK(name[0] && version && hash, "component");
	s->n++;
	s->hashed += strcmp(hash, HASH) == 0 && strcmp(version, "2.36") == 0;
	return 0;
}

static void test_kinds(void)
{
	struct seen s = { 0, 0 };
	struct err e = ERR_INIT;
	struct sbom b;

	CHECK(sbom_read(spdx, sizeof(spdx) - 1, "s", &b, &e) == 0, "%s", e.text);
	CHECK(b.kind == SBOM_SPDX && b.components == 2 && b.without_version == 1 &&
		      b.without_hash == 1 && strcmp(b.name, "web_1.0.0") == 0,
	      "spdx");
	CHECK(sbom_each(spdx, sizeof(spdx) - 1, "s", see, &s, &e) == 0 && s.n == 2 && s.hashed == 1,
	      "each");
	CHECK(sbom_read(cyclone, sizeof(cyclone) - 1, "c", &b, &e) == 0, "%s", e.text);
	CHECK(b.kind == SBOM_CYCLONEDX && b.components == 1 && b.without_hash == 0 &&
		      strcmp(b.version, "1.0.0") == 0 && strcmp(b.spec, "1.6") == 0,
	      "cyclonedx");
}

static void test_bad(void)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"spdxVersion\":\"SPDX-3.0\"}",
		"{\"bomFormat\":\"CycloneDX\",\"components\":{}}",
		"{\"bomFormat\":\"CycloneDX\",\"components\":[{\"version\":\"1\"}]}",
		"{\"spdxVersion\":\"SPDX-2.3\",\"packages\":[7]}",
	};
	struct err e = ERR_INIT;
	struct sbom b;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(sbom_read(bad[i], strlen(bad[i]), "b", &b, &e) < 0 && e.kind == ERR_INPUT,
		      "%s", bad[i]);
	for (size_t n = 0; n < sizeof(spdx) - 1; n++)
		CHECK(sbom_read(spdx, n, "b", &b, &e) < 0, "cut at %zu", n);
	for (size_t n = 0; n < sizeof(cyclone) - 1; n++)
		CHECK(sbom_read(cyclone, n, "b", &b, &e) < 0, "cut at %zu", n);
}

/* Nested deeper than any document, and more components than any system. */
static void test_huge(void)
{
	AUTO_BUF text = BUF_INIT;
	struct err e = ERR_INIT;
	struct sbom b;

	CHECK(buf_addf(&text, &e, "{\"spdxVersion\":\"SPDX-2.3\",\"packages\":") == 0, "memory");
	for (size_t i = 0; i < 100000; i++)
		CHECK(buf_add(&text, "[", 1, &e) == 0, "memory");
	CHECK(sbom_read(text.p, text.n, "b", &b, &e) < 0 && e.kind == ERR_INPUT, "deep");
	buf_done(&text);
	text = (struct buf)BUF_INIT;
	CHECK(buf_addf(&text, &e, "{\"spdxVersion\":\"SPDX-2.3\",\"packages\":[{\"name\":\"a\"}") ==
		      0,
	      "memory");
	for (size_t i = 0; i < 100000; i++)
		CHECK(buf_addf(&text, &e, ",{\"name\":\"b%zu\"}", i) == 0, "memory");
	CHECK(buf_addf(&text, &e, "]}") == 0, "memory");
	CHECK(sbom_read(text.p, text.n, "b", &b, &e) == 0 && b.components == 100001, "%s", e.text);
}

int main(void)
{
	test_kinds();
	test_bad();
	test_huge();
	return 0;
}
