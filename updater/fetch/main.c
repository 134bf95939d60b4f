/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "updater/fetch/get.h"
#include "updater/fetch/sandbox.h"
#include "updater/fetch/serve.h"
#include "updater/wire/wire.h"

enum { EXIT_USAGE = 2, WIRE_FD = 3 };

static const char usage[] =
	"Usage: proa-fetch [OPTION...]\n"
	"       proa-fetch [OPTION...] get [--range A-B] [-o FILE] URL\n"
	"\n"
	"Fetches http, https and file URLs for proad, which has no network. Without a verb it\n"
	"serves the socket that systemd (or proad) hands over as descriptor 3; `get` tries a URL\n"
	"exactly as a host would.\n"
	"\n"
	"  --tries, --retries N   tries in a row that bring nothing new (default 8)\n"
	"  --min-rate BYTES       slower than this for --min-time is a failure (default 1K, 0: "
	"any)\n"
	"  --min-time SECONDS     (default 30)\n"
	"  --deadline SECONDS     for one file, retries included (default 12h)\n"
	"  --connect-time SECONDS for name, TCP and TLS of one try (default 30)\n"
	"  --limit-rate BYTES     bytes per second of all transfers together (default 0: no "
	"limit)\n"
	"  --ca FILE              PEM certificates to trust instead of the system's\n"
	"  --cert FILE            PEM certificate to show to servers that ask for one\n"
	"  --key FILE             its key (default: in the same file)\n"
	"  --range A-B            get: only bytes A to B, both included; B may be left out\n"
	"  --max BYTES            get: refuse a file larger than this\n"
	"  --etag TAG             get: refuse a file with another strong entity tag\n"
	"  -o, --output FILE      get: write here, not to standard output\n"
	"  -q, --quiet            get: no progress, no notes\n"
	"  -h, --help             this text\n"
	"  -V, --version          version\n"
	"\n"
	"Proxies come from the environment: http_proxy, https_proxy, no_proxy. Without --ca and\n"
	"--cert, ca.pem, client.pem and client.key of $CREDENTIALS_DIRECTORY are used if there.\n"
	"Exit status: 0 done, 1 failed, 2 usage.\n"
	"Example: proa-fetch get --range 0-99 -o head.bin https://updates.example.com/blobs/x\n";

enum option_id {
	OPT_TRIES = 256,
	OPT_MIN_RATE,
	OPT_MIN_TIME,
	OPT_DEADLINE,
	OPT_CONNECT,
	OPT_LIMIT,
	OPT_CA,
	OPT_CERT,
	OPT_KEY,
	OPT_RANGE,
	OPT_MAX,
	OPT_ETAG,
};

