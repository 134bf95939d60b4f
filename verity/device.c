/* SPDX-License-Identifier: Apache-2.0 */
#include "verity/device.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define SECTOR 512

static void device_freep(struct crypt_device **cd)
{
	if (*cd)
		crypt_free(*cd);
}
#define AUTO_CRYPT __attribute__((cleanup(device_freep))) struct crypt_device

/* libcryptsetup prints to the terminal unless told where its messages go. */
static void drop_message(int level, const char *msg, void *arg)
{
	(void)level;
	(void)msg;
	(void)arg;
}

static int copy_path(const char *from, char *to, size_t cap, struct err *e)
{
	int n = snprintf(to, cap, "%s", from ? from : "");

	if (n <= 0 || (size_t)n >= cap)
		return err_set(e, ERR_HOST, ENAMETOOLONG, "device path of %d characters", n);
	return 0;
}

static int read_super(const struct crypt_params_verity *p, struct verity_super *s, struct err *e)
{
	int r = digest_by_name(p->hash_name ? p->hash_name : "", &s->algorithm, e);

	if (r < 0)
		return r;
	if (p->salt_size > VERITY_SALT_MAX)
		return err_set(e, ERR_HOST, EINVAL, "salt of %u bytes", p->salt_size);
	s->hash_type = p->hash_type;
	s->data_block = p->data_block_size;
	s->hash_block = p->hash_block_size;
	s->data_blocks = p->data_size;
	s->salt_n = (uint16_t)p->salt_size;
	if (p->salt_size > 0)
		memcpy(s->salt, p->salt, p->salt_size);
	return verity_super_check(s, e);
}

static enum verity_on_corruption on_corruption(uint32_t flags)
{
	if (flags & CRYPT_ACTIVATE_PANIC_ON_CORRUPTION)
		return VERITY_CORRUPTION_PANIC;
	if (flags & CRYPT_ACTIVATE_RESTART_ON_CORRUPTION)
		return VERITY_CORRUPTION_RESTART;
	if (flags & CRYPT_ACTIVATE_IGNORE_CORRUPTION)
		return VERITY_CORRUPTION_IGNORE;
	return VERITY_CORRUPTION_EIO;
}

static int read_mapping(struct crypt_device *cd, const char *name, struct verity_device *d,
			struct err *e)
{
	struct crypt_params_verity p = { 0 };
	struct crypt_active_device active = { 0 };
	int r = crypt_get_verity_info(cd, &p);

	if (r >= 0)
		r = crypt_get_active_device(cd, name, &active);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "%s", strerror(-r));
	r = read_super(&p, &d->super, e);
	if (r >= 0)
		r = copy_path(p.data_device, d->data_path, sizeof(d->data_path), e);
	if (r >= 0)
		r = copy_path(p.hash_device, d->hash_path, sizeof(d->hash_path), e);
	if (r < 0)
		return r;
	d->data_offset = active.offset * SECTOR;
	d->hash_offset = p.hash_area_offset;
	d->on_corruption = on_corruption(active.flags);
	d->corrupted = (active.flags & CRYPT_ACTIVATE_CORRUPTED) != 0;
	d->verified = (p.flags & CRYPT_VERITY_ROOT_HASH_SIGNATURE) != 0;
	d->root_n = sizeof(d->root);
	r = crypt_volume_key_get(cd, CRYPT_ANY_SLOT, (char *)d->root, &d->root_n, NULL, 0);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "no root hash: %s", strerror(-r));
	if (d->root_n != digest_size(d->super.algorithm))
		return err_set(e, ERR_HOST, EINVAL, "root hash of %zu bytes", d->root_n);
	return 0;
}

int verity_device_read(const char *name, struct verity_device *ret, struct err *e)
{
	struct verity_device d = { 0 };
	AUTO_CRYPT *cd = NULL;
	int r;

	crypt_set_log_callback(NULL, drop_message, NULL);
	r = crypt_init_by_name(&cd, name);
	if (r < 0)
		return err_set(e, ERR_HOST, ENODEV, "no active dm-verity mapping '%s': %s", name,
			       strerror(-r));
	if (!crypt_get_type(cd) || strcmp(crypt_get_type(cd), CRYPT_VERITY) != 0)
		return err_set(e, ERR_HOST, ENODEV, "the mapping '%s' is not dm-verity", name);
	r = read_mapping(cd, name, &d, e);
	if (r < 0)
		return err_wrap(e, r, "dm-verity mapping '%s'", name);
	*ret = d;
	return 0;
}
