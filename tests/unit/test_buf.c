/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <string.h>

#include "tests/test.h"

static void check_growth(void)
{
	AUTO_BUF b = { .max = 1000 };
	struct err e = ERR_INIT;
	char byte;

	for (unsigned i = 0; i < 1000; i++) {
		byte = (char)(i % 251);
		CHECK(buf_add(&b, &byte, 1, &e) == 0, "%u: %s", i, e.text);
		CHECK(b.n == i + 1 && b.p[b.n] == '\0', "%u", i);
	}
	CHECK(buf_add(&b, "x", 1, &e) == -EFBIG && e.os == EFBIG, "beyond max");
	CHECK(buf_addf(&b, &e, "%d", 5) == -EFBIG, "beyond max");
	CHECK(buf_reserve(&b, SIZE_MAX, &e) == -EFBIG, "beyond everything");
	CHECK(b.n == 1000, "%zu", b.n);
	for (unsigned i = 0; i < 1000; i++)
		CHECK(b.p[i] == (char)(i % 251), "byte %u", i);
}

static void check_text(void)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(buf_addf(&b, &e, "%s-%d", "x", 42) == 0 && buf_add(&b, NULL, 0, &e) == 0, "%s",
	      e.text);
	CHECK(buf_addf(&b, &e, "%0500d", 7) == 0 && b.n == 504, "%zu", b.n);
	CHECK(strncmp(b.p, "x-420000", 8) == 0 && b.p[503] == '7', "'%s'", b.p);
	CHECK(buf_reserve(&b, 9000, &e) == 0 && b.n == 504, "reserve counts nothing");
	memset(b.p + b.n, 'r', 9000);
	b.n += 9000;
	CHECK(buf_add(&b, "!", 1, &e) == 0 && b.p[9504] == '!' && b.p[9505] == '\0', "behind it");
}

static void check_le(void)
{
	uint8_t m[9] = { 0 };

	le64_put(m + 1, 0x0123456789abcdefu);
	CHECK(m[1] == 0xef && m[8] == 0x01, "order of bytes");
	CHECK(le64_get(m + 1) == 0x0123456789abcdefu, "64");
	CHECK(le32_get(m + 1) == 0x89abcdefu && le16_get(m + 1) == 0xcdef, "32, 16");
	le32_put(m + 3, 0xfedcba98u);
	le16_put(m + 3, 0x1234);
	CHECK(le32_get(m + 3) == 0xfedc1234u, "%x", le32_get(m + 3));
	le64_put(m, UINT64_MAX);
	CHECK(le64_get(m) == UINT64_MAX && le32_get(m) == UINT32_MAX, "all ones");
}

int main(void)
{
	check_growth();
	check_text();
	check_le();
	return 0;
}
