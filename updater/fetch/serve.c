/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/serve.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "updater/fetch/file.h"
#include "updater/fetch/job.h"
#include "updater/fetch/meter.h"
#include "updater/fetch/post.h"
#include "updater/fetch/transfer.h"
#include "updater/wire/wire.h"

enum { FILE_BUDGET = 1 << 20, MESSAGES_A_TURN = 64, CONNECTIONS = 4 };

struct server {
	int fd;
	CURLM *multi;
	const struct fetch_settings *settings;
	struct fetch_meter meter;
	struct fetch_pace pace;
	bool greeted, full; /* full: the wire has no room, wait for POLLOUT */
	unsigned turn;      /* whose data goes first when there is room again */
	uint32_t last_id;
	struct wire_msg msg;
	uint8_t frame[WIRE_FRAME_MAX];
	struct fetch_job job[WIRE_FLIGHT_MAX];
	struct fetch_post post;
	struct fetch_tls tls;
};

static void server_free(struct server *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++) {
		fetch_transfer_stop(&s->job[i], s->multi);
		fetch_file_stop(&s->job[i]);
	}
	fetch_post_stop(&s->post, s->multi);
	fetch_tls_done(&s->tls);
	if (s->multi)
		(void)curl_multi_cleanup(s->multi);
	free(s);
}

DEFINE_FREEP(server)

static int64_t now_ms(void)
{
	return (int64_t)clock_mono_ms();
}

static void job_start(struct server *s, struct fetch_job *j)
{
	struct err e = ERR_INIT;

	if (fetch_transfer_start(j, s->multi, s->settings, now_ms(), &e) < 0) {
		fetch_transfer_stop(j, s->multi);
		fetch_job_fail(j, &e);
	}
}

/* --- the agent's messages --- */

static int take_get(struct server *s, const struct wire_msg *m, struct err *e)
{
	struct fetch_job *j = NULL;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX && !j; i++)
		if (s->job[i].state == JOB_FREE)
			j = &s->job[i];
	if (m->id <= s->last_id || !j)
		return err_set(e, ERR_REFUSED, EBADMSG, "the agent broke the protocol: %s",
			       j ? "an id was used twice" : "too many requests at once");
	s->last_id = m->id;
	memset(j, 0, sizeof(*j));
	j->id = m->id;
	j->wire = s->fd;
	j->meter = &s->meter;
	j->pace = &s->pace;
	j->fd = -1;
	j->get = m->get;
	j->next = m->get.offset;
	j->deadline_ms = now_ms() + 1000 * (int64_t)(m->get.deadline_s ? m->get.deadline_s
								       : s->settings->deadline_s);
	if (strncmp(j->get.url, "file:", 5) == 0)
		fetch_file_start(j);
	else
		job_start(s, j);
	return 0;
}

static void take_cancel(struct server *s, uint32_t id)
{
	static const struct err why = { .kind = ERR_RETRY, .os = ECANCELED, .text = "cancelled" };

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++) {
		struct fetch_job *j = &s->job[i];

		if (j->state == JOB_FREE || j->state == JOB_OVER || j->id != id)
			continue;
		fetch_transfer_stop(j, s->multi);
		fetch_file_stop(j);
		fetch_job_fail(j, &why);
	}
	if (s->post.id == id)
		fetch_post_fail(&s->post, s->multi, ERR_RETRY, why.text);
}

static int take_post(struct server *s, const struct wire_msg *m, struct err *e)
{
	if (m->id <= s->last_id || s->post.id != 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "the agent broke the protocol: %s",
			       s->post.id ? "two POSTs at once" : "an id was used twice");
	s->last_id = m->id;
	fetch_post_start(&s->post, s->multi, s->settings, &s->tls, m);
	return 0;
}

