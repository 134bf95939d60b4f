/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_REASON_H
#define TUF_REASON_H

/*
 * Why metadata or a target was not accepted. A program reads this, a person the err beside it.
 * Where a function has a ret_why (may be NULL), it is written on failure only.
 */
enum tuf_reason {
	TUF_REASON_NONE = 0,
	TUF_REASON_MALFORMED,    /* not strict JSON, or not the shape the specification asks for */
	TUF_REASON_TOO_LARGE,    /* more bytes than allowed (endless data)                       */
	TUF_REASON_WRONG_TYPE,   /* another role's file under this name                          */
	TUF_REASON_UNSIGNED,     /* threshold not reached (arbitrary software)                   */
	TUF_REASON_DUPLICATE,    /* two signatures under one key id                              */
	TUF_REASON_KEY_ID,       /* threshold not reached; a key stands under an id not its own  */
	TUF_REASON_EXPIRED,      /* expired at the start time (freeze)                           */
	TUF_REASON_ROLLBACK,     /* an older version than one already trusted                    */
	TUF_REASON_VERSION,      /* not the version asked for or listed (mix and match)          */
	TUF_REASON_HASH,         /* length or hash differs from the one listed                   */
	TUF_REASON_REMOVED,      /* the new snapshot lost a file the trusted one lists           */
	TUF_REASON_UNLISTED,     /* snapshot or timestamp does not list the file                 */
	TUF_REASON_ABSENT,       /* the server does not have a file that must exist              */
	TUF_REASON_MANY_ROOTS,   /* more root rotations in one refresh than allowed              */
	TUF_REASON_MANY_ROLES,   /* more delegated roles in one search than allowed              */
	TUF_REASON_NO_TARGET,    /* no role that may speak for the path lists it                 */
	TUF_REASON_NO_ROLE,      /* top-level targets delegates nothing to that role             */
	TUF_REASON_UNKNOWN_HASH, /* hashes are listed, but none this program knows               */
	TUF_REASON_INTERNAL,     /* no memory, or the caller broke the protocol                  */
};

/* "rollback", "expired", ... stable names for logs and --json. */
const char *tuf_reason_name(enum tuf_reason r);

#endif
