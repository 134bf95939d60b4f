/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ACT_LAB_H
#define TESTS_ACT_LAB_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/spawn.h"
#include "tests/delta_make.h"
#include "tests/sim/sys_sim.h"
#include "tests/test.h"
#include "tests/uki_make.h"
#include "updater/agent/act.h"

/* A host in the simulator and releases for it. */
#define DISK  "/dev/disk"
#define ESP   "/esp"
#define LINUX ESP "/EFI/Linux"
#define STATE "/var/lib/proa"
#define IMAGE "web"

/* A release as a publisher makes it. */
struct rel {
	struct made usr;
	struct buf uki, uki_packed;
	int uki_fd, index_fd;
	int usr_delta_fd, uki_delta_fd; /* 0: none */
	struct release_manifest m;
	char file[64]; /* blessed name of its entry */
};

/* What a blob is called by: its content. */
static inline void blob_name(struct release_blob *b, int fd)
{
	CHECK(sha256_fd(sys_linux(), fd, b->bytes, b->sha256, NULL) == 0, "read a blob");
}

/* A UKI whose kernel is `kernel`; NULL: 30000 bytes of its own. */
static inline void make_uki_of(struct rel *r, const char *version, const uint8_t root[32],
			       const uint8_t *kernel, size_t n)
{
	struct err e = ERR_INIT;
	uint64_t packed = 0;
	struct image_encode_job job = { .sys = sys_linux(),
					.level = 1,
					.threads = 1,
					.put = buf_put,
					.put_arg = &r->uki_packed };

	uki_make(&r->uki, IMAGE, version, root, kernel ? n : 30000);
	if (kernel) /* .linux is the last section */
		memcpy(r->uki.p + r->uki.n - ((n + 511) & ~(size_t)511), kernel, n);
	job.fd = mem_file(0);
	job.bytes = r->uki.n;
	CHECK(sys_write_full(sys_linux(), job.fd, r->uki.p, r->uki.n, 0) == 0, "write");
	CHECK(image_pack(&job, &packed, &e) == 0, "%s", e.text);
	(void)close(job.fd);
	r->uki_fd = mem_file(0);
	CHECK(sys_write_full(sys_linux(), r->uki_fd, r->uki_packed.p, packed, 0) == 0, "write");
	sha256(r->uki.p, r->uki.n, r->m.uki_sha256);
	r->m.uki_bytes = r->uki.n;
	r->m.blob[2].role = RELEASE_UKI_FULL;
	r->m.blob[2].bytes = packed;
	blob_name(&r->m.blob[2], r->uki_fd);
}

/* For a release of that version and root hash. */
static inline void make_uki(struct rel *r, const char *version, const uint8_t root[32])
{
	make_uki_of(r, version, root, NULL, 0);
}

/* The manifest and the UKI for r->usr. */
static inline void rel_finish(struct rel *r, const char *version, const uint8_t *kernel, size_t n)
{
	r->index_fd = mem_file(0);
	CHECK(sys_write_full(sys_linux(), r->index_fd, r->usr.index.p, r->usr.index.n, 0) == 0,
	      "write");
	(void)snprintf(r->m.image, sizeof(r->m.image), IMAGE);
	(void)snprintf(r->m.version, sizeof(r->m.version), "%s", version);
	(void)snprintf(r->m.arch, sizeof(r->m.arch), "x86-64");
	(void)snprintf(r->file, sizeof(r->file), LINUX "/" IMAGE "_%s.efi", version);
	memcpy(r->m.root, r->usr.id.root, 32);
	memcpy(r->m.salt, r->usr.id.salt, r->usr.id.salt_n);
	r->m.salt_n = r->usr.id.salt_n;
	r->m.block_size = IMAGE_BLOCK;
	r->m.data_blocks = r->usr.id.data_blocks;
	r->m.hash_bytes = image_hash_bytes(&r->usr.id);
	r->m.blob[0].role = RELEASE_USR_FULL;
	r->m.blob[0].bytes = r->usr.full_bytes;
	r->m.blob[1].role = RELEASE_USR_INDEX;
	r->m.blob[1].bytes = r->usr.index.n;
	blob_name(&r->m.blob[0], r->usr.full_fd);
	blob_name(&r->m.blob[1], r->index_fd);
	r->m.n_blob = 3;
	make_uki_of(r, version, r->m.root, kernel, n);
}

