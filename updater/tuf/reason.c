/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/reason.h"

const char *tuf_reason_name(enum tuf_reason r)
{
	switch (r) {
	case TUF_REASON_NONE:
		return "none";
	case TUF_REASON_MALFORMED:
		return "malformed";
	case TUF_REASON_TOO_LARGE:
		return "too-large";
	case TUF_REASON_WRONG_TYPE:
		return "wrong-type";
	case TUF_REASON_UNSIGNED:
		return "unsigned";
	case TUF_REASON_DUPLICATE:
		return "duplicate-signature";
	case TUF_REASON_KEY_ID:
		return "wrong-key-id";
	case TUF_REASON_EXPIRED:
		return "expired";
	case TUF_REASON_ROLLBACK:
		return "rollback";
	case TUF_REASON_VERSION:
		return "wrong-version";
	case TUF_REASON_HASH:
		return "wrong-hash";
	case TUF_REASON_REMOVED:
		return "removed";
	case TUF_REASON_UNLISTED:
		return "unlisted";
	case TUF_REASON_ABSENT:
		return "absent";
	case TUF_REASON_MANY_ROOTS:
		return "many-roots";
	case TUF_REASON_MANY_ROLES:
		return "many-roles";
	case TUF_REASON_NO_TARGET:
		return "no-target";
	case TUF_REASON_NO_ROLE:
		return "no-role";
	case TUF_REASON_UNKNOWN_HASH:
		return "unknown-hash";
	case TUF_REASON_INTERNAL:
		break;
	}
	return "internal";
}
