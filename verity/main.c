/* SPDX-License-Identifier: Apache-2.0 */
/* proa-verity: makes and checks dm-verity trees on files and devices. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/sys.h"
#include "verity/image.h"
#include "verity/tree.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { SALT_DEFAULT_BYTES = 32, HEX_MAX = 2 * VERITY_SALT_MAX + 1 };

static const char usage[] =
	"Usage: proa-verity format [OPTION]... DATA HASH\n"
	"       proa-verity verify [--threads N] DATA HASH ROOT\n"
	"       proa-verity root [--threads N] DATA HASH\n"
	"       proa-verity dump [--json] HASH\n"
	"Makes and checks dm-verity hash trees, byte for byte as veritysetup does.\n"
	"\n"
	"  format   write the hash area of DATA to HASH and print the root hash\n"
	"  verify   check DATA and HASH against the root hash; name the first bad block\n"
	"  root     print the root hash DATA has with the superblock of HASH\n"
	"  dump     print the superblock of HASH\n"
	"\n"
	"DATA and HASH are files or block devices. Options of format:\n"
	"      --salt=HEX|-          salt, up to 256 bytes; - for none (default: 32 random bytes)\n"
	"      --uuid=UUID           (default: random)\n"
	"      --hash=ALGORITHM      sha1, sha256 (default) or sha512\n"
	"      --format=TYPE         hash type 1 (default) or 0\n"
	"      --data-block-size=N   512, 1024, 2048 or 4096 (default)\n"
	"      --hash-block-size=N   the same\n"
	"Others:\n"
	"      --threads=N           1 to 16 (default: one per core)\n"
	"      --json                machine-readable dump\n"
	"      --help, --version\n"
	"\n"
	"Exit status: 0 done; 1 failed, or DATA or HASH is not what ROOT says; 2 usage.\n"
	"Example: proa-verity format --salt=- usr.erofs usr.verity";

struct options {
	struct verity_super super; /* what format is to write; data_blocks open */
	unsigned threads;
	bool json;
	bool of_format; /* an option was given that only format takes */
};

/* r is what err_set() or err_wrap() answered. */
static int fail(int r, const struct err *e)
{
	assert(r < 0);
	(void)r;
	(void)fprintf(stderr, "proa-verity: %s\n", e->text);
	return EXIT_FAILED;
}

static int bad_usage(const char *what)
{
	(void)fprintf(stderr, "proa-verity: %s; see proa-verity --help\n", what);
	return EXIT_USAGE;
}

static int bad_option(const char *arg, int c)
{
	(void)fprintf(stderr, "proa-verity: option '%s' %s; see proa-verity --help\n", arg,
		      c == ':' ? "needs a value" : "is not known");
	return EXIT_USAGE;
}

