/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "bootctl/pe.h"
#include "bootctl/uki.h"

enum { TEXT_MAX = 64 << 10, UNAME_MAX = 128, SECTIONS = 5, PAGE = 4096, CHUNK = 64 << 10 };
/* from the PE signature: TimeDateStamp of the COFF header, CheckSum of the optional one */
enum { STAMP_AT = 8, CHECKSUM_AT = 24 + 64 };
/* more than any kernel or initrd, and together well below the 4 GiB a PE image can span */
#define PART_MAX ((uint64_t)1 << 30)

/* ---- erofs ---- */

/* A file system's UUID must not tell one build from another: it follows from the image id. */
static void fs_uuid(const char *image, char out[UUID_TEXT_MAX])
{
	char text[64];
	uint8_t sum[SHA256_BYTES];

	(void)snprintf(text, sizeof(text), "proa erofs %s", image);
	sha256(text, strlen(text), sum);
	sum[6] = (uint8_t)((sum[6] & 0x0f) | 0x80); /* RFC 9562, version 8 */
	sum[8] = (uint8_t)((sum[8] & 0x3f) | 0x80);
	uuid_format(sum, out);
}

static int check_tree(const char *tree, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/usr/lib/os-release", tree);
	if (stat(path, &st) < 0)
		return 0;
	return err_set(e, ERR_INPUT, EINVAL,
		       "'%s' is a whole root, not a /usr: give its usr folder ('%.300s/usr')", tree,
		       tree);
}

/*
 * -T<seconds>: of every file, and as it stands in the superblock alone it makes no delta larger.
 * Hosts take it for the time before which their clock cannot be.
 */
static int build_stamp(char out[32], struct err *e)
{
	const char *s = getenv("SOURCE_DATE_EPOCH");
	uint64_t t = BUILD_TIME;
	int q = s ? num_parse(s, strlen(s), 0, INT32_MAX, "SOURCE_DATE_EPOCH", &t, e) : 0;

	if (q < 0)
		return q;
	(void)snprintf(out, 32, "-T%" PRIu64, t);
	return 0;
}

int build_image(const char *tree, const char *image, const char *out, struct err *e)
{
	char uuid[UUID_TEXT_MAX], stamp[32];
	const char *argv[] = { "mkfs.erofs", "--quiet", "-Enoinline_data", stamp,
			       "-U",         uuid,      "--all-root",      out,
			       tree,         NULL };
	int q = check_tree(tree, e);

	q = q < 0 ? q : build_stamp(stamp, e);
	if (q < 0)
		return q;
	fs_uuid(image, uuid);
	q = spawn_check(argv, e);
	if (q == -ENOENT)
		return err_wrap(e, q, "install erofs-utils");
	return q < 0 ? err_wrap(e, q, "build the image of '%s'", tree) : 0;
}

int build_erofs(const struct repo *r, const char *tree, char ret[PATH_MAX], struct err *e)
{
	char out[PATH_MAX];
	int q = repo_tmp_path(r, "usr.erofs", out, e);

	q = q < 0 ? q : build_image(tree, r->config.image, out, e);
	if (q < 0)
		return q;
	(void)snprintf(ret, PATH_MAX, "%s", out);
	return 0;
}

/* ---- text sections ---- */

static bool sets(const char *line, const char *key)
{
	size_t n = strlen(key);

	return strncmp(line, key, n) == 0 && line[n] == '=';
}

int build_osrel(const char *file, const char *tree, const char *image, const char *version,
		struct buf *ret, struct err *e)
{
	AUTO_FREE char *p = NULL;
	char path[PATH_MAX];
	size_t n;
	int q;

