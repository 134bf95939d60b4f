/* SPDX-License-Identifier: Apache-2.0 */
/* proa-bootctl: the boot entries of an EFI system partition, seen and changed by hand. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/version.h"
#include "bootctl/esp.h"
#include "bootctl/loader_vars.h"
#include "bootctl/secureboot.h"

enum { EXIT_USAGE = 2, TRIES_DEFAULT = 3, TRIES_MAX = 9 };

struct options {
	const char *esp, *efivars;
	bool json, force;
	unsigned tries;
};

struct host {
	struct sys *sys;
	const struct options *opt;
	struct sys_fd esp, efivars;
	char path[256];
};

static const char usage[] =
	"Usage: proa-bootctl [OPTION...] list|next\n"
	"       proa-bootctl [OPTION...] add FILE\n"
	"       proa-bootctl [OPTION...] remove|bless|condemn ID\n"
	"Shows and changes the boot entries of an EFI system partition.\n\n"
	"  list            every entry in the order of the boot menu, the next one marked\n"
	"  next            the entry that boots next, and why\n"
	"  add FILE        install a UKI: written aside, synced, read back, renamed\n"
	"  remove ID       remove an entry (its UKI, or its .conf)\n"
	"  bless ID        call it good: no counter in its name\n"
	"  condemn ID      call it bad: no try left\n\n"
	"      --esp DIR       where the partition is mounted (default /efi, /boot/efi or /boot)\n"
	"      --efivars DIR   where EFI variables are (default " EFIVARS_DEFAULT ")\n"
	"      --json          JSON instead of a table\n"
	"      --tries N       add: boot attempts before it counts as bad, 1 to 9 (default 3);\n"
	"                      0 adds it as good\n"
	"      --force         add: even if this firmware's Secure Boot would refuse it\n"
	"  -h, --help          this text\n"
	"      --version       the version\n\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage.\n"
	"Example: proa-bootctl --esp /efi add web_1.2.0.efi\n";

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "proa-bootctl: %s\n", e->text);
	return EXIT_FAILURE;
}

static int host_open(struct host *h, struct err *e)
{
	int r = esp_open(h->sys, h->opt->esp, &h->esp.fd, h->path, e);

	return r < 0 ? r : efivars_open(h->sys, h->opt->efivars, &h->efivars.fd, e);
}

static const char *state_text(const struct esp_entry *en, char *out, size_t cap)
{
	if (boot_entry_is_good(&en->name))
		(void)snprintf(out, cap, "good");
	else if (boot_entry_is_bad(&en->name))
		(void)snprintf(out, cap, "bad, %u tried", en->name.done);
	else
		(void)snprintf(out, cap, "%u %s left", en->name.left,
			       en->name.left == 1 ? "try" : "tries");
	return out;
}

static const char *state_word(const struct boot_entry_name *n)
{
	return boot_entry_is_good(n) ? "good" : boot_entry_is_bad(n) ? "bad" : "indeterminate";
}

/* ---- JSON ---- */

static int text_json(json_t *j, const struct esp_entry *en, struct err *e)
{
	const struct {
		const char *key, *value;
	} text[] = {
		{ "id", en->name.id },
		{ "file", en->name.file },
		{ "state", state_word(&en->name) },
		{ "title", en->title },
		{ "version", en->version },
		{ "sortKey", en->sort_key },
		{ "machineId", en->machine_id },
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(text) / sizeof(text[0]); i++)
		r = json_put_str(j, text[i].key, text[i].value, e);
	return r;
}

static int uki_json(json_t *j, const struct esp_entry *en, struct err *e)
{
	int r = 0;

	if (en->uki.has_usrhash)
		r = json_put_hex(j, "usrhash", en->uki.usrhash, SHA256_BYTES, e);
	r = r < 0 ? r : json_put_str(j, "architecture", en->uki.machine, e);
	r = r < 0 ? r : json_put_str(j, "uname", en->uki.uname, e);
	return r < 0 ? r : json_put_str(j, "cmdline", en->uki.cmdline, e);
}

