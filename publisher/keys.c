/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/ui.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "publisher/passphrase.h"
#include "publisher/store.h"
#include "updater/tuf/sign.h"

enum { PEM_BYTES_MAX = 64 << 10, FILES_PER_ROLE = 9, CACHE_MAX = 128, SHORT_ID = 8 };
/* PBKDF2-HMAC-SHA256, what OWASP asks for since 2023 */
enum { KDF_ROUNDS = 600000 };
#define RSA_BITS ((size_t)3072)

struct key {
	char *path;
	EVP_PKEY *pkey;
	char id[TUF_KEYID_MAX];
};

struct keys_cache {
	struct key key[CACHE_MAX];
	size_t n;
	struct engine_st *engine;
};

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void bio_freep(BIO **b)
{
	BIO_free_all(*b);
}

static void ui_freep(UI_METHOD **m)
{
	UI_destroy_method(*m);
}

int keys_open(struct keys *k, struct err *e)
{
	k->cache = calloc(1, sizeof(*k->cache));
	return k->cache ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

void keys_done(struct keys *k)
{
	struct keys_cache *c = k->cache;

	for (size_t i = 0; c && i < c->n; i++) {
		EVP_PKEY_free(c->key[i].pkey);
		free(c->key[i].path);
	}
	if (c)
		store_close(&c->engine);
	free(c);
	k->cache = NULL;
}

/* What OpenSSL says went wrong, in its own words. */
static int openssl_failed(const char *doing, const char *path, struct err *e)
{
	unsigned long code = ERR_get_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;
	int r = err_set(e, ERR_INPUT, EINVAL, "%s '%s': %s", doing, path,
			why ? why : "OpenSSL failed");

	ERR_clear_error();
	return r;
}

bool keys_name_valid(const char *name)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = strlen(name);

	return n > 0 && n < KEYS_NAME_MAX && strchr(set, name[0]) &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-") ==
		       n;
}

/* "dir/root.2.pem" -> "root.2"; of a URI its scheme. */
static void name_of(const char *path, char out[KEYS_NAME_MAX])
{
	const char *slash = strrchr(path, '/');
	const char *base = slash && !store_is_uri(path) ? slash + 1 : path;
	const char *dot = strrchr(base, '.');
	size_t n = store_is_uri(path)  ? strcspn(path, ":")
		   : dot && dot > base ? (size_t)(dot - base)
				       : strlen(base);

	(void)snprintf(out, KEYS_NAME_MAX, "%.*s", (int)(n < KEYS_NAME_MAX ? n : KEYS_NAME_MAX - 1),
		       base);
}

/* ---- loading ---- */

/* Whom to ask for a passphrase, once: OpenSSL asks again when what it got does not fit. */
struct asked {
	const struct keys *k;
	char name[KEYS_NAME_MAX];
	bool was; /* asked at all */
	int n;    /* length, or why there is none */
	char pass[PASSPHRASE_MAX];
	struct err err;
};

static int on_passphrase(char *out, int cap, int writing, void *arg)
{
	struct asked *a = arg;

	(void)writing;
	if (!a->was)
		a->n = passphrase_get(a->name, a->k->pass_file, a->pass, &a->err);
	a->was = true;
	if (a->n >= cap)
		a->n = err_set(&a->err, ERR_INPUT, E2BIG, "key %s: the passphrase is too long",
			       a->name);
	if (a->n < 0)
		return -1;
	memcpy(out, a->pass, (size_t)a->n + 1);
	return a->n;
}

/* PKCS#8, decrypted once: OpenSSL's general reader derives the key again for every kind it tries.
 */
static EVP_PKEY *read_encrypted(BIO *b, struct asked *a)
{
	X509_SIG *sealed = PEM_read_bio_PKCS8(b, NULL, NULL, NULL);
	PKCS8_PRIV_KEY_INFO *plain = NULL;
	char pass[PASSPHRASE_MAX];
	EVP_PKEY *k = NULL;
	int n = sealed ? on_passphrase(pass, sizeof(pass), 0, a) : -1;

	if (n >= 0)
		plain = PKCS8_decrypt(sealed, pass, n);
	if (plain)
		k = EVP_PKCS82PKEY(plain);
	explicit_bzero(pass, sizeof(pass));
	PKCS8_PRIV_KEY_INFO_free(plain);
	X509_SIG_free(sealed);
	return k;
}