	(void)snprintf(path, sizeof(path), "%s/lib/os-release", tree ? tree : "");
	if (!file && !tree)
		return err_set(e, ERR_INPUT, EINVAL,
			       "with a finished image the UKI needs its os-release: --os-release "
			       "FILE");
	q = file_read(sys_linux(), AT_FDCWD, file ? file : path, TEXT_MAX, &p, &n, e);
	if (q < 0)
		return err_wrap(e, q, "os-release");
	for (char *line = p, *end; q >= 0 && *line; line = end) {
		end = strchrnul(line, '\n');
		if (*end)
			*end++ = '\0';
		if (*line && !sets(line, "IMAGE_ID") && !sets(line, "IMAGE_VERSION"))
			q = buf_addf(ret, e, "%s\n", line);
	}
	return q < 0 ? q : buf_addf(ret, e, "IMAGE_ID=%s\nIMAGE_VERSION=%s\n", image, version);
}

int build_cmdline(const char *text, const uint8_t root[SHA256_BYTES], struct buf *ret,
		  struct err *e)
{
	AUTO_FREE char *p = NULL;
	char hex[SHA256_HEX_MAX];
	size_t n;
	int q;

	if (text && text[0] == '@') {
		q = file_read(sys_linux(), AT_FDCWD, text + 1, UKI_CMDLINE_MAX, &p, &n, e);
		if (q < 0)
			return err_wrap(e, q, "command line");
		for (char *c = p; *c; c++)
			if (*c == '\n' || *c == '\t')
				*c = ' ';
		while (n > 0 && p[n - 1] == ' ')
			p[--n] = '\0';
		text = p;
	}
	if (!text)
		text = BUILD_CMDLINE;
	if (strncmp(text, "usrhash=", 8) == 0 || strstr(text, " usrhash="))
		return err_set(e, ERR_INPUT, EINVAL,
			       "the command line must not hold usrhash=: it is added here, from "
			       "the image");
	hex_format(root, SHA256_BYTES, hex);
	return buf_addf(ret, e, "%s%susrhash=%s", text, *text ? " " : "", hex);
}

/*
 * Refuses what the stub could not start: a kernel without its EFI stub, or no kernel. out: the
 * release string of an x86 bzImage (Linux boot protocol: kernel_version at 0x20e), or "".
 */
static int kernel_look(const char *kernel, char out[UNAME_MAX], struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	uint8_t head[0x210];
	ssize_t n;

	out[0] = '\0';
	f.fd = open(kernel, O_RDONLY | O_CLOEXEC);
	if (f.fd < 0)
		return err_set(e, ERR_INPUT, errno, "open the kernel '%s': %s", kernel,
			       strerror(errno));
	if (sys_read_full(f.sys, f.fd, head, sizeof(head), 0) < 0 || memcmp(head, "MZ", 2) != 0)
		return err_set(e, ERR_INPUT, ENOEXEC,
			       "'%s' is no kernel that EFI can start (a bzImage, or arm64's Image "
			       "that is not compressed): firmware would refuse the release",
			       kernel);
	if (memcmp(head + 0x202, "HdrS", 4) != 0 || le16_get(head + 0x20e) == 0)
		return 0;
	n = pread(f.fd, out, UNAME_MAX - 1, le16_get(head + 0x20e) + 0x200);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, " \t\r\n")] = '\0';
	return 0;
}

/* ---- PE ---- */

const char *build_stub_default(const char *arch)
{
	if (strcmp(arch, "x86-64") == 0)
		return "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
	return strcmp(arch, "arm64") == 0 ? "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub" : NULL;
}

