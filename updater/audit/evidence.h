/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_EVIDENCE_H
#define UPDATER_AUDIT_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sys.h"
#include "updater/audit/hash.h"

/*
 * Where the audit looks: the running machine, or a directory that holds copies of the files it
 * would read there, under the same paths (docs/audit.md lists them). Nothing is ever written.
 */
enum { EVIDENCE_PATH_MAX = 512 };

struct evidence_options {
	const char *root;  /* NULL: this machine */
	const char *esp;   /* directory; NULL: found */
	const char *disk;  /* device or image; NULL: that of the mapping "usr" */
	const char *state; /* directory; NULL: /var/lib/proa */
};

struct evidence {
	struct sys *sys;
	bool live;                         /* this machine */
	char root_path[EVIDENCE_PATH_MAX]; /* "" for this machine */
	int root, efivars, esp, state;     /* directories; -1 where there is none */
	char disk[EVIDENCE_PATH_MAX];      /* "" where there is none */
	struct err no_esp, no_state;       /* why not */
};

int evidence_open(struct sys *sys, const struct evidence_options *o, struct evidence *ret,
		  struct err *e) __attribute__((warn_unused_result));
void evidence_close(struct evidence *ev);
#define AUTO_EVIDENCE __attribute__((cleanup(evidence_close))) struct evidence

/* file_read() below the root; path without a leading '/'. */
int evidence_read(const struct evidence *ev, const char *path, size_t max, char **ret,
		  size_t *ret_n, struct err *e) __attribute__((warn_unused_result));
/* The first line, without its end, cleaned. */
int evidence_line(const struct evidence *ev, const char *path, char *out, size_t cap, struct err *e)
	__attribute__((warn_unused_result));
/* A directory below the root, or -errno. */
int evidence_dir(const struct evidence *ev, const char *path, struct err *e)
	__attribute__((warn_unused_result));

/* An EFI variable's payload; a variable that is not there has no bytes and *ret NULL. */
int evidence_efivar(const struct evidence *ev, const char *file, uint8_t **ret, size_t *ret_n,
		    struct err *e) __attribute__((warn_unused_result));

/* The TPM's PCRs of a bank as the kernel shows them. -ENOENT: no TPM, or not this bank. */
int evidence_pcrs(const struct evidence *ev, uint16_t alg, struct pcr_bank *ret, struct err *e)
	__attribute__((warn_unused_result));

/* What dm-verity enforces for /usr. */
struct evidence_usr {
	char data[64], hash[64], algorithm[16];
	uint8_t root[32], salt[256];
	size_t salt_n;
	uint32_t data_block, hash_block;
	uint64_t data_blocks;
	char on_corruption[24]; /* "eio", "ignore", "restart", "panic" */
	bool corrupted;
};
/*
 * Asks device-mapper, or reads dm/usr.table and dm/usr.status below the root, the outputs of
 * `dmsetup table usr` and `dmsetup status usr`. -ENOENT or -ENODEV: none.
 */
int evidence_usr(const struct evidence *ev, struct evidence_usr *ret, struct err *e)
	__attribute__((warn_unused_result));
/* The pure half: lines of dmsetup for a target "verity". ERR_INPUT. */
int evidence_usr_parse(const char *table, const char *status, struct evidence_usr *ret,
		       struct err *e) __attribute__((warn_unused_result));

/* `systemctl show` of Proa's units, or systemd/show below the root. */
int evidence_units(const struct evidence *ev, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
