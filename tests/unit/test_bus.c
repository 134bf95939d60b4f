/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.proa.Host1 before a hostile peer: the real proad --direct, every method that its
 * introspection shows, with arguments of every wrong type, with strings that no operator would
 * type, and bytes that are no D-Bus at all.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/spawn.h"
#include "tests/test.h"
#include "updater/agent/bus.h"

enum { METHODS_MAX = 64, LONG = 200000, GARBAGE_ROUNDS = 12 };

struct method {
	char name[64], in[64];
};

static uint64_t seed;

static uint64_t roll(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

static int start(pid_t *ret_pid)
{
	const char *bin = getenv("PROA_BIN");
	char prog[512];
	const char *argv[] = { prog, "--direct", "--config", "/nonexistent/proa.conf", NULL };
	struct err e = ERR_INIT;
	int fd;

	(void)snprintf(prog, sizeof(prog), "%s/proad", bin ? bin : "build/bin");
	CHECK(spawn_peer(argv, SOCK_STREAM, ret_pid, &fd, &e) == 0, "%s", e.text);
	return fd;
}

/* It ended by itself; a sanitizer's report is exit status 77. */
static void ended(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid, "wait");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) < 2, "status %#x", (unsigned)status);
}

static sd_bus *client(int fd)
{
	sd_bus *b = NULL;

	CHECK(sd_bus_new(&b) >= 0 && sd_bus_set_fd(b, fd, fd) >= 0 && sd_bus_start(b) >= 0, "bus");
	return b;
}

static sd_bus_message *new_call(sd_bus *b, const char *interface, const char *member)
{
	sd_bus_message *m = NULL;

	CHECK(sd_bus_message_new_method_call(b, &m, NULL, BUS_PATH, interface, member) >= 0, "%s",
	      member);
	return m;
}

/* Sends m; the name of the error, "" when it was answered. Its sentence must be fit to be shown. */
static void ask(sd_bus *b, sd_bus_message *m, char name[128])
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	int r = sd_bus_call(b, m, 60ull * 1000000, &error, &reply);

	(void)snprintf(name, 128, "%s", r < 0 ? (error.name ? error.name : "?") : "");
	CHECK(r >= 0 || error.name, "no answer: %s", strerror(-r));
	for (const char *s = error.message; s && *s; s++)
		CHECK((unsigned char)*s >= 0x20, "%s: control character in '%s'", name,
		      error.message);
	sd_bus_error_free(&error);
	(void)sd_bus_message_unref(reply);
	(void)sd_bus_message_unref(m);
}

/* The attribute of an XML element, as introspection writes it. */
static const char *attribute(const char *at, const char *key, char *out, size_t cap)
{
	const char *p = strstr(at, key), *end = p ? strchr(p + strlen(key), '"') : NULL;

	CHECK(p && end && (size_t)(end - p) - strlen(key) < cap, "%s", key);
	(void)snprintf(out, cap, "%.*s", (int)(end - p - (int)strlen(key)), p + strlen(key));
	return end;
}

static size_t introspect(sd_bus *b, struct method out[METHODS_MAX])
{
	sd_bus_message *reply = NULL;
	const char *xml, *p;
	size_t n = 0;

	CHECK(sd_bus_call_method(b, NULL, BUS_PATH, "org.freedesktop.DBus.Introspectable",
				 "Introspect", NULL, &reply, "") >= 0 &&
		      sd_bus_message_read(reply, "s", &xml) >= 0,
	      "introspection");
	p = strstr(xml, "<interface name=\"" BUS_INTERFACE "\"");
	CHECK(p, "no interface");
	while ((p = strstr(p, "<method name=\"")) && n < METHODS_MAX) {
		const char *close = strstr(p, "</method>"), *line = strchr(p, '>');
		struct method *m = &out[n++];
		char type[16];

		p = attribute(p, "name=\"", m->name, sizeof(m->name));
		m->in[0] = '\0';
		if (line[-1] == '/')
			continue;
		for (const char *a = strstr(p, "<arg "); a && a < close;
		     a = strstr(a + 1, "<arg ")) {
			const char *tag_end = strchr(a, '>'), *in = strstr(a, "direction=\"in\"");

			(void)attribute(a, "type=\"", type, sizeof(type));
			if (in && in < tag_end)
				(void)snprintf(m->in + strlen(m->in), sizeof(m->in) - strlen(m->in),
					       "%s", type);
		}
		p = close;
	}
	(void)sd_bus_message_unref(reply);
	CHECK(n >= 15, "only %zu methods", n);
	return n;
}

