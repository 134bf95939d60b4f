/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_TRANSFER_H
#define UPDATER_FETCH_TRANSFER_H

#include <curl/curl.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/fetch/job.h"
#include "updater/fetch/settings.h"

/* One GET over http or https: libcurl's answers turned into what the job should do next. */

/*
 * Asks for what j still lacks: an easy handle in `multi`, state JOB_RUN. ERR_HOST when libcurl
 * cannot.
 */
int fetch_transfer_start(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 int64_t now_ms, struct err *e) __attribute__((warn_unused_result));

/* libcurl is done with j: sets JOB_WAIT or JOB_OVER, and takes the handle out of multi. */
void fetch_transfer_done(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 CURLcode code, int64_t now_ms);

/* The server is too slow (pace.h): ends this try as a passing failure. */
void fetch_transfer_slow(struct fetch_job *j, CURLM *multi, const struct fetch_settings *s,
			 int64_t now_ms);

/* Not yet asked for: takes the handle out of multi, to begin again at once. No try is lost. */
void fetch_transfer_defer(struct fetch_job *j, CURLM *multi, int64_t now_ms);

/* The agent has room again. */
void fetch_transfer_resume(struct fetch_job *j);

/* Gives back what j holds of libcurl, if anything. */
void fetch_transfer_stop(struct fetch_job *j, CURLM *multi);

/*
 * What a libcurl failure means: -EAGAIN (ERR_RETRY) for the passing ones, else final. detail is
 * libcurl's own sentence or "".
 */
int fetch_curl_err(CURLcode code, const char *detail, struct err *e)
	__attribute__((warn_unused_result));

#endif
