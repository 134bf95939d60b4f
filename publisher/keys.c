/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "updater/tuf/sign.h"

enum { PATH_BYTES = 4096, PEM_BYTES_MAX = 64 << 10, KEYS_PER_ROLE = 9 };

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void bio_freep(BIO **b)
{
	BIO_free_all(*b);
}

static int path_of(const struct keys *k, const char *role, unsigned i, char out[PATH_BYTES],
		   struct err *e)
{
	int n = i < 2 ? snprintf(out, PATH_BYTES, "%s/%s.pem", k->dir, role)
		      : snprintf(out, PATH_BYTES, "%s/%s.%u.pem", k->dir, role, i);

	if (n < 0 || n >= PATH_BYTES)
		return err_set(e, ERR_INPUT, ENAMETOOLONG,
			       "the path of the key directory is too "
			       "long");
	return 0;
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

static int load(const char *path, EVP_PKEY **ret, struct err *e)
{
	CLEANUP(bio_freep) BIO *b = NULL;
	AUTO_FREE char *p = NULL;
	EVP_PKEY *k;
	size_t n;
	int r;

	r = file_read(sys_linux(), AT_FDCWD, path, PEM_BYTES_MAX, &p, &n, e);
	if (r < 0)
		return r;
	b = BIO_new_mem_buf(p, (int)n);
	k = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
	explicit_bzero(p, n);
	if (!k)
		return openssl_failed("read the private key", path, e);
	*ret = k;
	return 0;
}

static int write_pem(const char *path, EVP_PKEY *k, struct err *e)
{
	CLEANUP(bio_freep) BIO *b = BIO_new(BIO_s_mem());
	AUTO_SYS_FD f = { sys_linux(), -1 };
	char *p = NULL;
	long n;
	int r;

	if (!b || PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) != 1)
		return openssl_failed("write the key", path, e);
	n = BIO_get_mem_data(b, &p);
	f.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f.fd < 0)
		return err_set(e, ERR_INPUT, errno, "create the key '%s': %s", path,
			       strerror(errno));
	r = sys_write_full(f.sys, f.fd, p, (size_t)n, 0);
	if (r >= 0)
		r = f.sys->ops->sync(f.sys, f.fd);
	explicit_bzero(p, (size_t)n);
	return r < 0 ? err_set(e, ERR_HOST, -r, "write the key '%s': %s", path, strerror(-r)) : 0;
}

int keys_absent(const struct keys *k, const char *role, struct err *e)
{
	char path[PATH_BYTES];
	int r = path_of(k, role, 0, path, e);

	if (r >= 0 && access(path, F_OK) == 0)
		return err_set(e, ERR_INPUT, EEXIST,
			       "there is a key '%s' already, and keys are never overwritten: give "
			       "another directory",
			       path);
	return r;
}

int keys_create(const struct keys *k, const char *role, json_t **ret_key, struct err *e)
{
	CLEANUP(pkey_freep) EVP_PKEY *key = NULL;
	AUTO_SYS_FD dir = { sys_linux(), -1 };
	char path[PATH_BYTES];
	int r;

	r = path_of(k, role, 0, path, e);
	if (r < 0)
		return r;
	if (mkdir(k->dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make directory '%s': %s", k->dir,
			       strerror(errno));
	key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!key)
		return openssl_failed("make the key", path, e);
	r = write_pem(path, key, e);
	if (r < 0)
		return r;
	dir.fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir.fd < 0 ? -errno : dir.sys->ops->sync(dir.sys, dir.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync '%s': %s", k->dir, strerror(-r));
	return tuf_key_to_json(key, ret_key, e);
}

static bool names(const json_t *signers, const char *id)
{
	const json_t *ids = json_object_get(signers, "keyids");

	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *s = json_string_value(json_array_get(ids, i));

		if (s && strcmp(s, id) == 0)
			return true;
	}
	return false;
}

/* 1: this file's key counts (and has signed), 0: there is no such file. */
static int sign_one(const char *path, const char *role, const json_t *signers, json_t *envelope,
		    struct err *e)
{
	CLEANUP(pkey_freep) EVP_PKEY *key = NULL;
	AUTO_JSON *pub = NULL;
	char id[TUF_KEYID_MAX];
	int r;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = load(path, &key, e);
	if (r >= 0)
		r = tuf_key_to_json(key, &pub, e);
	if (r >= 0)
		r = tuf_key_id(pub, id, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	if (!names(signers, id))
		return err_set(e, ERR_INPUT, EKEYREJECTED,
			       "'%s' (key %.8s) is no key of role %s in this repository: give the "
			       "directory with the right keys",
			       path, id, role);
	r = envelope ? tuf_envelope_sign(envelope, key, id, e) : 0;
	return r < 0 ? r : 1;
}

int keys_sign(const struct keys *k, const char *role, const json_t *signers, json_t *envelope,
	      struct err *e)
{
	json_int_t need = json_integer_value(json_object_get(signers, "threshold"));
	char path[PATH_BYTES];
	json_int_t have = 0;
	int r;

	if (!k->dir)
		return err_set(e, ERR_INPUT, EINVAL, "give the directory of the keys with --keys");
	for (unsigned i = 1; i <= KEYS_PER_ROLE; i++) {
		r = path_of(k, role, i, path, e);
		if (r >= 0)
			r = sign_one(path, role, signers, envelope, e);
		if (r < 0)
			return r;
		have += r;
	}
	if (have >= need && have > 0)
		return 0;
	if (have == 0)
		return err_set(e, ERR_INPUT, ENOENT, "no key '%s/%s.pem': role %s cannot be signed",
			       k->dir, role, role);
	return err_set(e, ERR_INPUT, EKEYREJECTED,
		       "role %s needs %lld signatures, but '%s' holds only %lld of its keys", role,
		       (long long)need, k->dir, (long long)have);
}

int keys_check(const struct keys *k, const char *role, const json_t *signers, struct err *e)
{
	return keys_sign(k, role, signers, NULL, e);
}