static int load_pem(const char *path, struct asked *a, EVP_PKEY **ret, struct err *e)
{
	CLEANUP(bio_freep) BIO *b = NULL;
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	r = file_read(sys_linux(), AT_FDCWD, path, PEM_BYTES_MAX, &p, &n, e);
	if (r < 0)
		return r;
	b = BIO_new_mem_buf(p, (int)n);
	if (b && strstr(p, "-----BEGIN ENCRYPTED PRIVATE KEY-----"))
		*ret = read_encrypted(b, a);
	else if (b)
		*ret = PEM_read_bio_PrivateKey(b, NULL, on_passphrase, a);
	explicit_bzero(p, n);
	if (*ret)
		return 0;
	if (a->was && a->err.kind == ERR_NONE) {
		ERR_clear_error();
		return err_set(e, ERR_INPUT, EKEYREJECTED, "the passphrase of '%s' is wrong", path);
	}
	return openssl_failed("read the private key", path, e);
}

static int load_uri(const char *uri, struct asked *a, EVP_PKEY **ret, struct err *e)
{
	CLEANUP(ui_freep) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(on_passphrase, 0);

	if (!ui)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return store_load(uri, ui, a, &a->k->cache->engine, ret, e);
}

/* A .uri file: its first line. */
static int load_uri_file(const char *path, struct asked *a, EVP_PKEY **ret, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int r = file_read(sys_linux(), AT_FDCWD, path, PEM_BYTES_MAX, &p, &n, e);

	if (r < 0)
		return r;
	p[strcspn(p, "\r\n")] = '\0';
	if (!store_is_uri(p))
		return err_set(e, ERR_INPUT, EINVAL, "its first line is no URI");
	return load_uri(p, a, ret, e);
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n > m && strcmp(s + n - m, suffix) == 0;
}

static int load(const struct keys *k, const char *path, EVP_PKEY **ret, struct err *e)
{
	struct asked a = { .k = k, .err = ERR_INIT };
	const char *label = store_is_uri(path) ? "the key's URI" : path;
	int r;

	name_of(path, a.name);
	if (store_is_uri(path))
		r = load_uri(path, &a, ret, e);
	else if (has_suffix(path, ".uri"))
		r = load_uri_file(path, &a, ret, e);
	else
		r = load_pem(path, &a, ret, e);
	explicit_bzero(a.pass, sizeof(a.pass));
	if (r >= 0)
		return r;
	if (a.err.kind != ERR_NONE) { /* not a wrong passphrase: none at all */
		if (e)
			*e = a.err;
		return err_wrap(e, -a.err.os, "%s", label);
	}
	return r == -EKEYREJECTED ? r : err_wrap(e, r, "%s", label);
}

static int id_of(EVP_PKEY *pkey, char id[TUF_KEYID_MAX], struct err *e)
{
	AUTO_JSON *pub = NULL;
	int r = tuf_key_to_json(pkey, &pub, e);

	return r < 0 ? r : tuf_key_id(pub, id, e);
}

/* From the cache, or loaded into it. */
static int get(const struct keys *k, const char *path, const struct key **ret, struct err *e)
{
	CLEANUP(pkey_freep) EVP_PKEY *pkey = NULL;
	struct keys_cache *c = k->cache;
	struct key *slot;
	int r;

	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->key[i].path, path) == 0) {
			*ret = &c->key[i];
			return 0;
		}
	}
	if (c->n == CACHE_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d keys", CACHE_MAX);
	slot = &c->key[c->n];
	r = load(k, path, &pkey, e);
	if (r < 0)
		return r;
	r = id_of(pkey, slot->id, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	slot->path = strdup(path);
	if (!slot->path)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	slot->pkey = TAKE(pkey);
	c->n++;
	*ret = slot;
	return 0;
}

/* ---- making ---- */

static int file_of(const char *dir, const char *name, const char *suffix, char out[PATH_MAX],
		   struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s/%s.%s", dir, name, suffix);

	if (n < 0 || n >= PATH_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG,
			       "the path of the key directory is too "
			       "long");
	return 0;
}

/* PKCS#8 under PBES2; OpenSSL's own shortcut would use 2048 rounds. */
static int put_encrypted(BIO *b, EVP_PKEY *key, const char *pass, int n)
{
	PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
	X509_ALGOR *how =
		PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), KDF_ROUNDS, NULL, 0, NULL, NID_hmacWithSHA256);
	X509_SIG *sealed = plain && how ? PKCS8_set0_pbe(pass, n, plain, how) : NULL;
	int ok = sealed ? PEM_write_bio_PKCS8(b, sealed) : 0;

	if (!sealed)
		X509_ALGOR_free(how);
	X509_SIG_free(sealed);
	PKCS8_PRIV_KEY_INFO_free(plain);
	return ok;
}

