/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"

static char name[] = "/tmp/proa-config-XXXXXX";

static int load(const char *text, struct config *c, struct err *e)
{
	int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
	static const char image[] = "[Host]\nImage=web\n";

	if (e)
		*e = (struct err)ERR_INIT;
	CHECK(fd >= 0 && write(fd, image, strlen(image)) == (ssize_t)strlen(image) &&
		      write(fd, text, strlen(text)) == (ssize_t)strlen(text),
	      "write '%s'", name);
	(void)close(fd);
	return config_load(name, NULL, NULL, c, e);
}

static void check_good(void)
{
	static const struct {
		const char *text, *url;
	} table[] = {
		{ "", "" },
		{ "[Source]\nURL=https://a.example/web\n", "https://a.example/web/" },
		{ "[Source]\nURL=http://a/ https://b/c  file:///srv/proa\n",
		  "http://a/ https://b/c/ file:///srv/proa/" },
		{ "[Source]\nURL=http://a/\thttp://b/\n", "http://a/ http://b/" },
		{ "[Source]\nURL=http://1 http://2 http://3 http://4 http://5 http://6 http://7 "
		  "http://8\n",
		  "http://1/ http://2/ http://3/ http://4/ http://5/ http://6/ http://7/ "
		  "http://8/" },
	};
	struct config c;
	struct err e;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		CHECK(load(table[i].text, &c, &e) == 0, "%zu: %s", i, e.text);
		CHECK(strcmp(c.url, table[i].url) == 0, "%zu: '%s'", i, c.url);
	}
	CHECK(c.limit == 0 && c.min_rate == 1024 && c.min_time_s == 30 && c.deadline_s == 300,
	      "defaults");
	CHECK(load("[Fetch]\nBandwidthLimit=2M\nMinimumRate=0\nMinimumTime=2min\nDeadline=1h\n", &c,
		   &e) == 0,
	      "%s", e.text);
	CHECK(c.limit == 2 << 20 && c.min_rate == 0 && c.min_time_s == 120 && c.deadline_s == 3600,
	      "%llu %llu %u %u", (unsigned long long)c.limit, (unsigned long long)c.min_rate,
	      c.min_time_s, c.deadline_s);
}

static void check_policy(void)
{
	struct config c;
	struct err e;
	char where[64];

	CHECK(load("", &c, &e) == 0, "%s", e.text);
	CHECK(c.mode == CONFIG_AUTO && c.reboot == CONFIG_REBOOT_MANUAL && c.windows.n == 0 &&
		      !c.policy.pin[0] && !c.policy.hold && c.policy.minimum_age == 0,
	      "defaults");
	CHECK(load("[Update]\nMode=stage\nReboot=window\nRebootWindow=Sat 02:00 for 3h | Sun 02:00 "
		   "for 1h\nPin=1.4\nHold=yes\nMinimumAge=2d\nMinimumVersion=1.2\n"
		   "MaximumVersion=1.9\nCriticalAtOnce=yes\n",
		   &c, &e) == 0,
	      "%s", e.text);
	CHECK(c.mode == CONFIG_STAGE && c.reboot == CONFIG_REBOOT_WINDOW && c.windows.n == 2,
	      "%d %d %zu", (int)c.mode, (int)c.reboot, c.windows.n);
	CHECK(strcmp(c.policy.pin, "1.4") == 0 && c.policy.hold && c.policy.minimum_age == 172800 &&
		      strcmp(c.policy.lowest, "1.2") == 0 && strcmp(c.policy.highest, "1.9") == 0 &&
		      c.policy.critical_at_once,
	      "policy");
	(void)snprintf(where, sizeof(where), "%s, line 7", name);
	CHECK(strcmp(c.pin_where, where) == 0, "%s", c.pin_where);
}