static int take_message(struct server *s, const struct wire_msg *m, struct err *e)
{
	if (!s->greeted) {
		if (m->type != WIRE_HELLO || m->version != WIRE_VERSION)
			return err_set(e, ERR_REFUSED, EBADMSG,
				       "the agent did not greet with version %u of the wire",
				       WIRE_VERSION);
		s->greeted = true;
		return 0;
	}
	if (m->type == WIRE_GET)
		return take_get(s, m, e);
	if (m->type == WIRE_CANCEL) {
		take_cancel(s, m->id);
		return 0;
	}
	if (m->type == WIRE_POST)
		return take_post(s, m, e);
	if (m->type == WIRE_TLS)
		return fetch_tls_set(&s->tls, &m->tls, e);
	if (m->type != WIRE_LIMIT)
		return err_set(e, ERR_REFUSED, EBADMSG, "the agent greeted twice");
	fetch_meter_set(&s->meter, m->limit.most, now_ms());
	if (m->limit.least_s)
		fetch_pace_set(&s->pace, m->limit.least, m->limit.least_s, now_ms());
	return 0;
}

/* 1 go on, 0 the agent hung up. */
static int read_wire(struct server *s, struct err *e)
{
	for (unsigned k = 0; k < MESSAGES_A_TURN; k++) {
		int r = wire_recv(s->fd, WIRE_AGENT, s->frame, &s->msg, e);

		if (r == -EAGAIN)
			return 1;
		if (r > 0)
			r = take_message(s, &s->msg, e) < 0 ? -EBADMSG : 1;
		if (r <= 0)
			return r;
	}
	return 1;
}

/* --- what goes to the agent --- */

/* Runs what j can do without waiting. 1 it may have more at once, 0 not, -EAGAIN wire full. */
static int job_step(struct server *s, struct fetch_job *j, struct err *e)
{
	switch (j->state) {
	case JOB_OVER:
		return fetch_job_flush(j, e);
	case JOB_FILE: {
		int r = fetch_file_pump(j, FILE_BUDGET, e);

		return r < 0 ? r : 1;
	}
	case JOB_RUN:
		if (j->paused)
			fetch_transfer_resume(j);
		return j->paused ? -EAGAIN : 0;
	case JOB_WAIT:
		if (now_ms() >= j->retry_ms)
			job_start(s, j);
		return 0;
	case JOB_FREE:
		return 0;
	}
	return 0;
}

/* 1 somebody has more to say at once, 0 nobody. Takes turns, so that none is left behind. */
static int step_all(struct server *s, struct err *e)
{
	int more = 0;

	if (!s->full && s->post.over) {
		int r = fetch_post_flush(&s->post, s->fd, e);

		if (r == -EAGAIN)
			s->full = true;
		else if (r < 0)
			return r;
	}
	for (unsigned k = 0; k < WIRE_FLIGHT_MAX && !s->full; k++) {
		int r = job_step(s, &s->job[(s->turn + k) % WIRE_FLIGHT_MAX], e);

		if (r == -EAGAIN)
			s->full = true;
		else if (r < 0)
			return r;
		more |= r > 0;
		if (s->full)
			s->turn = (s->turn + k) % WIRE_FLIGHT_MAX;
	}
	return s->full ? 0 : more;
}

static void collect(struct server *s)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(s->multi, &left))) {
		CURLcode code = m->data.result;
		char *p = NULL;

		if (m->msg == CURLMSG_DONE && s->post.easy && m->easy_handle == s->post.easy) {
			fetch_post_done(&s->post, s->multi, code);
			continue;
		}
		if (m->msg != CURLMSG_DONE ||
		    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p) != CURLE_OK)
			continue;
		fetch_transfer_done((struct fetch_job *)(void *)p, s->multi, s->settings, code,
				    now_ms());
	}
}

static int sleep_ms(const struct server *s)
{
	int64_t now = now_ms(), t = fetch_meter_wait(&s->meter);

	if (t == 0 || t > 1000)
		t = 1000;
	if (s->post.over && !s->full)
		return 0;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++) {
		const struct fetch_job *j = &s->job[i];

		if (j->state == JOB_OVER && !s->full)
			return 0;
		if (j->state == JOB_WAIT && j->retry_ms - now < t)
			t = j->retry_ms > now ? j->retry_ms - now : 0;
	}
	return (int)t;
}

