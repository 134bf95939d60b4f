/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "updater/audit/dsse.h"
#include "updater/audit/trustview.h"
#include "updater/record/chain.h"

static void verify_done(struct verify *v)
{
	eventlog_free(v->log);
	buf_done(&v->log_bytes);
	json_decref(v->statement);
	report_done(&v->in);
	verify_copy_done(&v->loader);
	verify_copy_done(&v->uki);
}
#define AUTO_VERIFY __attribute__((cleanup(verify_done))) struct verify

const char *verify_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

json_t *verify_by(const char *whom)
{
	return json_pack("{s:s}", "proved_by", whom);
}

const char *verify_hardware(bool proved)
{
	return proved ? "hardware" : "node";
}

const json_t *verify_attachment(const struct verify *v, const char *key)
{
	return json_object_get(json_object_get(v->in.doc, "attachments"), key);
}

int verify_blob(const json_t *o, const char *key, struct buf *out, struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, "attachments", &s, e);

	return r < 0 ? r : base64_get(s, key, out, e);
}

/* ---- envelope and statement ---- */

static int check_signature(struct verify *v, const struct dsse *d, struct err *e)
{
	struct err why = ERR_INIT;

	if (!v->o->key)
		return report_add(v->rep, "attest.signature", REPORT_WARN, verify_by("nobody"), e,
				  "No key was given (--key): whoever had the file may have written "
				  "it.");
	if (dsse_verify(d, v->o->key, &why) < 0)
		return report_add(v->rep, "attest.signature", REPORT_FAIL, verify_by("nobody"), e,
				  "The envelope is not signed by key %.16s: it is another's, or it "
				  "was edited after signing.",
				  v->o->key->id);
	v->sealed = true;
	return report_add(v->rep, "attest.signature", REPORT_PASS, verify_by("signer"), e,
			  "The envelope is signed by key %.16s, and nothing in it was changed "
			  "since.",
			  v->o->key->id);
}

static int read_statement(struct verify *v, const struct dsse *d, struct err *e)
{
	const struct json_limits lim = { .bytes = REPORT_BYTES_MAX, .depth = 20 };
	AUTO_BUF text = BUF_INIT;
	json_t *predicate;
	int r;

	if (strcmp(d->type, DSSE_IN_TOTO) != 0)
		return err_set(e, ERR_INPUT, EPROTO,
			       "the envelope holds '%s', not an in-toto "
			       "statement",
			       d->type);
	r = json_read(d->payload.p, d->payload.n, &lim, "statement", &v->statement, e);
	if (r >= 0 &&
	    (strcmp(verify_text(v->statement, "_type"), "https://in-toto.io/Statement/v1") != 0 ||
	     strcmp(verify_text(v->statement, "predicateType"), REPORT_PREDICATE_TYPE) != 0))
		return err_set(e, ERR_INPUT, EPROTO, "the statement is not a report of an audit");
	if (r >= 0)
		r = json_get_obj(v->statement, "predicate", "statement", &predicate, e);
	if (r >= 0)
		r = json_write(predicate, false, &text, e);
	return r < 0 ? r : report_read(text.p, text.n, "report", &v->in, e);
}

/* Which of attest_subjects it is, if its digest is the report's; ATTEST_SUBJECTS else. */
static size_t find_subject(const json_t *own, const char *name, const char *alg, const char *hex)
{
	size_t i = 0;

	while (i < ATTEST_SUBJECTS && (strcmp(attest_subjects[i].name, name) != 0 ||
				       strcmp(attest_subjects[i].alg, alg) != 0 || !hex[0] ||
				       strcmp(verify_text(own, attest_subjects[i].key), hex) != 0))
		i++;
	return i;
}

