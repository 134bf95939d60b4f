/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/conf.h"
#include "base/file.h"
#include "base/hex.h"
#include "updater/audit/audit.h"
#include "updater/audit/sbom.h"
#include "updater/audit/trustview.h"

#define SBOM_DIR "usr/share/sbom"

enum { CHANNEL_MAX = 65 };

/* The channel that this host follows, and where its first root lies. */
static int read_conf(struct audit *a, char channel[CHANNEL_MAX], char root[EVIDENCE_PATH_MAX],
		     struct err *e)
{
	AUTO_CONF *c = NULL;
	const char *s = NULL, *first = NULL;
	int r = conf_load(a->ev.root_path, "proa", &c, e);

	if (r >= 0)
		r = conf_str(c, "Update", "Channel", "stable", &s, e);
	if (r >= 0)
		r = conf_str(c, "Source", "Root", "/usr/share/proa/root.json", &first, e);
	if (r < 0)
		return r;
	(void)snprintf(channel, CHANNEL_MAX, "%.64s", s);
	(void)snprintf(root, EVIDENCE_PATH_MAX, "%s", first + strspn(first, "/"));
	return 0;
}

/* The newest root of the store, else the one that came with the image. */
static int read_root(struct audit *a, int store, const char *first, char **ret, size_t *ret_n,
		     struct err *e)
{
	int r = store < 0 ? -ENOENT
			  : file_read(a->ev.sys, store, "root.json", 512u << 10, ret, ret_n, NULL);

	return r >= 0 ? 0 : evidence_read(&a->ev, first, 512u << 10, ret, ret_n, e);
}

static json_t *manifest_evidence(const struct release_manifest *m)
{
	AUTO_JSON *o = json_object();
	int r = json_put_str(o, "image", m->image, NULL);

	if (r >= 0)
		r = json_put_str(o, "version", m->version, NULL);
	if (r >= 0)
		r = json_put_hex(o, "root_hash", m->root, 32, NULL);
	if (r >= 0)
		r = json_put_hex(o, "uki_sha256", m->uki_sha256, 32, NULL);
	return r < 0 ? NULL : json_incref(o);
}

/* ---- SBOM ---- */

struct sbom_search {
	struct audit *a;
	int dir;
	const uint8_t *want;
	bool found;
	size_t seen;
	struct sbom sbom;
	char name[128];
	struct err why;
};

static int see_sbom(void *arg, const char *name)
{
	struct sbom_search *s = arg;
	AUTO_FREE char *text = NULL;
	struct sbom b;
	size_t n = 0;

	if (s->found || ++s->seen > 64)
		return 0;
	if (file_read(s->a->ev.sys, s->dir, name, SBOM_BYTES_MAX, &text, &n, &s->why) < 0 ||
	    sbom_read(text, n, name, &b, &s->why) < 0)
		return 0;
	s->sbom = b;
	(void)snprintf(s->name, sizeof(s->name), "%.127s", name);
	s->found = !s->want || memcmp(s->want, b.sha256, 32) == 0;
	return 0;
}

static int check_sbom(struct audit *a, const struct release_manifest *m, struct err *e)
{
	const struct release_blob *blob = m ? release_blob_find(m, RELEASE_SBOM, NULL) : NULL;
	struct sbom_search s = { .a = a, .want = blob ? blob->sha256 : NULL };
	AUTO_SYS_FD dir = { a->ev.sys, evidence_dir(&a->ev, SBOM_DIR, &s.why) };
	AUTO_JSON *o = json_object();
	int r = 0;

	s.dir = dir.fd;
	if (dir.fd >= 0)
		r = a->ev.sys->ops->list(a->ev.sys, dir.fd, see_sbom, &s);
	if (dir.fd < 0 || s.seen == 0)
		return report_add(&a->rep, "release.sbom", blob ? REPORT_FAIL : REPORT_ABSENT, NULL,
				  e, "There is no SBOM in /" SBOM_DIR "%s.",
				  blob ? ", though the release has one" : "");
	if (r < 0 || !s.name[0])
		return report_unreadable(&a->rep, "release.sbom", &s.why, e);
	r = json_put_str(o, "file", s.name, e);
	if (r >= 0)
		r = json_put_str(o, "format", s.sbom.kind == SBOM_SPDX ? "SPDX" : "CycloneDX", e);
	if (r >= 0)
		r = json_put_hex(o, "sha256", s.sbom.sha256, 32, e);
	if (r >= 0)
		r = json_put_u64(o, "components", s.sbom.components, e);
	if (r < 0)
		return r;
	if (!s.found)
		return report_add(&a->rep, "release.sbom", REPORT_FAIL, json_incref(o), e,
				  "No SBOM in /" SBOM_DIR " is the one of the signed manifest.");
	return report_add(&a->rep, "release.sbom", blob ? REPORT_PASS : REPORT_WARN, json_incref(o),
			  e, "The SBOM %s names %zu components%s.", s.name, s.sbom.components,
			  blob ? " and is the one of the signed manifest"
			       : "; the signed manifest names none to compare it with");
}

