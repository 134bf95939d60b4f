/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_DIRECT_H
#define UPDATER_IMAGE_DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sys.h"
#include "verity/image.h"

/*
 * An area that is read or written past the page cache where the file allows it: what is looked at
 * once costs no copy and no memory so. Where it does not (or for bytes that are not aligned),
 * everything goes through the page cache; the kernel keeps the two ways coherent.
 */
struct image_direct {
	struct sys *sys;
	struct verity_area area; /* its descriptor goes through the page cache */
	int fd;                  /* a second one that does not, or -1 */
	struct sys_queue queue;  /* opened when it is first of use */
};
#define IMAGE_DIRECT_ALIGN ((size_t)4096) /* suits every disk: buffers, offsets, lengths */

/*
 * n bytes, to be freed by free(), that suit IMAGE_DIRECT_ALIGN; NULL: out of memory. 2 MiB and more
 * lie in huge pages where the kernel has them: a transfer then looks up one page, not 512.
 */
void *image_direct_alloc(size_t n);

/* area->bytes 0: there is nothing, and image_direct_has() says so for every byte. */
void image_direct_open(struct image_direct *d, struct sys *sys, const struct verity_area *area,
		       bool write);
void image_direct_done(struct image_direct *d);
#define AUTO_IMAGE_DIRECT __attribute__((cleanup(image_direct_done))) struct image_direct

/*
 * r is what a transfer through d->fd came to. True: the kernel takes back that it can (a file
 * system that changed its mind, a transfer that came short at an odd place), so the transfer is to
 * be done again through the page cache, as all from now on.
 */
bool image_direct_refused(struct image_direct *d, int r);

bool image_direct_has(const struct image_direct *d, uint64_t off, size_t n);

/*
 * Exactly n bytes at `off` of the area; -errno as sys_read_full() and sys_write_full(). *ret_cached
 * (may be NULL) grows by what went through the page cache.
 */
int image_direct_read(struct image_direct *d, uint64_t off, void *p, size_t n, uint64_t *ret_cached)
	__attribute__((warn_unused_result));
int image_direct_write(struct image_direct *d, uint64_t off, const void *p, size_t n,
		       uint64_t *ret_cached) __attribute__((warn_unused_result));

/* The same of v[0..n), whose offsets are those of the area, several at once; they are changed. */
int image_direct_reads(struct image_direct *d, struct sys_read *v, size_t n, uint64_t *ret_cached)
	__attribute__((warn_unused_result));

/* Exactly n bytes at `off` of the area by the page cache. ERR_HOST says where it failed. */
int image_area_read(struct sys *sys, const struct verity_area *a, uint64_t off, void *p, size_t n,
		    struct err *e) __attribute__((warn_unused_result));

#endif
