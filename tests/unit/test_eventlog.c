/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/audit_data.h"
#include "updater/audit/eventlog.h"

#define LOG "sys/kernel/security/tpm0/binary_bios_measurements"

static const unsigned firmware_pcrs[] = { 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12 };
enum { N_PCRS = sizeof(firmware_pcrs) / sizeof(firmware_pcrs[0]) };

static bool leads_to_tpm(const struct eventlog *l)
{
	struct pcr_bank b;
	uint8_t real[32];

	if (eventlog_replay(l, TCG_SHA256, &b, NULL) < 0)
		return false;
	for (size_t i = 0; i < N_PCRS; i++) {
		data_pcr(firmware_pcrs[i], real);
		if (!(b.have >> firmware_pcrs[i] & 1) ||
		    memcmp(real, b.value[firmware_pcrs[i]], 32) != 0)
			return false;
	}
	return true;
}

/* A real log leads to the values its TPM had; every event of a checked type matches its data. */
static void test_real(void)
{
	size_t n, images = 0, texts = 0, vars = 0;
	uint8_t *p = data_read(LOG, &n);
	struct err e = ERR_INIT;
	AUTO_EVENTLOG *l = NULL;

	CHECK(eventlog_read(p, n, &l, &e) == 0, "%s", e.text);
	CHECK(l->agile && l->n_alg == 4 && l->n > 30, "%zu banks %zu events", l->n_alg, l->n);
	CHECK(leads_to_tpm(l), "replay");
	for (size_t i = 0; i < l->n; i++) {
		struct eventlog_variable v;
		char text[600];

		CHECK(eventlog_matches(&l->event[i], TCG_SHA256) != 0, "event %zu", i);
		images += l->event[i].type == EV_EFI_BOOT_SERVICES_APPLICATION;
		vars += eventlog_variable(&l->event[i], &v);
		texts += l->event[i].pcr == 12 &&
			 strstr(eventlog_text(&l->event[i], text, sizeof(text)), "usrhash=");
	}
	CHECK(images == 2 && texts == 1 && vars >= 6, "%zu %zu %zu", images, texts, vars);
	free(p);
}

/* 1: the first k bytes read as a log, which must not lead to the TPM's values. */
static int read_prefix(const uint8_t *p, size_t k)
{
	uint8_t *copy = malloc(k ? k : 1);
	struct eventlog *l = NULL;
	struct err e = ERR_INIT;
	int r;

	CHECK(copy, "memory");
	memcpy(copy, p, k);
	r = eventlog_read(copy, k, &l, &e);
	CHECK(r == 0 || e.kind == ERR_INPUT, "cut at %zu: %s", k, e.text);
	CHECK(r < 0 || !leads_to_tpm(l), "cut at %zu", k);
	if (r == 0)
		eventlog_free(l);
	free(copy);
	return r == 0;
}

/* Cut anywhere: an error, or (between two events) a log that does not lead to the TPM's values. */
static void test_cut(void)
{
	size_t n, whole = 0;
	uint8_t *p = data_read(LOG, &n);

	for (size_t k = 0; k < n; k++)
		whole += (size_t)read_prefix(p, k);
	CHECK(whole > 30 && whole < 60, "%zu prefixes are logs", whole);
	free(p);
}

/* Two events of one PCR in the other order, or one bit of one digest: other values. */
static void test_changed(void)
{
	size_t n, swaps = 0;
	uint8_t *p = data_read(LOG, &n);
	struct err e = ERR_INIT;
	AUTO_EVENTLOG *l = NULL;

	CHECK(eventlog_read(p, n, &l, &e) == 0, "%s", e.text);
	for (size_t i = 1; i + 1 < l->n; i++) {
		struct eventlog_event a = l->event[i], b = l->event[i + 1];
		size_t at = (size_t)(eventlog_digest(&a, TCG_SHA256) - p);

		p[at] ^= 0x40;
		CHECK(a.type == EV_NO_ACTION || !leads_to_tpm(l), "digest of event %zu", i);
		p[at] ^= 0x40;
		if (a.pcr != b.pcr || memcmp(eventlog_digest(&a, TCG_SHA256),
					     eventlog_digest(&b, TCG_SHA256), 32) == 0)
			continue;
		l->event[i] = b;
		l->event[i + 1] = a;
		CHECK(!leads_to_tpm(l), "events %zu and its successor swapped", i);
		l->event[i] = a;
		l->event[i + 1] = b;
		swaps++;
	}
	CHECK(swaps > 5 && leads_to_tpm(l), "%zu swaps", swaps);
	free(p);
}

