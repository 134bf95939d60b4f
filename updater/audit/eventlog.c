/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/eventlog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "bootctl/loader_vars.h"

enum { SHA1_HEAD = 32, SPEC_HEAD = 28, GUID = 16 };

struct reader {
	const uint8_t *p;
	size_t n, at;
};

static bool left(const struct reader *r, size_t n)
{
	return r->n - r->at >= n;
}

static uint32_t u32(struct reader *r)
{
	uint32_t v = le32_get(r->p + r->at);

	r->at += 4;
	return v;
}

static uint16_t u16(struct reader *r)
{
	uint16_t v = le16_get(r->p + r->at);

	r->at += 2;
	return v;
}

void eventlog_free(struct eventlog *l)
{
	if (l)
		free(l->event);
	free(l);
}

static int cut(const struct eventlog *l, size_t at, struct err *e)
{
	return err_set(e, ERR_INPUT, EBADMSG, "event log: event %zu at byte %zu is cut off", l->n,
		       at);
}

/* The data of an event: u32 size and so many bytes. */
static bool take_data(struct reader *r, struct eventlog_event *ev)
{
	size_t n;

	if (!left(r, 4))
		return false;
	n = u32(r);
	if (!left(r, n))
		return false;
	ev->data = r->p + r->at;
	ev->data_n = n;
	r->at += n;
	return true;
}

/* TCG_PCR_EVENT */
static bool take_sha1(struct reader *r, struct eventlog_event *ev)
{
	if (!left(r, SHA1_HEAD))
		return false;
	ev->at = r->at;
	ev->pcr = u32(r);
	ev->type = u32(r);
	ev->n_digest = 1;
	ev->digest[0].alg = TCG_SHA1;
	ev->digest[0].p = r->p + r->at;
	r->at += 20;
	return take_data(r, ev);
}

static size_t size_in_head(const struct eventlog *l, uint16_t alg)
{
	for (size_t i = 0; i < l->n_alg; i++)
		if (l->alg[i].alg == alg)
			return l->alg[i].bytes;
	return 0;
}

/* TCG_PCR_EVENT2; the sizes of digests are those that the head declared. */
static int take_agile(const struct eventlog *l, struct reader *r, struct eventlog_event *ev,
		      struct err *e)
{
	size_t at = r->at;
	uint32_t count;

	if (!left(r, 12))
		return cut(l, at, e);
	ev->at = at;
	ev->pcr = u32(r);
	ev->type = u32(r);
	count = u32(r);
	if (count == 0 || count > l->n_alg)
		return err_set(e, ERR_INPUT, EBADMSG,
			       "event log: event %zu at byte %zu has %u digests, the log has %zu "
			       "banks",
			       l->n, at, count, l->n_alg);
	for (ev->n_digest = 0; ev->n_digest < count; ev->n_digest++) {
		struct eventlog_digest *d = &ev->digest[ev->n_digest];
		size_t bytes;

		if (!left(r, 2))
			return cut(l, at, e);
		d->alg = u16(r);
		bytes = size_in_head(l, d->alg);
		if (bytes == 0 || eventlog_digest(ev, d->alg))
			return err_set(e, ERR_INPUT, EBADMSG,
				       "event log: event %zu at byte %zu has a digest 0x%04x that "
				       "does not belong there",
				       l->n, at, d->alg);
		if (!left(r, bytes))
			return cut(l, at, e);
		d->p = r->p + r->at;
		r->at += bytes;
	}
	return take_data(r, ev) ? 0 : cut(l, at, e);
}

/* TCG_EfiSpecIDEvent: the banks of the log. */
static int read_head(struct eventlog *l, const struct eventlog_event *ev, struct err *e)
{
	struct reader r = { ev->data, ev->data_n, 24 };
	uint32_t n;

	if (ev->data_n < SPEC_HEAD)
		return err_set(e, ERR_INPUT, EBADMSG, "event log: the head is cut off");
	n = u32(&r);
	if (n == 0 || n > EVENTLOG_ALGS_MAX)
		return err_set(e, ERR_INPUT, EBADMSG, "event log: %u banks, 1 to %d are possible",
			       n, EVENTLOG_ALGS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		size_t known;

		if (!left(&r, 4))
			return err_set(e, ERR_INPUT, EBADMSG, "event log: the head is cut off");
		l->alg[i].alg = u16(&r);
		l->alg[i].bytes = u16(&r);
		known = tcg_digest_size(l->alg[i].alg);
		for (uint32_t k = 0; k < i; k++)
			if (l->alg[k].alg == l->alg[i].alg)
				known = TCG_DIGEST_MAX + 1;
		if (l->alg[i].bytes == 0 || (known && known != l->alg[i].bytes))
			return err_set(e, ERR_INPUT, EBADMSG,
				       "event log: digests of algorithm 0x%04x cannot have %u "
				       "bytes, or stand twice",
				       l->alg[i].alg, l->alg[i].bytes);
		l->n_alg++;
	}
	return 0;
}

