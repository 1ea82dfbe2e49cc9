/*
 * Decisions where rules lead: a snapshot made by hand, requests as HAProxy sends them (a NOTIFY
 * frame with host, path, method and hdrs), the answer as the ACK frame says it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discover/snapshot.h"
#include "serve/answer.h"
#include "serve/arguments.h"
#include "serve/decide.h"
#include "spop/client.h"
#include "spop/session.h"

#define FRAME_MAX 65536
#define SLOTS     8

enum { FILE_POOL, LLAMA, PHI, CANARY, LLAMA_SOME, NPOOLS };

static struct {
	struct pool pools[NPOOLS];
	struct pool_endpoint endpoints[SLOTS];
	uint32_t slots[SLOTS];
	struct snapshot snapshot;
	struct decide_conf conf;
	struct endpoints *live;
	_Atomic uint32_t cursors[NPOOLS];
	struct spop_session session;
	struct decision decision;
	uint64_t chance;
} t;

static void add_pool(unsigned i, char *name, uint32_t first, uint32_t n)
{
	t.pools[i] = (struct pool){
	    .name = name,
	    .backend = name,
	    .stat = i,
	    .policy = policy_find(VIEW_LIT("least-loaded")),
	    .retry_after = 7,
	    .known = true,
	    .n = n,
	    .endpoints = &t.endpoints[first],
	    .slots = &t.slots[first],
	};
}

#define V(s)                                                                                       \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}
#define MODEL(s)                                                                                   \
	{                                                                                          \
		V("X-Gateway-Model-Name"), V(s)                                                    \
	}
#define BASE(s)                                                                                    \
	{                                                                                          \
		V("x-gateway-base-model-name"), V(s)                                               \
	}
#define TO(...)                                                                                    \
	(const struct rule_backend[])                                                              \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define WANT(...)                                                                                  \
	(const struct rule_header[])                                                               \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule_def rules[] = {
    {.headers = WANT(MODEL("llama")), 1, TO({LLAMA, 1}), 1, V("ns/llama"), .timeout_ms = 300000},
    {.headers = WANT(BASE("phi")), 1, TO({PHI, 1}), 1, V("ns/phi")},
    {.headers = WANT(MODEL("split")), 1, TO({LLAMA, 90}, {CANARY, 10}, {PHI, 0}), 3, V("ns/split")},
    {.headers = WANT(MODEL("lost")), 1, TO({-1, 1}), 1, V("ns/lost")},
    {.host = V("any.example.com"), .backends = TO({PHI, 1}), 1, V("ns/any")},
    {.host = V("any.example.com"),
     .path_type = RULE_PATH_EXACT,
     .path = V("/v1/embeddings"),
     .backends = TO({CANARY, 1}),
     1,
     V("ns/exact")},
    {.host = V("any.example.com"), .method = V("GET"), .backends = TO({LLAMA, 1}), 1, V("ns/get")},
    {.host = V("*.wild.example.com"),
     .headers = WANT({V("X-Tier"), V("gold")}),
     1,
     TO({LLAMA, 1}),
     1,
     V("ns/gold")},
};

static int set_up(void **state)
{
	static const struct route_def routes[] = {
	    {.model = V("filed"), .base = V("filed"), .pool = FILE_POOL, .stat = 1, .weight = 1},
	    {.model = V("phi-file-lora"),
	     .base = V("phi"),
	     .pool = FILE_POOL,
	     .stat = 2,
	     .weight = 1},
	    {.model = V("alias"),
	     .target = V("filed"),
	     .base = V("filed"),
	     .pool = FILE_POOL,
	     .stat = 3,
	     .weight = 1},
	};
	static const struct route_def models[] = {
	    /* Written down, then told by servers. */
	    {.model = V("ski"), .pool = SNAPSHOT_NO_POOL, .base = V("phi"), .stat = 4},
	    {.model = V("ski"), .pool = PHI, .base = V("another"), .stat = 4, .weight = 1},
	    {.model = V("llama"), .pool = LLAMA, .base = V("llama"), .stat = 5, .weight = 1},
	    {.model = V("llama-lora"), .pool = CANARY, .base = V("llama"), .stat = 6, .weight = 1},
	    {.model = V("split"), .pool = CANARY, .base = V("split"), .stat = 7, .weight = 1},
	    {.model = V("split"), .pool = LLAMA_SOME, .base = V("split"), .stat = 7, .weight = 1},
	};
	struct spop_hello hello = {.versions = SPOP_VIEW_LIT("2.0"), .max_frame_size = FRAME_MAX};
	struct spop_fault fault;
	struct spop_input in;
	uint8_t buf[512];
	static char names[SLOTS][4];

	(void)state;
	memset(&t, 0, sizeof(t));
	t.live = endpoints_new(SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		snprintf(names[i], sizeof(names[i]), "s%u", i);
		t.slots[i] = t.endpoints[i].slot = (uint32_t)endpoint_alloc(t.live);
		t.endpoints[i].server = t.endpoints[i].name = names[i];
	}
	add_pool(FILE_POOL, "file", 0, 1);
	add_pool(LLAMA, "llama", 1, 2);
	add_pool(PHI, "phi", 3, 1);
	add_pool(CANARY, "canary", 4, 1);
	add_pool(LLAMA_SOME, "", 2, 1);
	t.pools[LLAMA_SOME].name = t.pools[LLAMA].name;
	t.pools[LLAMA_SOME].backend = t.pools[LLAMA].backend;
	t.snapshot = (struct snapshot){
	    .npools = NPOOLS,
	    .nwhole = LLAMA_SOME,
	    .pools = t.pools,
	    .routes = route_table_new(routes, sizeof(routes) / sizeof(routes[0])),
	    .models = route_table_new(models, sizeof(models) / sizeof(models[0])),
	    .rules = rules_new(rules, sizeof(rules) / sizeof(rules[0])),
	    .default_pool = -1,
	    .ready = true,
	};
	t.conf = (struct decide_conf){.limits = {.max_depth = 512, .cut_margin = 16384}};
	spop_session_init(&t.session, FRAME_MAX);
	assert_true(spop_session_receive(&t.session, buf,
					 spop_hello_write(buf, sizeof(buf), &hello), &in,
					 &fault) > 0);
	assert_true(spop_session_write_hello(&t.session, buf, sizeof(buf)) > 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	route_table_free(t.snapshot.routes);
	route_table_free(t.snapshot.models);
	rules_free(t.snapshot.rules);
	endpoints_free(t.live);
	return 0;
}

