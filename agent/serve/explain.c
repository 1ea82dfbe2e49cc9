/*
 * Explain.
 *
 * A process of its own, beside the one that serves or without it: it finds what exists from the
 * same configuration, asks every model server once, and decides. Loads are therefore what the
 * servers tell now, our own requests there included; tickets of the running agent are not known
 * here, /state of its administration port has them.
 */
#include "serve/explain.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "discover/kube/kube.h"
#include "serve/decide.h"
#include "serve/watch.h"

#define SETTLE_MS 5000
#define BODY_MAX  (64UL * 1024 * 1024)

struct explain {
	struct event_base *base;
	struct config *conf;
	struct endpoints *endpoints;
	struct watch *watch;
	FILE *out;
};

static void on_scraped(uint32_t missing, void *arg)
{
	struct explain *x = arg;

	if (missing)
		fprintf(x->out, "note: %u model servers did not answer in time\n", missing);
	event_base_loopbreak(x->base);
}

static void on_settled(bool settled, void *arg)
{
	struct explain *x = arg;

	if (!settled)
		fputs("note: not everything could be found out in time\n", x->out);
	if (scraper_once(watch_scraper(x->watch), SETTLE_MS, on_scraped, x) < 0)
		event_base_loopbreak(x->base);
}

static bool find_out(struct explain *x)
{
	struct watch_env env = {.read_only = true};

	x->base = event_base_new();
	x->endpoints = endpoints_new(x->conf->limits.endpoints);
	if (!x->base || !x->endpoints)
		return false;
	env.base = x->base;
	env.endpoints = x->endpoints;
	x->watch = watch_new(&env, x->conf);
	if (!x->watch ||
	    discover_when_settled(watch_discover(x->watch), SETTLE_MS, on_settled, x) < 0)
		return false;
	event_base_dispatch(x->base);
	return true;
}

static void free_all(struct explain *x)
{
	x->watch = watch_free(x->watch);
	endpoints_free(x->endpoints);
	if (x->base)
		event_base_free(x->base);
	config_free(x->conf);
}

/* Client's bytes on somebody's terminal: what is not printable is shown as \xNN. */
static void put_safe(FILE *out, struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		unsigned char ch = (unsigned char)v.ptr[i];

		if (ch < 0x20 || ch == 0x7f || ch == '\\')
			fprintf(out, "\\x%02x", ch);
		else
			fputc(ch, out);
	}
}

static void put_request(FILE *out, const struct decision *d, size_t len)
{
	const struct request *r = &d->request;

	fprintf(out, "body      %zu bytes%s\n", len, r->multipart ? ", multipart/form-data" : "");
	if (d->has_model) {
		fputs("model     ", out);
		put_safe(out, r->model);
		if (r->model_at >= 0)
			fprintf(out, "   (%lld bytes at offset %lld)", (long long)r->model_len,
				(long long)r->model_at);
		fputc('\n', out);
	}
	if (r->status == REQUEST_BAD)
		fprintf(out, "wrong     %s, at offset %lld\n", r->why, (long long)r->at);
}

static void put_target(FILE *out, const struct decision *d)
{
	if (!d->pool)
		return;
	fprintf(out, "pool      %s   backend %s   policy %s\n", d->pool->name, d->pool->backend,
		policy_name(d->pool->policy));
	if (!d->has_target)
		return;
	if (d->target.base.len) {
		fputs("base      ", out);
		put_safe(out, d->target.base);
		fputc('\n', out);
	}
	if (d->target.target.len) {
		fputs("rewrite   to ", out);
		put_safe(out, d->target.target);
		fputc('\n', out);
	}
}

static int rank_of(const struct decision *d, uint32_t index)
{
	for (uint32_t i = 0; i < d->pick.n; i++)
		if (d->pick.index[i] == index)
			return (int)i + 1;
	return 0;
}

static void put_why(struct explain *x, const struct pool_endpoint *e, const struct endpoint_view *v)
{
	const struct scrape_status *s = scraper_status(watch_scraper(x->watch), e->slot);

	for (unsigned bit = 1; bit <= ENDPOINT_FLAG_LAST; bit <<= 1)
		if (v->flags & bit)
			fprintf(x->out, " %s,", endpoint_flag_name(bit));
	if (v->observed_ns)
		fprintf(x->out, " waiting %g, running %g", v->waiting, v->running);
	if (v->observed_ns && v->kv_usage >= 0)
		fprintf(x->out, ", KV cache %.0f %%", v->kv_usage * 100);
	if (v->observed_ns && s)
		fprintf(x->out, " (%s)", engine_name(s->engine));
	if (!v->observed_ns)
		fprintf(x->out, " load not told%s%s", s && s->error[0] ? ": " : "",
			s && s->error[0] ? s->error : "");
}

