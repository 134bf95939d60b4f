/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_WIRE_WIRE_H
#define UPDATER_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What the agent (devices, no network) and proa-fetch (network, no devices) say to each other.
 * One message is one packet of a SOCK_SEQPACKET socket, little-endian, of bounded size. Each side
 * takes the other for hostile: what does not decode ends the conversation.
 *
 *   header   u16 magic 0x5750, u16 type, u32 id
 *   HELLO    u32 version                                                       both ways, id 0
 *   GET      u64 offset, length, max_bytes; u32 flags, deadline_s, tries; u16 url_n, etag_n; url;
 *            etag
 *   CANCEL   -
 *   LIMIT    u64 most, least bytes per second (0: none); u32 least_s           id 0
 *   POST     u32 deadline_s, flags (1: fleet-lock-protocol); u16 url_n, 0; url; 0..WIRE_BODY_MAX
 *            bytes
 *   TLS      u16 ca_n, cert_n, key_n, 0; ca; cert; key                         id 0
 *   HEAD     u64 total (WIRE_UNKNOWN), offset; u32 flags (1: ranged); u16 etag_n, 0; etag
 *   DATA     u64 offset; 1..WIRE_DATA_MAX bytes
 *   END      u64 bytes; u32 requests, retries
 *   FAIL     u32 kind, status; u16 text_n, flags (1: changed); text
 *   NOTE     u16 text_n, 0; text
 *   REPLY    u32 status; 0..WIRE_BODY_MAX bytes
 *
 * The agent speaks HELLO, GET, CANCEL, LIMIT, POST, TLS; proa-fetch HELLO, HEAD, DATA, END, FAIL,
 * NOTE, REPLY. Each begins with HELLO. Every GET is answered by at most one HEAD, then DATA without
 * gaps from HEAD.offset on, then exactly one END or FAIL, also after CANCEL (which loses no race: a
 * CANCEL of an id that has ended is ignored). Every POST, one at a time, is answered by exactly one
 * REPLY or FAIL; it is sent once and follows no redirect. NOTE may stand anywhere.
 */
#define WIRE_VERSION     3u
#define WIRE_URL_MAX     2048u
#define WIRE_ETAG_MAX    256u
#define WIRE_TEXT_MAX    400u
#define WIRE_DATA_MAX    65536u
#define WIRE_HEAD_MAX    4096u /* longest message without the bytes of DATA */
#define WIRE_FRAME_MAX   (WIRE_HEAD_MAX + WIRE_DATA_MAX)
#define WIRE_FLIGHT_MAX  32u /* GETs at once */
#define WIRE_SIZE_MAX    ((uint64_t)INT64_MAX)
#define WIRE_UNKNOWN     UINT64_MAX
#define WIRE_SECONDS_MAX 31536000u /* a year */
#define WIRE_TRIES_MAX   1000u
#define WIRE_BODY_MAX    65536u /* of a POST, and of its REPLY */
#define WIRE_PEM_MAX     20480u /* of each file of TLS */

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_GET = 2,
	WIRE_CANCEL = 3,
	WIRE_LIMIT = 4,
	WIRE_POST = 5,
	WIRE_TLS = 6,
	WIRE_HEAD = 16,
	WIRE_DATA = 17,
	WIRE_END = 18,
	WIRE_FAIL = 19,
	WIRE_NOTE = 20,
	WIRE_REPLY = 21,
};

/* Who wrote a message. */
enum wire_side { WIRE_AGENT, WIRE_FETCH };

/* wire_get.flags: a server that answers a range with the whole file is a FAIL (no HEAD). */
#define WIRE_GET_RANGED_ONLY 1u

struct wire_get {
	char url[WIRE_URL_MAX + 1];   /* http://, https:// or file:///, printable ASCII */
	char etag[WIRE_ETAG_MAX + 1]; /* strong, with its quotes: insist on it; "": any */
	uint64_t offset;
	uint64_t length;    /* 0: to the end of the file; else offset + length <= max_bytes */
	uint64_t max_bytes; /* cap on the whole file, 1..WIRE_SIZE_MAX */
	uint32_t flags;
	uint32_t deadline_s; /* for all of it, retries and waits included; 0: proa-fetch's own */
	/* in a row that bring nothing new; 0: proa-fetch's own. With fewer, there are other
	 * servers: one that asks to come back later (Retry-After) is waited for a few seconds at
	 * most. */
	uint32_t tries;
};