/* Each names the line and the key. */
static void check_bad(void)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{ "[Source]\nURL=ftp://a\n", ":4: [Source] URL= must be URLs" },
		{ "[Source]\nURL=http://a nonsense\n", "[Source] URL= must be URLs" },
		{ "[Source]\nURL=http://a, http://b\n", "blanks between them" },
		{ "[Source]\nURL=file://host/x\n", "[Source] URL= must be URLs" },
		{ "[Source]\nURL=http://\n", "[Source] URL= must be URLs" },
		{ "[Source]\nURL=http://1 http://2 http://3 http://4 http://5 http://6 http://7 "
		  "http://8 http://9\n",
		  "more than eight" },
		{ "[Fetch]\nBandwidthLimit=fast\n", "BandwidthLimit" },
		{ "[Fetch]\nMinimumRate=-1\n", "MinimumRate" },
		{ "[Fetch]\nMinimumTime=0\n", "[Fetch] MinimumTime= must be one second" },
		{ "[Fetch]\nDeadline=2000d\n", "[Fetch] Deadline= must be one second" },
		{ "[Fetch]\nDeadline=soon\n", "Deadline" },
		{ "[Update]\nTries=0\n", "Tries" },
		{ "[Update]\nReboot=later\n", ":4: [Update] Reboot= must be" },
		{ "[Update]\nMode=yes\n", "Mode= must be manual, check, stage or auto" },
		{ "[Update]\nReboot=window\n", "Reboot= is window, but RebootWindow= names none" },
		{ "[Update]\nRebootWindow=Sat 02:00\n",
		  ":4: [Update] RebootWindow= holds a mistake: 'Sat 02:00'" },
		{ "[Lock]\nType=zoo\n", ":4: [Lock] Type= must be none, fleetlock or etcd" },
		{ "[Lock]\nType=etcd\n", "[Lock] URL= is not set" },
		{ "[Lock]\nType=etcd\nURL=https://a b\n",
		  "[Lock] URL= must be http or https URLs" },
		{ "[Lock]\nType=fleetlock\nURL=http://a\nId=a\nGroup=a/b\n", ":7: [Lock] Group=" },
		{ "[Lock]\nPlaces=1001\n", "Places" },
		{ "[Lock]\nKeepOnFailure=maybe\n", "KeepOnFailure" },
		{ "[Lock]\nTimeout=0\n", "[Lock] Timeout= must be one second to a day" },
		{ "[Hooks]\nDirectories=hooks\n", "[Hooks] Directories= must be absolute" },
		{ "[Hooks]\nTimeout=2d\n", "[Hooks] Timeout= must be one second to a day" },
		{ "[Reboot]\nRetry=0\n", "[Reboot] Retry= must be one second to a day" },
		{ "[Reboot]\nSentinel=x\n", "[Reboot] Sentinel= must be an absolute path" },
		{ "[Update]\nPin=1 4\n", "[Update] Pin= must be a version" },
		{ "[Update]\nHold=perhaps\n", "Hold" },
		{ "[Update]\nMinimumAge=2y\n", "MinimumAge" },
		{ "[Update]\nMinimumAge=400d\n", "MinimumAge= must be at most 365 days" },
		{ "[Update]\nMinimumVersion=2\nMaximumVersion=1\n", "is above MaximumVersion=" },
		{ "[Update]\nChannel=a/b\n", "[Update] Channel=" },
		{ "[Source]\nURL=https://host:secret@a/\n", "must not hold a user or password" },
		{ "[Source]\nURL=http://a/ http://u@b\n", "must not hold a user or password" },
	};
	struct config c;
	struct err e;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int r = load(table[i].text, &c, &e);
		CHECK(r < 0 && e.kind == ERR_INPUT, "%zu: %d %s", i, r, e.text);
		CHECK(strstr(e.text, table[i].says), "%zu: %s", i, e.text);
		CHECK(!strstr(e.text, "secret"), "%s", e.text);
		/* who does not ask for the sentence is refused all the same */
		CHECK(load(table[i].text, &c, NULL) == r, "%zu", i);
	}
}

