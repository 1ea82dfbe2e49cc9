/* Whatever a runtime socket may answer: read to the end in bounds, and never taken for a whole
 * answer without its last empty line. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "discover/runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void in_bounds(struct view v, struct view of)
{
	assert(!v.ptr || (v.ptr >= of.ptr && v.ptr + v.len <= of.ptr + of.len));
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
	if (runtime_split(text, &a) == 0)
		assert(size > 1 && (copy[size - 1] == '\n' || copy[size - 1] == '\r'));
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
