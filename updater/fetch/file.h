/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_FILE_H
#define UPDATER_FETCH_FILE_H

#include "base/err.h"
#include "updater/fetch/job.h"

/*
 * file:///PATH, regular files only. Not left to libcurl, which would open a device or wait for the
 * writer of a fifo. The entity tag is made of inode, size and time of change.
 */

/* Opens it: state JOB_FILE, or JOB_OVER with the reason. */
void fetch_file_start(struct fetch_job *j);

/* Sends the next bytes until the wire is full (-EAGAIN) or `budget` bytes are gone (0). */
int fetch_file_pump(struct fetch_job *j, size_t budget, struct err *e)
	__attribute__((warn_unused_result));

void fetch_file_stop(struct fetch_job *j);

#endif