static const struct option options[] = {
	{ "tries", required_argument, NULL, OPT_TRIES },
	{ "retries", required_argument, NULL, OPT_TRIES },
	{ "min-rate", required_argument, NULL, OPT_MIN_RATE },
	{ "min-time", required_argument, NULL, OPT_MIN_TIME },
	{ "deadline", required_argument, NULL, OPT_DEADLINE },
	{ "connect-time", required_argument, NULL, OPT_CONNECT },
	{ "limit-rate", required_argument, NULL, OPT_LIMIT },
	{ "ca", required_argument, NULL, OPT_CA },
	{ "cert", required_argument, NULL, OPT_CERT },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "range", required_argument, NULL, OPT_RANGE },
	{ "max", required_argument, NULL, OPT_MAX },
	{ "etag", required_argument, NULL, OPT_ETAG },
	{ "output", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

struct asked {
	struct fetch_settings settings;
	struct fetch_get get;
	bool get_only; /* an option that only `get` knows */
	char credential[3][512];
};

static int parse_range(const char *s, struct fetch_get *g, struct err *e)
{
	const char *dash = strchr(s, '-');
	uint64_t last = 0;
	int r;

	if (!dash)
		return err_set(e, ERR_INPUT, EINVAL, "--range must be A-B or A-, not '%s'", s);
	r = num_parse(s, (size_t)(dash - s), 0, WIRE_SIZE_MAX - 1, "--range", &g->offset, e);
	if (r < 0 || !dash[1])
		return r;
	r = num_parse(dash + 1, strlen(dash + 1), g->offset, WIRE_SIZE_MAX - 1, "--range", &last,
		      e);
	g->length = last - g->offset + 1;
	return r;
}

static int parse_bounded(const char *s, const char *what, uint64_t max, bool seconds, uint64_t *ret,
			 struct err *e)
{
	uint64_t v;
	int r = seconds ? num_parse_seconds(s, what, &v, e) : num_parse_bytes(s, what, &v, e);

	if (r < 0)
		return r;
	if (v > max || (seconds && v == 0))
		return err_set(e, ERR_INPUT, ERANGE, "%s must be at %s, not '%s'", what,
			       v > max ? "most a year or 8 EiB" : "least one second", s);
	*ret = v;
	return 0;
}

static int take_get_option(struct fetch_get *g, int opt, const char *arg, struct err *e)
{
	switch (opt) {
	case OPT_RANGE:
		return parse_range(arg, g, e);
	case OPT_MAX:
		return parse_bounded(arg, "--max", WIRE_SIZE_MAX, false, &g->max_bytes, e);
	case OPT_ETAG:
		g->etag = arg;
		if (!wire_etag_valid(arg))
			return err_set(e, ERR_INPUT, EINVAL,
				       "--etag must be a strong tag in double quotes");
		return 0;
	case 'o':
		g->output = arg;
		return 0;
	default:
		g->quiet = true;
		return 0;
	}
}

static int take_file(const char *name, const char **ret, struct err *e)
{
	if (access(name, R_OK) < 0)
		return err_set(e, ERR_INPUT, errno, "cannot read '%s': %s", name, strerror(errno));
	*ret = name;
	return 0;
}

/* systemd.exec(5), LoadCredential=: what the unit was given, where no option says otherwise. */
static void take_credentials(struct asked *a)
{
	static const char *const names[] = { "ca.pem", "client.pem", "client.key" };
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	const char **to[] = { &a->settings.ca, &a->settings.cert, &a->settings.key };
	bool cert = a->settings.cert != NULL;

	for (size_t i = 0; dir && i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = a->credential[i];
		int n = snprintf(path, sizeof(a->credential[i]), "%s/%s", dir, names[i]);

		if (n < 0 || (size_t)n >= sizeof(a->credential[i]) || *to[i] || (i > 0 && cert) ||
		    access(path, R_OK) < 0)
			continue;
		*to[i] = path;
	}
	if (!a->settings.cert)
		a->settings.key = NULL;
}

static int take_option(struct asked *a, int opt, const char *arg, struct err *e)
{
	const uint64_t year = UINT64_C(31536000);
	struct fetch_settings *s = &a->settings;
	uint64_t n = 0;
	int r;

	switch (opt) {
	case OPT_TRIES:
		r = num_parse(arg, strlen(arg), 1, 1000, "--tries", &n, e);
		if (r >= 0)
			s->tries = (unsigned)n;
		return r;
	case OPT_MIN_RATE:
		return parse_bounded(arg, "--min-rate", INT32_MAX, false, &s->min_rate, e);
	case OPT_MIN_TIME:
		return parse_bounded(arg, "--min-time", year, true, &s->min_time_s, e);
	case OPT_DEADLINE:
		return parse_bounded(arg, "--deadline", year, true, &s->deadline_s, e);
	case OPT_CONNECT:
		return parse_bounded(arg, "--connect-time", year, true, &s->connect_s, e);
	case OPT_LIMIT:
		return parse_bounded(arg, "--limit-rate", WIRE_SIZE_MAX, false, &s->limit_rate, e);
	case OPT_CA:
		return take_file(arg, &s->ca, e);
	case OPT_CERT:
		return take_file(arg, &s->cert, e);
	case OPT_KEY:
		return take_file(arg, &s->key, e);
	default:
		a->get_only = true;
		return take_get_option(&a->get, opt, arg, e);
	}
}

/* sd_listen_fds(3): exactly one socket, and it is meant for this process. */
static int socket_check(struct err *e)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int type = 0;
	socklen_t n = sizeof(type);
	uint64_t v;

	if (!pid || !fds || strcmp(fds, "1") != 0 ||
	    num_parse(pid, strlen(pid), 1, INT32_MAX, "LISTEN_PID", &v, NULL) < 0 ||
	    v != (uint64_t)getpid())
		return err_set(e, ERR_INPUT, EINVAL,
			       "no socket was handed over; start it through proa-fetch.socket, or "
			       "use `proa-fetch get URL`");
	if (getsockopt(WIRE_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_SEQPACKET)
		return err_set(e, ERR_INPUT, EINVAL, "descriptor %d is no SOCK_SEQPACKET socket",
			       WIRE_FD);
	return 0;
}

static int serve(const struct fetch_settings *s, struct err *e)
{
	int r = socket_check(e);

	if (r == 0)
		r = fetch_sandbox_enter(e);
	if (r == 0)
		r = fetch_serve(WIRE_FD, s, e);
	return r;
}

static int wrong(const char *why)
{
	(void)fprintf(stderr, "proa-fetch: %s (see proa-fetch --help)\n", why);
	return EXIT_USAGE;
}

static int run(struct asked *a, char **argv, int argc)
{
	struct err e = ERR_INIT;
	bool get = argc > 0;
	int r;

	if (get && strcmp(argv[0], "get") != 0)
		return wrong("there is no such verb");
	if (get && (argc != 2 || !wire_url_valid(argv[1])))
		return wrong("get takes one http, https or file URL");
	if (!get && a->get_only)
		return wrong("this option needs the verb get");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		(void)fprintf(stderr, "proa-fetch: libcurl does not start on this machine\n");
		return EXIT_FAILURE;
	}
	a->get.url = argv[1];
	r = get ? fetch_get_run(&a->get, &a->settings, &e) : serve(&a->settings, &e);
	curl_global_cleanup();
	if (r < 0) {
		if (get)
			(void)fprintf(stderr, "proa-fetch: %s\n", e.text);
		else
			log_err(&e, NULL);
	}
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct asked a = { .settings = FETCH_SETTINGS_INIT,
			   .get = { .max_bytes = WIRE_SIZE_MAX, .etag = "" } };
	struct err e = ERR_INIT;
	int opt;

	log_open("proa-fetch");
	while ((opt = getopt_long(argc, argv, "o:qhV", options, NULL)) != -1) {
		if (opt == 'h') {
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		}
		if (opt == 'V') {
			(void)printf("proa-fetch %s (%s)\n", PROA_VERSION, fetch_sandbox_kind());
			return EXIT_SUCCESS;
		}
		if (opt == '?')
			return wrong("bad option");
		if (take_option(&a, opt, optarg, &e) < 0)
			return wrong(e.text);
	}
	if (a.settings.key && !a.settings.cert)
		return wrong("--key needs --cert");
	take_credentials(&a);
	return run(&a, argv + optind, argc - optind);
}