static int entry_json(const struct esp_entry *en, bool next, json_t **ret, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r = text_json(j, en, e);

	r = r < 0 ? r : json_put_u64(j, "type", (uint64_t)en->name.type, e);
	if (r >= 0 && en->name.counted) {
		r = json_put_u64(j, "triesLeft", en->name.left, e);
		r = r < 0 ? r : json_put_u64(j, "triesDone", en->name.done, e);
	}
	r = r < 0 ? r : json_put_u64(j, "bytes", en->bytes, e);
	r = r < 0 ? r : json_put(j, "shown", json_boolean(en->shown), e);
	r = r < 0 ? r : json_put(j, "broken", json_boolean(en->broken), e);
	r = r < 0 ? r : json_put(j, "next", json_boolean(next), e);
	if (r >= 0 && en->broken)
		r = json_put_str(j, "reason", en->reason, e);
	else if (r >= 0 && en->name.type == BOOT_ENTRY_UKI)
		r = uki_json(j, en, e);
	if (r < 0)
		return r;
	*ret = TAKE(j);
	return 0;
}

static int print_json(const json_t *j, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = json_write(j, true, &b, e);

	if (r < 0)
		return r;
	while (b.n > 0 && b.p[b.n - 1] == '\n')
		b.n--;
	if (printf("%.*s\n", (int)b.n, b.p) < 0)
		return err_set(e, ERR_HOST, EIO, "cannot write to standard output");
	return 0;
}

static int list_json(const struct host *h, const struct esp_entry *l, size_t n, size_t next,
		     struct err *e)
{
	AUTO_JSON *j = json_object();
	AUTO_JSON *arr = json_array();
	int r = json_put_str(j, "esp", h->path, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		json_t *one = NULL;

		r = entry_json(&l[i], i == next, &one, e);
		if (r >= 0)
			r = json_push(arr, one, e);
	}
	r = r < 0 ? r : json_put(j, "entries", TAKE(arr), e);
	return r < 0 ? r : print_json(j, e);
}

/* ---- text ---- */

static void list_text(const struct host *h, const struct esp_entry *l, size_t n, size_t next)
{
	int wid = 2, wver = 7;

	if (n == 0)
		printf("No boot entries on %s.\n", h->path);
	for (size_t i = 0; i < n; i++) {
		if ((int)strlen(l[i].name.id) > wid)
			wid = (int)strlen(l[i].name.id);
		if ((int)strlen(l[i].version) > wver)
			wver = (int)strlen(l[i].version);
	}
	wid = wid < 32 ? wid : 32;
	wver = wver < 16 ? wver : 16;
	if (n > 0)
		printf("   %-*s  %-*s  %-14s %9s  %s\n", wid, "ID", wver, "VERSION", "STATE",
		       "SIZE", "TITLE");
	for (size_t i = 0; i < n; i++) {
		char state[48], size[32], id[BOOT_NAME_MAX], ver[UKI_FIELD_MAX], t[UKI_FIELD_MAX];

		(void)text_clean(l[i].name.id, strlen(l[i].name.id), id, sizeof(id));
		(void)text_clean(l[i].version, strlen(l[i].version), ver, sizeof(ver));
		(void)text_clean(l[i].title, strlen(l[i].title), t, sizeof(t));
		printf("%s %-*s  %-*s  %-14s %9s  %s%s\n", i == next ? "->" : "  ", wid, id, wver,
		       *ver ? ver : "-",
		       l[i].broken ? "broken" : state_text(&l[i], state, sizeof(state)),
		       text_bytes(l[i].bytes, size, sizeof(size)), l[i].broken ? "" : t,
		       l[i].broken ? l[i].reason : "");
	}
}

static int do_list(struct host *h, const char *arg, struct err *e)
{
	AUTO_FREE struct esp_entry *l = NULL;
	enum choice_why why;
	size_t n = 0, next = 0;
	int r = esp_list(h->sys, h->esp.fd, &l, &n, e);

	(void)arg;
	if (r >= 0)
		r = esp_next(h->sys, h->esp.fd, h->efivars.fd, l, n, &next, &why, e);
	if (r < 0)
		return r;
	if (h->opt->json)
		return list_json(h, l, n, next, e);
	list_text(h, l, n, next);
	return 0;
}

