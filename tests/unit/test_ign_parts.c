/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of applying: arguments of the shadow tools, blkid's answer, retries, accounts. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/filesystem.h"
#include "ignition-lite/http.h"
#include "ignition-lite/names.h"
#include "ignition-lite/users.h"
#include "tests/test.h"

static void expect(const struct ign_args *a, const char *line)
{
	char got[512] = "";

	for (size_t i = 0; i < a->n; i++) {
		(void)strncat(got, i ? " " : "", sizeof(got) - strlen(got) - 1);
		(void)strncat(got, a->v[i], sizeof(got) - strlen(got) - 1);
	}
	CHECK(strcmp(got, line) == 0 && a->v[a->n] == NULL, "'%s' is not '%s'", got, line);
}

static void users(void)
{
	const char *groups[] = { "a", "b" };
	struct ign_user u = { .name = "n" };
	AUTO_BUF list = BUF_INIT;
	struct ign_args a = { .list = &list };
	struct err e = ERR_INIT;

	CHECK(ign_users_user_args(&u, false, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "useradd --root /r --create-home --password * n");
	CHECK(ign_users_user_args(&u, true, "/", &a, &e) == 1, "%s", e.text);
	expect(&a, "usermod n");
	u = (struct ign_user){ .name = "n",
			       .password_hash = "",
			       .gecos = "g",
			       .home = "/h",
			       .shell = "/s",
			       .primary_group = "p",
			       .groups = { .s = groups, .n = 2 },
			       .has_uid = true,
			       .uid = 4294967294u,
			       .system = IGN_YES,
			       .no_create_home = IGN_YES,
			       .no_user_group = IGN_YES,
			       .no_log_init = IGN_YES };
	CHECK(ign_users_user_args(&u, false, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "useradd --root /r --home-dir /h --no-create-home --no-user-group --system "
		   "--no-log-init --password * --uid 4294967294 --comment g --gid p --groups a,b "
		   "--shell /s n");
	list.n = 0;
	CHECK(ign_users_user_args(&u, true, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "usermod --root /r --home /h --move-home --password * --uid 4294967294 "
		   "--comment g --gid p --groups a,b --shell /s n");
	u.should_exist = IGN_NO;
	CHECK(ign_users_user_args(&u, true, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "userdel --root /r n");
	CHECK(ign_users_user_args(&u, false, "/r", &a, &e) == 0, "it is gone already");
}

static void groups(void)
{
	struct ign_group g = { .name = "n", .has_gid = true, .gid = 7, .system = IGN_YES };
	struct ign_args a = { .n = 0 };
	struct err e = ERR_INIT;

	CHECK(ign_users_group_args(&g, false, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "groupadd --root /r --gid 7 --password * --system n");
	CHECK(ign_users_group_args(&g, true, "/r", &a, &e) == -EEXIST && e.kind == ERR_INPUT,
	      "exists");
	g.should_exist = IGN_NO;
	CHECK(ign_users_group_args(&g, true, "/r", &a, &e) == 1, "%s", e.text);
	expect(&a, "groupdel --root /r n");
	CHECK(ign_users_group_args(&g, false, "/r", &a, &e) == 0, "it is gone already");
}

static void filesystems(void)
{
	static const char ext4[] = "DEVNAME=/dev/x\nLABEL=data\nUUID=AB-1\nTYPE=ext4\nUSAGE=x\n";
	struct ign_filesystem fs = { .device = "/dev/x", .format = "ext4", .label = "data" };
	struct ign_found f;
	enum ign_format what;
	struct err e = ERR_INIT;

	ign_filesystem_parse(ext4, sizeof(ext4) - 1, &f);
	CHECK(strcmp(f.type, "ext4") == 0 && strcmp(f.label, "data") == 0 &&
		      strcmp(f.uuid, "AB-1") == 0 && !f.table,
	      "%s %s %s", f.type, f.label, f.uuid);
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_REUSE, "reuse");
	fs.uuid = "ab-1";
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_REUSE, "case");
	fs.label = "other";
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == -EEXIST, "another label");
	fs.wipe = IGN_YES;
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_MAKE, "wipe");
	f.table = true;
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == -EBUSY, "a whole disk");
	fs.wipe = IGN_NO;
	ign_filesystem_parse("", 0, &f);
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_MAKE, "empty");
	fs.format = "none";
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_REUSE, "none");
	fs.wipe = IGN_YES;
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) == 0 && what == IGN_FORMAT_WIPE, "wipe");
	fs.format = "swap";
	CHECK(ign_filesystem_decide(&fs, &f, &what, &e) < 0 && e.kind == ERR_REFUSED, "swap");
}

static void retries(void)
{
	for (unsigned s = 200; s < 600; s++) {
		bool imds = s >= 500 || s == 404 || s == 410 || s == 429;

		CHECK(ign_http_again(IGN_HTTP_RESOURCE, s) == (s >= 500), "%u", s);
		CHECK(ign_http_again(IGN_HTTP_IMDS, s) == imds, "%u", s);
	}
	CHECK(ign_http_pause_ms(IGN_HTTP_RESOURCE, 2) == 100, "first");
	CHECK(ign_http_pause_ms(IGN_HTTP_RESOURCE, 5) == 800, "doubles");
	CHECK(ign_http_pause_ms(IGN_HTTP_IMDS, 2) == 200, "first");
	CHECK(ign_http_pause_ms(IGN_HTTP_IMDS, 4000000000u) == 5000, "ends");
	CHECK(ign_http_may_follow("http://a", "HTTPS://b") &&
		      ign_http_may_follow("http://a", "http://b") &&
		      ign_http_may_follow("https://a", "https://b"),
	      "up or level");
	CHECK(!ign_http_may_follow("https://a", "http://b") &&
		      !ign_http_may_follow("http://a", "file:///b") &&
		      !ign_http_may_follow("http://a", "ftp://b"),
	      "down or aside");
}

static void accounts(void)
{
	static const char text[] = "a:x:1\n\nab:x:2:3:\n#c\nroot";
	const char *line, *field;
	size_t n, k;

	line = ign_name_line(text, sizeof(text) - 1, "ab", &n);
	CHECK(line && n == 9 && ign_name_field(line, n, 3, &field, &k) && k == 1 && *field == '3',
	      "ab");
	CHECK(ign_name_field(line, n, 4, &field, &k) && k == 0, "the last is empty");
	CHECK(!ign_name_field(line, n, 5, &field, &k), "there is no sixth");
	CHECK(!ign_name_line(text, sizeof(text) - 1, "root", &n), "no colon");
	CHECK(!ign_name_line(text, sizeof(text) - 1, "", &n), "no name");
	CHECK(!ign_name_line(text, 0, "a", &n), "no text");
}

int main(void)
{
	users();
	groups();
	filesystems();
	retries();
	accounts();
	return 0;
}
