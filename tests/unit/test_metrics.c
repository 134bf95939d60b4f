/* SPDX-License-Identifier: Apache-2.0 */
/* The text for Prometheus and the requests on the socket. promtool judges in tests/integration. */
#include <string.h>

#include "base/cleanup.h"
#include "tests/test.h"
#include "updater/metrics/metrics.h"

static const char *const states[] = { "idle", "staged" };

static struct metrics example(void)
{
	return (struct metrics){ .image = "web",
				 .version = "1.1.0",
				 .slot = "B",
				 .channel = "stable",
				 .newest = "1.2.0",
				 .running = true,
				 .states = states,
				 .n_states = 2,
				 .state = "staged" };
}

static void test_format(void)
{
	static const struct metrics_count failures[] = { { "retry", 3 }, { "host", 0 } };
	static const struct metrics_check checks[] = { { "a\"b\\c\nd\x7f", true, true },
						       { "10-x.sh", true, true },
						       { "10-x.sh", true, false },
						       { "10-x.sh", false, true } };
	struct metrics m = example();
	struct err e = ERR_INIT;
	AUTO_BUF b = BUF_INIT;

	m.failures = failures;
	m.n_failures = 2;
	m.check = checks;
	m.n_check = 4;
	m.health_when = 7;
	CHECK(metrics_format(&m, &b, &e) == 0, "%s", e.text);
	CHECK(strstr(b.p, "proa_state{state=\"idle\"} 0\nproa_state{state=\"staged\"} 1\n"), "%s",
	      b.p);
	CHECK(strstr(b.p, "proa_failures_total{kind=\"retry\"} 3\n"), "%s", b.p);
	CHECK(strstr(b.p, "{check=\"a\\\"b\\\\c?d?\",required=\"true\"} 1\n"), "%s", b.p);
	CHECK(strstr(b.p, "{check=\"10-x.sh\",required=\"true\"} 0\n"), "one name, one series: %s",
	      b.p);
	CHECK(strstr(b.p, "{check=\"10-x.sh\",required=\"false\"} 1\n"), "%s", b.p);
	CHECK(!strstr(b.p, "last_check_timestamp"), "what has not been is left out: %s", b.p);
}

static void test_long_label(void)
{
	struct metrics m = example();
	char name[400];
	struct metrics_check c = { .name = name };
	struct err e = ERR_INIT;

	m.check = &c;
	m.n_check = 1;
	m.health_when = 7;
	for (size_t shift = 0; shift < 8; shift++) {
		AUTO_BUF b = BUF_INIT;
		const char *at;

		memset(name, 'x', sizeof(name));
		for (size_t i = shift; i + 3 < sizeof(name); i += 3)
			memcpy(name + i, "\xe2\x82\xac", 3);
		name[sizeof(name) - 1] = '\0';
		CHECK(metrics_format(&m, &b, &e) == 0, "%s", e.text);
		at = strstr(b.p, "{check=\"");
		CHECK(at && strstr(at, "\",required="), "%s", b.p);
		at = strstr(at, "\",required=");
		/* the last character is whole */
		CHECK(at[-1] == 'x' ||
			      ((unsigned char)at[-3] == 0xe2 && (unsigned char)at[-1] == 0xac),
		      "cut in the middle, shift %zu", shift);
	}
}

static void test_request(void)
{
	static const struct {
		const char *text;
		bool end;
		enum metrics_request want;
	} rows[] = {
		{ "", false, METRICS_MORE },
		{ "", true, METRICS_PLAIN },
		{ "GET /met", false, METRICS_MORE },
		{ "GET /met", true, METRICS_PLAIN },
		{ "GET /metrics HTTP/1.1\r\n", false, METRICS_MORE },
		{ "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", false, METRICS_GET },
		{ "GET / HTTP/1.0\n\n", false, METRICS_GET },
		{ "GET /metrics?a=b HTTP/1.1\r\n\r\n", false, METRICS_GET },
		{ "HEAD /metrics HTTP/1.1\r\n\r\n", false, METRICS_HEAD },
		{ "GET /../etc/shadow HTTP/1.1\r\n\r\n", false, METRICS_UNKNOWN },
		{ "DELETE / HTTP/1.1\r\n\r\n", false, METRICS_REFUSED },
		{ "GET /\r\n\r\n", false, METRICS_PLAIN },
		{ "hello\n", false, METRICS_PLAIN },
	};
	static char large[METRICS_REQUEST_MAX + 1];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK(metrics_request(rows[i].text, strlen(rows[i].text), rows[i].end) ==
			      rows[i].want,
		      "row %zu", i);
	CHECK(metrics_request(large, sizeof(large), false) == METRICS_REFUSED, "too long");
}

int main(void)
{
	test_format();
	test_long_label();
	test_request();
	return 0;
}