/* The same events in the old form: SHA-1 only. */
static void test_sha1(void)
{
	static const uint8_t locality[] = "StartupLocality\0\3";
	AUTO_BUF b = BUF_INIT;
	uint8_t head[32] = { 0 }, size[4], pcr[TCG_DIGEST_MAX] = { 0 };
	struct err e = ERR_INIT;
	AUTO_EVENTLOG *l = NULL;
	struct pcr_bank bank;

	le32_put(head + 4, EV_NO_ACTION);
	le32_put(size, 17);
	CHECK(buf_add(&b, head, 28, &e) == 0 && buf_add(&b, size, 4, &e) == 0 &&
		      buf_add(&b, locality, 17, &e) == 0,
	      "memory");
	le32_put(head + 4, EV_SEPARATOR);
	for (unsigned i = 0; i < 3; i++) {
		memset(head + 8, (int)i, 20);
		le32_put(size, i);
		CHECK(buf_add(&b, head, 28, &e) == 0 && buf_add(&b, size, 4, &e) == 0 &&
			      buf_add(&b, "abc", i, &e) == 0,
		      "memory");
	}
	CHECK(eventlog_read((const uint8_t *)b.p, b.n, &l, &e) == 0, "%s", e.text);
	CHECK(!l->agile && l->n == 4 && l->locality == 3, "form");
	CHECK(eventlog_replay(l, TCG_SHA256, &bank, &e) == -ENOENT, "no such bank");
	CHECK(eventlog_replay(l, TCG_SHA1, &bank, &e) == 0 && bank.have == 1, "%s", e.text);
	pcr[19] = 3;
	for (int i = 0; i < 3; i++) {
		uint8_t d[20];

		memset(d, i, sizeof(d));
		CHECK(tcg_extend(TCG_SHA1, pcr, d, &e) == 0, "%s", e.text);
	}
	CHECK(memcmp(pcr, bank.value[0], 20) == 0, "value");
}

/* Heads that promise what cannot be. */
static void test_head(void)
{
	size_t n;
	uint8_t *p = data_read(LOG, &n);
	struct eventlog *l = NULL;
	struct err e = ERR_INIT;
	const size_t algs = 28 + 4 + 24;

	CHECK(eventlog_read(p, 0, &l, &e) == -ENODATA, "empty");
	le32_put(p + algs, 0);
	CHECK(eventlog_read(p, n, &l, &e) == -EBADMSG, "no banks");
	le32_put(p + algs, 0xffffffff);
	CHECK(eventlog_read(p, n, &l, &e) == -EBADMSG, "many banks");
	le32_put(p + algs, 4);
	le16_put(p + algs + 6, 21);
	CHECK(eventlog_read(p, n, &l, &e) == -EBADMSG, "SHA-1 of 21 bytes");
	le16_put(p + algs + 6, 20);
	le16_put(p + algs + 8, TCG_SHA1);
	CHECK(eventlog_read(p, n, &l, &e) == -EBADMSG, "twice");
	le16_put(p + algs + 8, TCG_SHA256);
	CHECK(eventlog_read(p, n, &l, &e) == 0, "as it was: %s", e.text);
	le32_put(p + l->event[3].at, 24);
	eventlog_free(l);
	CHECK(eventlog_read(p, n, &l, &e) == -EBADMSG && strstr(e.text, "PCR 24"), "%s", e.text);
	free(p);
}

int main(void)
{
	test_real();
	test_cut();
	test_changed();
	test_sha1();
	test_head();
	return 0;
}
