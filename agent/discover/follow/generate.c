/*
 * The generated configuration.
 *
 * A line of HAProxy's configuration is read three times: by the line parser (quotes, $, #), by the
 * parser of formats (%), and by that of sample arguments (commas, parentheses, quotes again). A
 * header's value goes through all three as '%[str("VALUE")]': single quotes keep the first out,
 * inside them only the single quote itself is special; %[] is a sample to the second, which
 * otherwise would fold spaces; and inside double quotes the third knows \ and " alone. So every
 * value is written the same way, whatever it is made of.
 *
 * A defaults section that holds rules cannot be the base of another, hence what is tuned by people
 * stands in `defaults inference-pool` of haproxy.cfg, without rules, and the rules here, twice on
 * 3.4: once for the backends below and once for those that are added later. These inherit from a
 * defaults section only, where use-server is not allowed, so the agent's choice goes in by
 * HAProxy's other way to a named server, the persistence cookie: set from the agent's variables,
 * taken out again by `indirect` before the model server sees it, and out of the answer where
 * HAProxy would give it to the client, which is after a redispatch. A client that sends one of that
 * name loses its cookies, since it would choose by itself.
 *
 * Draining servers are not written: a HAProxy that starts anew has no streams there, and its old
 * worker, which has, does not read this.
 */
#include "discover/follow/generate.h"

#include "discover/follow/text.h"

#define HEAD    "# written by spoa-inference, which overwrites changes\n"
#define SECTION "\nbackend "

static void put_char(struct text *out, char c)
{
	if (c == '\'')
		text_str(out, "'\\''");
	else
		text_char(out, c);
}

/* One word of the line parser, whatever is in it. */
static void put_word(struct text *out, struct view v)
{
	text_char(out, '\'');
	for (size_t i = 0; i < v.len; i++)
		put_char(out, v.ptr[i]);
	text_char(out, '\'');
}

/* One word that the parser of formats makes @v of. */
static void put_format(struct text *out, struct view v)
{
	text_str(out, "'%[str(\"");
	for (size_t i = 0; i < v.len; i++) {
		if (v.ptr[i] == '"' || v.ptr[i] == '\\')
			text_char(out, '\\');
		put_char(out, v.ptr[i]);
	}
	text_str(out, "\")]'");
}

static void put_header(struct text *out, const struct plan_header *h)
{
	static const char *const actions[] = {
	    [PLAN_HEADER_SET] = "set", [PLAN_HEADER_ADD] = "add", [PLAN_HEADER_REMOVE] = "del"};

	text_format(out, "    http-request %s-header ", actions[h->action]);
	put_word(out, h->name);
	if (h->action != PLAN_HEADER_REMOVE) {
		text_char(out, ' ');
		put_format(out, h->value);
	}
	text_str(out, " if { var(txn.inference.route) -m str -- ");
	put_word(out, h->route);
	text_str(out, " }\n");
}

static void put_rules(struct text *out, const struct want *w, const char *defaults)
{
	text_format(out,
		    "\ndefaults %s from inference-pool\n"
		    "    http-request set-timeout server var(txn.inference.timeout) "
		    "if { var(txn.inference.timeout) -m found }\n",
		    defaults);
	for (size_t i = 0; i < w->nheaders; i++)
		put_header(out, &w->headers[i]);
}

static void put_pool(struct text *out, const struct want *w, const struct want_pool *p)
{
	text_str(out, SECTION);
	text_view(out, p->backend);
	text_str(out, " from inference-routes\n"
		      "    use-server %[var(txn.inference.server)] if TRUE\n"
		      "    use-server %[var(txn.inference.server2)] if TRUE\n"
		      "    use-server %[var(txn.inference.server3)] if TRUE\n");
	for (size_t i = 0; i < p->nservers; i++) {
		const struct want_server *s = &p->servers[i];

		if (s->draining)
			continue;
		text_str(out, "    server ");
		text_view(out, s->name);
		text_char(out, ' ');
		text_view(out, s->where);
		text_char(out, ' ');
		text_view(out, w->keywords);
		text_str(out, p->h2c ? " proto h2\n" : "\n");
	}
}

static void put_added(struct text *out, const struct want *w)
{
	static const char *const candidates[] = {"server", "server2", "server3"};

	text_str(out, "\n.if version_atleast(3.4)");
	put_rules(out, w, GENERATE_ADDED);
	text_str(out, "    cookie " GENERATE_COOKIE " insert indirect\n"
		      "    http-request del-header cookie if { req.cook(" GENERATE_COOKIE
		      ") -m found }\n");
	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
		text_format(out,
			    "    http-request add-header cookie " GENERATE_COOKIE
			    "=%%[var(txn.inference.%s)] if { var(txn.inference.%s) -m found }\n",
			    candidates[i], candidates[i]);
	text_str(out, "    http-after-response del-header set-cookie if { res.cook(" GENERATE_COOKIE
		      ") -m found }\n"
		      ".endif\n");
}

char *generate_env(const struct want *w, size_t *ret_len)
{
	struct text out = {0};

	text_format(&out,
		    HEAD "global\n"
			 "    setenv INFERENCE_POOLS 1\n"
			 "    setenv INFERENCE_KUBERNETES 1\n"
			 "    setenv " GENERATE_STAMP " %s\n",
		    w->stamp);
	/* Up to 3.0 a reload keeps the environment that the last load has left. */
	text_str(&out, w->hdrs ? "    setenv INFERENCE_HDRS 1\n" : "    unsetenv INFERENCE_HDRS\n");
	text_str(&out, w->dst_port ? "    setenv INFERENCE_DST_PORT 1\n"
				   : "    unsetenv INFERENCE_DST_PORT\n");
	return text_take(&out, ret_len);
}

char *generate_pools(const struct want *w, size_t *ret_len)
{
	struct text out = {0};

	text_str(&out, HEAD);
	put_added(&out, w);
	put_rules(&out, w, "inference-routes");
	for (size_t i = 0; i < w->npools; i++)
		put_pool(&out, w, &w->pools[i]);
	return text_take(&out, ret_len);
}

bool generate_backends_next(struct view *text, struct view *ret)
{
	while (text->len) {
		const char *at = memmem(text->ptr, text->len, SECTION, sizeof(SECTION) - 1);
		const char *end;

		if (!at)
			break;
		at += sizeof(SECTION) - 1;
		text->len -= (size_t)(at - text->ptr);
		text->ptr = at;
		end = text->len ? memchr(at, ' ', text->len) : NULL;
		if (!end)
			break;
		*ret = (struct view){at, (size_t)(end - at)};
		if (ret->len && !memchr(at, '\n', ret->len))
			return true;
	}
	return false;
}