/* What the time until now was spent on. */
static enum fetch_pace_state pace_state(const struct server *s)
{
	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		if (s->job[i].state == JOB_RUN && s->job[i].asked)
			return s->full ? PACE_HELD : PACE_WAIT;
	return PACE_IDLE;
}

static int multi_new(struct server *s, struct err *e)
{
	if (s->multi)
		(void)curl_multi_cleanup(s->multi);
	s->multi = curl_multi_init();
	if (!s->multi)
		return err_set(e, ERR_HOST, ENOMEM, "libcurl does not start");
	(void)curl_multi_setopt(s->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)CONNECTIONS);
	(void)curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS);
	return 0;
}

/*
 * Whoever waits for a server begins again, and on new connections: nothing may come through the old
 * ones any more, though neither side was told, and libcurl would go on using one that HTTP/2
 * streams share.
 */
static int drop_slow(struct server *s, enum fetch_pace_state was, struct err *e)
{
	if (!fetch_pace_slow(&s->pace, was, now_ms()))
		return 0;
	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++) {
		struct fetch_job *j = &s->job[i];

		if (j->state != JOB_RUN)
			continue;
		if (j->asked)
			fetch_transfer_slow(j, s->multi, s->settings, now_ms());
		else
			fetch_transfer_defer(j, s->multi, now_ms());
	}
	fetch_post_fail(&s->post, s->multi, ERR_RETRY, "the network was too slow");
	return multi_new(s, e);
}

/* One turn: wait, hear the agent, let libcurl work, speak. 1 go on, 0 the agent hung up. */
static int turn(struct server *s, bool more, struct err *e)
{
	struct curl_waitfd w = { .fd = s->fd, .events = CURL_WAIT_POLLIN };
	enum fetch_pace_state was = pace_state(s);
	int running, r;

	if (s->full && fetch_meter_wait(&s->meter) == 0)
		w.events |= CURL_WAIT_POLLOUT;
	if (curl_multi_poll(s->multi, &w, 1, more ? 0 : sleep_ms(s), NULL) != CURLM_OK)
		return err_set(e, ERR_HOST, EIO, "libcurl cannot wait for the network");
	if (w.revents & CURL_WAIT_POLLOUT)
		s->full = false;
	fetch_meter_fill(&s->meter, now_ms());
	r = read_wire(s, e);
	if (r <= 0)
		return r;
	if (curl_multi_perform(s->multi, &running) != CURLM_OK)
		return err_set(e, ERR_HOST, EIO, "libcurl cannot go on");
	collect(s);
	r = drop_slow(s, was, e);
	return r < 0 ? r : 1;
}

static int server_run(struct server *s, struct err *e)
{
	bool more = false;

	for (;;) {
		int r = turn(s, more, e);

		if (r <= 0)
			return r;
		r = step_all(s, e);
		if (r == -EPIPE)
			return 0;
		if (r < 0)
			return r;
		more = r > 0;
	}
}

int fetch_serve(int fd, const struct fetch_settings *settings, struct err *e)
{
	struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	CLEANUP(server_freep) struct server *s = calloc(1, sizeof(*s));
	int buffer = 4 * (int)WIRE_DATA_MAX, r;

	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		s->job[i].fd = -1;
	s->fd = fd;
	s->settings = settings;
	fetch_meter_set(&s->meter, settings->limit_rate, now_ms());
	fetch_pace_set(&s->pace, settings->min_rate, settings->min_time_s, now_ms());
	r = multi_new(s, e);
	if (r < 0)
		return r;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	r = wire_send(fd, &hello, e);
	if (r < 0)
		return r == -EPIPE ? 0 : r;
	return server_run(s, e);
}
