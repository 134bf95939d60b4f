/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SYS_SIM_H
#define TESTS_SIM_SYS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sys.h"
#include "tests/sim/disk.h"

/*
 * Storage that forgets: struct sys in memory. What was synced is in `base`; every later change is
 * in `op`, in order, and a power cut keeps any subset of them that the directory's trait allows,
 * writes torn at sectors. sim_outcomes() shows each such world. Mistakes of a test abort.
 *
 *	struct sim sim;
 *
 *	sim_init(&sim);
 *	sim_dir(&sim, "/esp/EFI/Linux", SIM_FAT);
 *	sim_file(&sim, "/esp/EFI/Linux/a.efi", data, n);
 *	sim_sparse(&sim, "/disk", 32 << 20);
 *	sim.crash_at = k;
 *	r = code_under_test(sim_sys(&sim));
 *	sim_outcomes(&sim, &plan, check, &arg);
 *	sim_done(&sim);
 *
 * A world handed to check() is itself a struct sim: run the recovery on sim_sys(world), with a
 * crash_at of its own if you like, and look at its outcomes.
 */
enum { SIM_FDS = 64, SIM_FD_FIRST = 1000 };

struct sim {
	struct sys sys;             /* first: sim_of() casts */
	struct sim_disk base, live; /* on the medium; as running programs see it */
	struct sim_op *op;          /* volatile changes, oldest first */
	size_t ops, ops_cap;
	struct {
		bool open, written; /* written: opened for writing */
		uint32_t node;
	} fd[SIM_FDS];

	/* To set at any time. Counts start at 1; 0 means never. */
	unsigned crash_at; /* the change that does not happen; -ESHUTDOWN from then on */
	unsigned fail_at;  /* the call that fails with fail_errno; a failed sync loses data */
	int fail_errno;    /* positive; EIO at first */
	size_t write_max;  /* longer writes are cut short, so that callers prove they loop; 0: no */
	/*
	 * Called when crash_at's change is about to happen. It may look (sim_outcomes()) and set
	 * crash_at to a later one, which lets one run of the program show every cut.
	 */
	void (*on_crash)(struct sim *sim, void *arg);
	void *on_crash_arg;

	/* To read. */
	unsigned calls;   /* all that can fail */
	unsigned changes; /* those that change storage or make it durable */
	uint64_t written; /* bytes */
	bool dead;
	char outcome[160]; /* of a world: which changes it kept, for messages */
};

void sim_init(struct sim *sim); /* an empty SIM_POSIX root */
void sim_done(struct sim *sim);
struct sys *sim_sys(struct sim *sim);

/* Power again without a cut: counters, crash_at and fail_at cleared, descriptors closed. */
void sim_rearm(struct sim *sim);
/* Everything volatile becomes durable, as after a clean shutdown. */
void sim_settle(struct sim *sim);
/* Another with the same past. Descriptors are not open in it. */
void sim_clone(const struct sim *from, struct sim *to);

/* Furniture, durable at once. Paths are absolute; missing parents are made with the same trait. */
void sim_dir(struct sim *sim, const char *path, enum sim_trait trait);
void sim_capacity(struct sim *sim, const char *path, uint64_t bytes);
void sim_file(struct sim *sim, const char *path, const void *data, size_t n);
void sim_sparse(struct sim *sim, const char *path, uint64_t size);
/* Changes bytes behind everybody's back, as rot does: on the medium and in the cache. */
void sim_poke(struct sim *sim, const char *path, uint64_t off, const void *data, size_t n);

/* Looking, without counting as calls. */
bool sim_exists(const struct sim *sim, const char *path);
/* Bytes, or -1 when absent. */
int64_t sim_size(const struct sim *sim, const char *path);
/* Up to n bytes from off; what was read. */
size_t sim_read_at(const struct sim *sim, const char *path, uint64_t off, void *p, size_t n);
/* Whole and NUL-terminated, freed by the caller; NULL when absent. */
void *sim_read(const struct sim *sim, const char *path, size_t *ret_n);
/* Each name in a directory, in no order. */
void sim_names(const struct sim *sim, const char *path, void (*fn)(void *arg, const char *name),
	       void *arg);
unsigned sim_open_fds(const struct sim *sim);
size_t sim_volatile(const struct sim *sim);

/* ---- crashes (outcome.c) ---- */

enum sim_view {
	SIM_FIRMWARE, /* before any repair: what systemd-boot sees */
	SIM_OS,       /* after fsck: what our programs see */
};

struct sim_plan {
	uint64_t seed;
	unsigned all_up_to; /* every subset when there are at most so many changes; 0: 10 */
	unsigned max;       /* most subsets, 0: 8192; beyond, the first and likeliest and random */
};

typedef void (*sim_outcome_fn)(void *arg, struct sim *world, enum sim_view view);

/*
 * Every world (or a sample) the machine could wake up with, now: twice each, first as firmware sees
 * it, then as the OS does after fsck, and with every choice fsck may make. Only where a SIM_FAT
 * directory was touched do the two differ; else fn sees SIM_OS only. Returns the calls of fn.
 */
unsigned sim_outcomes(const struct sim *sim, const struct sim_plan *plan, sim_outcome_fn fn,
		      void *arg);

#endif