static void put_candidates(struct explain *x, const struct decision *d)
{
	if (!d->pool)
		return;
	if (d->pool->n == 0)
		fputs(d->pool->known ? "no model server is in this pool\n"
				     : "no model server is known: HAProxy's balance decides\n",
		      x->out);
	for (uint32_t i = 0; i < d->pool->n; i++) {
		const struct pool_endpoint *e = &d->pool->endpoints[i];
		struct endpoint_view v;
		int rank = rank_of(d, i);

		endpoint_view(x->endpoints, e->slot, &v);
		if (rank)
			fprintf(x->out, "  %d. %-24s load %-6g", rank, e->name, v.load);
		else
			fprintf(x->out, "  -  %-24s load %-6g", e->name, v.load);
		put_why(x, e, &v);
		fputc('\n', x->out);
	}
}

/* --- where the request wants to go --- */

static char *put_varint(char *at, size_t n)
{
	if (n < 240) {
		*at++ = (char)n;
		return at;
	}
	*at++ = (char)(n | 240);
	for (n = (n - 240) >> 4; n >= 128; n = (n - 128) >> 7)
		*at++ = (char)(n | 128);
	*at++ = (char)n;
	return at;
}

static char *put_string(char *at, struct view v)
{
	at = put_varint(at, v.len);
	if (v.len)
		memcpy(at, v.ptr, v.len);
	return at + v.len;
}

/* As HAProxy's req.hdrs_bin. NULL when memory is short; the caller frees. */
static char *pack_headers(const struct explain_options *o, size_t *ret_len)
{
	size_t room = 4;
	char *packed, *at;

	for (size_t i = 0; i < o->nheaders; i++)
		room += strlen(o->headers[i]) + 20;
	packed = at = malloc(room);
	for (size_t i = 0; packed && i < o->nheaders; i++) {
		const char *colon = strchr(o->headers[i], ':');
		struct view name = {o->headers[i], (size_t)(colon - o->headers[i])};

		at = put_string(at, name);
		at = put_string(at, view_str(colon + 1 + strspn(colon + 1, " \t")));
	}
	if (packed) {
		at = put_string(put_string(at, VIEW_LIT("")), VIEW_LIT(""));
		*ret_len = (size_t)(at - packed);
	}
	return packed;
}

/* The last --header called @name, as HAProxy's req.hdr() finds it; VIEW_NULL: there is none. */
static struct view header_of(const struct explain_options *o, struct view name)
{
	for (size_t i = o->nheaders; i-- > 0;) {
		const char *colon = strchr(o->headers[i], ':');

		if (view_caseeq((struct view){o->headers[i], (size_t)(colon - o->headers[i])},
				name))
			return view_str(colon + 1 + strspn(colon + 1, " \t"));
	}
	return VIEW_NULL;
}

static struct view given_or_header(const char *given, const struct explain_options *o,
				   struct view name)
{
	return given ? view_str(given) : header_of(o, name);
}

/* HAProxy's path has none. */
static struct view without_query(const char *path)
{
	return (struct view){path, path ? strcspn(path, "?#") : 0};
}

static void put_where(FILE *out, const struct explain_options *o)
{
	if (o->host)
		fprintf(out, "host      %s\n", o->host);
	if (o->port)
		fprintf(out, "port      %u\n", o->port);
	if (o->method)
		fprintf(out, "method    %s\n", o->method);
	if (o->path)
		fprintf(out, "path      %s\n", o->path);
	for (size_t i = 0; i < o->nheaders; i++)
		fprintf(out, "header    %s\n", o->headers[i]);
}

static void put_rule(FILE *out, const struct snapshot *s, const struct decision *d)
{
	const struct rule_def *def;

	if (!s->rules)
		return;
	if (!d->has_rule) {
		if (d->request.status == REQUEST_OK || d->request.status == REQUEST_NO_MODEL)
			fprintf(out, "route     none of %zu rules matches\n",
				rules_count(s->rules));
		return;
	}
	def = rules_at(s->rules, d->rule.rank);
	fputs("route     ", out);
	put_safe(out, def->route);
	fputs(def->path_type == RULE_PATH_EXACT ? "   path exactly " : "   path from ", out);
	put_safe(out, def->path.len ? def->path : VIEW_LIT("/"));
	if (def->host.len) {
		fputs(", host ", out);
		put_safe(out, def->host);
	}
	if (def->method.len) {
		fputs(", method ", out);
		put_safe(out, def->method);
	}
	for (size_t i = 0; i < def->nheaders; i++) {
		fputs(", ", out);
		put_safe(out, def->headers[i].name);
		fputs(": ", out);
		put_safe(out, def->headers[i].value);
	}
	if (def->timeout_ms)
		fprintf(out, "   timeout %u ms", def->timeout_ms);
	fputc('\n', out);
	if (!d->pool)
		fputs("pool      none: the route's reference leads nowhere\n", out);
}

/* True: the API server did not tell everything. */
static bool put_kube(struct explain *x)
{
	const struct kube *k = watch_kube(x->watch);
	struct kube_status_report r;
	bool missing = false;

	if (!k)
		return false;
	kube_report(k, &r);
	for (int i = 0; i < KUBE_KINDS; i++) {
		struct kube_mirror_kind kind;

		kube_report_kind(k, (enum kube_kind)i, &kind);
		if (!kind.watched || kind.synced)
			continue;
		fprintf(x->out, "kubernetes %s of %s could not be read: %s\n", kind.name, r.server,
			kind.error[0] ? kind.error : kube_reflector_state_name(kind.state));
		missing = true;
	}
	return missing;
}