static int print_line(const char *s)
{
	if (printf("%s\n", s) < 0 || fflush(stdout) != 0) {
		(void)fprintf(stderr, "proa-verity: cannot write to standard output\n");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* ---- options ---- */

static int parse_salt(const char *s, struct verity_super *super, struct err *e)
{
	size_t n = strlen(s);
	int r;

	if (strcmp(s, "-") == 0) {
		super->salt_n = 0;
		return 0;
	}
	if (n % 2 != 0 || n / 2 > VERITY_SALT_MAX)
		return err_set(e, ERR_INPUT, EINVAL,
			       "--salt: give up to %d bytes as pairs of hexadecimal digits",
			       VERITY_SALT_MAX);
	r = hex_parse(s, "--salt", super->salt, n / 2, e);
	if (r >= 0)
		super->salt_n = (uint16_t)(n / 2);
	return r;
}

static int parse_number(const char *s, const char *what, uint64_t max, uint32_t *ret, struct err *e)
{
	uint64_t v;
	int r = num_parse(s, strlen(s), 0, max, what, &v, e);

	if (r >= 0)
		*ret = (uint32_t)v;
	return r;
}

enum { OPT_SALT = 256, OPT_UUID, OPT_HASH, OPT_TYPE, OPT_DATA, OPT_HASHB, OPT_THREADS, OPT_JSON };

static int take_option(int c, struct options *o, struct err *e)
{
	uint64_t n;
	int r;

	o->of_format = o->of_format || (c != OPT_THREADS && c != OPT_JSON);
	switch (c) {
	case OPT_SALT:
		return parse_salt(optarg, &o->super, e);
	case OPT_UUID:
		return uuid_parse(optarg, "--uuid", o->super.uuid, e);
	case OPT_HASH:
		return digest_by_name(optarg, &o->super.algorithm, e);
	case OPT_TYPE:
		return parse_number(optarg, "--format", 1, &o->super.hash_type, e);
	case OPT_DATA:
		return parse_number(optarg, "--data-block-size", 1u << 20, &o->super.data_block, e);
	case OPT_HASHB:
		return parse_number(optarg, "--hash-block-size", 1u << 20, &o->super.hash_block, e);
	case OPT_THREADS:
		r = num_parse(optarg, strlen(optarg), 1, VERITY_THREADS_MAX, "--threads", &n, e);
		if (r >= 0)
			o->threads = (unsigned)n;
		return r;
	default:
		o->json = true;
		return 0;
	}
}

/* As veritysetup: a random UUID of version 4, 32 random bytes of salt. */
static void set_defaults(struct options *o)
{
	o->super.hash_type = 1;
	o->super.algorithm = DIGEST_SHA256;
	o->super.data_block = o->super.hash_block = VERITY_BLOCK_MAX;
	o->super.salt_n = SALT_DEFAULT_BYTES;
	random_bytes(o->super.salt, SALT_DEFAULT_BYTES);
	random_bytes(o->super.uuid, sizeof(o->super.uuid));
	o->super.uuid[6] = (uint8_t)((o->super.uuid[6] & 0x0f) | 0x40);
	o->super.uuid[8] = (uint8_t)((o->super.uuid[8] & 0x3f) | 0x80);
}

/* ---- files ---- */

struct file {
	const char *path;
	struct verity_area area;
	struct stat st;
	bool made; /* by us, just now */
};

static void file_done(struct file *f)
{
	if (f->area.fd >= 0)
		(void)sys_linux()->ops->close(sys_linux(), f->area.fd);
}
#define AUTO_FILE __attribute__((cleanup(file_done))) struct file
#define FILE_INIT                                                                                  \
	{                                                                                          \
		.area = {.fd = -1 }                                                                \
	}

static int file_open(struct file *f, const char *path, int flags, struct err *e)
{
	struct sys *sys = sys_linux();
	int r = sys->ops->open(sys, AT_FDCWD, path, flags, 0666);

	if (r == -ENOENT && (flags & O_ACCMODE) == O_RDWR) {
		r = sys->ops->open(sys, AT_FDCWD, path, flags | O_CREAT | O_EXCL, 0666);
		f->made = r >= 0;
	}
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot open '%s': %s", path, strerror(-r));
	f->path = path;
	f->area.fd = r;
	r = fstat(f->area.fd, &f->st) < 0 ? -errno : 0;
	if (r >= 0 && !S_ISREG(f->st.st_mode) && !S_ISBLK(f->st.st_mode))
		return err_set(e, ERR_INPUT, EINVAL, "'%s' is neither a file nor a block device",
			       path);
	if (r >= 0)
		r = sys->ops->size(sys, f->area.fd, &f->area.bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot read the size of '%s': %s", path,
			       strerror(-r));
	if (S_ISREG(f->st.st_mode) && (flags & O_ACCMODE) == O_RDWR)
		f->area.bytes = INT64_MAX; /* it grows */
	return 0;
}

static bool same_file(const struct file *a, const struct file *b)
{
	if (S_ISBLK(a->st.st_mode) && S_ISBLK(b->st.st_mode))
		return a->st.st_rdev == b->st.st_rdev;
	return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

static int show_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)total;
	progress_set(arg, done, clock_mono_ms());
	return 0;
}

/* ---- verbs ---- */

/* DATA may be longer than whole blocks; as with veritysetup, the rest is not covered. */
static int count_blocks(const struct file *data, struct verity_super *s, struct err *e)
{
	struct verity_super probe = *s;
	int r;

	probe.data_blocks = 1; /* the block sizes are checked before they divide */
	r = verity_super_check(&probe, e);
	if (r < 0)
		return r;
	s->data_blocks = data->area.bytes / s->data_block;
	if (s->data_blocks == 0)
		return err_set(e, ERR_INPUT, EINVAL, "'%s' holds %ju bytes, less than one block",
			       data->path, (uintmax_t)data->area.bytes);
	if (data->area.bytes % s->data_block != 0)
		(void)fprintf(stderr,
			      "proa-verity: warning: the last %ju bytes of '%s' are less than a "
			      "block and not covered\n",
			      (uintmax_t)(data->area.bytes % s->data_block), data->path);
	return 0;
}

static int make_tree(struct file *data, struct file *hash, struct options *o, uint8_t *root,
		     struct err *e)
{
	struct progress p;
	struct verity_work work = { .threads = o->threads, .progress = show_progress, .arg = &p };
	int r;

	if (same_file(data, hash))
		return err_set(e, ERR_INPUT, EINVAL, "'%s' and '%s' are the same file", data->path,
			       hash->path);
	r = count_blocks(data, &o->super, e);
	if (r < 0)
		return r;
	progress_begin(&p, stderr, "hashing", o->super.data_blocks * o->super.data_block,
		       clock_mono_ms());
	r = verity_format(sys_linux(), &data->area, &hash->area, &o->super, &work, root, e);
	progress_end(&p);
	if (r < 0)
		return err_wrap(e, r, "format '%s'", hash->path);
	r = sys_linux()->ops->sync(sys_linux(), hash->area.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync '%s': %s", hash->path, strerror(-r));
	return 0;
}

static int do_format(char **arg, struct options *o)
{
	AUTO_FILE data = FILE_INIT, hash = FILE_INIT;
	struct err e = ERR_INIT;
	uint8_t root[DIGEST_MAX];
	char hex[2 * DIGEST_MAX + 1];
	int r = file_open(&data, arg[0], O_RDONLY, &e);

	if (r >= 0)
		r = file_open(&hash, arg[1], O_RDWR, &e);
	if (r >= 0)
		r = make_tree(&data, &hash, o, root, &e);
	if (r < 0) {
		if (hash.made)
			(void)sys_linux()->ops->unlink(sys_linux(), AT_FDCWD, arg[1]);
		return fail(r, &e);
	}
	hex_format(root, digest_size(o->super.algorithm), hex);
	return print_line(hex);
}

/* Opens both read-only and reads the superblock of HASH. */
static int open_pair(char **arg, struct file *data, struct file *hash, struct verity_super *s,
		     struct err *e)
{
	int r = file_open(data, arg[0], O_RDONLY, e);

	if (r >= 0)
		r = file_open(hash, arg[1], O_RDONLY, e);
	if (r < 0)
		return r;
	r = verity_super_read(sys_linux(), &hash->area, s, e);
	return r < 0 ? err_wrap(e, r, "'%s'", arg[1]) : 0;
}

static int do_verify(char **arg, struct options *o)
{
	AUTO_FILE data = FILE_INIT, hash = FILE_INIT;
	struct err e = ERR_INIT;
	struct progress p;
	struct verity_work work = { .threads = o->threads, .progress = show_progress, .arg = &p };
	uint8_t root[DIGEST_MAX];
	int r = open_pair(arg, &data, &hash, &o->super, &e);

	if (r >= 0)
		r = hex_parse(arg[2], "root hash", root, digest_size(o->super.algorithm), &e);
	if (r < 0)
		return fail(r, &e);

	struct verity_check c = {
		.data = data.area, .hash = hash.area, .super = &o->super, .root = root
	};

	progress_begin(&p, stderr, "checking", o->super.data_blocks * o->super.data_block,
		       clock_mono_ms());
	r = verity_verify(sys_linux(), &c, &work, NULL, &e);
	progress_end(&p);
	if (r < 0)
		return fail(err_wrap(&e, r, "'%s' with '%s'", arg[0], arg[1]), &e);
	return EXIT_DONE;
}

static int do_root(char **arg, struct options *o)
{
	AUTO_FILE data = FILE_INIT, hash = FILE_INIT;
	struct err e = ERR_INIT;
	struct progress p;
	struct verity_work work = { .threads = o->threads, .progress = show_progress, .arg = &p };
	uint8_t root[DIGEST_MAX];
	char hex[2 * DIGEST_MAX + 1];
	int r = open_pair(arg, &data, &hash, &o->super, &e);

	if (r < 0)
		return fail(r, &e);
	progress_begin(&p, stderr, "hashing", o->super.data_blocks * o->super.data_block,
		       clock_mono_ms());
	r = verity_root(sys_linux(), &data.area, &o->super, &work, root, &e);
	progress_end(&p);
	if (r < 0)
		return fail(err_wrap(&e, r, "'%s'", arg[0]), &e);
	hex_format(root, digest_size(o->super.algorithm), hex);
	return print_line(hex);
}

static int dump_json(const struct verity_super *s, const struct verity_geometry *g,
		     const char *uuid, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	json_t *o = json_object();
	int r = o ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r >= 0)
		r = json_put_str(o, "uuid", uuid, e);
	if (r >= 0)
		r = json_put_u64(o, "hashType", s->hash_type, e);
	if (r >= 0)
		r = json_put_u64(o, "dataBlocks", s->data_blocks, e);
	if (r >= 0)
		r = json_put_u64(o, "dataBlockSize", s->data_block, e);
	if (r >= 0)
		r = json_put_u64(o, "hashBlockSize", s->hash_block, e);
	if (r >= 0)
		r = json_put_str(o, "algorithm", digest_name(s->algorithm), e);
	if (r >= 0)
		r = json_put_hex(o, "salt", s->salt, s->salt_n, e);
	if (r >= 0)
		r = json_put_u64(o, "levels", g->levels, e);
	if (r >= 0)
		r = json_put_u64(o, "hashAreaBytes", g->bytes, e);
	if (r >= 0)
		r = json_write(o, true, &b, e);
	json_decref(o);
	return r < 0 ? fail(r, e) : print_line(b.p);
}

static int dump_text(const struct verity_super *s, const struct verity_geometry *g,
		     const char *uuid)
{
	char salt[HEX_MAX], text[1024];

	hex_format(s->salt, s->salt_n, salt);
	(void)snprintf(text, sizeof(text),
		       "UUID             %s\n"
		       "hash type        %u\n"
		       "data blocks      %ju\n"
		       "data block size  %u bytes\n"
		       "hash block size  %u bytes\n"
		       "algorithm        %s\n"
		       "salt             %s\n"
		       "tree levels      %u\n"
		       "hash area        %ju bytes",
		       uuid, s->hash_type, (uintmax_t)s->data_blocks, s->data_block, s->hash_block,
		       digest_name(s->algorithm), s->salt_n > 0 ? salt : "-", g->levels,
		       (uintmax_t)g->bytes);
	return print_line(text);
}

static int do_dump(char **arg, struct options *o)
{
	AUTO_FILE hash = FILE_INIT;
	struct err e = ERR_INIT;
	struct verity_geometry g;
	char uuid[UUID_TEXT_MAX];
	int r = file_open(&hash, arg[0], O_RDONLY, &e);

	if (r < 0)
		return fail(r, &e);
	r = verity_super_read(sys_linux(), &hash.area, &o->super, &e);
	if (r >= 0)
		r = verity_geometry(&o->super, &g, &e);
	if (r < 0)
		return fail(err_wrap(&e, r, "'%s'", arg[0]), &e);
	uuid_format(o->super.uuid, uuid);
	return o->json ? dump_json(&o->super, &g, uuid, &e) : dump_text(&o->super, &g, uuid);
}

static const struct verb {
	const char *name;
	int args;
	int (*run)(char **arg, struct options *o);
} verbs[] = {
	{ "format", 2, do_format },
	{ "verify", 3, do_verify },
	{ "root", 2, do_root },
	{ "dump", 1, do_dump },
};

static const struct option longopts[] = {
	{ "salt", required_argument, NULL, OPT_SALT },
	{ "uuid", required_argument, NULL, OPT_UUID },
	{ "hash", required_argument, NULL, OPT_HASH },
	{ "format", required_argument, NULL, OPT_TYPE },
	{ "data-block-size", required_argument, NULL, OPT_DATA },
	{ "hash-block-size", required_argument, NULL, OPT_HASHB },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static int run_verb(int n, char **arg, struct options *o)
{
	for (size_t i = 0; n > 0 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *v = &verbs[i];

		if (strcmp(v->name, arg[0]) != 0)
			continue;
		if (n - 1 != v->args)
			return bad_usage("wrong number of arguments");
		if (o->of_format && v->run != do_format)
			return bad_usage("that option is for format only");
		if (o->json && v->run != do_dump)
			return bad_usage("--json is for dump only");
		return v->run(arg + 1, o);
	}
	return bad_usage(n > 0 ? "no such command" : "no command given");
}

int main(int argc, char **argv)
{
	struct options o = { .json = false };
	struct err e = ERR_INIT;
	int c;

	set_defaults(&o);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":hV", longopts, NULL)) != -1) {
		if (c == '?' || c == ':')
			return bad_option(argv[optind - 1], c);
		if (c == 'h')
			return print_line(usage);
		if (c == 'V')
			return print_line("proa-verity " PROA_VERSION);
		if (take_option(c, &o, &e) < 0)
			return bad_usage(e.text);
	}
	return run_verb(argc - optind, argv + optind, &o);
}