/* Has the statement the report's subjects, all of them and no other? Bit i: it has subject i. */
static bool same_subjects(const struct verify *v, unsigned *ret)
{
	const json_t *list = json_object_get(v->statement, "subject"), *s;
	const json_t *own = json_object_get(v->in.doc, "subjects");
	unsigned seen = 0;
	bool same = true;
	size_t i;

	json_array_foreach(list, i, s)
	{
		json_t *digest = json_object_get(s, "digest"), *hex;
		const char *alg;

		json_object_foreach(digest, alg, hex)
		{
			const char *is = json_string_value(hex);
			size_t k = find_subject(own, verify_text(s, "name"), alg, is ? is : "");

			same = same && k < ATTEST_SUBJECTS;
			seen |= 1u << k;
		}
	}
	for (i = 0; i < ATTEST_SUBJECTS; i++)
		same = same && ((seen >> i & 1) || !verify_text(own, attest_subjects[i].key)[0]);
	*ret = seen;
	return same;
}

static int check_subjects(struct verify *v, struct err *e)
{
	const char *usr = verify_text(json_object_get(v->in.doc, "subjects"), "usr");
	const char *whom = v->sealed ? "signer" : "nobody";
	unsigned seen;
	bool same = same_subjects(v, &seen);

	v->has_usr = (seen & 1) && hex_parse(usr, "usr", v->usr, 32, NULL) >= 0;
	if (!same)
		return report_add(v->rep, "attest.subjects", REPORT_FAIL, verify_by("nobody"), e,
				  "The statement is about other files than its report.");
	if (!v->has_usr)
		return report_add(v->rep, "attest.subjects", REPORT_WARN, verify_by(whom), e,
				  "The statement names no root hash of /usr.");
	return report_add(v->rep, "attest.subjects", REPORT_PASS, verify_by(whom), e,
			  "The statement is about the files that the report is about, root hash of "
			  "/usr %.16s.",
			  usr);
}

/* ---- the publisher ---- */

static int open_repository(const struct verify_options *o, int dir, struct trustview *t,
			   struct err *e)
{
	AUTO_FREE char *root = NULL;
	struct trustview_options to = {
		.sys = o->sys, .dir = dir, .repository = true, .channel = o->channel, .now = o->now
	};
	int r = file_read(o->sys, AT_FDCWD, o->root, 512u << 10, &root, &to.root_n, e);

	to.root = root;
	return r < 0 ? err_wrap(e, r, "%s", o->root) : trustview_open(&to, t, e);
}

/* Who signed, role by role. */
static json_t *by_roles(const struct trustview *t)
{
	json_t *o = verify_by("publisher");
	AUTO_JSON *roles = NULL;

	if (o && trustview_roles(t, &roles, NULL) >= 0)
		(void)json_object_update(o, roles);
	return o;
}

static int compare_release(struct verify *v, const struct trustview *t,
			   const struct release_manifest *m, struct err *e)
{
	bool expired = t->expired[0] != '\0';
	uint8_t uki[32];
	int r;

	if (!v->has_usr || memcmp(m->root, v->usr, 32) != 0)
		return report_add(
			v->rep, "attest.release", REPORT_FAIL, verify_by("publisher"), e,
			"The publisher's release %s has another root hash than the report.",
			m->version);
	r = report_add(v->rep, "attest.release", expired ? REPORT_WARN : REPORT_PASS, by_roles(t),
		       e, "The publisher signed this root hash as %s %s%s%s.", m->image, m->version,
		       expired ? ", but has not renewed it: " : "", t->expired);
	if (r < 0)
		return r;
	if (v->uki.have && memcmp(v->uki.sha256, m->uki_sha256, 32) != 0)
		return report_add(v->rep, "attest.uki-file", REPORT_FAIL, verify_by("publisher"), e,
				  "%s is not the UKI of release %s.", v->uki.file, m->version);
	if (hex_parse(verify_text(json_object_get(v->in.doc, "subjects"), "uki"), "uki", uki, 32,
		      NULL) >= 0 &&
	    memcmp(uki, m->uki_sha256, 32) == 0)
		return report_add(v->rep, "attest.uki-file", REPORT_PASS, verify_by("publisher"), e,
				  "The UKI that the report names is the one of that release.");
	return report_add(v->rep, "attest.uki-file", REPORT_FAIL, verify_by("publisher"), e,
			  "The UKI that the report names is not the one of release %s.",
			  m->version);
}