/*
 * What is not known because HAProxy did not answer must not look like an answer: this process has
 * asked it once, the agent that serves may know more. True: the decision hangs on it.
 */
static bool put_unreached(struct explain *x, const struct decision *d)
{
	struct discover_status s;

	if (put_kube(x))
		return true;
	discover_status(watch_discover(x->watch), &s);
	if (!s.haproxy.configured || s.haproxy.answered)
		return false;
	fprintf(x->out, "haproxy   could not be reached: %s: %s\n", x->conf->haproxy.socket,
		s.haproxy.error[0] ? s.haproxy.error : "no answer");
	return d->pool ? !d->pool->known
		       : d->verdict == VERDICT_MODEL_NOT_FOUND ||
			     d->verdict == VERDICT_NO_ENDPOINT || d->unready;
}

/* Of a request that is routed: where, and who chooses the server when it is not us. */
static void put_destination(struct explain *x, const struct decision *d)
{
	bool full = d->pool->n > 0;

	fprintf(x->out, "verdict   routed to backend %s", d->pool->backend);
	for (uint32_t i = 0; i < d->pick.n; i++) {
		static const char *const before[] = {", server", "; while that is down", ", then"};

		fprintf(x->out, "%s %s", before[i < 2 ? i : 2],
			d->pool->endpoints[d->pick.index[i]].name);
	}
	for (uint32_t i = 0; i < d->pool->n; i++)
		full &= endpoint_flags(x->endpoints, d->pool->endpoints[i].slot) == ENDPOINT_FULL;
	if (d->pick.n == 0)
		fputs(full ? "; every server is full, HAProxy queues it"
			   : "; HAProxy's balance decides",
		      x->out);
	fputc('\n', x->out);
}

static int decide_and_print(struct explain *x, const struct explain_options *options,
			    const char *body, size_t len)
{
	_Atomic uint32_t *cursors = calloc(x->conf->limits.pools + 1, sizeof(*cursors));
	const struct decide_conf conf = decide_conf_of(x->conf);
	struct decision *d = calloc(1, sizeof(*d));
	struct decide_env env = {
	    .conf = &conf,
	    .snapshot = discover_snapshot(watch_discover(x->watch)),
	    .endpoints = x->endpoints,
	    .cursors = cursors,
	};
	struct request_input in = {
	    .body = {body, len},
	    .content_type =
		given_or_header(options->content_type, options, VIEW_LIT("content-type")),
	    .content_encoding = header_of(options, VIEW_LIT("content-encoding")),
	    .body_len = (int64_t)len,
	    .body_size = (int64_t)len,
	    .content_length = (int64_t)len,
	};
	struct rule_request where = {
	    .host = given_or_header(options->host, options, VIEW_LIT("host")),
	    .port = options->port,
	    .path = without_query(options->path),
	    .method = view_str(options->method ? options->method : "POST"),
	};
	char *headers = pack_headers(options, &where.headers.len);
	int status = 1;

	where.headers.ptr = headers;
	if (cursors && d && headers && getrandom(&env.chance, sizeof(env.chance), 0) > 0) {
		decide(&env, &in, &where, d);
		put_where(x->out, options);
		put_request(x->out, d, len);
		put_rule(x->out, env.snapshot, d);
		put_target(x->out, d);
		put_candidates(x, d);
		if (put_unreached(x, d)) {
			fputs("verdict   not known\n", x->out);
			goto out;
		}
		if (d->verdict == VERDICT_ROUTED && d->pool) {
			put_destination(x, d);
			status = 0;
			goto out;
		}
		fprintf(x->out, "verdict   %s (%s)", verdict_name(d->verdict),
			verdict_meaning(d->verdict));
		if (d->status)
			fprintf(x->out, "   HAProxy answers %d", d->status);
		fputc('\n', x->out);
	}
out:
	free(headers);
	free((void *)cursors);
	free(d);
	return status;
}

static char *read_body(FILE *in, size_t *ret_len)
{
	char *body = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		if (len == cap) {
			char *more = cap < BODY_MAX ? realloc(body, cap ? 2 * cap : 65536) : NULL;

			if (!more) {
				free(body);
				return NULL;
			}
			body = more;
			cap = cap ? 2 * cap : 65536;
		}
		size_t n = fread(body + len, 1, cap - len, in);

		if (n == 0)
			break;
		len += n;
	}
	*ret_len = len;
	return body;
}

int explain_consume(struct config *conf, const struct explain_options *options, FILE *in, FILE *out)
{
	struct explain x = {.conf = conf, .out = out};
	size_t len = 0;
	char *body = read_body(in, &len);
	int status = 1;

	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	if (!body)
		fprintf(stderr, "the body cannot be read: more than %lu bytes, or out of memory\n",
			BODY_MAX);
	else if (!find_out(&x))
		fputs("out of memory\n", stderr);
	else
		status = decide_and_print(&x, options, body, len);
	free(body);
	free_all(&x);
	return status;
}