static int do_next(struct host *h, const char *arg, struct err *e)
{
	AUTO_FREE struct esp_entry *l = NULL;
	AUTO_JSON *j = NULL;
	enum choice_why why;
	size_t n = 0, next = 0;
	int r = esp_list(h->sys, h->esp.fd, &l, &n, e);

	(void)arg;
	if (r >= 0)
		r = esp_next(h->sys, h->esp.fd, h->efivars.fd, l, n, &next, &why, e);
	if (r < 0)
		return r;
	if (why == CHOICE_UNSURE)
		return err_set(e, ERR_HOST, ENODATA,
			       "what boots next is chosen by %s: clear that choice",
			       choice_why_text(why));
	if (next == n)
		return err_set(e, ERR_HOST, ENOENT, "no entry on %s can boot", h->path);
	if (h->opt->json) {
		r = entry_json(&l[next], true, &j, e);
		r = r < 0 ? r : json_put_str(j, "why", choice_why_text(why), e);
		return r < 0 ? r : print_json(j, e);
	}
	printf("%s (%s)\n", l[next].name.file, choice_why_text(why));
	return 0;
}

/* ---- add ---- */

struct file_source {
	struct sys *sys;
	int fd;
	struct progress bar;
};

static ssize_t source_read(void *arg, void *buf, size_t n, uint64_t off, struct err *e)
{
	struct file_source *s = arg;
	ssize_t r = s->sys->ops->pread(s->sys, s->fd, buf, n, off);

	if (r < 0)
		return err_set(e, ERR_HOST, (int)-r, "cannot read the UKI: %s", strerror((int)-r));
	return r;
}

static void source_progress(void *arg, uint64_t done)
{
	struct file_source *s = arg;

	progress_set(&s->bar, done, clock_mono_ms());
}

/* <image>_<version>+N-0.efi; a UKI that does not say both keeps its file's id. */
static int final_name(const struct host *h, const char *path, const struct uki *uki,
		      struct boot_entry_name *ret, struct err *e)
{
	struct boot_entry_name en = { .type = BOOT_ENTRY_UKI };
	const char *base = strrchr(path, '/');
	int r;

	base = base ? base + 1 : path;
	if (image_id_valid(uki->image_id) && version_valid(uki->version)) {
		(void)snprintf(en.id, sizeof(en.id), "%s_%s", uki->image_id, uki->version);
	} else {
		r = boot_entry_name_parse(base, strlen(base), &en, e);
		if (r < 0)
			return err_wrap(
				e, r,
				"the UKI names no image and version, and its file name '%s' "
				"will not do",
				base);
		if (en.type != BOOT_ENTRY_UKI)
			return err_set(e, ERR_INPUT, EINVAL, "'%s' is no .efi file", path);
	}
	en.counted = h->opt->tries > 0;
	en.left = h->opt->tries;
	en.done = 0;
	r = boot_entry_name_format(&en, e);
	if (r < 0)
		return r;
	*ret = en;
	return 0;
}

