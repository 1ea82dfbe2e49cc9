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
 * HAProxy's other way to a named server, the persistence cookie. It is set from the agent's
 * variables and never leaves HAProxy towards the client; a client that sends one of that name
 * loses its cookies, since it would choose by itself.
 *
 * Draining servers are not written: a HAProxy that starts anew has no streams there, and its old
 * worker, which has, does not read this.
 */
#include "discover/follow/generate.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD    "# written by spoa-inference, which overwrites changes\n"
#define SECTION "\nbackend "

static void put_view(FILE *out, struct view v)
{
	fwrite(v.ptr, 1, v.len, out);
}

static void put_char(FILE *out, char c)
{
	if (c == '\'')
		fputs("'\\''", out);
	else
		fputc(c, out);
}

/* One word of the line parser, whatever is in it. */
static void put_word(FILE *out, struct view v)
{
	fputc('\'', out);
	for (size_t i = 0; i < v.len; i++)
		put_char(out, v.ptr[i]);
	fputc('\'', out);
}

/* One word that the parser of formats makes @v of. */
static void put_format(FILE *out, struct view v)
{
	fputs("'%[str(\"", out);
	for (size_t i = 0; i < v.len; i++) {
		if (v.ptr[i] == '"' || v.ptr[i] == '\\')
			fputc('\\', out);
		put_char(out, v.ptr[i]);
	}
	fputs("\")]'", out);
}

static void put_header(FILE *out, const struct plan_header *h)
{
	static const char *const actions[] = {
	    [PLAN_HEADER_SET] = "set", [PLAN_HEADER_ADD] = "add", [PLAN_HEADER_REMOVE] = "del"};

	fprintf(out, "    http-request %s-header ", actions[h->action]);
	put_word(out, h->name);
	if (h->action != PLAN_HEADER_REMOVE) {
		fputc(' ', out);
		put_format(out, h->value);
	}
	fputs(" if { var(txn.inference.route) -m str -- ", out);
	put_word(out, h->route);
	fputs(" }\n", out);
}

static void put_rules(FILE *out, const struct want *w, const char *defaults)
{
	fprintf(out,
		"\ndefaults %s from inference-pool\n"
		"    http-request set-timeout server var(txn.inference.timeout) "
		"if { var(txn.inference.timeout) -m found }\n",
		defaults);
	for (size_t i = 0; i < w->nheaders; i++)
		put_header(out, &w->headers[i]);
}

static void put_pool(FILE *out, const struct want *w, const struct want_pool *p)
{
	fputs(SECTION, out);
	put_view(out, p->backend);
	fputs(" from inference-routes\n"
	      "    use-server %[var(txn.inference.server)] if TRUE\n"
	      "    use-server %[var(txn.inference.server2)] if TRUE\n"
	      "    use-server %[var(txn.inference.server3)] if TRUE\n",
	      out);
	for (size_t i = 0; i < p->nservers; i++) {
		const struct want_server *s = &p->servers[i];

		if (s->draining)
			continue;
		fputs("    server ", out);
		put_view(out, s->name);
		fputc(' ', out);
		put_view(out, s->where);
		fputc(' ', out);
		put_view(out, w->keywords);
		fputs(p->h2c ? " proto h2\n" : "\n", out);
	}
}

static void put_added(FILE *out, const struct want *w)
{
	static const char *const candidates[] = {"server", "server2", "server3"};

	fputs("\n.if version_atleast(3.4)", out);
	put_rules(out, w, GENERATE_ADDED);
	fputs("    cookie " GENERATE_COOKIE " indirect\n"
	      "    http-request del-header cookie if { req.cook(" GENERATE_COOKIE ") -m found }\n",
	      out);
	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
		fprintf(out,
			"    http-request add-header cookie " GENERATE_COOKIE
			"=%%[var(txn.inference.%s)] if { var(txn.inference.%s) -m found }\n",
			candidates[i], candidates[i]);
	fputs(".endif\n", out);
}

char *generate_env(const struct want *w, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	if (!out)
		return NULL;
	fprintf(out,
		HEAD "global\n"
		     "    setenv INFERENCE_POOLS 1\n"
		     "    setenv INFERENCE_KUBERNETES 1\n"
		     "    setenv " GENERATE_STAMP " %s\n",
		w->stamp);
	/* Up to 3.0 a reload keeps the environment that the last load has left. */
	fputs(w->hdrs ? "    setenv INFERENCE_HDRS 1\n" : "    unsetenv INFERENCE_HDRS\n", out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

char *generate_pools(const struct want *w, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	if (!out)
		return NULL;
	fputs(HEAD, out);
	put_added(out, w);
	put_rules(out, w, "inference-routes");
	for (size_t i = 0; i < w->npools; i++)
		put_pool(out, w, &w->pools[i]);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
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
