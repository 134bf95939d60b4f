/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "ignition-lite/url.h"

enum { CA_MAX = 8 << 20 };

/* How things are fetched while one config is in force. */
struct client {
	const struct ign_load *l;
	struct ign_http http;
	struct buf ca;
};

static void client_done(struct client *c)
{
	buf_done(&c->ca);
}
#define AUTO_CLIENT __attribute__((cleanup(client_done))) struct client

/* --- one resource --- */

struct filling {
	struct ign_store *store;
	const struct ign_resource *res;
};

static int fill_begin(void *arg, struct err *e)
{
	struct filling *f = arg;

	return ign_store_begin(f->store, f->res, e);
}

static int fill_add(void *arg, const void *p, size_t n, struct err *e)
{
	struct filling *f = arg;

	return ign_store_add(f->store, p, n, e);
}

static int fetch_data(struct ign_store *s, const struct ign_resource *res, struct err *e)
{
	AUTO_BUF bytes = { .max = IGN_CONFIG_MAX };
	int r = ign_store_begin(s, res, e);

	if (r == 0 && res->source[0])
		r = ign_url_data(res->source, &bytes, e);
	return r == 0 && bytes.n > 0 ? ign_store_add(s, bytes.p, bytes.n, e) : r;
}

/* Adds one blob to s. */
static int fetch(const struct client *c, struct ign_store *s, const struct ign_resource *res,
		 bool config, struct err *e)
{
	struct filling f = { .store = s, .res = res };
	struct ign_http_sink sink = { .begin = fill_begin, .add = fill_add, .arg = &f };
	struct ign_http_get get = { .url = res->source,
				    .header = res->header,
				    .headers = res->headers,
				    .kind = IGN_HTTP_RESOURCE,
				    .config = config };
	char shown[256];
	int r;

	if (ign_url_needs_network(res->source))
		r = ign_http_get(&c->http, &get, &sink, e);
	else
		r = fetch_data(s, res, e);
	if (r < 0)
		return r;
	/* gzip is checked here too: an empty source is no gzip, but Ignition lets it pass */
	if (!res->source[0] && res->gzip)
		return err_set(e, ERR_INPUT, EINVAL, "an empty source cannot be gzip");
	r = ign_store_end(s, e);
	return r < 0 ? err_wrap(e, r, "%s", ign_url_show(res->source, shown, sizeof(shown))) : 0;
}

/* --- the client --- */

static int add_ca_file(struct client *c, struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n;
	int r;

	if (!c->l->ca_file)
		return 0;
	r = file_read(sys_linux(), AT_FDCWD, c->l->ca_file, CA_MAX, &text, &n, e);
	if (r == 0)
		r = buf_add(&c->ca, text, n, e);
	return r == 0 ? buf_add(&c->ca, "\n", 1, e) : r;
}

/* The config's own certificates are fetched with those of the system. */
static int add_ca(struct client *c, const struct ign_config *cfg, struct err *e)
{
	AUTO_IGN_STORE *s = NULL;
	int r = cfg->cas > 0 ? ign_store_new(c->l->spool, CA_MAX, &s, e) : 0;

	for (size_t i = 0; r == 0 && i < cfg->cas; i++)
		r = cfg->ca[i].source ? fetch(c, s, &cfg->ca[i], false, e) : 0;
	for (size_t i = 0; r == 0 && s && i < ign_store_count(s); i++) {
		r = ign_store_read(s, i, &c->ca, e);
		if (r == 0)
			r = buf_add(&c->ca, "\n", 1, e);
	}
	return r < 0 ? err_wrap(e, r, "certificate authority") : 0;
}

static void client_trust(struct client *c)
{
	c->http.ca = c->ca.n ? c->ca.p : NULL;
	c->http.ca_n = c->ca.n;
}

/* cfg NULL: no config yet. */
static int client_set(struct client *c, const struct ign_load *l, const struct ign_config *cfg,
		      struct err *e)
{
	int r;

	c->l = l;
	c->ca.max = CA_MAX;
	c->http.note = l->note;
	c->http.note_arg = l->note_arg;
	if (cfg) {
		c->http.timeouts = cfg->timeouts;
		c->http.proxy_http = cfg->proxy.http;
		c->http.proxy_https = cfg->proxy.https;
		c->http.proxy_none = &cfg->proxy.none;
	}
	if (l->timeout_s) {
		c->http.timeouts.has_total = true;
		c->http.timeouts.total_s = l->timeout_s;
	}
	r = add_ca_file(c, e);
	client_trust(c);
	if (r == 0 && cfg)
		r = add_ca(c, cfg, e);
	client_trust(c);
	return r;
}

/* --- configs --- */

struct frame {
	struct ign_config *cfg; /* as it was read */
	struct ign_config *all; /* with the children so far; NULL: none yet */
	size_t next;            /* child */
};

struct loading {
	const struct ign_load *l;
	struct frame frame[IGN_LOAD_DEPTH];
	size_t depth, count;
};

static void frame_done(struct frame *f)
{
	ign_config_free(f->cfg);
	ign_config_free(f->all);
	*f = (struct frame){ .next = 0 };
}

static void loading_done(struct loading *g)
{
	while (g->depth > 0)
		frame_done(&g->frame[--g->depth]);
}

static const struct ign_config *frame_config(const struct frame *f)
{
	return f->all ? f->all : f->cfg;
}

static void warn_all(const struct ign_load *l, const struct ign_report *rep, const char *what)
{
	char line[512];

	for (size_t i = 0; l->note && i < rep->n; i++)
		if (rep->issue[i].kind == IGN_WARNING)
			l->note(l->note_arg,
				ign_issue_format(&rep->issue[i], what, line, sizeof(line)));
}

