/* What list and watch say, in pages, in pieces, too late, not readable: the reflector is in step
 * all the same. */
#include "discover/kube/reflector.h"

#include "unit/discover/reflected.h"

static void test_plain(void **state)
{
	struct reflected *w = reflected_new();
	const struct kube_reflector_status *s;
	char wanted[256];

	(void)state;
	reflected_populate(w, 50);
	reflected_start(w, reflected_conf());
	assert_int_equal(API_GET(w->api, nasked), 0);
	reflected_run(w, reflected_same);
	assert_int_equal(w->begins, 1);
	assert_int_equal(w->syncs, 1);
	assert_int_equal(w->upserts, 50);
	assert_int_equal(w->odd, 0);
	assert_int_equal(API_GET(w->api, lists), 8); /* pages of 7 */
	assert_string_equal(reflected_asked(w, "", 0),
			    "/apis/inference.networking.k8s.io/v1/inferencepools"
			    "?limit=7&resourceVersion=0");
	assert_string_equal(reflected_asked(w, "", 1),
			    "/apis/inference.networking.k8s.io/v1/inferencepools"
			    "?limit=7&continue=1050.7");
	snprintf(wanted, sizeof(wanted), "&resourceVersion=1050");
	assert_non_null(
	    strstr(reflected_asked(w, "watch=true&allowWatchBookmarks=true", 0), wanted));
	s = kube_reflector_status(w->r);
	assert_true(s->synced);
	assert_int_equal(s->objects, 50);
	assert_int_equal(s->failures, 0);
	assert_int_equal(s->last.failure, KUBE_OK);
	assert_true(s->in_step_ns > 0);

	api_event(w->api, 'M', 3, NULL);
	api_event(w->api, 'D', 4, NULL);
	api_event(w->api, 'A', 60, NULL);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 1);
	assert_int_equal(API_GET(w->api, watches), 1);
	/* A bookmark is where the next watch begins. */
	api_event(w->api, 'B', 0, NULL);
	snprintf(wanted, sizeof(wanted), "%ld", API_GET(w->api, version));
	for (int i = 0; i < 5000 && strcmp(kube_reflector_status(w->r)->version, wanted) != 0; i++)
		reflected_pass(w, 2);
	snprintf(wanted, sizeof(wanted), "resourceVersion=%ld", API_GET(w->api, version));
	api_cut(w->api);
	api_event(w->api, 'M', 5, NULL);
	reflected_run(w, reflected_same);
	assert_int_equal(API_GET(w->api, watches), 2);
	assert_int_equal(API_GET(w->api, clocks), 1);
	assert_non_null(strstr(reflected_asked(w, "watch=true", 1), wanted));
	assert_int_equal(w->begins, 1);
	reflected_free(w);
}

static void test_url(void **state)
{
	struct reflected *w = reflected_new();
	struct kube_reflector_conf conf = reflected_conf();

	(void)state;
	conf.resource = (struct kube_resource){"", "v1", "pods"};
	conf.namespace = "my-ns";
	conf.label_selector = "app in (a,b),c!=d e";
	conf.field_selector = "metadata.name=x";
	reflected_start(w, conf);
	reflected_run(w, reflected_same);
	api_cut(w->api);
	reflected_run(w, reflected_same);
	assert_string_equal(reflected_asked(w, "", 0),
			    "/api/v1/namespaces/my-ns/pods?limit=7&resourceVersion=0"
			    "&labelSelector=app%20in%20%28a%2Cb%29%2Cc%21%3Dd%20e"
			    "&fieldSelector=metadata.name%3Dx");
	assert_non_null(strstr(reflected_asked(w, "watch=true", 0),
			       "&labelSelector=app%20in%20%28a%2Cb%29%2Cc%21%3Dd%20e"
			       "&fieldSelector=metadata.name%3Dx"));
	conf.namespace = "../../x";
	assert_null(kube_reflector_new(w->client, &conf, &(struct kube_reflector_hooks){0}, NULL));
	reflected_free(w);
}

/* Chunks of one byte, of seven. */
static void test_chunks(void **state)
{
	(void)state;
	for (unsigned chunk = 1; chunk < 40; chunk = chunk * 3 + 1) {
		struct reflected *w = reflected_new();

		reflected_populate(w, 20);
		w->api->chunk = chunk;
		reflected_start(w, reflected_conf());
		reflected_run(w, reflected_same);
		for (int i = 0; i < 20; i++)
			api_event(w->api, i % 2 ? 'D' : 'M', i, NULL);
		reflected_run(w, reflected_same);
		assert_int_equal(API_GET(w->api, watches), 1);
		reflected_free(w);
	}
}

