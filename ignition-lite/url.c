/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/url.h"

#include <errno.h>
#include <string.h>

static enum ign_scheme scheme_of(const char *url)
{
	static const struct {
		const char *name;
		enum ign_scheme scheme;
	} table[] = {
		{ "data:", IGN_URL_DATA },   { "http:", IGN_URL_HTTP }, { "https:", IGN_URL_HTTPS },
		{ "s3:", IGN_URL_REMOTE },   { "gs:", IGN_URL_REMOTE }, { "arn:", IGN_URL_REMOTE },
		{ "tftp:", IGN_URL_REMOTE },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strncasecmp(url, table[i].name, strlen(table[i].name)) == 0)
			return table[i].scheme;
	return IGN_URL_NONE;
}

int ign_url_check(const char *url, enum ign_scheme *ret, struct err *e)
{
	enum ign_scheme s = scheme_of(url);

	if (*url && s == IGN_URL_NONE)
		return err_set(e, ERR_INPUT, EINVAL,
			       "is no URL of a scheme that is known here: use data:, http:// or "
			       "https://");
	if (ret)
		*ret = s;
	return 0;
}

bool ign_url_needs_network(const char *url)
{
	enum ign_scheme s = scheme_of(url);

	return s != IGN_URL_NONE && s != IGN_URL_DATA;
}