static inline void make_release(struct rel *r, const char *version, size_t blocks)
{
	memset(r, 0, sizeof(*r));
	made_new(&r->usr, blocks);
	while (r->usr.id.salt_n > sizeof(r->m.salt)) { /* more than a manifest holds */
		made_done(&r->usr);
		made_new(&r->usr, blocks);
	}
	rel_finish(r, version, NULL, 0);
}

static inline void rel_add_delta(struct rel *r, enum release_blob_role role,
				 const uint8_t base[SHA256_BYTES], const struct buf *b)
{
	struct release_blob *to = &r->m.blob[r->m.n_blob++];

	to->role = role;
	to->bytes = b->n;
	memcpy(to->base, base, SHA256_BYTES);
	*(role == RELEASE_USR_DELTA ? &r->usr_delta_fd : &r->uki_delta_fd) = made_fd(b->p, b->n);
	sha256(b->p, b->n, to->sha256);
}

/* r comes with deltas from `from`; that of the UKI may take bytes from r's own /usr. */
static inline void rel_deltas(struct rel *r, const struct rel *from)
{
	AUTO_BUF usr = BUF_INIT;
	AUTO_BUF uki = BUF_INIT;
	struct image_diff_stats st;
	struct image_delta_want want;
	struct err e = ERR_INIT;
	struct image_diff_job job = {
		.sys = sys_linux(),
		.unit = 1,
		.target = { made_fd(r->uki.p, r->uki.n), { .bytes = r->uki.n } },
		.sources = 2,
		.source = { { made_fd(from->uki.p, from->uki.n), { .bytes = from->uki.n } },
			    { made_fd(r->usr.data, r->usr.n), made_whole(&r->usr) } },
		.level = 1,
		.threads = 1,
		.put = buf_put,
		.put_arg = &uki
	};

	memcpy(job.target.whole.id, r->m.uki_sha256, SHA256_BYTES);
	memcpy(job.source[0].whole.id, from->m.uki_sha256, SHA256_BYTES);
	CHECK(image_diff(&job, &st, &e) == 0, "%s", e.text);
	made_delta(&from->usr, &r->usr, 1, &usr, &st, &want);
	rel_add_delta(r, RELEASE_USR_DELTA, from->m.root, &usr);
	rel_add_delta(r, RELEASE_UKI_DELTA, from->m.uki_sha256, &uki);
	(void)close(job.target.fd);
	(void)close(job.source[0].fd);
	(void)close(job.source[1].fd);
}

/*
 * A later release of `from`, of as many blocks, with deltas from it. kernel: that many bytes of its
 * /usr are its kernel, and new in it; 0: the kernel of `from`.
 */
static inline void make_next(struct rel *r, const struct rel *from, const char *version,
			     size_t kernel)
{
	memset(r, 0, sizeof(*r));
	made_copy(&r->usr, &from->usr);
	for (unsigned k = 0; k < 20; k++)
		block_patch(r->usr.data + image_rnd(r->usr.n / IMAGE_BLOCK) * IMAGE_BLOCK);
	image_noise(r->usr.data + IMAGE_BLOCK, kernel & ~(size_t)7);
	made_again(&r->usr);
	if (kernel)
		rel_finish(r, version, r->usr.data + IMAGE_BLOCK, kernel);
	else /* that of `from`: 30000 bytes, rounded up to 512 */
		rel_finish(r, version, (uint8_t *)from->uki.p + from->uki.n - 30208, 30000);
	rel_deltas(r, from);
}