/* History is gone while we were away: what vanished is told, what stayed is not. */
static void test_expired(void **state)
{
	(void)state;
	for (int as_event = 0; as_event < 2; as_event++) {
		struct reflected *w = reflected_new();
		char wanted[64];

		reflected_populate(w, 30);
		w->api->expired_as_event = as_event;
		reflected_start(w, reflected_conf());
		reflected_run(w, reflected_same);
		snprintf(wanted, sizeof(wanted), "?resourceVersion=%ld", API_GET(w->api, version));
		api_event(w->api, 'D', 5, NULL);
		reflected_run(w, reflected_same);
		API_WITH(w->api, w->api->held[6] = w->api->held[7] = 0;
			 w->api->held[8] = ++w->api->version);
		api_compact(w->api);
		api_cut(w->api);
		reflected_run(w, reflected_same);
		assert_int_equal(w->removes, 3);
		assert_int_equal(w->syncs, 2);
		assert_int_equal(API_GET(w->api, expired), 1);
		/* From the server's cache, no older than what was seen. */
		snprintf(wanted, sizeof(wanted), "?resourceVersion=1031");
		assert_non_null(reflected_asked(w, wanted, 0));
		reflected_free(w);
	}
}

/* Pages that expire while they are read: again, then without pages. */
static void test_pages_expire(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 30);
	w->api->pages_expire = true;
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	assert_int_equal(w->syncs, 1);
	assert_int_equal(w->removes, 0);
	assert_int_equal(API_GET(w->api, expired), 2);
	assert_non_null(reflected_asked(w, "?limit=7&resourceVersion=0", 0));
	assert_non_null(reflected_asked(w, "?limit=7&resourceVersion=", 1));
	assert_non_null(reflected_asked(w, "inferencepools?resourceVersion=", 0));
	reflected_free(w);
}

/* A server from a backup: its versions are those of the past. */
static void test_time_goes_back(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 30);
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	w->trusting = true;
	API_WITH(w->api, w->api->version = 1010; w->api->oldest = 1000; w->api->nevents = 0;
		 for (int i = 10; i < 30; i++) w->api->held[i] = 0);
	api_cut(w->api);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 20);
	assert_non_null(reflected_asked(w, "limit=7&resourceVersion=", 1));
	/* And it is in step with what happens from now on. */
	api_event(w->api, 'A', 12, NULL);
	reflected_run(w, reflected_same);
	assert_int_equal(w->went_back, 1);
	reflected_free(w);
}

/* The same seen by the list itself: it does not know a version so late. */
static void test_version_from_the_future(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 10);
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	w->trusting = true;
	API_WITH(w->api, w->api->version = 900; w->api->oldest = 5000; w->api->nevents = 0;
		 w->api->held[3] = 0; w->api->list_status = 410; w->api->list_times = 1;
		 w->api->watch_status = 410; w->api->watch_times = 1);
	api_cut(w->api);
	/* The clock says 410 once, the list is asked for by our version: too new. */
	reflected_pass(w, 50);
	API_WITH(w->api, w->api->oldest = 0);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 1);
	assert_non_null(reflected_asked(w, "?resourceVersion=1010", 0));
	assert_non_null(reflected_asked(w, "?limit=7&resourceVersion=", 1));
	assert_int_equal(w->went_back, 1);
	reflected_free(w);
}

/* A past that never was, and the server has got to our version again: nothing of this kind shows
 * it, and who is told so by another kind lists anew, whatever it is doing. */
static void test_distrust(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 10);
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	w->trusting = true;
	/* It watches. */
	API_WITH(w->api, w->api->held[3] = 0);
	kube_reflector_distrust(w->r);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 1);
	assert_int_equal(w->syncs, 2);
	assert_int_equal(w->went_back, 0);
	api_event(w->api, 'M', 1, NULL);
	reflected_run(w, reflected_same);
	/* It lists, or waits for its turn: once is enough. */
	API_WITH(w->api, w->api->held[4] = 0);
	for (int i = 0; i < 3; i++)
		kube_reflector_distrust(w->r);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 2);
	assert_int_equal(w->syncs, 3);
	/* It waits before it tries again, and would go on with a watch. */
	API_WITH(w->api, w->api->held[5] = 0; w->api->watch_status = 503; w->api->watch_times = 3;
		 w->api->list_status = 503; w->api->list_times = 3);
	api_cut(w->api);
	reflected_pass(w, 5);
	kube_reflector_distrust(w->r);
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 3);
	reflected_free(w);
}