struct request_given {
	const char *model; /* NULL: no body */
	const char *host, *path, *method;
	const char *header, *value; /* in hdrs; NULL: hdrs is not sent */
	const char *body;           /* instead of one with @model */
};

static void add_text(struct spop_notify_builder *b, const char *name, const char *value)
{
	if (value)
		spop_notify_add_arg(b, spop_view_str(name), spop_value_str(spop_view_str(value)));
}

static size_t write_notify(const struct request_given *g, uint8_t *buf, size_t cap)
{
	struct spop_notify_builder b;
	char body[512] = "", hdrs[256];
	size_t n = 0;
	int args =
	    (g->host != NULL) + (g->path != NULL) + (g->method != NULL) + (g->header != NULL) + 1;

	if (g->model)
		snprintf(body, sizeof(body), "{\"model\":\"%s\",\"messages\":[]}", g->model);
	else if (g->body)
		snprintf(body, sizeof(body), "%s", g->body);
	spop_notify_begin(&b, buf, cap, 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), (unsigned)args);
	add_text(&b, "host", g->host);
	add_text(&b, "path", g->path);
	add_text(&b, "method", g->method);
	if (g->header) {
		n += (size_t)snprintf(hdrs + n, sizeof(hdrs) - n, "%c%s", (int)strlen(g->header),
				      g->header);
		n += (size_t)snprintf(hdrs + n, sizeof(hdrs) - n, "%c%s", (int)strlen(g->value),
				      g->value);
		memcpy(hdrs + n, "\0\0", 2);
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("hdrs"),
				    spop_value_bin(spop_view_of(hdrs, n + 2)));
	}
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"),
			    spop_value_bin(spop_view_of(body, strlen(body))));
	return spop_notify_end(&b);
}

