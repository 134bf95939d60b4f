/* SPDX-License-Identifier: Apache-2.0 */
/* Judged by sha1sum, sha256sum and sha512sum on random data, whole and in random pieces. */
#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/sha256_lanes.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "tests/dice.h"
#include "tests/test.h"

enum { DATA = 300000, ROUNDS = 40, EACH = 3000, EACH_MAX = 11, HEX_MAX = 2 * DIGEST_MAX + 1 };

static uint8_t data[DATA];
static char file_name[] = "/tmp/proa-digest-XXXXXX";

/* The judge's digits for what is in the file. */
static void judge(const char *tool, char out[HEX_MAX])
{
	const char *const argv[] = { tool, file_name, NULL };
	AUTO_BUF text = BUF_INIT;
	struct spawn s = { .argv = argv, .out = &text, .out_max = 4096 };
	struct spawn_result res;
	struct err e = ERR_INIT;
	size_t n;

	CHECK(spawn_run(&s, &res, &e) == 0 && res.end == SPAWN_EXIT && res.code == 0, "%s", e.text);
	n = strspn(text.p, "0123456789abcdef");
	CHECK(n > 0 && n / 2 <= DIGEST_MAX, "'%s'", text.p);
	memcpy(out, text.p, n);
	out[n] = '\0';
}

static void add_pieces(struct digest *d, size_t from, size_t to)
{
	while (from < to) {
		size_t n = (size_t)(dice() % 9000);

		if (n > to - from)
			n = to - from;
		digest_add(d, data + from, n);
		from += n;
	}
}

static void check_kind(int fd, size_t n, size_t prefix, enum digest_kind k)
{
	static const char *const tools[] = { "sha1sum", "sha256sum", "sha512sum" };
	AUTO_DIGEST *d = NULL;
	uint8_t out[DIGEST_MAX];
	char want[HEX_MAX], got[HEX_MAX];
	struct err e = ERR_INIT;

	judge(tools[k], want);
	CHECK(digest_new(k, data, prefix, &d, &e) == 0, "%s", e.text);
	/* three times: each must begin behind the prefix again */
	for (unsigned i = 0; i < 3; i++) {
		add_pieces(d, prefix, n);
		digest_end(d, out);
		hex_format(out, digest_size(k), got);
		CHECK(strcmp(want, got) == 0, "%s of %zu bytes, prefix %zu, round %u",
		      digest_name(k), n, prefix, i);
	}
	if (k != DIGEST_SHA256)
		return;
	sha256(data, n, out);
	hex_format(out, SHA256_BYTES, got);
	CHECK(strcmp(want, got) == 0, "sha256() of %zu bytes", n);
	CHECK(sha256_fd(sys_linux(), fd, n, out, &e) == 0, "%s", e.text);
	hex_format(out, SHA256_BYTES, got);
	CHECK(strcmp(want, got) == 0, "sha256_fd() of %zu bytes", n);
	CHECK(sha256_fd(sys_linux(), fd, n + 1, out, &e) == -ENODATA, "one byte too many");
}

/* Many at once give what one by one gives, which the judges above have confirmed. */
static void check_each(void)
{
	static uint8_t got[EACH_MAX * DIGEST_MAX];
	uint8_t want[DIGEST_MAX];
	enum digest_kind k = (enum digest_kind)(dice() % 8 ? DIGEST_SHA256 : dice() % 3);
	size_t n = (size_t)(dice() % 4 ? UINT64_C(64) << dice() % 7 : 1 + dice() % 5000);
	size_t count = (size_t)(dice() % (EACH_MAX + 1)), size = digest_size(k);
	size_t prefix = (size_t)(dice() % 4 ? 32 : dice() % 300), from = (size_t)(dice() % 64);
	AUTO_DIGEST *d = NULL;
	struct err e = ERR_INIT;

	CHECK(digest_new(k, data, prefix, &d, &e) == 0, "%s", e.text);
	memset(got, 0x55, sizeof(got));
	digest_each(d, data + from, n, count, got);
	for (size_t i = 0; i < count; i++) {
		digest_add(d, data + from + i * n, n);
		digest_end(d, want);
		CHECK(memcmp(got + i * size, want, size) == 0,
		      "%s: message %zu of %zu, %zu bytes each, prefix %zu", digest_name(k), i,
		      count, n, prefix);
	}
	CHECK(count == EACH_MAX || got[count * size] == 0x55, "wrote behind the last digest");
}

static void check_names(void)
{
	enum digest_kind k = DIGEST_SHA1;
	struct err e = ERR_INIT;

	CHECK(digest_by_name("sha512", &k, &e) == 0 && k == DIGEST_SHA512, "%s", e.text);
	CHECK(digest_by_name("md5", &k, &e) == -EOPNOTSUPP && e.kind == ERR_INPUT, "md5");
	CHECK(digest_by_name("SHA256", &k, &e) < 0 && k == DIGEST_SHA512, "capitals");
	CHECK(digest_size(DIGEST_SHA1) == 20 && digest_size(DIGEST_SHA512) == 64, "sizes");
}

int main(void)
{
	int fd = mkstemp(file_name);

	CHECK(fd >= 0, "mkstemp");
	dice_seed();
	for (size_t i = 0; i < DATA; i++)
		data[i] = (uint8_t)(dice() >> 32);
	check_names();
	printf("SHA-256 of several messages at once: %s\n",
	       sha256_lanes_here() ? "tested" : "NOT TESTED, this processor has no SHA extensions");
	for (unsigned i = 0; i < EACH; i++)
		check_each();
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t n = (size_t)(dice() % (i % 2 ? 300 : DATA)), prefix;

		prefix = i % 3 == 0 ? 0 : (size_t)(dice() % (i % 3 == 1 ? 64 : 1000));
		if (prefix > n)
			prefix = n;
		CHECK(ftruncate(fd, 0) == 0 && sys_write_full(sys_linux(), fd, data, n, 0) == 0,
		      "write");
		for (enum digest_kind k = DIGEST_SHA1; k <= DIGEST_SHA512; k++)
			check_kind(fd, n, prefix, k);
	}
	(void)close(fd);
	(void)unlink(file_name);
	return 0;
}