static int format_pem(const struct keys *k, const char *name, EVP_PKEY *key, bool encrypt, BIO *b,
		      struct err *e)
{
	char pass[PASSPHRASE_MAX];
	int ok, n;

	if (!encrypt) {
		ok = PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
		return ok == 1 ? 0 : openssl_failed("write the key", name, e);
	}
	n = passphrase_new(name, k->pass_file, pass, e);
	if (n < 0)
		return n;
	ok = put_encrypted(b, key, pass, n);
	explicit_bzero(pass, sizeof(pass));
	return ok == 1 ? 0 : openssl_failed("write the key", name, e);
}

static int write_new(const char *path, mode_t mode, const void *p, size_t n, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	int r;

	f.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (f.fd < 0)
		return err_set(e, ERR_INPUT, errno, "create the key '%s': %s", path,
			       strerror(errno));
	r = sys_write_full(f.sys, f.fd, p, n, 0);
	if (r >= 0)
		r = f.sys->ops->sync(f.sys, f.fd);
	return r < 0 ? err_set(e, ERR_HOST, -r, "write the key '%s': %s", path, strerror(-r)) : 0;
}

static int write_public(const char *dir, const char *name, const json_t *key, struct err *e)
{
	AUTO_JSON *j = json_pack("{s:O,s:s}", "key", key, "name", name);
	AUTO_SYS_FD d = { sys_linux(), -1 };
	AUTO_BUF b = BUF_INIT;
	char file[KEYS_NAME_MAX + 8];
	int r = j ? json_write(j, true, &b, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r < 0)
		return r;
	(void)snprintf(file, sizeof(file), "%s.pub", name);
	d.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.fd < 0)
		return err_set(e, ERR_HOST, errno, "open '%s': %s", dir, strerror(errno));
	return file_replace(d.sys, d.fd, file, b.p, b.n, e); /* syncs the directory too */
}

int keys_absent(const char *dir, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int r = file_of(dir, name, "pem", path, e);

	if (r >= 0 && access(path, F_OK) == 0)
		return err_set(e, ERR_INPUT, EEXIST,
			       "there is a key '%s' already, and keys are never overwritten: give "
			       "another directory",
			       path);
	return r;
}

static EVP_PKEY *generate(enum keys_type t)
{
	if (t == KEYS_ED25519)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	return t == KEYS_ECDSA ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
			       : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", RSA_BITS);
}

static int make_dir(const char *dir, struct err *e)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make directory '%s': %s", dir, strerror(errno));
	return 0;
}

int keys_create(const struct keys *k, const char *dir, const char *name, const struct keys_new *how,
		json_t **ret_key, struct err *e)
{
	CLEANUP(pkey_freep) EVP_PKEY *key = NULL;
	CLEANUP(bio_freep) BIO *b = BIO_new(BIO_s_mem());
	AUTO_JSON *pub = NULL;
	char path[PATH_MAX];
	char *p = NULL;
	long n;
	int r;

	r = file_of(dir, name, "pem", path, e);
	r = r < 0 ? r : keys_absent(dir, name, e);
	r = r < 0 ? r : make_dir(dir, e);
	if (r < 0)
		return r;
	key = generate(how->type);
	if (!key || !b)
		return openssl_failed("make the key", path, e);
	r = tuf_key_to_json(key, &pub, e);
	r = r < 0 ? r : format_pem(k, name, key, how->encrypt, b, e);
	if (r < 0)
		return r;
	n = BIO_get_mem_data(b, &p);
	r = write_new(path, 0600, p, (size_t)n, e);
	explicit_bzero(p, (size_t)n);
	r = r < 0 ? r : write_public(dir, name, pub, e);
	if (r >= 0)
		*ret_key = TAKE(pub);
	return r;
}

/* ---- public halves ---- */

/* A file that is not JSON: a PEM public key. */
static int public_pem(const char *path, const char *p, size_t n, json_t **ret, struct err *e)
{
	CLEANUP(bio_freep) BIO *b = BIO_new_mem_buf(p, (int)n);
	CLEANUP(pkey_freep) EVP_PKEY *key = b ? PEM_read_bio_PUBKEY(b, NULL, NULL, NULL) : NULL;
	char name[KEYS_NAME_MAX];
	json_t *pub = NULL;
	int r;

	if (!key)
		return openssl_failed("read the public key", path, e);
	r = tuf_key_to_json(key, &pub, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	name_of(path, name);
	*ret = json_pack("{s:o,s:s}", "key", pub, "name", name);
	return *ret ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* Is it a key that clients can use, under a name that can be printed? */
static int check_public(const char *path, const json_t *j, struct err *e)
{
	const char *name = NULL;
	char id[TUF_KEYID_MAX];
	json_t *key = NULL;
	struct tuf_key k;
	enum tuf_key_state s;
	int r = json_get_str(j, "name", path, &name, e);

	r = r < 0 ? r : json_get_obj(j, "key", path, &key, e);
	r = r < 0 ? r : tuf_key_id(key, id, e);
	r = r < 0 ? r : tuf_key_read(key, id, &k, e);
	if (r < 0)
		return r;
	s = k.state;
	tuf_key_done(&k);
	if (s != TUF_KEY_USABLE)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "%s: a key must be Ed25519, ECDSA on P-256 or RSA of 2048 to 8192 "
			       "bits",
			       path);
	if (!keys_name_valid(name))
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s: its name must be 1 to %d of A-Z a-z 0-9 . _ @ -, a letter or "
			       "digit first",
			       path, KEYS_NAME_MAX - 1);
	return 0;
}