/* The variables of the ACK in its order, as name=value. */
static void read_ack(const uint8_t *ack, size_t len, char *text, size_t size)
{
	struct spop_client client;
	struct spop_client_input in;
	struct spop_fault fault;
	struct spop_action v;
	size_t at = 0;
	uint8_t hello[512];

	spop_client_init(&client, FRAME_MAX - 4, 0, false);
	{
		struct spop_session s;
		struct spop_input got;
		uint8_t back[512];
		size_t n = spop_client_write_hello(&client, hello, sizeof(hello), "e");

		spop_session_init(&s, FRAME_MAX);
		assert_true(spop_session_receive(&s, hello, n, &got, &fault) > 0);
		n = spop_session_write_hello(&s, back, sizeof(back));
		assert_true(spop_client_receive(&client, back, n, &in, &fault) > 0);
	}
	assert_true(spop_client_receive(&client, ack, len, &in, &fault) > 0);
	assert_int_equal(in.event, SPOP_CLIENT_EV_ACK);
	text[0] = '\0';
	while (spop_actions_next(&in.actions, &v)) {
		struct spop_view bytes = spop_value_bytes(&v.value);
		int64_t number;

		if (spop_value_integer(&v.value, &number) == 0)
			at += (size_t)snprintf(text + at, size - at, "%.*s=%lld ", (int)v.name.len,
					       (const char *)v.name.ptr, (long long)number);
		else
			at += (size_t)snprintf(text + at, size - at, "%.*s=%.*s ", (int)v.name.len,
					       (const char *)v.name.ptr, (int)bytes.len,
					       (const char *)bytes.ptr);
	}
}

static const char *ask(const struct request_given *g)
{
	static char text[1024];
	struct decide_env env = {.conf = &t.conf,
				 .snapshot = &t.snapshot,
				 .endpoints = t.live,
				 .cursors = t.cursors,
				 .chance = t.chance};
	uint8_t frame[2048], ack[1024];
	size_t n = write_notify(g, frame, sizeof(frame));
	struct arguments args;
	struct reply reply;
	struct spop_fault fault;
	struct spop_input in;

	assert_true(n > 0);
	assert_true(spop_session_receive(&t.session, frame, n, &in, &fault) > 0);
	arguments_read(&args, &in.notify, FRAME_MAX);
	decide(&env, &args.input, &args.where, &t.decision);
	assert_true(answer_begin(&reply, &t.decision, UINT32_MAX, 1, 1, ack, sizeof(ack)));
	n = answer_end(&reply, 0);
	assert_true(n > 0);
	read_ack(ack, n, text, sizeof(text));
	return text;
}