/* ImageBase (objcopy counts from it) and the end of the stub's last section. */
static int stub_layout(const char *stub, uint64_t *ret_base, uint64_t *ret_end, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	uint8_t p[4], opt[32];
	uint64_t end = 0;
	struct pe pe;
	int q;

	f.fd = open(stub, O_RDONLY | O_CLOEXEC);
	if (f.fd < 0)
		return err_set(e, ERR_INPUT, errno,
			       "open the stub '%s': %s (systemd-boot-efi has it; --stub FILE names "
			       "another)",
			       stub, strerror(errno));
	q = pe_open(f.sys, f.fd, &pe, e);
	if (q < 0)
		return err_wrap(e, q, "stub '%s'", stub);
	if (pe_section_find(&pe, ".linux"))
		return err_set(e, ERR_INPUT, EINVAL, "'%s' is a whole UKI, not a stub: use --uki",
			       stub);
	q = sys_read_full(f.sys, f.fd, p, sizeof(p), 0x3c);
	if (q >= 0)
		q = sys_read_full(f.sys, f.fd, opt, sizeof(opt), (uint64_t)le32_get(p) + 24);
	if (q < 0)
		return err_set(e, ERR_INPUT, -q, "read '%s': %s", stub, strerror(-q));
	for (size_t i = 0; i < pe.n_sections; i++) {
		uint64_t to = (uint64_t)pe.section[i].virtual_address + pe.section[i].virtual_size;

		end = to > end ? to : end;
	}
	*ret_base = le16_get(opt) == 0x20b ? le64_get(opt + 24) : le32_get(opt + 28);
	*ret_end = end;
	return 0;
}

struct part {
	const char *name;
	char path[PATH_MAX];
	uint64_t at; /* where systemd 252's own layout has it; moved up when that is taken */
};

static int write_text(const struct repo *r, const char *name, const void *p, size_t n,
		      char path[PATH_MAX], struct err *e)
{
	int q = repo_tmp_path(r, name, path, e);

	return q < 0 ? q : file_replace(sys_linux(), r->tmp, name, p, n, e);
}

static int gather(const struct repo *r, const struct build_uki *u, struct part p[SECTIONS],
		  struct err *e)
{
	char uname[UNAME_MAX];
	int q = kernel_look(u->kernel, uname, e);
	const char *name = u->uname ? u->uname : uname;

	q = q < 0 ? q : write_text(r, "osrel", u->osrel->p, u->osrel->n, p[0].path, e);
	q = q < 0 ? q : write_text(r, "cmdline", u->cmdline->p, u->cmdline->n, p[1].path, e);
	if (q >= 0 && *name)
		q = write_text(r, "uname", name, strlen(name), p[2].path, e);
	(void)snprintf(p[3].path, PATH_MAX, "%s", u->kernel);
	(void)snprintf(p[4].path, PATH_MAX, "%s", u->initrd ? u->initrd : "");
	return q;
}

/* Gives every part its address: pages of its own, in order, behind what the stub has. */
static int place(struct part p[SECTIONS], uint64_t end, struct err *e)
{
	for (size_t i = 0; i < SECTIONS; i++) {
		struct stat st;

		if (!p[i].path[0])
			continue;
		if (stat(p[i].path, &st) < 0)
			return err_set(e, ERR_INPUT, errno, "'%s': %s", p[i].path, strerror(errno));
		if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > PART_MAX)
			return err_set(e, ERR_INPUT, EFBIG,
				       "'%s' is no file of 1 byte to 1 GiB: section %s", p[i].path,
				       p[i].name);
		if (!num_align(end, PAGE, &end))
			return err_set(e, ERR_BUG, EOVERFLOW, "address of %s", p[i].name);
		if (end > p[i].at)
			p[i].at = end;
		end = p[i].at + (uint64_t)st.st_size;
	}
	return 0;
}

static int run_objcopy(const struct part p[SECTIONS], uint64_t base, const char *stub,
		       const char *out, struct err *e)
{
	char add[SECTIONS][PATH_MAX + 16], vma[SECTIONS][64];
	const char *argv[4 * SECTIONS + 4] = { "objcopy" };
	size_t n = 1;
	int q;

	for (size_t i = 0; i < SECTIONS; i++) {
		if (!p[i].path[0])
			continue;
		(void)snprintf(add[i], sizeof(add[i]), "%s=%s", p[i].name, p[i].path);
		(void)snprintf(vma[i], sizeof(vma[i]), "%s=0x%" PRIx64, p[i].name, base + p[i].at);
		argv[n++] = "--add-section";
		argv[n++] = add[i];
		argv[n++] = "--change-section-vma";
		argv[n++] = vma[i];
	}
	argv[n++] = stub;
	argv[n++] = out;
	argv[n] = NULL;
	q = spawn_check(argv, e);
	if (q == -ENOENT)
		return err_wrap(e, q, "install binutils");
	return q < 0 ? err_wrap(e, q, "build the UKI") : 0;
}

