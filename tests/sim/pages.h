/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PAGES_H
#define TESTS_SIM_PAGES_H

#include <stddef.h>
#include <stdint.h>

/* Sparse file contents that are cheap to clone: pages and chunks of pages are shared until written.
 */
enum { SIM_PAGE = 4096, SIM_CHUNK = 256 };

struct sim_page {
	unsigned refs;
	uint8_t b[SIM_PAGE];
};

struct sim_chunk {
	unsigned refs;
	struct sim_page *page[SIM_CHUNK]; /* NULL reads as zeros */
};

struct sim_map {
	struct sim_chunk **chunk;
	size_t n;
};

struct sim_page *sim_page_new(void); /* zeros */
struct sim_page *sim_page_ref(struct sim_page *p);
void sim_page_put(struct sim_page *p);

void sim_map_clone(const struct sim_map *from, struct sim_map *to);
void sim_map_done(struct sim_map *m);
const struct sim_page *sim_map_page(const struct sim_map *m, uint64_t index);
/* Shares p, whole. */
void sim_map_share(struct sim_map *m, uint64_t index, struct sim_page *p);
void sim_map_write(struct sim_map *m, uint64_t off, const void *p, size_t n);
void sim_map_read(const struct sim_map *m, uint64_t off, void *p, size_t n);
/* Forgets everything from byte `size` on, so that it reads as zeros. */
void sim_map_cut(struct sim_map *m, uint64_t size);

#endif