int keys_public_read(const char *path, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = PEM_BYTES_MAX, .depth = 8 };
	AUTO_FREE char *p = NULL;
	AUTO_JSON *j = NULL;
	size_t n;
	int r = file_read(sys_linux(), AT_FDCWD, path, PEM_BYTES_MAX, &p, &n, e);

	if (r < 0)
		return err_wrap(e, r, "public key");
	if (strstr(p, "PRIVATE KEY"))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%s' is a private key: give its public half (proa-publish key show "
			       "--key %.200s)",
			       path, path);
	if (p[strspn(p, " \t\r\n")] == '{')
		r = json_read(p, n, &lim, path, &j, e);
	else
		r = public_pem(path, p, n, &j, e);
	r = r < 0 ? r : check_public(path, j, e);
	if (r >= 0)
		*ret = TAKE(j);
	return r;
}

int keys_public_of(const struct keys *k, const char *name, json_t **ret, struct err *e)
{
	AUTO_JSON *j = NULL;
	char own[KEYS_NAME_MAX];
	const struct key *key = NULL;
	json_t *pub = NULL;
	int r = get(k, k->one, &key, e);

	r = r < 0 ? r : tuf_key_to_json(key->pkey, &pub, e);
	if (r < 0)
		return r;
	name_of(k->one, own);
	j = json_pack("{s:o,s:s}", "key", pub, "name", name ? name : own);
	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = check_public("--name", j, e);
	if (r >= 0)
		*ret = TAKE(j);
	return r;
}

/* ---- signing ---- */

int keys_label(const json_t *names, const char *id, struct buf *out, struct err *e)
{
	const char *name = json_string_value(json_object_get(names, id));

	if (name && keys_name_valid(name))
		return buf_addf(out, e, "%s (%.*s)", name, SHORT_ID, id);
	return buf_addf(out, e, "%.*s", SHORT_ID, id);
}

bool keys_role_has(const json_t *signers, const char *id)
{
	const json_t *ids = json_object_get(signers, "keyids");

	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *s = json_string_value(json_array_get(ids, i));

		if (s && strcmp(s, id) == 0)
			return true;
	}
	return false;
}

static bool has_signed(const json_t *envelope, const char *id)
{
	const json_t *sigs = json_object_get(envelope, "signatures");

	for (size_t i = 0; i < json_array_size(sigs); i++) {
		const char *s =
			json_string_value(json_object_get(json_array_get(sigs, i), "keyid"));

		if (s && strcmp(s, id) == 0)
			return true;
	}
	return false;
}

/* What is at hand for one role. */
struct at_hand {
	const struct key *key[KEYS_PER_ROLE];
	size_t n;
	char foreign[PATH_MAX]; /* a file for this role whose key is not its */
	char foreign_id[SHORT_ID + 1];
};

static int consider(const struct keys *k, const struct keys_role *r, const char *path, bool named,
		    struct at_hand *h, struct err *e)
{
	const struct key *key = NULL;
	int q = get(k, path, &key, e);

	if (q < 0)
		return q;
	if (!keys_role_has(r->signers, key->id)) {
		if (named && !h->foreign[0]) {
			(void)snprintf(h->foreign, sizeof(h->foreign), "%s", path);
			(void)snprintf(h->foreign_id, sizeof(h->foreign_id), "%.8s", key->id);
		}
		return 0;
	}
	for (size_t i = 0; i < h->n; i++)
		if (strcmp(h->key[i]->id, key->id) == 0)
			return 0;
	if (h->n < KEYS_PER_ROLE)
		h->key[h->n++] = key;
	return 0;
}

