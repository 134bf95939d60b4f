/* SPDX-License-Identifier: Apache-2.0 */
/* proa-metrics: the metrics that proad left, to a terminal, a pipe or whoever asks on the socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/sys.h"
#include "updater/metrics/metrics.h"

enum { EXIT_USAGE = 2, PATIENCE_MS = 2000, CHUNK = 1024 };

#define METRICS_FILE     "/run/proa/metrics.prom"
#define METRICS_FILE_MAX ((size_t)1 << 20)

static const char usage[] =
	"Usage: proa-metrics [--file FILE]\n"
	"\n"
	"Prints what proad last said of this host, in Prometheus' text format.\n"
	"With a socket as standard input, as proa-metrics.socket starts it, it answers there: as\n"
	"HTTP to a GET of /metrics, else with the text alone.\n"
	"\n"
	"      --file FILE  instead of " METRICS_FILE "\n"
	"  -h, --help\n"
	"      --version\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage.\n"
	"Example: curl --unix-socket /run/proa/metrics.sock http://proa/metrics\n";

static bool is_socket(int fd)
{
	int type;
	socklen_t n = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

/* What the client asks for; one that says nothing for a while gets the text. */
static enum metrics_request read_request(int fd)
{
	char p[METRICS_REQUEST_MAX + CHUNK];
	uint64_t end = clock_mono_ms() + PATIENCE_MS, now = clock_mono_ms();
	enum metrics_request q = METRICS_MORE;
	size_t n = 0;

	for (; q == METRICS_MORE && now < end; now = clock_mono_ms()) {
		struct pollfd f = { .fd = fd, .events = POLLIN };
		ssize_t k = poll(&f, 1, (int)(end - now)) > 0 ? recv(fd, p + n, CHUNK, 0) : 0;

		if (k < 0)
			break;
		n += (size_t)k;
		q = metrics_request(p, n, k == 0);
	}
	return q == METRICS_MORE ? METRICS_PLAIN : q;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return EXIT_FAILURE;
		p += k;
		n -= (size_t)k;
	}
	return EXIT_SUCCESS;
}

static int answer(int fd, const char *text, size_t n)
{
	const struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	enum metrics_request q;
	AUTO_BUF head = BUF_INIT;
	struct err e = ERR_INIT;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	q = read_request(fd);
	if (q != METRICS_PLAIN && metrics_head(q, n, &head, &e) < 0) {
		log_err(&e, "metrics");
		return EXIT_FAILURE;
	}
	if (head.n > 0 && send_all(fd, head.p, head.n) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	return q == METRICS_GET || q == METRICS_PLAIN ? send_all(fd, text, n) : EXIT_SUCCESS;
}

/* A host where proad has not run yet has no metrics; that is no error of who asks. */
static int serve(const char *file)
{
	AUTO_FREE char *text = NULL;
	struct err e = ERR_INIT;
	bool socket = is_socket(STDIN_FILENO);
	size_t n = 0;
	int r = file_read(sys_linux(), AT_FDCWD, file, METRICS_FILE_MAX, &text, &n, &e);

	if (r < 0 && !(r == -ENOENT && socket)) {
		log_err(&e, "metrics");
		return EXIT_FAILURE;
	}
	if (socket)
		return answer(STDIN_FILENO, text ? text : "", n);
	(void)fputs(text, stdout);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "file", required_argument, NULL, 'f' },
					       { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { 0 } };
	const char *file = METRICS_FILE;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		switch (c) {
		case 'f':
			file = optarg;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			(void)puts("proa-metrics " PROA_VERSION);
			return EXIT_SUCCESS;
		default:
			(void)fputs("proa-metrics: see proa-metrics --help\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "proa-metrics: what is '%s'? See proa-metrics --help\n",
			      argv[optind]);
		return EXIT_USAGE;
	}
	log_open("proa-metrics");
	return serve(file);
}