static void append(sd_bus_message *m, const char *types, const char *text)
{
	for (; *types; types++) {
		uint64_t v = roll();
		int r = -1;

		if (*types == 's')
			r = sd_bus_message_append_basic(m, 's', text);
		else if (*types == 'b')
			r = sd_bus_message_append(m, "b", (int)(v & 1));
		else if (*types == 'i')
			r = sd_bus_message_append(m, "i", (int)v);
		else if (*types == 'u')
			r = sd_bus_message_append(m, "u", (unsigned)v);
		else if (*types == 't')
			r = sd_bus_message_append(m, "t", v << 32 | v);
		CHECK(r >= 0, "type %c", *types);
	}
}

static void wrong_types(sd_bus *b, const struct method *m)
{
	static const char *const types[] = { "", "s", "ss", "sss", "i", "b", "bt", "tt", "su" };
	char name[128];

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		sd_bus_message *call;

		if (strcmp(types[i], m->in) == 0)
			continue;
		call = new_call(b, BUS_INTERFACE, m->name);
		append(call, types[i], "x");
		ask(b, call, name);
		CHECK(strcmp(name, SD_BUS_ERROR_INVALID_ARGS) == 0, "%s(%s): %s", m->name, types[i],
		      name);
	}
}

static void odd_strings(sd_bus *b, const struct method *m, const char *long_text)
{
	const char *const texts[] = { "",
				      "\n\033[31m\a\b",
				      "../../etc/passwd",
				      "%s%n%x",
				      "$(reboot)`reboot`;reboot",
				      "--help",
				      "\xe2\x80\xae right to left",
				      "1.2.3\n",
				      "18446744073709551616",
				      "-1",
				      long_text };
	char name[128];

	for (size_t i = 0; i < (m->in[0] ? sizeof(texts) / sizeof(texts[0]) : 1); i++) {
		sd_bus_message *call = new_call(b, BUS_INTERFACE, m->name);

		append(call, m->in, texts[i]);
		ask(b, call, name);
		/* there is no configuration, so nothing but reading and holding succeeds */
		CHECK(name[0] == '\0' || strncmp(name, "org.proa.Error.", 15) == 0, "%s: %s",
		      m->name, name);
	}
}

static void strangers(sd_bus *b)
{
	static const char *const calls[][2] = { { BUS_INTERFACE, "Exec" },
						{ BUS_INTERFACE, "check" },
						{ "org.proa.Host2", "Check" },
						{ "org.freedesktop.DBus.Properties", "Set" } };
	char name[128];

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		ask(b, new_call(b, calls[i][0], calls[i][1]), name);
		CHECK(strncmp(name, "org.freedesktop.DBus.Error.", 27) == 0, "%s: %s", calls[i][1],
		      name);
	}
}

static void test_calls(void)
{
	static struct method methods[METHODS_MAX];
	char *long_text = calloc(LONG + 1, 1);
	pid_t pid;
	sd_bus *b = client(start(&pid));
	size_t n = introspect(b, methods);

	CHECK(long_text, "memory");
	memset(long_text, 'A', LONG);
	for (size_t i = 0; i < n; i++) {
		wrong_types(b, &methods[i]);
		odd_strings(b, &methods[i], long_text);
	}
	strangers(b);
	/* and it still serves */
	CHECK(introspect(b, methods) == n, "it serves no more");
	free(long_text);
	(void)sd_bus_flush_close_unref(b);
	ended(pid);
}

/* Bytes that are no D-Bus, also behind a handshake that is: it hangs up and ends. */
static void test_garbage(void)
{
	static const char hello[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

	for (unsigned round = 0; round < GARBAGE_ROUNDS; round++) {
		uint8_t bytes[4096];
		pid_t pid;
		int fd = start(&pid);

		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)roll();
		if (round & 1)
			(void)!write(fd, hello, sizeof(hello) - 1);
		if (round & 2) /* little endian, a method call, version 1 */
			memcpy(bytes, (const uint8_t[]){ 'l', 1, 0, 1 }, 4);
		(void)!write(fd, bytes, 1 + roll() % sizeof(bytes));
		(void)close(fd);
		ended(pid);
	}
}

int main(void)
{
	const char *s = getenv("PROA_SEED");

	seed = s ? strtoull(s, NULL, 0) : 20261121;
	(void)signal(SIGPIPE, SIG_IGN);
	CHECK(setenv("ASAN_OPTIONS", "exitcode=77", 1) == 0 &&
		      setenv("UBSAN_OPTIONS", "exitcode=77", 1) == 0,
	      "environment");
	test_calls();
	test_garbage();
	return 0;
}