/* For all transfers together, from now on. */
struct wire_limit {
	uint64_t most;    /* bytes per second, 0: no limit */
	uint64_t least;   /* fewer than this for least_s is a failure; 0: any rate will do */
	uint32_t least_s; /* 1..WIRE_SECONDS_MAX; 0: `least` stays what proa-fetch was told */
};

/* wire_post.flags: the header that FleetLock asks for. */
#define WIRE_POST_FLEETLOCK 1u

/* What a lock server is told, with Content-Type: application/json. */
struct wire_post {
	char url[WIRE_URL_MAX + 1]; /* http:// or https:// */
	uint32_t flags;
	uint32_t deadline_s; /* 1..WIRE_SECONDS_MAX */
	const uint8_t *p;
	size_t n;
};

/* PEM for the POSTs from now on; each may be empty. A key without a certificate is malformed. */
struct wire_pem {
	const uint8_t *p;
	size_t n;
};
struct wire_tls {
	struct wire_pem ca; /* who is trusted; empty: whom proa-fetch trusts */
	struct wire_pem cert, key;
};

struct wire_head {
	uint64_t total;  /* bytes in the whole file, or WIRE_UNKNOWN */
	uint64_t offset; /* where DATA begins: as asked, or 0 when the server has no ranges */
	bool ranged;     /* the server honoured the range asked for (or offers ranges) */
	char etag[WIRE_ETAG_MAX + 1]; /* strong ones only, else "" */
};

struct wire_data {
	uint64_t offset;
	const uint8_t *p;
	size_t n;
};

struct wire_end {
	uint64_t bytes; /* sum of the DATA sent */
	uint32_t requests, retries;
};

struct wire_fail {
	enum err_kind kind; /* RETRY, REFUSED, INPUT or HOST */
	uint32_t status;    /* HTTP status, 0: none */
	bool changed;       /* the file is another one than that of the entity tag, or of before */
	char text[WIRE_TEXT_MAX + 1];
};

struct wire_note {
	char text[WIRE_TEXT_MAX + 1];
};

/* A server's answer to a POST, whatever it says. */
struct wire_reply {
	uint32_t status; /* 100..999 */
	const uint8_t *p;
	size_t n;
};

struct wire_msg {
	enum wire_type type;
	uint32_t id; /* of the GET or POST; 0 for HELLO, LIMIT and TLS */
	union {
		uint32_t version; /* HELLO */
		struct wire_limit limit;
		struct wire_get get;
		struct wire_head head;
		struct wire_data data;
		struct wire_end end;
		struct wire_fail fail;
		struct wire_note note;
		struct wire_post post;
		struct wire_tls tls;
		struct wire_reply reply;
	};
};

/*
 * Writes m as one frame into p[0..cap); returns its bytes (cap WIRE_FRAME_MAX always suffices).
 * ERR_BUG -EINVAL when m breaks a bound above, -ENOBUFS when cap is too small. Pure.
 */
int wire_encode(const struct wire_msg *m, uint8_t *p, size_t cap, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Reads the frame p[0..n) that `from` wrote; data.p and its like point into it. ERR_REFUSED
 * -EBADMSG when it is not exactly one message that this side may send, every field within its
 * bounds. Pure.
 */
int wire_decode(enum wire_side from, const uint8_t *p, size_t n, struct wire_msg *ret,
		struct err *e) __attribute__((warn_unused_result));

/*
 * Sends m as one packet, never blocks: -EAGAIN (ERR_RETRY) when the socket is full, -EPIPE
 * (ERR_HOST) when the other side is gone. wire_recv() puts one packet into frame and decodes it:
 * 1 got one, 0 the other side hung up, -EAGAIN (ERR_RETRY) nothing there.
 */
int wire_send(int fd, const struct wire_msg *m, struct err *e) __attribute__((warn_unused_result));
int wire_recv(int fd, enum wire_side from, uint8_t frame[WIRE_FRAME_MAX], struct wire_msg *ret,
	      struct err *e) __attribute__((warn_unused_result));

/*
 * Checks a URL / a strong entity tag as GET and HEAD carry them. A URL with a user or password (RFC
 * 3986 section 3.2.1) is none: URLs are told to everyone, in errors and in the status.
 */
bool wire_url_names_user(const char *s);
bool wire_url_valid(const char *s);
bool wire_etag_valid(const char *s);

/* Copies s as a NOTE or FAIL may carry it: cut to WIRE_TEXT_MAX, what is not printable ASCII '?'.
 */
void wire_text_set(char out[WIRE_TEXT_MAX + 1], const char *s);

#endif