static int read_text(const struct ign_load *l, const char *text, size_t n, const char *what,
		     struct ign_config **ret, struct err *e)
{
	AUTO_IGN_REPORT rep = { .n = 0 };
	int r = ign_config_read(text, n, what, &rep, ret, e);

	warn_all(l, &rep, what);
	return r;
}

/* What res leads to, read. A child that is empty is an error: somebody named it. */
static int fetch_config(struct loading *g, const struct frame *f, const struct ign_resource *res,
			struct ign_config **ret, struct err *e)
{
	AUTO_IGN_STORE *s = NULL;
	AUTO_CLIENT c = { .l = NULL };
	AUTO_BUF text = { .max = IGN_CONFIG_MAX };
	char shown[256];
	int r;

	if (++g->count > IGN_LOAD_CONFIGS)
		return err_set(e, ERR_INPUT, ELOOP,
			       "ignition.config leads to more than %d configs: is there a loop?",
			       IGN_LOAD_CONFIGS);
	(void)ign_url_show(res->source, shown, sizeof(shown));
	r = client_set(&c, g->l, frame_config(f), e);
	if (r == 0)
		r = ign_store_new(g->l->spool, IGN_CONFIG_MAX, &s, e);
	if (r == 0)
		r = fetch(&c, s, res, true, e);
	if (r == 0)
		r = ign_store_read(s, 0, &text, e);
	if (r == 0)
		r = read_text(g->l, text.p, text.n, shown, ret, e);
	if (r == 0)
		return err_set(e, ERR_INPUT, ENODATA, "%s: there is no config in it", shown);
	return r < 0 ? r : 0;
}

static int push(struct loading *g, struct ign_config *cfg, struct err *e)
{
	if (g->depth == IGN_LOAD_DEPTH) {
		ign_config_free(cfg);
		return err_set(e, ERR_INPUT, ELOOP,
			       "ignition.config.merge is more than %d configs deep: is there a "
			       "loop?",
			       IGN_LOAD_DEPTH);
	}
	g->frame[g->depth++] = (struct frame){ .cfg = cfg };
	return 0;
}

static int merge_into(struct frame *f, const struct ign_config *child, struct err *e)
{
	AUTO_IGN_REPORT rep = { .n = 0 };
	struct ign_config *all = NULL;
	int r = ign_config_merge(frame_config(f), child, &rep, &all, e);

	if (r < 0)
		return err_wrap(e, r, "the merged config");
	ign_config_free(f->all);
	f->all = all;
	return 0;
}

/* One config more: a replacement, a child; or the frame is done and goes into the one above. */
static int advance(struct loading *g, struct ign_config **ret, struct err *e)
{
	struct frame *f = &g->frame[g->depth - 1];
	struct ign_config *new = NULL;
	int r;

	if (!f->cfg)
		return err_set(e, ERR_BUG, EINVAL, "a config without one");
	if (f->cfg->replace.source) {
		r = fetch_config(g, f, &f->cfg->replace, &new, e);
		if (r < 0)
			return r;
		frame_done(f);
		f->cfg = new;
		return 0;
	}
	if (f->next < f->cfg->merges) {
		const struct ign_resource *res = &f->cfg->merge[f->next++];

		if (!res->source)
			return 0;
		r = fetch_config(g, f, res, &new, e);
		return r < 0 ? r : push(g, new, e);
	}
	if (g->depth > 1) {
		r = merge_into(f - 1, frame_config(f), e);
		g->depth--;
		frame_done(f);
		return r;
	}
	*ret = f->all ? TAKE(f->all) : TAKE(f->cfg);
	return 1;
}

int ign_load_config(const struct ign_load *l, const char *text, size_t n, const char *what,
		    struct ign_config **ret, struct err *e)
{
	__attribute__((cleanup(loading_done))) struct loading g = { .l = l };
	struct ign_config *cfg = NULL;
	int r = read_text(l, text, n, what, &cfg, e);

	if (r < 0)
		return r;
	if (r == 0)
		return ign_config_empty(ret, e);
	r = push(&g, cfg, e);
	while (r == 0)
		r = advance(&g, ret, e);
	return r < 0 ? r : 0;
}

int ign_load_url(const struct ign_load *l, const char *url, struct buf *ret, struct err *e)
{
	const struct ign_resource res = { .source = url };
	AUTO_IGN_STORE *s = NULL;
	AUTO_CLIENT c = { .l = NULL };
	enum ign_scheme scheme;
	int r = ign_url_check(url, &scheme, e);

	if (r == 0 && scheme == IGN_URL_REMOTE)
		return err_set(e, ERR_REFUSED, EOPNOTSUPP,
			       "a config comes from a data:, http: or https: URL");
	if (r == 0)
		r = client_set(&c, l, NULL, e);
	if (r == 0)
		r = ign_store_new(l->spool, IGN_CONFIG_MAX, &s, e);
	if (r == 0)
		r = fetch(&c, s, &res, true, e);
	return r == 0 ? ign_store_read(s, 0, ret, e) : r;
}

int ign_load_files(const struct ign_load *l, const struct ign_plan *p, struct ign_store **ret,
		   struct err *e)
{
	AUTO_IGN_STORE *s = NULL;
	AUTO_CLIENT c = { .l = NULL };
	int r = ign_store_new(l->spool, IGN_BLOB_MAX, &s, e);

	/* without a fetch from the network, certificates need not be there */
	if (r == 0 && p->needs_network)
		r = client_set(&c, l, p->config, e);
	for (size_t i = 0; r == 0 && i < p->fetches; i++) {
		r = fetch(&c, s, p->fetch[i].resource, false, e);
		if (r < 0)
			r = err_wrap(e, r, "'%s'", p->fetch[i].file->node.path);
	}
	if (r == 0)
		*ret = TAKE(s);
	return r;
}