static void rules_lead(void **state)
{
	static const struct {
		struct request_given given;
		const char *answer;
	} table[] = {
	    /* by model, whatever the host; the timeout is told */
	    {{.model = "llama", .host = "x", .path = "/v1/chat/completions", .method = "POST"},
	     "verdict=routed status=0 model=llama base_model=llama backend=llama route=ns/llama "
	     "timeout=300000 server=s1 server2=s2 "},
	    /* HAProxy may send none of them */
	    {{.model = "llama"},
	     "verdict=routed status=0 model=llama base_model=llama backend=llama route=ns/llama "
	     "timeout=300000 server=s1 server2=s2 "},
	    /* the base that was written down, not the one that a server tells */
	    {{.model = "ski"},
	     "verdict=routed status=0 model=ski base_model=phi backend=phi route=ns/phi "
	     "server=s3 "},
	    /* a model that nobody knows is its own base, when a rule says so */
	    {{.model = "phi"},
	     "verdict=routed status=0 model=phi backend=phi route=ns/phi server=s3 "},
	    /* the base of a model of the file */
	    {{.model = "phi-file-lora"},
	     "verdict=routed status=0 model=phi-file-lora base_model=phi backend=phi "
	     "route=ns/phi server=s3 "},
	    /* no rule: the file's pools, aliases and rewriting as ever */
	    {{.model = "alias", .host = "x", .path = "/", .method = "POST"},
	     "verdict=routed status=0 model=alias base_model=filed target_model=filed "
	     "rewrite_at=10 rewrite_len=5 backend=file server=s0 "},
	    /* known to a rule's pool, but no rule matches */
	    {{.model = "llama-lora", .host = "x"},
	     "verdict=model_not_found status=404 model=llama-lora "},
	    {{.model = "nobody"}, "verdict=model_not_found status=404 model=nobody "},
	    /* a reference that leads nowhere, not the next rule */
	    {{.model = "lost"}, "verdict=no_endpoint status=503 model=lost route=ns/lost "},
	    /* by host; case and port do not count */
	    {{.model = "nobody", .host = "ANY.Example.com:8443", .path = "/x", .method = "POST"},
	     "verdict=routed status=0 model=nobody backend=phi route=ns/any server=s3 "},
	    /* an exact path, without its query */
	    {{.model = "nobody",
	      .host = "any.example.com",
	      .path = "/v1/embeddings?a=/b",
	      .method = "POST"},
	     "verdict=routed status=0 model=nobody backend=canary route=ns/exact server=s4 "},
	    {{.model = "nobody",
	      .host = "any.example.com",
	      .path = "/v1/embeddings/",
	      .method = "POST"},
	     "verdict=routed status=0 model=nobody backend=phi route=ns/any server=s3 "},
	    /* without a body */
	    {{.host = "any.example.com", .path = "/health", .method = "GET"},
	     "verdict=routed status=0 backend=llama route=ns/get server=s1 server2=s2 "},
	    {{.host = "any.example.com", .path = "/health", .method = "HEAD"},
	     "verdict=routed status=0 backend=phi route=ns/any server=s3 "},
	    {{.host = "other.example.com", .path = "/health", .method = "GET"},
	     "verdict=no_model status=0 "},
	    /* a body without a model */
	    {{.host = "any.example.com", .path = "/x", .method = "POST", .body = "{\"prompt\":1}"},
	     "verdict=routed status=0 backend=phi route=ns/any server=s3 "},
	    /* what is wrong stays wrong */
	    {{.host = "any.example.com", .path = "/x", .method = "POST", .body = "{\"model\":1}"},
	     "verdict=bad_request status=400 "},
	    /* headers */
	    {{.model = "m",
	      .host = "a.wild.example.com",
	      .path = "/",
	      .method = "POST",
	      .header = "x-tier",
	      .value = "gold"},
	     "verdict=routed status=0 model=m backend=llama route=ns/gold server=s1 server2=s2 "},
	    {{.model = "m", .host = "a.wild.example.com", .header = "x-tier", .value = "Gold"},
	     "verdict=model_not_found status=404 model=m "},
	    {{.model = "m", .host = "a.wild.example.com"},
	     "verdict=model_not_found status=404 model=m "},
	    {{.model = "m", .host = "wild.example.com", .header = "x-tier", .value = "gold"},
	     "verdict=model_not_found status=404 model=m "},
	    /* what a client says about the model in a header is nothing */
	    {{.model = "nobody", .header = "x-gateway-model-name", .value = "llama"},
	     "verdict=model_not_found status=404 model=nobody "},
	};

	(void)state;
	/* s1 before s2, s0 … alone in their pools. */
	endpoint_observe(t.live, t.slots[2], 0, 5, 0, 0, 1);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *said = ask(&table[i].given);

		if (strcmp(said, table[i].answer) != 0)
			fail_msg("case %zu: %s\n  instead of %s", i, said, table[i].answer);
	}
}

