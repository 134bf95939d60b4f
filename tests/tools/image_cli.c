/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image room on plain files, for tests and benches:
 *   image-cli encode IMAGE DIR [--salt HEX] [--level N] [--threads N] [--frames SEED]
 *       DIR/full.zst, DIR/index, DIR/id (root hash, blocks and salt on one line)
 *       SEED decides where frames end
 *
 *   image-cli diff BASE-IMAGE BASE-DIR IMAGE DIR DELTA [--level N] [--threads N]
 *       the DIRs as encode made them; prints {"blob":..,"in_place":..,...}
 *
 *   image-cli write DIR DATA HASH [--resume] [--dies-at N] [--flip-at N] [--threads N]
 *       [--base-data FILE --base-hash FILE [--base-dir DIR --delta DELTA [--only]]]
 *       faults are of the delta, when there is one, else of the full blob; --only: no full blob;
 *       prints {"fetched":..,"written":..,"kept":..,"hashed":..,"rss_kib":..,...}
 *
 *   image-cli prove DIR DATA HASH
 *   image-cli diff-file BASE FILE DELTA [SECOND] | patch-file BASE DELTA FILE OUT [SECOND [ROOT]]
 *       FILE: for its hash and size only
 *   image-cli patch-image BASE ROOT DELTA IMAGE ROOT OUT
 *   image-cli pack FILE BLOB | unpack BLOB FILE PACKED RAW
 *   image-cli inspect IMAGE
 *   image-cli files OLD NEW
 *       of each file and directory of NEW: block, bytes, and those of its like in OLD (0 0: none)
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "tests/image_make.h"
#include "tests/image_source.h"
#include "updater/image/diff.h"
#include "updater/image/encode.h"
#include "updater/image/erofs.h"
#include "updater/image/patch.h"
#include "updater/image/write.h"

struct options {
	const char *salt;
	int level;
	unsigned threads;
	uint64_t frames; /* seed of their lengths */
	bool resume, only;
	uint64_t dies_at, flip_at;
	const char *base_data, *base_hash, *base_dir, *delta;
};

struct fd_sink {
	int fd;
	uint64_t at;
};

static int sink_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct fd_sink *s = arg;
	int r = sys_write_full(sys_linux(), s->fd, p, n, s->at);

	s->at += n;
	return r < 0 ? err_set(e, ERR_HOST, -r, "write: %s", strerror(-r)) : 0;
}

static int must_open(const char *dir, const char *name, int flags)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s%s%s", dir ? dir : "", dir ? "/" : "", name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	CHECK(fd >= 0, "open '%s': %s", path, strerror(errno));
	return fd;
}

static uint64_t must_size(int fd)
{
	uint64_t n = 0;

	CHECK(sys_linux()->ops->size(sys_linux(), fd, &n) >= 0, "size");
	return n;
}

static int say(int r, const struct err *e)
{
	if (r < 0)
		(void)fprintf(stderr, "image-cli: %s (kind %d, errno %d)\n", e->text, (int)e->kind,
			      e->os);
	return r < 0 ? 1 : 0;
}

static int do_encode(char **a, const struct options *o)
{
	AUTO_BUF index = BUF_INIT;
	AUTO_IMAGE_SPLIT split = { NULL, 0 };
	struct err e = ERR_INIT;
	struct image_id id = { .salt_n = 0 };
	struct fd_sink sink = { .fd = must_open(a[1], "full.zst", O_RDWR | O_CREAT | O_TRUNC) };
	struct image_encode_job job = { .sys = sys_linux(),
					.fd = must_open(NULL, a[0], O_RDONLY),
					.level = o->level,
					.threads = o->threads,
					.split = &split,
					.put = sink_put,
					.put_arg = &sink };
	char root[SHA256_HEX_MAX], salt[2 * VERITY_SALT_MAX + 1];
	uint64_t n = 0;
	FILE *f;
	int r;

	id.salt_n = (uint16_t)(o->salt ? strlen(o->salt) / 2 : 0);
	CHECK(!o->salt || hex_parse(o->salt, "salt", id.salt, id.salt_n, &e) == 0, "%s", e.text);
	job.bytes = must_size(job.fd);
	image_split_some(o->frames, job.bytes / IMAGE_BLOCK, &split);
	r = image_encode(&job, &id, &index, &n, &e);
	if (r < 0)
		return say(r, &e);
	sink = (struct fd_sink){ .fd = must_open(a[1], "index", O_RDWR | O_CREAT | O_TRUNC) };
	CHECK(sink_put(&sink, index.p, index.n, &e) == 0, "%s", e.text);
	hex_format(id.root, sizeof(id.root), root);
	hex_format(id.salt, id.salt_n, salt);
	f = fdopen(must_open(a[1], "id", O_RDWR | O_CREAT | O_TRUNC), "w");
	CHECK(f &&
		      fprintf(f, "%s %" PRIu64 " %s\n", root, id.data_blocks,
			      id.salt_n ? salt : "-") > 0 &&
		      fclose(f) == 0,
	      "write id");
	printf("%s\n", root);
	return 0;
}