/* ---- the manifest ---- */

static int compare_manifest(struct audit *a, const struct release_manifest *m, struct err *e)
{
	int r;

	if (a->has_root && memcmp(m->root, a->root, 32) != 0)
		r = report_add(&a->rep, "release.root-hash", REPORT_FAIL, manifest_evidence(m), e,
			       "The signed manifest of %s has another root hash than /usr.",
			       m->version);
	else
		r = report_add(&a->rep, "release.root-hash",
			       a->has_root ? REPORT_PASS : REPORT_ABSENT, manifest_evidence(m), e,
			       a->has_root ? "The signed manifest of %s has the root hash of /usr."
					   : "There is no /usr to compare the manifest of %s with.",
			       m->version);
	if (r >= 0)
		r = check_sbom(a, m, e);
	if (r < 0 || !a->uki.have)
		return r;
	if (memcmp(m->uki_sha256, a->uki.sha256, 32) == 0)
		return report_add(&a->rep, "release.uki", REPORT_PASS, NULL, e,
				  "The running UKI is the file of the signed manifest.");
	return report_add(&a->rep, "release.uki", REPORT_FAIL, NULL, e,
			  "The running UKI is not the file of the signed manifest of %s.",
			  m->version);
}

static int check_manifest(struct audit *a, struct trustview *t, struct err *e)
{
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	struct err why = ERR_INIT;
	int r;

	if (!m)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!a->version[0])
		return report_add(&a->rep, "release.root-hash", REPORT_ABSENT, NULL, e,
				  "There is no running UKI that says its version.");
	r = trustview_manifest(t, a->version, m, &why);
	if (r == -ENOENT)
		r = report_add(&a->rep, "release.root-hash", REPORT_WARN, NULL, e,
			       "The publisher's word on %s cannot be shown: %s. Give --repository.",
			       a->version, why.text);
	else if (r < 0)
		r = report_add(&a->rep, "release.root-hash", REPORT_FAIL, NULL, e,
			       "The manifest of %s is not the one that was signed: %s", a->version,
			       why.text);
	else
		return compare_manifest(a, m, e);
	return r < 0 ? r : check_sbom(a, NULL, e);
}

static int check_roles(struct audit *a, const struct trustview *t, struct err *e)
{
	json_t *roles = NULL;
	struct err why = ERR_INIT;

	if (trustview_roles(t, &roles, &why) < 0)
		return report_unreadable(&a->rep, "release.trust", &why, e);
	if (t->expired[0])
		return report_add(&a->rep, "release.trust", REPORT_WARN, roles, e,
				  "Every role reaches its threshold, but some have expired: %s.",
				  t->expired);
	return report_add(
		&a->rep, "release.trust", REPORT_PASS, roles, e,
		"Root, timestamp, snapshot, targets and channel %s reach their thresholds "
		"and have not expired.",
		t->channel);
}

static int check_store(struct audit *a, int store, struct err *e)
{
	AUTO_TRUSTVIEW t = { .tuf = NULL };
	AUTO_FREE char *root = NULL;
	char channel[CHANNEL_MAX], first[EVIDENCE_PATH_MAX];
	struct err why = ERR_INIT;
	struct trustview_options o = { .sys = a->ev.sys,
				       .dir = store,
				       .repository = a->repository != NULL,
				       .channel = channel,
				       .now = a->now };
	int r = read_conf(a, channel, first, &why);

	if (r >= 0)
		r = read_root(a, a->repository ? -1 : store, first, &root, &o.root_n, &why);
	o.root = root;
	if (r >= 0)
		r = trustview_open(&o, &t, &why);
	if (r < 0 && why.kind == ERR_REFUSED)
		return report_add(&a->rep, "release.trust", REPORT_FAIL, NULL, e,
				  "The publisher's metadata does not verify: %s", why.text);
	if (r < 0)
		return report_unreadable(&a->rep, "release.trust", &why, e);
	r = check_roles(a, &t, e);
	return r < 0 ? r : check_manifest(a, &t, e);
}

int audit_release(struct audit *a, struct err *e)
{
	struct err why = ERR_INIT;
	AUTO_SYS_FD store = { a->ev.sys, -1 };
	struct sys *sys = a->ev.sys;

	if (a->repository)
		store.fd = sys->ops->open(sys, AT_FDCWD, a->repository, O_RDONLY | O_DIRECTORY, 0);
	else if (a->ev.state >= 0)
		store.fd = sys->ops->open(sys, a->ev.state, "trust", O_RDONLY | O_DIRECTORY, 0);
	if (store.fd >= 0)
		return check_store(a, store.fd, e);
	(void)!err_set(&why, ERR_HOST, ENOENT, "there is no trust store (%s)",
		       a->ev.state < 0 ? a->ev.no_state.text : strerror(-store.fd));
	return report_unreadable(&a->rep, "release.trust", &why, e);
}