/* By weight; and in a pool where only some servers have the model, those. */
static void shares(void **state)
{
	struct request_given g = {.model = "split"};
	unsigned llama = 0, canary = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		t.chance = t.chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		ask(&g);
		assert_int_equal(t.decision.verdict, VERDICT_ROUTED);
		if (t.decision.pool == &t.pools[LLAMA_SOME])
			llama++;
		else if (t.decision.pool == &t.pools[CANARY])
			canary++;
	}
	assert_int_equal(llama + canary, 10000);
	assert_in_range(canary, 800, 1200);
}

static void nobody_there(void **state)
{
	struct request_given g = {.model = "llama"};

	(void)state;
	endpoint_set_flags(t.live, t.slots[1], 0, ENDPOINT_DRAIN);
	assert_string_equal(ask(&g),
			    "verdict=routed status=0 model=llama base_model=llama backend=llama "
			    "route=ns/llama timeout=300000 server=s2 ");
	endpoint_set_flags(t.live, t.slots[2], 0, ENDPOINT_DRAIN);
	assert_string_equal(ask(&g),
			    "verdict=no_endpoint status=503 retry_after=7 model=llama "
			    "base_model=llama backend=llama route=ns/llama timeout=300000 ");
}

/* A default pool is for what no rule takes. */
static void default_pool(void **state)
{
	struct request_given none = {.host = "other", .path = "/", .method = "GET"};
	struct request_given unknown = {.model = "nobody"};

	(void)state;
	t.snapshot.default_pool = FILE_POOL;
	assert_string_equal(ask(&none), "verdict=no_model status=0 ");
	t.conf.no_model_reject = true;
	assert_string_equal(ask(&none), "verdict=model_not_found status=404 ");
	t.conf.no_model_reject = false;
	t.conf.no_model_default = true;
	assert_string_equal(ask(&none), "verdict=routed status=0 backend=file server=s0 ");
	assert_string_equal(ask(&unknown), "verdict=model_not_found status=404 model=nobody ");
	t.conf.unknown_default = true;
	assert_string_equal(ask(&unknown),
			    "verdict=routed status=0 model=nobody backend=file server=s0 ");
}

/* Until the first plan nothing can be said, not even of a request without a model. */
static void not_ready(void **state)
{
	struct request_given get = {.path = "/", .method = "GET"}, post = {.model = "nobody"};
	struct rules *all = t.snapshot.rules;

	(void)state;
	t.snapshot.rules = NULL;
	t.snapshot.ready = false;
	t.snapshot.awaited = true;
	t.conf.no_model_reject = true;
	assert_string_equal(ask(&get), "verdict=no_model status=0 error=255 ");
	assert_string_equal(ask(&post), "verdict=no_model status=0 error=255 model=nobody ");
	t.snapshot.awaited = false;
	assert_string_equal(ask(&get), "verdict=model_not_found status=404 ");
	t.snapshot.rules = all;
}

/* A pool whose servers never said what they have may have it; not when they are away on purpose. */
static void silent_pool(void **state)
{
	struct request_given post = {.model = "nobody"}, get = {.path = "/", .method = "GET"};
	struct rules *all = t.snapshot.rules;

	(void)state;
	t.snapshot.rules = NULL;
	t.pools[PHI].untold = true;
	assert_string_equal(ask(&post), "verdict=no_endpoint status=503 model=nobody ");
	assert_string_equal(ask(&get), "verdict=no_model status=0 ");
	endpoint_set_flags(t.live, t.slots[3], 0, ENDPOINT_DOWN);
	assert_string_equal(ask(&post), "verdict=no_endpoint status=503 model=nobody ");
	endpoint_set_flags(t.live, t.slots[3], 0, ENDPOINT_DOWN | ENDPOINT_MAINT);
	assert_string_equal(ask(&post), "verdict=model_not_found status=404 model=nobody ");
	/* Its name has not been resolved yet. */
	t.pools[PHI].n = 0;
	assert_string_equal(ask(&post), "verdict=no_endpoint status=503 model=nobody ");
	t.pools[PHI].untold = false;
	assert_string_equal(ask(&post), "verdict=model_not_found status=404 model=nobody ");
	t.snapshot.rules = all;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(rules_lead, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(shares, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(nobody_there, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(default_pool, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(not_ready, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(silent_pool, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