/* The file with that blob. */
static inline int rel_blob(const struct rel *r, const struct release_blob *b)
{
	switch (b->role) {
	case RELEASE_USR_FULL:
		return r->usr.full_fd;
	case RELEASE_UKI_FULL:
		return r->uki_fd;
	case RELEASE_USR_INDEX:
		return r->index_fd;
	case RELEASE_USR_DELTA:
		return r->usr_delta_fd;
	case RELEASE_UKI_DELTA:
		return r->uki_delta_fd;
	case RELEASE_SBOM:
		break;
	}
	abort();
}

static inline void done_release(struct rel *r)
{
	made_done(&r->usr);
	buf_done(&r->uki);
	buf_done(&r->uki_packed);
	(void)close(r->uki_fd);
	(void)close(r->index_fd);
	if (r->usr_delta_fd)
		(void)close(r->usr_delta_fd);
	if (r->uki_delta_fd)
		(void)close(r->uki_delta_fd);
}

static inline struct config conf_of(void)
{
	struct config c = { .tries = 3 };

	(void)snprintf(c.image, sizeof(c.image), IMAGE);
	(void)snprintf(c.disk, sizeof(c.disk), DISK);
	(void)snprintf(c.esp, sizeof(c.esp), ESP);
	(void)snprintf(c.state, sizeof(c.state), STATE);
	(void)snprintf(c.arch, sizeof(c.arch), "x86-64");
	(void)snprintf(c.efivars, sizeof(c.efivars), "/efivars");
	return c;
}

/* running NULL: the disk is seen from outside. */
static inline struct host_live live_of(const struct rel *running, const char *boot)
{
	struct host_live l = { .live = running != NULL, .has_root = running != NULL };

	if (running) {
		memcpy(l.root, running->m.root, 32);
		(void)snprintf(l.os_version, sizeof(l.os_version), "%s", running->m.version);
		(void)snprintf(l.boot_id, sizeof(l.boot_id), "%s", boot);
	}
	return l;
}

/* A GPT with two empty pairs, made by somebody else's tool. */
static inline void make_disk(struct sim *sim)
{
	char path[] = "/tmp/crash_update.XXXXXX";
	/* clang-format off */
	const char *argv[] = {
		"sgdisk", "-o", "-a", "8",
		"-n", "1:64:+1100K", "-t", "1:8484680c-9521-48c6-9c11-b0720656f69e", "-c", "1:_empty",
		"-n", "2:0:+32K", "-t", "2:77ff5f63-e7b6-4633-acf4-1565b864c0e6", "-c", "2:_empty",
		"-n", "3:0:+1100K", "-t", "3:8484680c-9521-48c6-9c11-b0720656f69e", "-c", "3:_empty",
		"-n", "4:0:+32K", "-t", "4:77ff5f63-e7b6-4633-acf4-1565b864c0e6", "-c", "4:_empty",
		path, NULL,
	};
	/* clang-format on */
	static uint8_t bytes[3 << 20]; /* made once: the tool sleeps a second */
	static bool made;
	struct err e = ERR_INIT;
	int fd = made ? -1 : mkstemp(path);

	if (made) {
		sim_file(sim, DISK, bytes, sizeof(bytes));
		return;
	}
	CHECK(fd >= 0 && ftruncate(fd, sizeof(bytes)) == 0, "temporary file");
	CHECK(spawn_check(argv, &e) == 0, "%s", e.text);
	CHECK(pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes), "read back");
	(void)close(fd);
	(void)unlink(path);
	made = true;
	sim_file(sim, DISK, bytes, sizeof(bytes));
}

static inline void bless(struct sim *sim, const char *version)
{
	struct sys *sys = sim_sys(sim);
	AUTO_SYS_FD esp = { .sys = sys, .fd = -1 };
	char id[64];
	struct err e = ERR_INIT;

	(void)snprintf(id, sizeof(id), IMAGE "_%s", version);
	esp.fd = sys->ops->open(sys, AT_FDCWD, ESP, O_RDONLY | O_DIRECTORY, 0);
	CHECK(esp_bless(sys, esp.fd, id, &e) == 0, "bless: %s", e.text);
}

#endif