static int append(struct eventlog *l, size_t *cap, const struct eventlog_event *ev, struct err *e)
{
	struct eventlog_event *grown;

	if (l->n >= EVENTLOG_EVENTS_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "event log: more than %d events",
			       EVENTLOG_EVENTS_MAX);
	grown = array_room(l->event, l->n, cap, sizeof(*grown));
	if (!grown)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	l->event = grown;
	l->event[l->n++] = *ev;
	return 0;
}

/* "StartupLocality\0" and the locality (10.4.5.3). */
static void see_locality(struct eventlog *l, const struct eventlog_event *ev)
{
	static const char mark[] = "StartupLocality";

	if (ev->type == EV_NO_ACTION && ev->pcr == 0 && ev->data_n == sizeof(mark) + 1 &&
	    memcmp(ev->data, mark, sizeof(mark)) == 0)
		l->locality = ev->data[sizeof(mark)];
}

static int check_event(const struct eventlog *l, const struct eventlog_event *ev, struct err *e)
{
	/* what is not extended may say any PCR: EV_NO_ACTION with 0xffffffff is in use */
	if (ev->type != EV_NO_ACTION && ev->pcr >= TCG_PCRS)
		return err_set(e, ERR_INPUT, EBADMSG,
			       "event log: event %zu at byte %zu is for PCR %u, which no TPM has",
			       l->n, ev->at, ev->pcr);
	return 0;
}

static int read_events(struct eventlog *l, struct reader *r, struct err *e)
{
	size_t cap = 0;
	int res = 0;

	while (res >= 0 && r->at < r->n) {
		struct eventlog_event ev = { .pcr = 0 };
		size_t at = r->at;

		if (l->agile)
			res = take_agile(l, r, &ev, e);
		else if (!take_sha1(r, &ev))
			res = cut(l, at, e);
		if (res >= 0)
			res = check_event(l, &ev, e);
		if (res < 0)
			return res;
		see_locality(l, &ev);
		if (l->n == 0 && ev.type == EV_NO_ACTION && !l->agile && ev.data_n >= 16 &&
		    memcmp(ev.data, "Spec ID Event03", 16) == 0) {
			l->agile = true;
			res = read_head(l, &ev, e);
		}
		if (res >= 0)
			res = append(l, &cap, &ev, e);
	}
	return res;
}

int eventlog_read(const uint8_t *p, size_t n, struct eventlog **ret, struct err *e)
{
	AUTO_EVENTLOG *l = calloc(1, sizeof(*l));
	struct reader r = { p, n, 0 };
	int res;

	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (n == 0)
		return err_set(e, ERR_INPUT, ENODATA, "event log: empty");
	if (n > EVENTLOG_BYTES_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "event log: more than %d bytes",
			       EVENTLOG_BYTES_MAX);
	res = read_events(l, &r, e);
	if (res < 0)
		return res;
	if (!l->agile) {
		l->n_alg = 1;
		l->alg[0].alg = TCG_SHA1;
		l->alg[0].bytes = 20;
	}
	*ret = TAKE(l);
	return 0;
}

const uint8_t *eventlog_digest(const struct eventlog_event *ev, uint16_t alg)
{
	for (size_t i = 0; i < ev->n_digest; i++)
		if (ev->digest[i].alg == alg)
			return ev->digest[i].p;
	return NULL;
}

int eventlog_replay(const struct eventlog *l, uint16_t alg, struct pcr_bank *ret, struct err *e)
{
	struct pcr_bank b = { .alg = alg };
	size_t bytes = tcg_digest_size(alg);

	if (bytes == 0 || size_in_head(l, alg) == 0)
		return err_set(e, ERR_INPUT, ENOENT, "event log: it has no %s digests",
			       tcg_digest_name(alg));
	for (size_t i = 17; i < 23; i++)
		memset(b.value[i], 0xff, bytes);
	b.value[0][bytes - 1] = l->locality;
	for (size_t i = 0; i < l->n; i++) {
		const struct eventlog_event *ev = &l->event[i];
		const uint8_t *d = eventlog_digest(ev, alg);
		int r;

		if (ev->type == EV_NO_ACTION)
			continue;
		if (!d)
			return err_set(e, ERR_INPUT, EBADMSG,
				       "event log: event %zu at byte %zu has no %s digest", i,
				       ev->at, tcg_digest_name(alg));
		r = tcg_extend(alg, b.value[ev->pcr], d, e);
		if (r < 0)
			return r;
		b.have |= 1u << ev->pcr;
	}
	*ret = b;
	return 0;
}

static bool hashes_to(uint16_t alg, const uint8_t *p, size_t n, const uint8_t *digest)
{
	uint8_t h[TCG_DIGEST_MAX];

	return tcg_hash(alg, p, n, h, NULL) >= 0 && memcmp(h, digest, tcg_digest_size(alg)) == 0;
}

