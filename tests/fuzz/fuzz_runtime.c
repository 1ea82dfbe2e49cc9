/* Whatever a runtime socket may answer: read to the end in bounds, never taken for a whole answer
 * without its last empty line, and applied to a small roster twice: the second time changes
 * nothing. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "discover/census.h"
#include "discover/runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void in_bounds(struct view v, struct view of)
{
	assert(!v.ptr || (v.ptr >= of.ptr && v.ptr + v.len <= of.ptr + of.len));
}

static void apply(const struct runtime_answer *a)
{
	static struct config_pool pools[] = {{.name = "llama", .backend = "llama"},
					     {.name = "b", .backend = "b"}};
	struct endpoints *e = endpoints_new(16);
	struct roster *r = roster_new(e, NULL);
	bool changed;

	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	for (int i = 0; i < 2; i++)
		roster_options(r, roster_group(r, ROSTER_HAPROXY, pools[i].backend, pools[i].name),
			       &pools[i], false);
	if (census_apply(r, e, a->servers, a->stat, &changed) == 0) {
		struct group *g;

		for (g = roster_groups(r); g; g = g->hh.next)
			for (size_t i = 0; i < g->n; i++)
				assert(roster_at(r, g->members[i]->place.slot) == g->members[i]);
		assert(census_apply(r, e, a->servers, a->stat, &changed) == 0);
		assert(!changed);
		roster_reap(r);
	}
	roster_free(r);
	endpoints_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own, so that the sanitizer sees a byte too far. */
	char *copy = malloc(size ? size : 1);
	struct view text = {copy, size}, rest = text;
	struct runtime_answer a;
	struct runtime_info info;
	struct runtime_table t;
	struct runtime_server server;
	struct runtime_stat stat;
	struct runtime_map map;
	struct runtime_pair pair;

	assert(copy);
	if (size)
		memcpy(copy, data, size);
	if (runtime_split(text, &a) == 0) {
		apply(&a);
		assert(size > 1 && (copy[size - 1] == '\n' || copy[size - 1] == '\r'));
	}
	in_bounds(a.info, text);
	in_bounds(a.error, text);
	if (a.info.ptr && runtime_info(a.info, &info) == 0)
		in_bounds(info.version, text);
	if (a.servers.ptr && runtime_servers(a.servers, &t) == 0)
		while (runtime_servers_next(&t, &server) > 0) {
			in_bounds(server.backend, text);
			in_bounds(server.server, text);
			in_bounds(server.fqdn, text);
			assert(server.backend.len && server.server.len);
		}
	if (a.stat.ptr && runtime_stats(a.stat, &t) == 0)
		while (runtime_stats_next(&t, &stat) > 0) {
			in_bounds(stat.backend, text);
			in_bounds(stat.status, text);
		}
	while (runtime_maps_next(&rest, &map)) {
		in_bounds(map.path, text);
		assert(map.path.len);
	}
	rest = text;
	while (runtime_pairs_next(&rest, &pair)) {
		in_bounds(pair.key, text);
		in_bounds(pair.value, text);
	}
	rest = text;
	(void)runtime_whole(&rest);
	assert(runtime_prepared(text) >= -EPROTO);
	free(copy);
	return 0;
}
