/* discover/kube when memory is short: each reader with its i-th allocation failing, for every i.
 * Nothing crashes, nothing leaks, and what is accepted is what it would have been. */
#include "discover/kube/answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cJSON.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/access.h"
#include "discover/kube/keyset.h"
#include "discover/kube/kubeconfig.h"
#include "discover/kube/query.h"
#include "failmalloc.h"
#include "unit/folder.h"

#define PEM64 "LS0tLS1CRUdJTiBYLS0tLS0K"

/* @f runs once, frees what it made; says what came of it: 0, or that memory was short. */
static void each(int (*f)(void *arg), void *arg)
{
	size_t i = 1;
	long live;
	int r;

	for (;; i++) {
		failmalloc_arm(i);
		r = f(arg);
		if (!failmalloc_disarm(&live))
			break;
		assert_true(r == 0 || r == -ENOMEM);
		assert_int_equal(live, 0);
	}
	assert_int_equal(r, 0);
	assert_true(i > 1);
}

static int parse(void *arg)
{
	struct kubeconfig *k = NULL;
	struct config_errors errors;
	int r = kubeconfig_parse(view_str(arg), "/etc", NULL, &errors, &k);

	if (r == 0 && (strcmp(k->server, "https://h") != 0 || !k->cert.data || !k->token.path))
		r = -EPROTO;
	kubeconfig_free(k);
	config_errors_deinit(&errors);
	return r;
}

static int parse_wrong(void *arg)
{
	struct kubeconfig *k = NULL;
	struct config_errors errors;
	int r = kubeconfig_parse(view_str(arg), "/etc", NULL, &errors, &k);

	/* With an error, or short of memory: never accepted. */
	r = r == -EINVAL ? errors.n ? 0 : -EPROTO : r == -ENOMEM ? r : -EPROTO;
	config_errors_deinit(&errors);
	return r;
}

static void test_kubeconfig(void **state)
{
	(void)state;
	each(parse, "current-context: x\n"
		    "clusters: [{name: c, cluster: {server: 'https://h', tls-server-name: k,"
		    " certificate-authority: ca}}]\n"
		    "contexts: [{name: x, context: {cluster: c, user: u, namespace: n}}]\n"
		    "users: [{name: u, user: {tokenFile: t, token: s, username: a, password: b,"
		    " client-certificate-data: " PEM64 ", client-key-data: " PEM64 "}}]\n");
	each(parse_wrong, "current-context: x\n"
			  "contexts: [{name: x, context: {cluster: d, user: u}}]\n"
			  "users: [{name: u, user: {exec: {}, client-key: x}}]\n");
}

static int open_pod(void *arg)
{
	const struct kube_access_conf conf = {.dir = arg, .host = "::1", .port = "443"};
	struct kube_access *a = NULL;
	struct config_errors errors;
	int r = kube_access_new(&conf, &errors, &a);

	/* A file that could not be read for want of memory is an error like any other. */
	if (r == -EINVAL && errors.n && strstr(errors.items[0].text, "out of memory"))
		r = -ENOMEM;
	if (r == 0) {
		struct kube_credentials c;

		kube_access_get(a, 100 * CLOCK_NS_PER_S, &c);
		if (!c.authorization || strcmp(c.authorization, "Bearer t") != 0 || !c.ca.len)
			r = -EPROTO;
		(void)kube_access_refused(a, c.version, 100 * CLOCK_NS_PER_S);
		kube_access_get(a, 200 * CLOCK_NS_PER_S, &c);
		if (strcmp(c.authorization, "Bearer t") != 0)
			r = -EPROTO;
	}
	kube_access_free(a);
	config_errors_deinit(&errors);
	return r;
}

static int open_kubeconfig(void *arg)
{
	const struct kube_access_conf conf = {.kubeconfig = arg};
	struct kube_access *a = NULL;
	struct config_errors errors;
	int r = kube_access_new(&conf, &errors, &a);

	if (r == -EINVAL && errors.n && strstr(errors.items[0].text, "out of memory"))
		r = -ENOMEM;
	kube_access_free(a);
	config_errors_deinit(&errors);
	return r;
}

static void test_access(void **state)
{
	char path[128];

	(void)state;
	folder_put("token", "t\n");
	folder_put("ca.crt", "-----BEGIN X-----\n");
	folder_put("namespace", "n\n");
	folder_put("config", "current-context: x\n"
			     "clusters: [{name: c, cluster: {server: 'https://h', "
			     "certificate-authority: ca.crt}}]\n"
			     "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
			     "users: [{name: u, user: {username: a, password: b}}]\n");
	each(open_pod, folder);
	snprintf(path, sizeof(path), "%s/config", folder);
	each(open_kubeconfig, path);
}

