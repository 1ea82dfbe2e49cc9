/* What a configuration says beyond its defaults, as text; for tests. */
#ifndef UNIT_CONFIG_DUMP_H
#define UNIT_CONFIG_DUMP_H

#include <stdio.h>
#include "config/config.h"
#include "config/option.h"

static void dump_value(const struct option *o, const void *base, FILE *out)
{
	const void *field = (const char *)base + o->offset;

	switch (o->type->kind) {
	case OPTION_BOOL:
		fputs(*(const bool *)field ? "true" : "false", out);
		break;
	case OPTION_UINT:
	case OPTION_TIME:
		fprintf(out, "%u", *(const uint32_t *)field);
		break;
	case OPTION_MODE:
		fprintf(out, "%04o", *(const uint32_t *)field);
		break;
	case OPTION_SIZE:
		fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
		break;
	case OPTION_ENUM:
		fputs(o->type->words[*(const int *)field], out);
		break;
	case OPTION_STR:
		fputs(*(char *const *)field ? *(char *const *)field : "(none)", out);
		break;
	case OPTION_LIST: {
		const struct config_list *list = field;

		fputc('[', out);
		for (size_t i = 0; i < list->n; i++)
			fprintf(out, "%s%s", i ? ", " : "", list->items[i]);
		fputc(']', out);
		break;
	}
	case OPTION_CUSTOM:
		break;
	}
}

static void dump_section(enum option_section s, const char *prefix, const void *base,
			 const void *against, FILE *out)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];

		if (o->section != s || o->type->kind == OPTION_CUSTOM ||
		    option_equal(o, base, against))
			continue;
		fprintf(out, "%s%s = ", prefix, o->key);
		dump_value(o, base, out);
		fputc('\n', out);
	}
}

static void dump_pool(const struct config *c, const struct config_pool *p, FILE *out)
{
	struct config_pool fresh = {0};

	fprintf(out, "pool %s -> backend %s\n", p->name, p->backend);
	if (option_defaults(OPTION_POOL, &fresh) == 0) {
		fresh.backend = p->backend;
		dump_section(OPTION_POOL, "  ", p, &fresh, out);
	}
	dump_section(OPTION_SCRAPE, "  scrape.", &p->scrape, &c->scrape, out);
	for (size_t i = 0; i < p->nmodels; i++)
		fprintf(out, "  model %s%s%s%s\n", p->models[i].name,
			p->models[i].base ? " of " : "", p->models[i].base ? p->models[i].base : "",
			p->models[i].hidden ? " hidden" : "");
	for (size_t i = 0; i < p->naliases; i++) {
		fprintf(out, "  alias %s:", p->aliases[i].name);
		for (size_t j = 0; j < p->aliases[i].ntargets; j++) {
			const struct config_target *t = &p->aliases[i].targets[j];

			fprintf(out, " %s*%u%s", t->model, t->weight,
				t->rewrite ? "" : " as it is");
		}
		fputc('\n', out);
	}
	for (size_t i = 0; i < p->nendpoints; i++) {
		const struct config_endpoint *e = &p->endpoints[i];

		fprintf(out, "  endpoint %s port %u%s%s%s%s%s\n", e->host, e->port,
			e->https ? " https" : "", e->server ? " server " : "",
			e->server ? e->server : "", e->metrics ? " metrics " : "",
			e->metrics ? e->metrics : "");
	}
	if (p->dns_host)
		fprintf(out, "  dns %s ports", p->dns_host);
	for (size_t i = 0; i < p->ndns_ports; i++)
		fprintf(out, " %u", p->dns_ports[i]);
	if (p->dns_host)
		fputc('\n', out);
}

static void dump_config(const struct config *c, FILE *out)
{
	struct config *fresh = calloc(1, sizeof(*fresh));

	for (enum option_section s = OPTION_TOP; fresh && s < OPTION_POOL; s++) {
		const char *name = option_section_name(s);
		bool scrape = s == OPTION_SCRAPE;
		char prefix[64];

		snprintf(prefix, sizeof(prefix), "%s%s", name, *name ? "." : "");
		if (option_defaults(s, scrape ? (void *)&fresh->scrape : (void *)fresh) == 0)
			dump_section(s, prefix, scrape ? (const void *)&c->scrape : (const void *)c,
				     scrape ? (const void *)&fresh->scrape : (const void *)fresh,
				     out);
	}
	config_free(fresh);
	for (size_t i = 0; i < c->npools; i++)
		dump_pool(c, &c->pools[i], out);
}

#endif