static void check_long(void)
{
	static char text[2 * CONFIG_URLS_MAX];
	struct config c;
	struct err e;
	int n = snprintf(text, sizeof(text), "[Source]\nURL=http://");

	memset(text + n, 'a', CONFIG_URL_MAX);
	CHECK(load(text, &c, &e) < 0 && strstr(e.text, "too long"), "%s", e.text);
	for (int i = 0; i < 7; i++) {
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%0900d", i ? " http://" : "",
			      i);
	}
	CHECK(load(text, &c, &e) < 0 && strstr(e.text, "too long"), "%s", e.text);
}

static void collect(void *arg, const char *text)
{
	struct buf *b = arg;

	CHECK(buf_addf(b, NULL, "%s\n", text) == 0, "memory");
}

/* Every mistake is told once, with its line, whatever stands around it. */
static void check_all_mistakes(void)
{
	AUTO_BUF b = BUF_INIT;
	struct config c;
	struct err e;
	size_t n = 0;

	CHECK(load("[Source]\nURL=ftp://"
		   "a\n[Update]\nTries=0\nHold=perhaps\nColour=red\nReboot=window\n"
		   "MinimumAge=1 year\n[Fetch]\nDeadline=soon\n",
		   &c, &e) < 0,
	      "taken");
	CHECK(config_check(name, collect, &b, &n, &e) == 0, "%s", e.text);
	CHECK(n == 7, "%zu: %s", n, b.p);
	for (size_t i = 0; i < 7; i++) {
		static const char *const says[] = {
			":4: [Source] URL=",        ":6: [Update] Tries=",  ":7: [Update] Hold=",
			":8: [Update] Colour=",     ":9: [Update] Reboot=", ":12: [Fetch] Deadline",
			":10: [Update] MinimumAge="
		};
		CHECK(strstr(b.p, says[i]), "%s: %s", says[i], b.p);
	}
	CHECK(load("[Source]\nURL=http://a/\n[Update]\nReboot=window\nRebootWindow=Sat 25:00 for "
		   "1h\n",
		   &c, &e) == 0,
	      "%s", e.text);
	b.n = 0;
	CHECK(config_check(name, collect, &b, &n, &e) == 0 && n == 1, "%zu %s", n, b.p);
	CHECK(strstr(b.p, ":7: [Update] RebootWindow= holds a mistake"), "%s", b.p);
}

/* One mistake in each section; what has no line keeps nothing else from being told. */
static void check_every_section(void)
{
	static const char *const says[] = {
		"2: [Host] ESP= must be an absolute path",
		"[Host] Image= is not set",
		"[Source] URL= is not set",
		"4: [Update] Tries=",
		"6: [Fetch] Deadline=",
		"9: [Lock] Places=",
		"[Lock] URL= is not set",
		"11: [Hooks] Timeout=",
		"13: [Reboot] Retry=",
		"15: [Health] Deadline=",
		"16: [Health] StayActive= must be 0s to 20min",
		"17: [Health] UpdateDeadline= must be 1s to 20min",
		"18: [Health] Greenboot=",
		"19: [Health] CanUpdate= must be auto, required or no",
	};
	static const char text[] =
		"[Host]\nESP=esp\n[Update]\nTries=0\n[Fetch]\nDeadline=soon\n[Lock]\nType=etcd\n"
		"Places=0\n[Hooks]\nTimeout=2d\n[Reboot]\nRetry=0\n[Health]\nDeadline=no\n"
		"StayActive=21min\nUpdateDeadline=0\nGreenboot=perhaps\nCanUpdate=always\n";
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;
	FILE *f = fopen(name, "we");
	size_t n = 0, seen = 0;

	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "write");
	CHECK(config_check(name, collect, &b, &n, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		bool told = strstr(b.p, says[i]);

		/* a host with an image id of its own needs none in the file */
		CHECK(told || strstr(says[i], "Image="), "'%s' is not in\n%s", says[i], b.p);
		seen += told;
	}
	CHECK(n == seen, "%zu of %zu: %s", n, seen, b.p);
}

