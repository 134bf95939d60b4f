/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/text.h"
#include "updater/tuf/metadata.h"
#include "updater/tuf/refuse.h"

enum { TEXT_MAX = 200 };

/* The key that stands under id, if the role may use it. */
static const struct tuf_key *find_key(const struct tuf_md *keys_of, const struct tuf_role *role,
				      const char *id)
{
	bool ours = false;

	for (size_t i = 0; i < role->keyids_n && !ours; i++)
		ours = strcmp(role->keyids[i], id) == 0;
	for (size_t i = 0; ours && i < keys_of->keys_n; i++)
		if (strcmp(keys_of->key_names[i], id) == 0)
			return &keys_of->keys[i];
	return NULL;
}

static size_t count_wrong_ids(const struct tuf_md *keys_of, const struct tuf_role *role)
{
	size_t n = 0;

	for (size_t i = 0; i < role->keyids_n; i++) {
		const struct tuf_key *k = find_key(keys_of, role, role->keyids[i]);

		n += k && k->state == TUF_KEY_WRONG_ID;
	}
	return n;
}

void tuf_md_signers(const struct tuf_md *md, const struct tuf_md *keys_of,
		    const struct tuf_role *role, struct tuf_signers *ret)
{
	const json_t *sigs = json_object_get(md->doc, "signatures");
	uint8_t counted[TUF_SIGNATURES_MAX][SHA256_BYTES];

	*ret = (struct tuf_signers){ .claimed = json_array_size(sigs) };
	ret->wrong_id = count_wrong_ids(keys_of, role);
	for (size_t i = 0; i < ret->claimed && ret->n < TUF_SIGNATURES_MAX; i++) {
		const json_t *s = json_array_get(sigs, i);
		const char *id = json_string_value(json_object_get(s, "keyid"));
		const char *sig = json_string_value(json_object_get(s, "sig"));
		const struct tuf_key *k = find_key(keys_of, role, id);
		bool again = false;

		if (!k || k->state != TUF_KEY_USABLE)
			continue;
		for (size_t j = 0; j < ret->n && !again; j++)
			again = memcmp(counted[j], k->fingerprint, SHA256_BYTES) == 0;
		if (again || !tuf_key_verify(k, md->canon.p, md->canon.n, sig))
			continue;
		memcpy(counted[ret->n], k->fingerprint, SHA256_BYTES);
		if (ret->n < TUF_SIGNERS_MAX)
			memcpy(ret->id[ret->n], k->id, sizeof(k->id));
		ret->n++;
	}
}

int tuf_md_verify(const struct tuf_md *md, const struct tuf_md *keys_of,
		  const struct tuf_role *role, const char *what, struct tuf_signers *ret,
		  enum tuf_reason *ret_why, struct err *e)
{
	struct tuf_signers s;

	tuf_md_signers(md, keys_of, role, &s);
	if (ret)
		*ret = s;
	if (s.n >= role->threshold)
		return 0;
	if (s.wrong_id > 0)
		return TUF_REFUSE(ret_why, TUF_REASON_KEY_ID, e, EKEYREJECTED,
				  "%s: signed by %zu of the %" PRIu64 " keys it needs, and %zu of "
				  "the role's keys stand under an id that is not theirs",
				  what, s.n, role->threshold, s.wrong_id);
	return TUF_REFUSE(ret_why, TUF_REASON_UNSIGNED, e, EKEYREJECTED,
			  "%s: signed by %zu of the %" PRIu64
			  " keys it needs (%zu signatures in the file)",
			  what, s.n, role->threshold, s.claimed);
}

static int check_bytes(const struct tuf_hashes *h, const void *data, size_t n, const char *what,
		       enum tuf_reason *why, struct err *e)
{
	uint8_t sum[SHA512_DIGEST_LENGTH];

	if (h->has256) {
		sha256(data, n, sum);
		if (memcmp(sum, h->sha256, sizeof(h->sha256)) != 0)
			return TUF_REFUSE(why, TUF_REASON_HASH, e, EBADMSG,
					  "%s: its SHA-256 is not the one listed", what);
	}
	if (h->has512) {
		(void)SHA512(data, n, sum);
		if (memcmp(sum, h->sha512, sizeof(h->sha512)) != 0)
			return TUF_REFUSE(why, TUF_REASON_HASH, e, EBADMSG,
					  "%s: its SHA-512 is not the one listed", what);
	}
	return 0;
}

int tuf_listed_check(const struct tuf_listed *l, const void *data, size_t n, const char *what,
		     enum tuf_reason *ret_why, struct err *e)
{
	if (l->has_length && n != l->length)
		return TUF_REFUSE(ret_why, TUF_REASON_HASH, e, EBADMSG,
				  "%s: has %zu bytes, %" PRIu64 " are listed", what, n, l->length);
	/* 5.5.2: it must match what is listed, and what is not known here cannot */
	if (l->hashes.present && !l->hashes.has256 && !l->hashes.has512)
		return TUF_REFUSE(ret_why, TUF_REASON_UNKNOWN_HASH, e, EBADMSG,
				  "%s: hashes are listed, but neither sha256 nor sha512", what);
	return check_bytes(&l->hashes, data, n, what, ret_why, e);
}

int tuf_target_check(const struct tuf_target *t, const void *data, size_t n,
		     enum tuf_reason *ret_why, struct err *e)
{
	char name[TEXT_MAX];

	(void)text_clean(t->path, strlen(t->path), name, sizeof(name));
	if (!t->hashes.has256 && !t->hashes.has512)
		return TUF_REFUSE(ret_why, TUF_REASON_UNKNOWN_HASH, e, EBADMSG,
				  "%s: neither sha256 nor sha512 is listed", name);
	if (n != t->length)
		return TUF_REFUSE(ret_why, TUF_REASON_HASH, e, EBADMSG,
				  "%s: has %zu bytes, %" PRIu64 " are listed", name, n, t->length);
	return check_bytes(&t->hashes, data, n, name, ret_why, e);
}
