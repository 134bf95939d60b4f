/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_WALK_H
#define TESTS_SIM_WALK_H

#include "tests/sim/sys_sim.h"

/* Where a path leads: the directory and last name, and what is there. */
struct sim_spot {
	uint32_t dir, node;
	bool there;
	char name[SIM_NAME_MAX + 1]; /* empty for a directory reached by "/" or "." */
};

/* 0, -ENOENT or -ENOTDIR for a missing parent, -ENAMETOOLONG. */
int sim_walk(const struct sim_disk *d, uint32_t from, const char *path, struct sim_spot *ret);

/* Is node the directory `dir` or (by its names) below it? */
bool sim_walk_below(const struct sim_disk *d, uint32_t node, uint32_t dir);

/* Bytes of the files below dir, in clusters. */
uint64_t sim_walk_used(const struct sim_disk *d, uint32_t dir);

/* A fresh node in both disks of sim; it takes the trait of the directory. */
uint32_t sim_walk_node(struct sim *sim, bool is_dir, uint32_t dir);

#endif
