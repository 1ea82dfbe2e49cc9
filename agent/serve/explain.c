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
			fprintf(x->out, " %s", endpoint_flag_name(bit));
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
	    .content_type = options->content_type ? view_str(options->content_type) : VIEW_NULL,
	    .body_len = (int64_t)len,
	    .body_size = (int64_t)len,
	    .content_length = (int64_t)len,
	};
	int status = 1;

	if (cursors && d && getrandom(&env.chance, sizeof(env.chance), 0) > 0) {
		decide(&env, &in, d);
		if (options->path)
			fprintf(x->out, "path      %s\n", options->path);
		put_request(x->out, d, len);
		put_target(x->out, d);
		put_candidates(x, d);
		fprintf(x->out, "verdict   %s (%s)", verdict_name(d->verdict),
			verdict_meaning(d->verdict));
		if (d->status)
			fprintf(x->out, "   HAProxy answers %d", d->status);
		fputc('\n', x->out);
		status = d->verdict == VERDICT_ROUTED ? 0 : 1;
	}
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