static int check_firmware(struct host *h, int fd, const char *path, struct err *e)
{
	struct sb_verdict v;
	int r;

	if (h->opt->force)
		return 0;
	r = sb_check(h->sys, h->efivars.fd, fd, &v, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	if (!v.accepted)
		return err_set(e, ERR_REFUSED, EKEYREJECTED,
			       "'%s' would not start here: %s. Nothing was changed. Enrol the key, "
			       "or add it with --force",
			       path, v.text);
	return 0;
}

static int install(struct host *h, const struct boot_entry_name *name, struct file_source *f,
		   uint64_t bytes, struct err *e)
{
	struct esp_source src = {
		.read = source_read, .progress = source_progress, .arg = f, .bytes = bytes
	};
	int r = sha256_fd(h->sys, f->fd, bytes, src.sha256, e);

	if (r < 0)
		return r;
	progress_begin(&f->bar, stderr, "writing", bytes, clock_mono_ms());
	r = esp_write_temp(h->sys, h->esp.fd, name->file, &src, e);
	progress_end(&f->bar);
	if (r != 0)
		return r;
	r = esp_publish(h->sys, h->esp.fd, name->file, e);
	/* the publish error is the one to report */
	if (r < 0 && esp_discard_temps(h->sys, h->esp.fd, name->file, NULL) < 0)
		return r;
	return r;
}

static int do_add(struct host *h, const char *path, struct err *e)
{
	AUTO_SYS_FD fd = { h->sys, h->sys->ops->open(h->sys, AT_FDCWD, path, O_RDONLY, 0) };
	struct file_source f = { .sys = h->sys, .fd = fd.fd };
	AUTO_FREE struct uki *uki = malloc(sizeof(*uki));
	struct boot_entry_name name;
	char size[32];
	int r;

	if (fd.fd < 0)
		return err_set(e, ERR_INPUT, -fd.fd, "cannot open '%s': %s", path,
			       strerror(-fd.fd));
	if (!uki)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = uki_read_fd(h->sys, fd.fd, uki, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	r = final_name(h, path, uki, &name, e);
	if (r >= 0)
		r = check_firmware(h, fd.fd, path, e);
	if (r >= 0)
		r = install(h, &name, &f, uki->bytes, e);
	if (r < 0)
		return r;
	if (r > 0)
		printf("%s is there already, the same bytes.\n", name.id);
	else
		printf("Added %s, %s.\n", name.file, text_bytes(uki->bytes, size, sizeof(size)));
	return 0;
}

static int do_remove(struct host *h, const char *id, struct err *e)
{
	int r = esp_remove(h->sys, h->esp.fd, id, e);

	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "the ESP has no boot entry '%s' (proa-bootctl list)", id);
	if (r > 0)
		printf("Removed %s.\n", id);
	return r;
}

static int do_bless(struct host *h, const char *id, struct err *e)
{
	int r = esp_bless(h->sys, h->esp.fd, id, e);

	if (r >= 0)
		printf("%s is good.\n", id);
	return r;
}

static int do_condemn(struct host *h, const char *id, struct err *e)
{
	int r = esp_condemn(h->sys, h->esp.fd, id, e);

	if (r >= 0)
		printf("%s is bad and boots last.\n", id);
	return r;
}

static const struct verb {
	const char *name;
	int args;
	int (*run)(struct host *h, const char *arg, struct err *e);
} verbs[] = {
	{ "list", 0, do_list },     { "next", 0, do_next },   { "add", 1, do_add },
	{ "remove", 1, do_remove }, { "bless", 1, do_bless }, { "condemn", 1, do_condemn },
};

static int misuse(const char *why, const char *what)
{
	(void)fprintf(stderr, "proa-bootctl: %s%s (proa-bootctl --help)\n", why, what);
	return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum { OPT_ESP = 256, OPT_VARS, OPT_JSON, OPT_TRIES, OPT_FORCE, OPT_VERSION };
	static const struct option longs[] = { { "esp", required_argument, NULL, OPT_ESP },
					       { "efivars", required_argument, NULL, OPT_VARS },
					       { "json", no_argument, NULL, OPT_JSON },
					       { "tries", required_argument, NULL, OPT_TRIES },
					       { "force", no_argument, NULL, OPT_FORCE },
					       { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, OPT_VERSION },
					       { NULL, 0, NULL, 0 } };
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (c) {
		case OPT_ESP:
			o->esp = optarg;
			break;
		case OPT_VARS:
			o->efivars = optarg;
			break;
		case OPT_JSON:
			o->json = true;
			break;
		case OPT_FORCE:
			o->force = true;
			break;
		case OPT_TRIES:
			if (num_parse(optarg, strlen(optarg), 0, TRIES_MAX, "--tries", &v, NULL) <
			    0)
				return misuse("--tries must be 0 to 9, not ", optarg);
			o->tries = (unsigned)v;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		case OPT_VERSION:
			puts("proa-bootctl " PROA_VERSION);
			return EXIT_SUCCESS;
		default:
			return EXIT_USAGE;
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct options o = { .tries = TRIES_DEFAULT };
	struct sys *sys = sys_linux();
	struct host h = { .sys = sys, .opt = &o, .esp = { sys, -1 }, .efivars = { sys, -1 } };
	struct err e = ERR_INIT;
	const struct verb *verb = NULL;
	int r = parse_options(argc, argv, &o);

	if (r >= 0)
		return r;
	if (optind == argc)
		return misuse("say what to do: list, next, add, remove, bless or condemn", "");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[optind], verbs[i].name) == 0)
			verb = &verbs[i];
	if (!verb)
		return misuse("there is no command ", argv[optind]);
	if (argc - optind - 1 != verb->args)
		return misuse(verb->args ? "one argument is needed by "
					 : "no argument is taken by ",
			      verb->name);
	r = host_open(&h, &e);
	if (r >= 0)
		r = verb->run(&h, argv[optind + 1], &e);
	sys_fd_done(&h.esp);
	sys_fd_done(&h.efivars);
	if (r < 0)
		return fail(&e);
	if (fflush(stdout) != 0) {
		(void)fputs("proa-bootctl: cannot write to standard output\n", stderr);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
