/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/sys.h"

#define ANY_NAME "proa-publish"
enum { PROMPT_MAX = 256 };
enum { KEY_INTR = 3, KEY_EOF = 4, KEY_BS = 8, KEY_KILL = 21, KEY_DEL = 127 };

/* The first line of a file, which may be all there is, or of a pipe. */
static int from_file(const char *path, char ret[PASSPHRASE_MAX], struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	char line[PASSPHRASE_MAX];
	size_t n = 0;
	ssize_t got;

	f.fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (f.fd < 0)
		return err_set(e, ERR_INPUT, errno, "passphrase: open '%s': %s", path,
			       strerror(errno));
	do {
		got = read(f.fd, line + n, sizeof(line) - n);
		n += got > 0 ? (size_t)got : 0;
	} while ((got > 0 && n < sizeof(line)) || (got < 0 && errno == EINTR));
	if (got < 0)
		return err_set(e, ERR_INPUT, errno, "passphrase: read '%s': %s", path,
			       strerror(errno));
	for (size_t i = 0; i < n; i++)
		if (line[i] == '\n' || line[i] == '\r')
			n = i;
	if (n < sizeof(line)) {
		memcpy(ret, line, n);
		ret[n] = '\0';
	}
	explicit_bzero(line, sizeof(line));
	if (n >= sizeof(line))
		return err_set(e, ERR_INPUT, E2BIG, "'%s': a passphrase has at most %d bytes", path,
			       PASSPHRASE_MAX - 1);
	return (int)n;
}

/* True if there is such a credential: *ret_n is its length or -errno. */
static bool from_credential(const char *name, char ret[PASSPHRASE_MAX], int *ret_n, struct err *e)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_MAX];
	int n = dir ? snprintf(path, sizeof(path), "%s/%s.passphrase", dir, name) : -1;

	if (n < 0 || (size_t)n >= sizeof(path) || access(path, F_OK) < 0)
		return false;
	*ret_n = from_file(path, ret, e);
	return true;
}

/* ---- terminal ---- */

/* One line, read byte by byte: signals may be blocked, so the keys that send them are read too. */
static int read_line(int fd, char *out, size_t cap, struct err *e)
{
	size_t n = 0;

	for (;;) {
		unsigned char c;
		ssize_t got = read(fd, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || c == KEY_INTR || c == KEY_EOF)
			return err_set(e, ERR_INPUT, ECANCELED, "broken off at the terminal");
		if (c == '\n' || c == '\r')
			break;
		if (c == KEY_BS || c == KEY_DEL)
			n -= n > 0;
		else if (c == KEY_KILL)
			n = 0;
		else if (n + 1 < cap)
			out[n++] = (char)c;
	}
	out[n] = '\0';
	return (int)n;
}

static int say(int fd, const char *text)
{
	return write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

static int ask(const char *prompt, bool echo, char *out, size_t cap, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct termios old, quiet;
	int q;

	f.fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (f.fd < 0 || tcgetattr(f.fd, &old) < 0)
		return err_set(e, ERR_INPUT, ENOKEY, "there is no terminal to ask at");
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)(ICANON | ISIG | (echo ? 0 : ECHO));
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;
	if (tcsetattr(f.fd, TCSAFLUSH, &quiet) < 0 || say(f.fd, prompt) < 0)
		return err_set(e, ERR_HOST, errno, "the terminal: %s", strerror(errno));
	q = read_line(f.fd, out, cap, e);
	(void)tcsetattr(f.fd, TCSAFLUSH, &old);
	if (!echo || q < 0)
		(void)say(f.fd, "\n");
	return q;
}

static int ask_passphrase(const char *name, const char *again, char ret[PASSPHRASE_MAX],
			  struct err *e)
{
	char prompt[PROMPT_MAX];

	(void)snprintf(prompt, sizeof(prompt), "Passphrase of key %.100s%s: ", name, again);
	return ask(prompt, false, ret, PASSPHRASE_MAX, e);
}

/* True: one of the places without a person has it, or should have had: *ret_n is its length or
 * -errno. */
static bool from_places(const char *name, const char *file, char ret[PASSPHRASE_MAX], int *ret_n,
			struct err *e)
{
	const char *env = getenv("PROA_PASSPHRASE");

	if (file) {
		*ret_n = from_file(file, ret, e);
		return true;
	}
	if (env && strlen(env) < PASSPHRASE_MAX) {
		(void)snprintf(ret, PASSPHRASE_MAX, "%s", env);
		*ret_n = (int)strlen(env);
		return true;
	}
	return from_credential(name, ret, ret_n, e) || from_credential(ANY_NAME, ret, ret_n, e);
}

static int no_place(const char *name, int q, struct err *e)
{
	if (q != -ENOKEY)
		return err_wrap(e, q, "key %s", name);
	return err_set(
		e, ERR_INPUT, ENOKEY,
		"key %s needs a passphrase, and there is no terminal to ask at: give it with "
		"--passphrase-file, $PROA_PASSPHRASE or the credential %s.passphrase",
		name, name);
}

int passphrase_get(const char *name, const char *file, char ret[PASSPHRASE_MAX], struct err *e)
{
	int q = 0;

	if (from_places(name, file, ret, &q, e))
		return q;
	q = ask_passphrase(name, "", ret, e);
	return q < 0 ? no_place(name, q, e) : q;
}

static int same_twice(const char *name, char ret[PASSPHRASE_MAX], struct err *e)
{
	char again[PASSPHRASE_MAX];
	int q = ask_passphrase(name, " (new)", ret, e), p;

	if (q < 0)
		return no_place(name, q, e);
	p = ask_passphrase(name, " (again)", again, e);
	if (p >= 0 && strcmp(again, ret) != 0)
		p = err_set(e, ERR_INPUT, EINVAL, "key %s: the two passphrases differ", name);
	explicit_bzero(again, sizeof(again));
	return p < 0 ? p : q;
}

int passphrase_new(const char *name, const char *file, char ret[PASSPHRASE_MAX], struct err *e)
{
	int q = 0;

	if (!from_places(name, file, ret, &q, e))
		q = same_twice(name, ret, e);
	if (q == 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "key %s: an empty passphrase protects nothing (--no-passphrase)",
			       name);
	return q;
}

int passphrase_confirm(const char *question, struct err *e)
{
	char answer[16], prompt[PROMPT_MAX];
	int q;

	(void)snprintf(prompt, sizeof(prompt), "%s Type yes: ", question);
	q = ask(prompt, true, answer, sizeof(answer), e);
	if (q == -ENOKEY)
		return err_set(e, ERR_INPUT, ECANCELED,
			       "there is no terminal to ask at: read what it says, then give "
			       "--yes");
	if (q >= 0 && strcmp(answer, "yes") != 0)
		return err_set(e, ERR_INPUT, ECANCELED, "not signed: the answer was not yes");
	return q < 0 ? q : 0;
}
