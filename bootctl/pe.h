/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_PE_H
#define BOOTCTL_PE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/sys.h"

/* A bounded reader of PE/COFF images (Microsoft PE format; EFI images). Never holds the file. */
enum {
	PE_SECTIONS_MAX = 96,         /* the PE specification's own limit for loaders */
	PE_CERTS_MAX = 16,            /* signatures of one image */
	PE_CERT_BYTES_MAX = 256 << 10 /* one signature */
};

struct pe_section {
	char name[9]; /* NUL-terminated */
	uint32_t virtual_size, virtual_address;
	uint32_t raw_size, raw_offset; /* checked: within the file */
};

struct pe {
	struct sys *sys; /* borrowed */
	int fd;          /* borrowed */
	uint64_t size;   /* of the file */
	uint16_t machine, subsystem;
	uint32_t headers_size;
	uint64_t checksum_off, certdir_off; /* certdir_off 0: the header has no such slot */
	uint32_t cert_off, cert_size;       /* certificate table; both 0: unsigned */
	size_t n_sections;
	struct pe_section section[PE_SECTIONS_MAX];
};

/* One WIN_CERTIFICATE; data is what follows its 8-byte head. */
struct pe_cert {
	uint64_t off;
	uint32_t bytes;
	uint16_t revision, type; /* 0x0200 and 0x0002 for Authenticode */
};

#define PE_MACHINE_X64   0x8664u
#define PE_MACHINE_ARM64 0xaa64u

/*
 * Reads and checks the headers of the image in fd. Sections that overlap each other or the headers,
 * or reach behind the file, are ERR_INPUT -EBADMSG.
 */
int pe_open(struct sys *sys, int fd, struct pe *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Only what systemd-boot 252 checks before it shows an image: the sections may lie anywhere, and
 * reading one may fail. Never for hashing.
 */
int pe_open_lax(struct sys *sys, int fd, struct pe *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The first section of that name, as the stub takes it, or NULL. */
const struct pe_section *pe_section_find(const struct pe *pe, const char *name);

/*
 * A section's content, min(VirtualSize, SizeOfRawData) bytes, NUL-terminated behind it, freed by
 * the caller. -EFBIG when it has more than max.
 */
int pe_section_read(const struct pe *pe, const struct pe_section *s, size_t max, char **ret,
		    size_t *ret_n, struct err *e) __attribute__((warn_unused_result));

/* Authenticode digest (SHA-256), Windows Authenticode Portable Executable Signature Format. */
int pe_hash(const struct pe *pe, uint8_t ret[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));

/*
 * The certificate table's entries, at most PE_CERTS_MAX. The table must be filled exactly by its
 * 8-aligned entries, as EDK2 demands: otherwise ERR_INPUT.
 */
int pe_certs(const struct pe *pe, struct pe_cert ret[PE_CERTS_MAX], size_t *ret_n, struct err *e)
	__attribute__((warn_unused_result));

#endif
