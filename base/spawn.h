/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Runs a program without a shell, in its own process group, with stdin from /dev/null. argv[0] is
 * looked up in PATH when it holds no '/'. envp NULL means PATH, LANG=C.UTF-8 and nothing else.
 */
struct spawn {
	const char *const *argv;
	const char *const *envp;
	uint64_t deadline_ms; /* 0: none; then TERM, and KILL 2 s later, to the whole group */
	struct buf *out;      /* stdout and stderr together, or NULL: inherited */
	size_t out_max;       /* more is read and thrown away; the last out_max bytes are kept */
	int stop_fd;          /* 0: none; a socket or pipe whose other end hangs up: the deadline */
};

enum spawn_end { SPAWN_EXIT, SPAWN_SIGNAL, SPAWN_TIMEOUT };

struct spawn_result {
	enum spawn_end end;
	int code; /* exit status or signal number */
};

/* An error only when it could not be started or watched (ERR_HOST); exit codes are results. */
int spawn_run(const struct spawn *s, struct spawn_result *ret, struct err *e)
	__attribute__((warn_unused_result));

/* As spawn_run(), but anything except exit 0 is an error that quotes the last line of output. */
int spawn_check(const char *const *argv, struct err *e) __attribute__((warn_unused_result));

/*
 * Starts argv as a child that holds one end of a socket pair of the given type (SOCK_STREAM,
 * SOCK_SEQPACKET) as descriptor 3, with LISTEN_FDS=1 and LISTEN_PID as systemd would; the other end
 * is *ret_fd. The child dies with its parent (PR_SET_PDEATHSIG) and has a process group of its own:
 * what a terminal sends reaches only the parent, which tells its peer in words.
 */
int spawn_peer(const char *const *argv, int type, pid_t *ret_pid, int *ret_fd, struct err *e)
	__attribute__((warn_unused_result));

#endif
