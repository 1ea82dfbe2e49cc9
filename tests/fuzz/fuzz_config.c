/* Configuration text: never a crash; an error has a place within the file; what is accepted holds
 * what config.h promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors;
	struct config *c = NULL;
	int ret = config_parse("f", (const char *)data, size, &c, &errors);

	if (ret == 0) {
		if (errors.n || (!c->npools && !c->kubernetes.here))
			abort();
		for (size_t i = 0; i < c->npools; i++) {
			const struct config_pool *p = &c->pools[i];

			if (!p->name || !p->backend || config_pool_find(c, p->name) != p)
				abort();
			for (size_t j = 0; j < p->nmodels; j++)
				if (!p->models[j].name || strlen(p->models[j].name) > 256)
					abort();
			for (size_t j = 0; j < p->naliases; j++)
				for (size_t k = 0; k < p->aliases[j].ntargets; k++)
					if (!p->aliases[j].targets[k].model)
						abort();
			for (size_t j = 0; j < p->nendpoints; j++)
				if (!p->endpoints[j].host || !p->endpoints[j].port)
					abort();
			if (!p->nendpoints && !p->dns_host && !c->haproxy.socket)
				abort();
		}
		config_free(c);
	} else {
		if (!errors.n)
			abort();
		for (size_t i = 0; i < errors.n; i++) {
			size_t lines = 1;

			for (size_t j = 0; j < size; j++)
				lines += data[j] == '\n' || data[j] == '\r' || data[j] >= 0x80;
			if (errors.items[i].line < 0 || (size_t)errors.items[i].line > lines ||
			    strchr(errors.items[i].text, '\n'))
				abort();
		}
	}
	config_errors_deinit(&errors);
	return 0;
}