struct seen {
	size_t n, set;
};

static int see(void *arg, const struct config_setting *s, struct err *e)
{
	struct seen *k = arg;

	(void)e;
	k->n++;
	k->set += s->path != NULL;
	CHECK((s->path != NULL) == (s->line > 0), "%s", s->key);
	CHECK(strcmp(s->key, "Channel") != 0 || (strcmp(s->value, "beta") == 0 && s->line == 4),
	      "%s:%llu", s->value, (unsigned long long)s->line);
	CHECK(strcmp(s->key, "Tries") != 0 || (strcmp(s->value, "3") == 0 && !s->path), "Tries");
	return 0;
}

static void check_each(void)
{
	struct seen k = { .n = 0 };
	struct config c;
	struct err e;

	CHECK(load("[Update]\nChannel=beta\nTries=auto\n", &c, &e) == 0, "%s", e.text);
	CHECK(config_each(name, see, &k, &e) == 0, "%s", e.text);
	CHECK(k.n > 20 && k.set == 2, "%zu %zu", k.n, k.set); /* with [Host] Image= */
}

/* What a person said is read back as it was said, whatever characters it has. */
static void check_override(void)
{
	static const char chars[] = "ab #;%\"'\\[]=\xc3\xa9";
	char dir[] = "/tmp/proa-override-XXXXXX", file[sizeof(dir) + 20], more[80];
	struct config_override o, back;
	struct config c;
	struct err e = ERR_INIT;

	CHECK(mkdtemp(dir), "mkdtemp");
	(void)snprintf(file, sizeof(file), "%s/" CONFIG_OVERRIDE, dir);
	(void)snprintf(more, sizeof(more), "State=%s\n[Update]\nPin=9\n", dir);
	for (unsigned i = 0; i < 3000; i++) {
		AUTO_BUF b = BUF_INIT;
		size_t n = (size_t)(random() % 60);
		FILE *f = fopen(file, "we");

		memset(&o, 0, sizeof(o));
		if (i % 3)
			(void)snprintf(o.pin, sizeof(o.pin), "1.%u", i);
		o.hold = i % 2;
		for (size_t k = 0; o.hold && k < n; k++) {
			char one = chars[(size_t)random() % (sizeof(chars) - 3)];

			o.reason[k] = one;
		}
		CHECK(config_override_format(&o, &b, &e) == 0, "%s", e.text);
		CHECK(f && fwrite(b.p ? b.p : "", 1, b.n, f) == b.n && fclose(f) == 0, "write");
		CHECK(config_override_load(dir, &back, &e) == 0, "%s\n%s", e.text, b.p);
		CHECK(back.hold == o.hold && strcmp(back.pin, o.pin) == 0 &&
			      strcmp(back.reason, o.reason) == 0,
		      "'%s' '%s' of '%s'", o.reason, back.reason, b.p);
		CHECK(load(more, &c, &e) == 0, "%s", e.text);
		CHECK(strcmp(c.policy.pin, o.pin[0] ? o.pin : "9") == 0 &&
			      c.policy.hold == o.hold &&
			      (!o.pin[0] || strncmp(c.pin_where, file, strlen(file)) == 0),
		      "%s %s", c.policy.pin, c.pin_where);
	}
	(void)unlink(file);
	CHECK(config_override_load(dir, &back, &e) == 0 && !back.hold && !back.pin[0], "absent");
	(void)rmdir(dir);
}

int main(void)
{
	const char *seed = getenv("PROA_SEED");
	int fd = mkstemp(name);

	CHECK(fd >= 0, "mkstemp");
	(void)close(fd);
	check_good();
	check_policy();
	check_bad();
	check_long();
	check_all_mistakes();
	check_every_section();
	check_each();
	srandom(seed ? (unsigned)strtoul(seed, NULL, 0) : 20261121u);
	check_override();
	(void)unlink(name);
	return 0;
}
