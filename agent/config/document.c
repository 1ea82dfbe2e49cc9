/*
 * The reference, for --help-config and for README files: what a row says of itself, nothing that
 * is written twice. REFERENCE.md beside this file is its output; a test compares them.
 */
#include "config/config.h"

#include "config/option.h"

static const struct {
	enum option_section section;
	const char *title, *text;
} document_sections[] = {
    {OPTION_TOP, "Top level", ""},
    {OPTION_HAPROXY, "haproxy:", "The HAProxy that asks."},
    {OPTION_LISTEN, "listen:", "Where the agent listens."},
    {OPTION_LOG, "log:", ""},
    {OPTION_LIMITS, "limits:", "What can grow is bounded here."},
    {OPTION_TIMEOUTS, "timeouts:", ""},
    {OPTION_SCRAPE, "scrape:",
     "How the model servers are asked. A pool takes the same rows below its own `scrape:`; what "
     "stands there holds for that pool."},
    {OPTION_DNS, "dns:", "How the names in a pool's `dns` are looked up."},
    {OPTION_KUBERNETES, "kubernetes:",
     "The agent as the controller of a cluster: InferencePools, HTTPRoutes, Gateways and pods are "
     "watched. The section is what turns it on, `kubernetes: {}` is enough in a pod; `pools:` may "
     "then be left out."},
    {OPTION_POOL, "pools.NAME:",
     "A pool is one HAProxy backend and the models that its servers have in common. Its servers "
     "come from `endpoints`, from `dns`, or from HAProxy's socket. `NAME:` alone is a whole pool."},
    {OPTION_ENDPOINT, "pools.NAME.endpoints[]:", "An item is an address alone or a map of these."},
    {OPTION_MODEL, "pools.NAME.models[]:", "An item is a name alone or a map of these."},
    {OPTION_TARGET, "pools.NAME.aliases.ALIAS[]:",
     "An alias is a model's name, a map of these, or a list of either. It may stand in several "
     "pools: they share its requests by weight."},
};

/* In a table cell: no bars. */
static void document_text(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (*text == '|')
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void document_row(const struct option *o, FILE *out)
{
	const char *const *words = o->type->words;
	char range[64];

	fprintf(out, "| `%s` | ", o->key);
	if (words)
		for (size_t i = 0; words[i]; i++)
			fprintf(out, "%s`%s`", i ? ", " : "", words[i]);
	else
		fputs(o->type->name, out);
	fputs(" | ", out);
	if (o->type->closed)
		fputs("all there are: ", out);
	if (option_required(o))
		fputs("must be given", out);
	else if (*o->fallback)
		fprintf(out, "`%s`", o->fallback);
	fprintf(out, " | %s | %s | ", option_range(o, range), o->reload ? "reload" : "restart");
	document_text(o->doc, out);
	fputs(" |\n", out);
}

void config_document(FILE *out)
{
	fputs(
	    "# Options\n\n"
	    "The file is YAML, one document. A key that is unknown, a value of another type or out "
	    "of its\nrange is refused with its place, `FILE:LINE:COLUMN: what is wrong, what would "
	    "be right`, all of\nthem at once; a running agent then keeps the configuration that it "
	    "has. `spoa-inference -t -f FILE`\nchecks a file, `--help-config` prints this page.\n\n"
	    "- time: a whole number with its unit, `250ms`, `5s`, `10m`, `1h`\n"
	    "- size: bytes, or with `k`, `m`, `g` (1024)\n"
	    "- list: `[a, b]`, or with commas in one value, `a,b`\n"
	    "- true or false: `yes`, `no`, `on`, `off` as well\n"
	    "- reload: SIGHUP applies a change; restart: a change is told in the log and waits for "
	    "a restart\n\n"
	    "YAML's anchors and aliases can be used for whole values; tags and merge keys cannot.\n"
	    "The smallest file:\n\n"
	    "```yaml\n"
	    "haproxy:\n"
	    "  socket: /run/haproxy/admin.sock\n"
	    "pools:\n"
	    "  llama: {}        # = backend llama; servers and models are found\n"
	    "  phi4: {}\n"
	    "```\n",
	    out);
	for (size_t i = 0; i < sizeof(document_sections) / sizeof(document_sections[0]); i++) {
		fprintf(out, "\n## %s\n\n", document_sections[i].title);
		if (*document_sections[i].text)
			fprintf(out, "%s\n\n", document_sections[i].text);
		fputs("| key | value | default | range | applied by | meaning |\n"
		      "|---|---|---|---|---|---|\n",
		      out);
		for (size_t j = 0; j < option_count; j++)
			if (option_rows[j].section == document_sections[i].section)
				document_row(&option_rows[j], out);
	}
}
