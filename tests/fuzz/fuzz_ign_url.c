/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data: URL that is checked can be decoded, in less room than it takes; its bytes encoded anew
 * decode to themselves; nothing that is shown holds what only the fetching needs.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_data(const char *url)
{
	AUTO_BUF bytes = BUF_INIT, encoded = BUF_INIT, back = BUF_INIT;
	struct err e = ERR_INIT;

	must(ign_url_data(url, &bytes, &e) >= 0);
	must(bytes.n < strlen(url) && bytes.p[bytes.n] == '\0');
	must(buf_addf(&encoded, &e, "data:,") >= 0);
	for (size_t i = 0; i < bytes.n; i++)
		must(buf_addf(&encoded, &e, "%%%02X", (unsigned char)bytes.p[i]) >= 0);
	must(ign_url_data(encoded.p, &back, &e) >= 0);
	must(back.n == bytes.n && memcmp(back.p, bytes.p, bytes.n) == 0);
}

/* What text_clean() leaves as it is. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum ign_scheme scheme = IGN_URL_NONE, older = IGN_URL_NONE;
	struct err e = ERR_INIT;
	char shown[128];
	char *url = malloc(size + 1);

	must(url != NULL);
	memcpy(url, data, size);
	url[size] = '\0';
	if (ign_url_check(url, &scheme, &e) >= 0) {
		if (scheme == IGN_URL_DATA)
			check_data(url);
		if (ign_url_check_spec(url, 0, &older, &e) >= 0)
			must(older == scheme);
		must(ign_url_needs_network(url) ==
		     (scheme != IGN_URL_DATA && scheme != IGN_URL_NONE));
	} else {
		must(e.kind == ERR_INPUT && !strstr(e.text, "secret"));
	}
	ign_url_show(url, shown, sizeof(shown));
	must(strlen(shown) < sizeof(shown));
	if ((scheme == IGN_URL_HTTP || scheme == IGN_URL_HTTPS) && is_plain(url))
		must(!strchr(shown, '?') && !strchr(shown, '#'));
	free(url);
	return 0;
}