/* What cannot be read is left as it was, in a list and in a watch. */
static void test_unreadable(void **state)
{
	static char large[6000];
	static const char *const items[] = {"{\"metadata\":{\"namespace\":\"ns\"}}",
					    "{\"metadata\":{\"name\":7}}",
					    "{]",
					    "{}",
					    "{\"a\":nul}",
					    "{\"metadata\":{\"name\":\"\"}}",
					    large};
	struct reflected *w;

	(void)state;
	snprintf(large, sizeof(large),
		 "{\"metadata\":{\"name\":\"o0\",\"namespace\":\"ns\","
		 "\"resourceVersion\":\"1\"},\"x\":\"%05000d\"}",
		 1);
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		struct kube_reflector_conf conf = reflected_conf();
		char event[8000];

		conf.max_object = 4000;
		w = reflected_new();
		reflected_populate(w, 20);
		reflected_start(w, conf);
		reflected_run(w, reflected_same);
		/* In a watch: passed over. */
		snprintf(event, sizeof(event), "{\"type\":\"MODIFIED\",\"object\":%s}\n", items[i]);
		api_event(w->api, 'X', 0, event);
		api_event(w->api, 'M', 1, NULL);
		reflected_run(w, reflected_same);
		assert_int_equal(kube_reflector_status(w->r)->refused, 1);
		/* In a list: o0 is held still, and so is o3, since who knows what that was. */
		API_WITH(w->api, w->api->item = items[i]; w->api->held[3] = 0;
			 w->api->held[4] = ++w->api->version);
		api_compact(w->api);
		api_cut(w->api);
		for (int j = 0; j < 5000 && w->syncs < 2; j++)
			reflected_pass(w, 2);
		assert_int_equal(w->syncs, 2);
		assert_int_equal(w->removes, 0);
		assert_true(w->held[3] && w->held[0]);
		/* It is mended, and listed again. */
		API_WITH(w->api, w->api->item = NULL);
		api_compact(w->api);
		api_cut(w->api);
		reflected_run(w, reflected_same);
		assert_int_equal(w->removes, 1);
		reflected_free(w);
	}
}

/* Events that are none, an ERROR that says nothing we know: asked again, in step again. */
static void test_odd_events(void **state)
{
	static const char *const events[] = {
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500}}\n",
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":429}}\n",
	    "{\"type\":\"ERROR\"}\n",
	    "{\"type\":\"ERROR\",\"object\":null}",
	    "{\"type\":\"SURPRISE\",\"object\":{}}\n",
	    "{\"object\":{\"metadata\":{\"name\":\"o1\"}}}",
	    "{\"type\":\"ADDED\",\"object\":[]}",
	    "{\"type\":\"DELETED\",\"object\":{}}",
	    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"\"}}}",
	    "this is no JSON at all",
	    "{\"type\":\"ADDED\"",
	    "[]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct reflected *w = reflected_new();

		reflected_populate(w, 9);
		reflected_start(w, reflected_conf());
		reflected_run(w, reflected_same);
		api_event(w->api, 'X', 0, events[i]);
		reflected_pass(w, 10);
		API_WITH(w->api, w->api->nevents = 0);
		api_cut(w->api);
		api_event(w->api, 'M', 1, NULL);
		api_event(w->api, 'D', 2, NULL);
		reflected_run(w, reflected_same);
		assert_int_equal(w->removes, 1);
		reflected_free(w);
	}
}

/* A list that ends after 0, 1, 2, … bytes, then a watch that does. */
static void test_cut_everywhere(void **state)
{
	(void)state;
	for (int watch = 0; watch < 2; watch++) {
		struct reflected *w = reflected_new();
		struct kube_reflector_conf conf = reflected_conf();

		conf.retry_max_ms = 1;
		reflected_populate(w, 3);
		API_WITH(w->api, *(watch ? &w->api->watch_cut : &w->api->list_cut) = 0;
			 w->api->cut_step = 1);
		reflected_start(w, conf);
		if (watch) {
			/* Each watch has an event to tell. */
			for (int i = 0; i < 450; i++) {
				int before = API_GET(w->api, watches);

				api_event(w->api, i % 3 == 2 ? 'D' : 'M', i % 9, NULL);
				kube_reflector_hurry(w->r);
				for (int j = 0; j < 1000 && API_GET(w->api, watches) == before; j++)
					reflected_pass(w, 2);
			}
			API_WITH(w->api, w->api->watch_cut = -1);
		}
		reflected_run(w, reflected_same);
		if (!watch) {
			assert_true(w->begins > 400);
			assert_int_equal(w->syncs, 1);
			assert_int_equal(w->removes, 0);
		} else {
			assert_int_equal(w->begins, 1);
			assert_true(API_GET(w->api, watches) > 400);
		}
		assert_int_equal(w->odd, 0);
		reflected_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_url),
	    cmocka_unit_test(test_chunks),
	    cmocka_unit_test(test_expired),
	    cmocka_unit_test(test_pages_expire),
	    cmocka_unit_test(test_time_goes_back),
	    cmocka_unit_test(test_version_from_the_future),
	    cmocka_unit_test(test_distrust),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_odd_events),
	    cmocka_unit_test(test_cut_everywhere),
	};

	return cmocka_run_group_tests(tests, reflected_setup, folder_drop);
}
