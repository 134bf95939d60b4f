/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "updater/audit/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The copied output of dmsetup, table and status with a zero byte between them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct evidence_usr u;
	char *text = calloc(size + 2, 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (evidence_usr_parse(text, text + (strlen(text) < size ? strlen(text) + 1 : size), &u,
			       NULL) >= 0 &&
	    (u.salt_n > sizeof(u.salt) || u.data_block > 4096 || u.hash_block > 4096 ||
	     !memchr(u.data, '\0', sizeof(u.data)) || !memchr(u.hash, '\0', sizeof(u.hash)) ||
	     !memchr(u.algorithm, '\0', sizeof(u.algorithm)) || !u.on_corruption[0]))
		abort();
	free(text);
	return 0;
}