struct told {
	size_t upserts, removes, unreadable;
	char version[KUBE_VERSION_MAX];
};

static int on_upsert(const struct cJSON *object, const char *namespace, const char *name, void *arg)
{
	(void)object;
	(void)namespace;
	(void)name;
	((struct told *)arg)->upserts++;
	return 0;
}

static void on_remove(const char *namespace, const char *name, void *arg)
{
	(void)namespace;
	(void)name;
	((struct told *)arg)->removes++;
}

static void on_version(const char *version, void *arg)
{
	strcpy(((struct told *)arg)->version, version);
}

static void on_unreadable(const char *why, void *arg)
{
	(void)why;
	((struct told *)arg)->unreadable++;
}

#define OBJECT(name, version)                                                                      \
	"{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}}"

static int answer(void *arg)
{
	static const struct kube_answer_hooks hooks = {on_upsert, on_remove, on_version,
						       on_unreadable};
	enum kube_answer_kind kind = *(enum kube_answer_kind *)arg;
	const char *text =
	    kind == KUBE_ANSWER_WATCH
		? "{\"type\":\"ADDED\",\"object\":" OBJECT(
		      "a", "1") "}\n"
				"{\"type\":\"DELETED\",\"object\":" OBJECT("a", "2") "}\n"
		: "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"x\"},"
		  "\"items\":[" OBJECT("a", "1") "," OBJECT("b", "2") "]}";
	struct told told = {0};
	struct kube_answer a;
	int r = kube_answer_init(&a, kind, 4096, &hooks, &told);

	if (r < 0)
		return r;
	r = kube_answer_feed(&a, view_str(text)) && kube_answer_end(&a) ? 0 : -ENOMEM;
	/* An object that could not be made is told as unreadable, never passed over. */
	if (r == 0 && kind == KUBE_ANSWER_WATCH &&
	    told.upserts + told.removes + told.unreadable != 2)
		r = -EPROTO;
	if (r == 0 && kind == KUBE_ANSWER_LIST &&
	    (told.upserts + told.unreadable != 2 || !a.go_on || strcmp(a.version, "7") != 0))
		r = -EPROTO;
	kube_answer_deinit(&a);
	return r;
}

static void test_answer(void **state)
{
	enum kube_answer_kind kind = KUBE_ANSWER_LIST;

	(void)state;
	each(answer, &kind);
	kind = KUBE_ANSWER_WATCH;
	each(answer, &kind);
}

static void count(const char *namespace, const char *name, void *arg)
{
	(void)namespace;
	(void)name;
	++*(size_t *)arg;
}

/* What folder_put() took is there, and swept once. */
static int keys(void *arg)
{
	struct kube_keyset *s = kube_keyset_new();
	size_t taken = 0, swept = 0;
	int r = s ? 0 : -ENOMEM;

	(void)arg;
	for (int i = 0; s && i < 40; i++) {
		char name[8];

		snprintf(name, sizeof(name), "o%d", i);
		if (kube_keyset_put(s, "ns", name, 1) == 0)
			taken++;
		else
			r = -ENOMEM;
	}
	if (s && kube_keyset_count(s) != taken)
		r = -EPROTO;
	if (s)
		kube_keyset_sweep(s, 2, count, &swept);
	kube_keyset_free(s);
	return swept == taken ? r : -EPROTO;
}

static int queries(void *arg)
{
	char *all[4] = {
	    kube_query_list("/p", KUBE_QUERY_LATEST, "", "a=&b", 5, ""),
	    kube_query_list("/p", KUBE_QUERY_ANY, "", NULL, 5, ""),
	    kube_query_watch("/p", "1", 5, ""),
	    kube_query_selector("k", "a,b"),
	};
	int r = 0;

	(void)arg;
	if (all[0] && strcmp(all[0], "/p?limit=5&continue=a%3D%26b") != 0)
		r = -EPROTO;
	for (size_t i = 0; i < 4; i++) {
		if (!all[i] && r == 0)
			r = -ENOMEM;
		free(all[i]);
	}
	return r;
}

static void test_small(void **state)
{
	(void)state;
	each(keys, NULL);
	each(queries, NULL);
}

static int setup(void **state)
{
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return folder_make(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kubeconfig),
	    cmocka_unit_test(test_access),
	    cmocka_unit_test(test_answer),
	    cmocka_unit_test(test_small),
	};

	return cmocka_run_group_tests(tests, setup, folder_drop);
}