static void id_load(const char *dir, struct image_id *ret)
{
	char root[65], blocks[24], salt[2 * VERITY_SALT_MAX + 1];
	struct err e = ERR_INIT;
	FILE *f = fdopen(must_open(dir, "id", O_RDONLY), "r");
	int index = must_open(dir, "index", O_RDONLY);

	memset(ret, 0, sizeof(*ret));
	ret->index_bytes = must_size(index);
	(void)close(index);
	CHECK(f && fscanf(f, "%64s %23s %512s", root, blocks, salt) == 3, "id");
	ret->data_blocks = strtoull(blocks, NULL, 10);
	(void)fclose(f);
	CHECK(hex_parse(root, "root", ret->root, 32, &e) == 0, "%s", e.text);
	ret->salt_n = (uint16_t)(strcmp(salt, "-") == 0 ? 0 : strlen(salt) / 2);
	CHECK(hex_parse(ret->salt_n ? salt : "", "salt", ret->salt, ret->salt_n, &e) == 0, "%s",
	      e.text);
}

static struct image_whole whole_of(const struct image_id *id)
{
	struct image_whole w = { .bytes = id->data_blocks * IMAGE_BLOCK };

	memcpy(w.id, id->root, sizeof(w.id));
	return w;
}

static struct verity_area area_of(const char *path, int flags)
{
	struct verity_area a = { .fd = must_open(NULL, path, flags) };

	a.bytes = must_size(a.fd);
	return a;
}

/* Opens what the options name and fetches the recipe of the delta; 0 without one. */
static int base_open(const struct options *o, struct image_job *job, struct file_source *s,
		     struct image_source *src, struct image_delta **ret, uint64_t *ret_fetched,
		     struct err *e)
{
	struct image_delta_want want = { .unit = IMAGE_BLOCK, .target = whole_of(&job->index->id) };
	struct image_id base;
	int fd;

	if (o->base_data)
		job->base_data = area_of(o->base_data, O_RDONLY);
	if (o->base_hash)
		job->base_hash = area_of(o->base_hash, O_RDONLY);
	if (!o->delta)
		return 0;
	id_load(o->base_dir, &base);
	want.source[0] = whole_of(&base);
	fd = must_open(NULL, o->delta, O_RDONLY);
	want.blob_bytes = must_size(fd);
	*src = file_source(s, fd, want.blob_bytes);
	job->patch = src;
	return image_delta_fetch(src, &want, ret, ret_fetched, e);
}