static int check_release(struct verify *v, struct err *e)
{
	struct sys *sys = v->o->sys;
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	AUTO_TRUSTVIEW t = { .tuf = NULL };
	struct err why = ERR_INIT;
	AUTO_SYS_FD dir = { sys, -1 };
	int r;

	if (!m)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!v->o->repository)
		return report_add(
			v->rep, "attest.release", REPORT_WARN, verify_by("node"), e,
			"No repository was given (--repository, --trusted-root): that a publisher "
			"released this is the node's word.");
	dir.fd = sys->ops->open(sys, AT_FDCWD, v->o->repository, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_INPUT, -dir.fd, "%s: %s", v->o->repository,
			       strerror(-dir.fd));
	r = open_repository(v->o, dir.fd, &t, &why);
	if (r >= 0)
		r = trustview_manifest(&t, verify_text(v->in.doc, "version"), m, &why);
	if (r < 0)
		return report_add(v->rep, "attest.release",
				  why.kind == ERR_HOST ? REPORT_UNREADABLE : REPORT_FAIL,
				  verify_by("nobody"), e, "No release of the publisher's: %s.",
				  why.text);
	return compare_release(v, &t, m, e);
}

/* ---- the rest is the node's word ---- */

static int check_history(struct verify *v, struct err *e)
{
	AUTO_BUF text = BUF_INIT;
	struct chain_head h;
	struct err why = ERR_INIT;
	int r;

	if (!verify_attachment(v, "history"))
		return 0;
	r = verify_blob(json_object_get(v->in.doc, "attachments"), "history", &text, &why);
	if (r >= 0)
		r = chain_walk(text.p, text.n, NULL, NULL, &h, &why);
	if (r < 0)
		return report_add(v->rep, "attest.history", REPORT_FAIL, verify_by("nobody"), e,
				  "%s.", why.text);
	return report_add(v->rep, "attest.history", REPORT_PASS, verify_by("node"), e,
			  "The history's %llu entries follow from each other; keep this report to "
			  "see that none is taken away later.",
			  (unsigned long long)h.n);
}

static int check_node(struct verify *v, struct err *e)
{
	enum report_verdict own = report_verdict(&v->in);

	return report_add(v->rep, "attest.report", own, verify_by("node"), e,
			  "The node's own verdict at %.40s is \"%s\", of %zu checks.",
			  verify_text(v->in.doc, "time"), report_verdict_name(own),
			  json_array_size(v->in.checks));
}

static int check_all(struct verify *v, struct err *e)
{
	int r = check_subjects(v, e);

	if (r >= 0)
		r = verify_quote(v, e);
	if (r >= 0)
		r = verify_boot(v, e);
	if (r >= 0)
		r = check_release(v, e);
	if (r >= 0)
		r = check_history(v, e);
	return r < 0 ? r : check_node(v, e);
}

int attest_verify(const void *p, size_t n, const struct verify_options *o, struct report *rep,
		  struct err *e)
{
	AUTO_VERIFY v = { .o = o,
			  .rep = rep,
			  .loader = { .fd = { o->sys, -1 } },
			  .uki = { .fd = { o->sys, -1 } } };
	AUTO_DSSE *d = NULL;
	int r = dsse_read(p, n, &d, e);

	if (r >= 0)
		r = check_signature(&v, d, e);
	if (r >= 0)
		r = read_statement(&v, d, e);
	if (r >= 0)
		r = json_put_str(rep->doc, "host", verify_text(v.in.doc, "host"), e);
	if (r >= 0)
		r = json_put_str(rep->doc, "time", verify_text(v.in.doc, "time"), e);
	if (r >= 0)
		r = check_all(&v, e);
	return r < 0 ? r : report_finish(rep, e);
}
