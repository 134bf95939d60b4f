/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fetch_job_head(struct fetch_job *j, struct err *e)
{
	struct wire_msg m = { .type = WIRE_HEAD, .id = j->id, .head = j->head };
	int r;

	if (j->head_sent)
		return 0;
	r = wire_send(j->wire, &m, e);
	if (r < 0)
		return r;
	j->head_sent = true;
	return 0;
}

/* Where the request ends: behind its last byte, WIRE_UNKNOWN when only the server knows. */
static uint64_t job_end(const struct fetch_job *j)
{
	return j->get.length ? j->get.offset + j->get.length : j->head.total;
}

bool fetch_job_full(const struct fetch_job *j)
{
	uint64_t end = job_end(j);

	return j->known && (end == WIRE_UNKNOWN || j->next >= end);
}

static int job_data(struct fetch_job *j, const uint8_t *p, size_t n, struct err *e)
{
	while (n > 0) {
		size_t part = n < WIRE_DATA_MAX ? n : WIRE_DATA_MAX;
		struct wire_msg m = { .type = WIRE_DATA, .id = j->id };
		int r;

		if (fetch_meter_wait(j->meter) > 0)
			return err_set(e, ERR_RETRY, EAGAIN, "the bandwidth is used up");
		m.data = (struct wire_data){ .offset = j->next, .p = p, .n = part };
		r = wire_send(j->wire, &m, e);
		if (r < 0)
			return r;
		fetch_meter_pay(j->meter, part);
		j->next += part;
		j->sent += part;
		p += part;
		n -= part;
	}
	return 0;
}

int fetch_job_take(struct fetch_job *j, const uint8_t *p, size_t n, struct err *e)
{
	uint64_t end = job_end(j), behind = j->pos + n, skip;
	int r = fetch_job_head(j, e);

	if (r < 0)
		return r;
	/* sent before: in an earlier try, or before the wire was full */
	skip = j->next > j->pos ? j->next - j->pos : 0;
	if (skip < n) {
		uint64_t stop = behind < end ? behind : end;

		if (stop > j->get.max_bytes)
			stop = j->get.max_bytes;
		if (stop > j->next)
			r = job_data(j, p + skip, (size_t)(stop - j->next), e);
		if (r < 0)
			return r;
		if (behind > j->get.max_bytes && j->next < end)
			return err_set(e, ERR_REFUSED, EFBIG,
				       "the file goes on past the %" PRIu64
				       " bytes that are allowed",
				       j->get.max_bytes);
	}
	j->pos = behind;
	return end != WIRE_UNKNOWN && j->next >= end && j->body.stop != behind;
}

void fetch_job_end(struct fetch_job *j)
{
	j->state = JOB_OVER;
	j->last = (struct wire_msg){ .type = WIRE_END, .id = j->id };
	j->last.end = (struct wire_end){ .bytes = j->sent,
					 .requests = j->requests,
					 .retries = j->retries };
}

void fetch_job_fail(struct fetch_job *j, const struct err *e)
{
	char text[WIRE_TEXT_MAX + 1];

	(void)snprintf(text, sizeof(text), "%.170s: %.220s", j->get.url, e->text);
	j->state = JOB_OVER;
	j->last = (struct wire_msg){ .type = WIRE_FAIL, .id = j->id };
	j->last.fail.kind = e->kind == ERR_BUG || e->kind == ERR_NONE ? ERR_HOST : e->kind;
	j->last.fail.status = j->answer.status;
	j->last.fail.changed = e->os == ESTALE;
	wire_text_set(j->last.fail.text, text);
}

int fetch_job_flush(struct fetch_job *j, struct err *e)
{
	int r = 0;

	if (j->last.type == WIRE_END)
		r = fetch_job_head(j, e);
	if (r == 0)
		r = wire_send(j->wire, &j->last, e);
	if (r < 0)
		return r;
	j->state = JOB_FREE;
	return 0;
}

void fetch_job_note(const struct fetch_job *j, const char *fmt, ...)
{
	struct wire_msg m = { .type = WIRE_NOTE, .id = j->id };
	char text[WIRE_TEXT_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	wire_text_set(m.note.text, text);
	(void)!wire_send(j->wire, &m, NULL);
}