static int look(const struct keys *k, const struct keys_role *r, struct at_hand *h, struct err *e)
{
	static const char *const suffix[] = { "pem", "uri" };
	char name[64], path[PATH_MAX];
	int q = k->one ? consider(k, r, k->one, false, h, e) : 0;

	for (size_t d = 0; q >= 0 && d < k->n_dir; d++) {
		for (unsigned i = 0; q >= 0 && i < 2 * FILES_PER_ROLE; i++) {
			unsigned n = i / 2 + 1;

			if (n == 1)
				(void)snprintf(name, sizeof(name), "%s", r->name);
			else
				(void)snprintf(name, sizeof(name), "%s.%u", r->name, n);
			q = file_of(k->dir[d], name, suffix[i % 2], path, e);
			if (q < 0 || (access(path, F_OK) < 0 && errno == ENOENT))
				continue;
			q = consider(k, r, path, true, h, e);
		}
	}
	return q;
}

static bool holds(const struct at_hand *h, const char *id)
{
	for (size_t i = 0; i < h->n; i++)
		if (strcmp(h->key[i]->id, id) == 0)
			return true;
	return false;
}

/* The sentence about too few signatures: who is there, who could still sign. */
static int too_few(const struct keys *k, const struct keys_role *r, const struct at_hand *h,
		   const json_t *envelope, struct err *e)
{
	const json_t *ids = json_object_get(r->signers, "keyids");
	json_int_t need = json_integer_value(json_object_get(r->signers, "threshold"));
	AUTO_BUF have = BUF_INIT;
	AUTO_BUF missing = BUF_INIT;
	int q = 0;

	if (h->foreign[0] && h->n == 0 && !envelope)
		return err_set(e, ERR_INPUT, EKEYREJECTED,
			       "'%s' (key %s) is no key of role %s in this repository: give the "
			       "directory with the right keys",
			       h->foreign, h->foreign_id, r->name);
	for (size_t i = 0; q >= 0 && i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		struct buf *b = has_signed(envelope, id) || holds(h, id) ? &have : &missing;

		q = buf_addf(b, e, "%s", b->n ? ", " : "");
		q = q < 0 ? q : keys_label(r->names, id, b, e);
	}
	if (q < 0)
		return q;
	if (h->n == 0 && have.n == 0 && need == 1 && k->n_dir > 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "no key '%s/%s.pem' or .uri: role %s cannot be signed (by %.150s)",
			       k->dir[0], r->name, r->name, missing.p);
	return err_set(e, ERR_INPUT, EKEYREJECTED,
		       "role %s needs %lld signature%s; there: %.150s; missing: %.200s", r->name,
		       (long long)need, need == 1 ? "" : "s", have.n ? have.p : "none",
		       missing.n ? missing.p : "none");
}

static int judge(const struct keys *k, const struct keys_role *r, const struct at_hand *h,
		 const json_t *envelope, struct err *e)
{
	const json_t *ids = json_object_get(r->signers, "keyids");
	json_int_t need = json_integer_value(json_object_get(r->signers, "threshold")), have = 0;

	if (k->n_dir == 0 && !k->one && !envelope)
		return err_set(e, ERR_INPUT, EINVAL, "give the directory of the keys with --keys");
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));

		have += has_signed(envelope, id) || holds(h, id);
	}
	return have >= need && have > 0 ? 0 : too_few(k, r, h, envelope, e);
}

static int add(const struct at_hand *h, json_t *envelope, struct err *e)
{
	int q = 0, n = 0;

	for (size_t i = 0; q >= 0 && i < h->n; i++) {
		if (has_signed(envelope, h->key[i]->id))
			continue;
		q = tuf_envelope_sign(envelope, h->key[i]->pkey, h->key[i]->id, e);
		if (q < 0)
			return err_wrap(e, q, "'%s'", h->key[i]->path);
		n++;
	}
	return n;
}

int keys_add(const struct keys *k, const struct keys_role *r, json_t *envelope, struct err *e)
{
	struct at_hand h = { .n = 0 };
	int q = look(k, r, &h, e);

	return q < 0 ? q : add(&h, envelope, e);
}

int keys_check(const struct keys *k, const struct keys_role *r, const json_t *envelope,
	       struct err *e)
{
	struct at_hand h = { .n = 0 };
	int q = look(k, r, &h, e);

	return q < 0 ? q : judge(k, r, &h, envelope, e);
}

int keys_sign(const struct keys *k, const struct keys_role *r, json_t *envelope, struct err *e)
{
	struct at_hand h = { .n = 0 };
	int q = look(k, r, &h, e);

	q = q < 0 ? q : judge(k, r, &h, envelope, e);
	q = q < 0 ? q : add(&h, envelope, e);
	return q < 0 ? q : 0;
}
