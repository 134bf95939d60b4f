/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "tests/test.h"

static char dir_name[] = "/tmp/proa-file-XXXXXX";

static void expect(int dir, const char *name, const char *want, size_t n)
{
	struct err e = ERR_INIT;
	AUTO_FREE char *p = NULL;
	size_t got = 0;

	CHECK(file_read(sys_linux(), dir, name, n, &p, &got, &e) == 0, "%s", e.text);
	CHECK(got == n && memcmp(p, want, n) == 0 && p[n] == '\0', "'%s' holds %zu bytes", name,
	      got);
}

/* Every size around the buffer's steps, and every limit around the size. */
static void check_sizes(int dir)
{
	static char data[20000];
	static const size_t sizes[] = { 0,    1,    4095, 4096, 4097,  8191,
					8192, 8193, 8194, 9999, 16384, 20000 };

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 31 % 251);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct err e = ERR_INIT;
		char *p = data; /* must stay as it is on failure */
		size_t n = 77;

		CHECK(file_replace(sys_linux(), dir, "f", data, sizes[i], &e) == 0, "%s", e.text);
		expect(dir, "f", data, sizes[i]);
		if (sizes[i] == 0)
			continue;
		CHECK(file_read(sys_linux(), dir, "f", sizes[i] - 1, &p, &n, &e) == -EFBIG,
		      "size %zu, limit one less", sizes[i]);
		CHECK(e.kind == ERR_INPUT && p == data && n == 77, "touched on failure");
	}
}

static void check_errors(int dir)
{
	struct err e = ERR_INIT;
	char longname[300], *p = NULL;
	size_t n = 0;

	memset(longname, 'x', sizeof(longname) - 1);
	longname[sizeof(longname) - 1] = '\0';
	CHECK(file_read(sys_linux(), dir, "none", 10, &p, &n, &e) == -ENOENT, "absent");
	CHECK(e.kind == ERR_HOST && strstr(e.text, "none"), "%s", e.text);
	CHECK(file_replace(sys_linux(), dir, longname, "", 0, &e) == -ENAMETOOLONG, "long name");
	CHECK(file_replace(sys_linux(), dir, "a/b", "", 0, &e) == -EINVAL, "slash");
	CHECK(file_replace(sys_linux(), dir, "d", "x", 1, &e) < 0, "a directory is in the way");
	CHECK(faccessat(dir, ".d.new", F_OK, 0) < 0, "the temporary file is left behind");
	CHECK(file_replace(sys_linux(), -1, "f", "x", 1, &e) == -EBADF, "%s", e.text);
	CHECK(file_remove(sys_linux(), dir, "d", &e) == -EISDIR, "%s", e.text);
}

static void check_unsized(void)
{
	struct err e = ERR_INIT;
	AUTO_FREE char *p = NULL;
	size_t n = 0;

	CHECK(file_read(sys_linux(), AT_FDCWD, "/proc/self/status", 1 << 20, &p, &n, &e) == 0, "%s",
	      e.text);
	CHECK(n > 100 && strncmp(p, "Name:", 5) == 0, "%zu bytes", n);
}

int main(void)
{
	struct err e = ERR_INIT;

	CHECK(mkdtemp(dir_name), "mkdtemp");
	int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(dir >= 0, "open '%s'", dir_name);
	CHECK(file_mkdir(sys_linux(), dir, "d", &e) == 0, "%s", e.text);
	CHECK(file_mkdir(sys_linux(), dir, "d", &e) == 0, "again: %s", e.text);
	check_sizes(dir);
	check_errors(dir);
	check_unsized();
	/* what a cut left behind is in nobody's way */
	CHECK(symlinkat("elsewhere", dir, ".g.new") == 0, "symlink");
	CHECK(file_replace(sys_linux(), dir, "g", "x", 1, &e) < 0, "wrote through a link");
	CHECK(faccessat(dir, "elsewhere", F_OK, 0) < 0, "wrote through a link");
	CHECK(file_replace(sys_linux(), dir, "g", "x", 1, &e) == 0, "%s", e.text);
	expect(dir, "g", "x", 1);
	CHECK(file_remove(sys_linux(), dir, "f", &e) == 0 &&
		      file_remove(sys_linux(), dir, "f", &e) == 0 &&
		      file_remove(sys_linux(), dir, "g", &e) == 0,
	      "%s", e.text);
	(void)unlinkat(dir, "d", AT_REMOVEDIR);
	(void)close(dir);
	CHECK(rmdir(dir_name) == 0, "something is left in '%s'", dir_name);
	return 0;
}