int eventlog_matches(const struct eventlog_event *ev, uint16_t alg)
{
	const uint8_t *d = eventlog_digest(ev, alg);
	struct eventlog_variable v;

	if (!d || tcg_digest_size(alg) == 0)
		return -1;
	switch (ev->type) {
	case EV_SEPARATOR:
	case EV_EFI_ACTION:
	case EV_S_CRTM_VERSION:
	case EV_EFI_GPT_EVENT:
	case EV_EFI_VARIABLE_DRIVER_CONFIG:
	case EV_EFI_VARIABLE_AUTHORITY:
	case EV_EFI_VARIABLE_BOOT2:
		return hashes_to(alg, ev->data, ev->data_n, d);
	case EV_EFI_VARIABLE_BOOT:
		return hashes_to(alg, ev->data, ev->data_n, d) ||
		       (eventlog_variable(ev, &v) && hashes_to(alg, v.data, v.n, d));
	default:
		return -1;
	}
}

bool eventlog_variable(const struct eventlog_event *ev, struct eventlog_variable *ret)
{
	struct eventlog_variable v = { .guid = ev->data };
	uint64_t chars, bytes;
	char name[200];
	int n;

	if (ev->type != EV_EFI_VARIABLE_DRIVER_CONFIG && ev->type != EV_EFI_VARIABLE_BOOT &&
	    ev->type != EV_EFI_VARIABLE_BOOT2 && ev->type != EV_EFI_VARIABLE_AUTHORITY)
		return false;
	if (ev->data_n < GUID + 16)
		return false;
	chars = le64_get(ev->data + GUID);
	bytes = le64_get(ev->data + GUID + 8);
	if (chars > 64 || chars * 2 > ev->data_n - GUID - 16 ||
	    bytes != ev->data_n - GUID - 16 - chars * 2)
		return false;
	n = utf16_to_utf8(ev->data + GUID + 16, (size_t)chars * 2, name, sizeof(name), NULL);
	if (n < 0)
		return false;
	(void)text_clean(name, strlen(name), v.name, sizeof(v.name));
	v.data = ev->data + GUID + 16 + chars * 2;
	v.n = (size_t)bytes;
	*ret = v;
	return true;
}

const char *eventlog_type(uint32_t type, char out[16])
{
	static const struct {
		uint32_t type;
		const char *name;
	} types[] = {
		{ EV_POST_CODE, "EV_POST_CODE" },
		{ EV_NO_ACTION, "EV_NO_ACTION" },
		{ EV_SEPARATOR, "EV_SEPARATOR" },
		{ EV_ACTION, "EV_ACTION" },
		{ EV_EVENT_TAG, "EV_EVENT_TAG" },
		{ EV_S_CRTM_CONTENTS, "EV_S_CRTM_CONTENTS" },
		{ EV_S_CRTM_VERSION, "EV_S_CRTM_VERSION" },
		{ EV_IPL, "EV_IPL" },
		{ EV_EFI_VARIABLE_DRIVER_CONFIG, "EV_EFI_VARIABLE_DRIVER_CONFIG" },
		{ EV_EFI_VARIABLE_BOOT, "EV_EFI_VARIABLE_BOOT" },
		{ EV_EFI_BOOT_SERVICES_APPLICATION, "EV_EFI_BOOT_SERVICES_APPLICATION" },
		{ EV_EFI_GPT_EVENT, "EV_EFI_GPT_EVENT" },
		{ EV_EFI_ACTION, "EV_EFI_ACTION" },
		{ EV_EFI_PLATFORM_FIRMWARE_BLOB, "EV_EFI_PLATFORM_FIRMWARE_BLOB" },
		{ EV_EFI_VARIABLE_BOOT2, "EV_EFI_VARIABLE_BOOT2" },
		{ EV_EFI_VARIABLE_AUTHORITY, "EV_EFI_VARIABLE_AUTHORITY" },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return types[i].name;
	(void)snprintf(out, 16, "0x%08x", type);
	return out;
}

char *eventlog_text(const struct eventlog_event *ev, char *out, size_t cap)
{
	struct eventlog_variable v;
	char text[1024];
	size_t n = ev->data_n;

	out[0] = '\0';
	if (eventlog_variable(ev, &v))
		return text_clean(v.name, strlen(v.name), out, cap);
	if (ev->type != EV_IPL && ev->type != EV_EFI_ACTION && ev->type != EV_ACTION)
		return out;
	/* the loader writes UTF-16, firmware ASCII; both may end in NUL */
	if (n >= 4 && n % 2 == 0 && ev->data[1] == 0 && ev->data[3] == 0) {
		n = n < 1000 ? n : 1000;
		while (n >= 2 && ev->data[n - 1] == 0 && ev->data[n - 2] == 0)
			n -= 2;
		if (utf16_to_utf8(ev->data, n, text, sizeof(text), NULL) >= 0)
			return text_clean(text, strlen(text), out, cap);
	}
	n = n < sizeof(text) ? n : sizeof(text);
	while (n > 0 && ev->data[n - 1] == 0)
		n--;
	return text_clean((const char *)ev->data, n, out, cap);
}