/* The checksum of PE images: 16-bit words added with carry, then the length. */
static int pe_checksum(const struct sys_fd *f, uint64_t bytes, uint32_t *ret, struct err *e)
{
	AUTO_FREE uint8_t *p = malloc(CHUNK);
	uint64_t sum = 0;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (uint64_t at = 0; at < bytes; at += CHUNK) {
		size_t n = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
		int q = sys_read_full(f->sys, f->fd, p, n, at);

		if (q < 0)
			return err_set(e, ERR_HOST, -q, "read the UKI: %s", strerror(-q));
		for (size_t i = 0; i + 1 < n; i += 2)
			sum += le16_get(p + i);
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	*ret = (uint32_t)(sum + bytes);
	return 0;
}

/* objcopy writes the time of day into the header: the same input must give the same bytes. */
static int unstamp(const char *path, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	uint64_t bytes = 0, pe;
	uint8_t p[4] = { 0 };
	uint32_t sum = 0;
	int q;

	f.fd = open(path, O_RDWR | O_CLOEXEC);
	q = f.fd < 0 ? -errno : f.sys->ops->size(f.sys, f.fd, &bytes);
	q = q < 0 ? q : sys_read_full(f.sys, f.fd, p, sizeof(p), 0x3c);
	pe = le32_get(p);
	memset(p, 0, sizeof(p));
	q = q < 0 ? q : sys_write_full(f.sys, f.fd, p, sizeof(p), pe + STAMP_AT);
	q = q < 0 ? q : sys_write_full(f.sys, f.fd, p, sizeof(p), pe + CHECKSUM_AT);
	if (q < 0)
		return err_set(e, ERR_HOST, -q, "finish the UKI: %s", strerror(-q));
	q = pe_checksum(&f, bytes, &sum, e);
	if (q < 0)
		return q;
	le32_put(p, sum);
	q = sys_write_full(f.sys, f.fd, p, sizeof(p), pe + CHECKSUM_AT);
	return q < 0 ? err_set(e, ERR_HOST, -q, "finish the UKI: %s", strerror(-q)) : 0;
}

int build_uki(const struct repo *r, const struct build_uki *u, char ret[PATH_MAX], struct err *e)
{
	AUTO_FREE struct part *p = calloc(SECTIONS, sizeof(*p));
	uint64_t base, end;
	char out[PATH_MAX];
	int q;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	p[0].name = ".osrel", p[0].at = 0x20000;
	p[1].name = ".cmdline", p[1].at = 0x30000;
	p[2].name = ".uname", p[2].at = 0x40000;
	p[3].name = ".linux", p[3].at = 0x2000000;
	p[4].name = ".initrd", p[4].at = 0x3000000;
	q = stub_layout(u->stub, &base, &end, e);
	q = q < 0 ? q : gather(r, u, p, e);
	q = q < 0 ? q : place(p, end, e);
	q = q < 0 ? q : repo_tmp_path(r, "uki.efi", out, e);
	q = q < 0 ? q : run_objcopy(p, base, u->stub, out, e);
	q = q < 0 ? q : unstamp(out, e);
	if (q < 0)
		return q;
	(void)snprintf(ret, PATH_MAX, "%s", out);
	return 0;
}

int build_sign(const struct repo *r, const char *uki, const char *key, const char *cert,
	       char ret[PATH_MAX], struct err *e)
{
	char out[PATH_MAX];
	const char *argv[] = { "sbsign", "--key", key, "--cert", cert, "--output", out, uki, NULL };
	int q = repo_tmp_path(r, "uki.signed.efi", out, e);

	q = q < 0 ? q : spawn_check(argv, e);
	if (q == -ENOENT)
		return err_wrap(e, q, "install sbsigntool");
	if (q < 0)
		return err_wrap(e, q, "sign the UKI");
	(void)snprintf(ret, PATH_MAX, "%s", out);
	return 0;
}