static void stats_print(const struct image_stats *st, size_t runs, uint64_t head)
{
	struct rusage ru;

	(void)getrusage(RUSAGE_SELF, &ru);
	printf("{\"fetched\":%" PRIu64 ",\"head\":%" PRIu64 ",\"written\":%" PRIu64
	       ",\"kept\":%" PRIu64 ",\"hashed\":%" PRIu64 ",\"copied\":%" PRIu64
	       ",\"spared\":%" PRIu64 ",\"again\":%" PRIu64
	       ",\"runs\":%zu,\"rss_kib\":%ld,\"cpu_ms\":%ld}\n",
	       st->fetched, head, st->written, st->kept, st->hashed, st->copied, st->spared,
	       st->again, runs, ru.ru_maxrss,
	       (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 +
		       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000);
}

static int do_write(char **a, const struct options *o, bool prove_only)
{
	AUTO_FREE char *p = NULL;
	AUTO_IMAGE_INDEX *x = NULL;
	AUTO_IMAGE_DELTA *delta = NULL;
	struct err e = ERR_INIT;
	struct file_source s, patch = { .fd = -1 };
	struct image_source src, patch_src;
	struct image_job job = { .sys = sys_linux(), .resume = o->resume, .threads = o->threads };
	struct image_stats st = { 0 };
	struct image_id id;
	uint64_t head = 0;
	size_t n;
	int full = must_open(a[0], "full.zst", O_RDONLY), dir, r;

	id_load(a[0], &id);
	dir = must_open(NULL, a[0], O_RDONLY | O_DIRECTORY);
	src = file_source(&s, full, must_size(full));
	job.full = o->only ? NULL : &src;
	job.data = area_of(a[1], O_RDWR);
	job.hash = area_of(a[2], O_RDWR);
	r = file_read(sys_linux(), dir, "index", (size_t)image_index_bytes(&id, IMAGE_INDEX_LEAVES),
		      &p, &n, &e);
	if (r < 0)
		return say(r, &e);
	/* what a host fetches */
	n = (size_t)image_index_bytes(&id, o->only        ? IMAGE_INDEX_UPPER
					   : o->base_hash ? IMAGE_INDEX_LEAVES
							  : IMAGE_INDEX_FRAMES);
	r = image_index_parse((const uint8_t *)p, n, &id, s.bytes, &x, &e);
	if (r < 0)
		return say(r, &e);
	job.index = x;
	r = base_open(o, &job, &patch, &patch_src, &delta, &head, &e);
	if (r < 0)
		return say(r, &e);
	job.delta = delta;
	*(delta ? &patch.dies_at : &s.dies_at) = o->dies_at;
	*(delta ? &patch.flip_at : &s.flip_at) = o->flip_at;
	r = prove_only ? image_prove(&job, &id, &st, &e) : image_write(&job, &st, &e);
	stats_print(&st, delta ? patch.runs_n : s.runs_n, head);
	return say(r, &e);
}

static int diff_say(const struct image_diff_stats *st)
{
	printf("{\"blob\":%" PRIu64 ",\"head\":%" PRIu64 ",\"in_place\":%" PRIu64
	       ",\"moved\":%" PRIu64 ",\"zero\":%" PRIu64 ",\"fresh\":%" PRIu64
	       ",\"pieces\":%zu,\"frames\":%zu}\n",
	       st->blob, st->head, st->in_place, st->moved, st->zero, st->fresh, st->pieces,
	       st->frames);
	return 0;
}

static int do_diff(char **a, const struct options *o)
{
	struct err e = ERR_INIT;
	struct fd_sink sink = { .fd = must_open(NULL, a[4], O_RDWR | O_CREAT | O_TRUNC) };
	struct image_diff_job job = { .sys = sys_linux(),
				      .unit = IMAGE_BLOCK,
				      .sources = 1,
				      .level = o->level,
				      .threads = o->threads,
				      .put = sink_put,
				      .put_arg = &sink };
	struct image_diff_stats st = { 0 };
	struct image_id base, target;
	int r;

	id_load(a[1], &base);
	id_load(a[3], &target);
	job.source[0] =
		(struct image_diff_file){ must_open(NULL, a[0], O_RDONLY), whole_of(&base) };
	job.target = (struct image_diff_file){ must_open(NULL, a[2], O_RDONLY), whole_of(&target) };
	r = image_diff(&job, &st, &e);
	return r < 0 ? say(r, &e) : diff_say(&st);
}

static struct image_diff_file file_of(const char *path)
{
	struct image_diff_file f = { .fd = must_open(NULL, path, O_RDONLY) };
	struct err e = ERR_INIT;

	f.whole.bytes = must_size(f.fd);
	CHECK(sha256_fd(sys_linux(), f.fd, f.whole.bytes, f.whole.id, &e) == 0, "%s", e.text);
	return f;
}

static int do_diff_file(char **a, const struct options *o)
{
	struct err e = ERR_INIT;
	struct fd_sink sink = { .fd = must_open(NULL, a[2], O_RDWR | O_CREAT | O_TRUNC) };
	struct image_diff_job job = { .sys = sys_linux(),
				      .unit = 1,
				      .target = file_of(a[1]),
				      .sources = a[3] ? 2 : 1,
				      .source = { file_of(a[0]) },
				      .level = o->level,
				      .threads = o->threads,
				      .put = sink_put,
				      .put_arg = &sink };
	struct image_diff_stats st = { 0 };
	int r;

	if (a[3])
		job.source[1] = file_of(a[3]);
	r = image_diff(&job, &st, &e);
	return r < 0 ? say(r, &e) : diff_say(&st);
}

/* The file, known by its root hash. */
static struct image_diff_file image_of(const char *path, const char *root)
{
	struct image_diff_file f = { .fd = must_open(NULL, path, O_RDONLY) };
	struct err e = ERR_INIT;

	f.whole.bytes = must_size(f.fd);
	CHECK(hex_parse(root, "root", f.whole.id, sizeof(f.whole.id), &e) == 0, "%s", e.text);
	return f;
}

static int patch_run(struct image_delta_want *want, struct image_patch_job *job, const char *blob,
		     const char *out)
{
	AUTO_IMAGE_DELTA *d = NULL;
	struct err e = ERR_INIT;
	struct fd_sink sink = { .fd = must_open(NULL, out, O_RDWR | O_CREAT | O_TRUNC) };
	struct file_source s;
	struct image_source src;
	uint64_t fetched = 0, head = 0;
	int fd = must_open(NULL, blob, O_RDONLY), r;

	want->blob_bytes = must_size(fd);
	src = file_source(&s, fd, want->blob_bytes);
	r = image_delta_fetch(&src, want, &d, &head, &e);
	if (r < 0)
		return say(r, &e);
	job->sys = sys_linux();
	job->delta = d;
	/* cppcheck-suppress autoVariables ; the caller does nothing more with job */
	job->src = &src;
	job->put = sink_put;
	/* cppcheck-suppress autoVariables */
	job->put_arg = &sink;
	r = image_patch(job, &fetched, &e);
	printf("{\"fetched\":%" PRIu64 "}\n", head + fetched);
	return say(r, &e);
}

static int do_patch_file(char **a)
{
	struct image_delta_want want = { .unit = 1,
					 .target = file_of(a[2]).whole,
					 .source = { file_of(a[0]).whole } };
	struct image_patch_job job = { .source = { area_of(a[0], O_RDONLY) } };

	if (a[4]) {
		job.source[1] = area_of(a[4], O_RDONLY);
		want.source[1] = a[5] ? image_of(a[4], a[5]).whole : file_of(a[4]).whole;
	}
	return patch_run(&want, &job, a[1], a[3]);
}

static int do_patch_image(char **a)
{
	struct image_delta_want want = { .unit = IMAGE_BLOCK,
					 .target = image_of(a[3], a[4]).whole,
					 .source = { image_of(a[0], a[1]).whole } };
	struct image_patch_job job = { .source = { area_of(a[0], O_RDONLY) } };

	return patch_run(&want, &job, a[2], a[5]);
}

static int do_pack(char **a, const struct options *o)
{
	struct err e = ERR_INIT;
	struct fd_sink sink = { .fd = must_open(NULL, a[1], O_RDWR | O_CREAT | O_TRUNC) };
	struct image_encode_job job = { .sys = sys_linux(),
					.fd = must_open(NULL, a[0], O_RDONLY),
					.level = o->level,
					.put = sink_put,
					.put_arg = &sink };
	uint64_t n = 0;

	job.bytes = must_size(job.fd);
	return say(image_pack(&job, &n, &e), &e);
}

static int do_unpack(char **a)
{
	struct err e = ERR_INIT;
	struct fd_sink sink = { .fd = must_open(NULL, a[1], O_RDWR | O_CREAT | O_TRUNC) };
	struct file_source s;
	int fd = must_open(NULL, a[0], O_RDONLY);
	struct image_source src = file_source(&s, fd, must_size(fd));

	return say(image_unpack(&src, strtoull(a[2], NULL, 10), strtoull(a[3], NULL, 10), sink_put,
				&sink, &e),
		   &e);
}

static struct erofs_map *files_of(const char *path)
{
	struct erofs_map *m = NULL;
	struct err e = ERR_INIT;
	AUTO_FREE char *p = NULL;
	size_t n = 0;

	CHECK(file_read(sys_linux(), AT_FDCWD, path, (size_t)1 << 30, &p, &n, &e) == 0, "%s",
	      e.text);
	CHECK(erofs_map_new((uint8_t *)p, n, &m, &e) == 0, "%s", e.text);
	CHECK(m, "'%s' is not understood", path);
	return m;
}

static int do_files(char **a)
{
	AUTO_EROFS_MAP *old = files_of(a[0]);
	AUTO_EROFS_MAP *new = files_of(a[1]);
	AUTO_EROFS_INDEX *x = NULL;
	struct err e = ERR_INIT;
	int r = erofs_index_new(old, &x, &e);

	for (size_t i = 0; r >= 0 && i < new->n; i++) {
		const struct erofs_file *f = &new->file[i], *was = erofs_index_find(x, f);

		printf("%" PRIu32 " %" PRIu64 " %" PRIu32 " %" PRIu64 "\n", f->block, f->bytes,
		       was ? was->block : 0, was ? was->bytes : 0);
	}
	return say(r, &e);
}

static int do_inspect(char **a)
{
	struct err e = ERR_INIT;
	struct image_facts f = { 0 };
	const char *text;
	int r = image_inspect(sys_linux(), must_open(NULL, a[0], O_RDONLY), &f, &e);

	if (r < 0)
		return say(r, &e);
	printf("%d %d %d %" PRIu64 "\n", (int)f.kind, f.compressed, f.inline_data, f.fs_bytes);
	for (unsigned i = 0; (text = image_advice(&f, i)); i++)
		puts(text);
	return 0;
}

/* Fills *o; the number of words that are no options is left to the caller. */
static bool options_read(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "salt", 1, NULL, 's' },
					       { "level", 1, NULL, 'l' },
					       { "frames", 1, NULL, 'c' },
					       { "threads", 1, NULL, 't' },
					       { "resume", 0, NULL, 'r' },
					       { "dies-at", 1, NULL, 'd' },
					       { "flip-at", 1, NULL, 'f' },
					       { "base-data", 1, NULL, 'b' },
					       { "base-hash", 1, NULL, 'h' },
					       { "base-dir", 1, NULL, 'i' },
					       { "delta", 1, NULL, 'p' },
					       { "only", 0, NULL, 'o' },
					       { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		switch (c) {
		case 's':
			o->salt = optarg;
			break;
		case 'l':
			o->level = (int)strtol(optarg, NULL, 10);
			break;
		case 't':
			o->threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			o->frames = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			o->resume = true;
			break;
		case 'd':
			o->dies_at = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			o->flip_at = strtoull(optarg, NULL, 10);
			break;
		case 'b':
			o->base_data = optarg;
			break;
		case 'h':
			o->base_hash = optarg;
			break;
		case 'i':
			o->base_dir = optarg;
			break;
		case 'p':
			o->delta = optarg;
			break;
		case 'o':
			o->only = true;
			break;
		default:
			return false;
		}
	return true;
}

static int verb_do(size_t verb, char **a, const struct options *o)
{
	switch (verb) {
	case 0:
		return do_encode(a, o);
	case 1:
		return do_diff(a, o);
	case 2:
	case 3:
		return do_write(a, o, verb == 3);
	case 4:
		return do_pack(a, o);
	case 5:
		return do_unpack(a);
	case 6:
		return do_inspect(a);
	case 7:
		return do_diff_file(a, o);
	case 8:
		return do_patch_file(a);
	case 9:
		return do_patch_image(a);
	default:
		return do_files(a);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int least, most; /* words, the name included */
	} verbs[] = {
		{ "encode", 3, 3 },      { "diff", 6, 6 },      { "write", 4, 4 },
		{ "prove", 4, 4 },       { "pack", 3, 3 },      { "unpack", 5, 5 },
		{ "inspect", 2, 2 },     { "diff-file", 4, 5 }, { "patch-file", 5, 7 },
		{ "patch-image", 7, 7 }, { "files", 3, 3 },
	};
	struct options o = { .level = 3, .dies_at = UINT64_MAX, .flip_at = UINT64_MAX };

	if (!options_read(argc, argv, &o))
		return 2;
	argv += optind;
	argc -= optind;
	for (size_t i = 0; argc > 0 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[0], verbs[i].name) == 0 && argc >= verbs[i].least &&
		    argc <= verbs[i].most)
			return verb_do(i, argv + 1, &o);
	(void)fprintf(stderr,
		      "image-cli: encode, diff, write, prove, diff-file, patch-file, patch-image, "
		      "files, pack, unpack or inspect\n");
	return 2;
}
