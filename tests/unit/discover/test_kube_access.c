/* discover/kube/access and kubeconfig: what is accepted and what it means, what is refused and
 * where, files that rotate under our feet. */
#include "discover/kube/access.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/kubeconfig.h"
#include "unit/folder.h"

#define S CLOCK_NS_PER_S

#define PEM_A "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
#define PEM_B "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"
/* Base64 of "-----BEGIN X-----\n". */
#define PEM64 "LS0tLS1CRUdJTiBYLS0tLS0K"

#define CLUSTER                                                                                    \
	"clusters:\n- name: c\n  cluster:\n    server: https://k8s.example:6443/\n"                \
	"contexts:\n- name: x\n  context: {cluster: c, user: u, namespace: n}\n"                   \
	"current-context: x\n"

static const struct {
	const char *text, *context;
	const char *error; /* "line:col: text", the first; NULL: accepted */
} cases[] = {
    {CLUSTER "users:\n- name: u\n  user: {token: t}\n", NULL, NULL},
    {CLUSTER "users:\n- name: u\n  user: {}\n", NULL, NULL},
    {"apiVersion: v1\nkind: Config\npreferences: {}\n" CLUSTER
     "users:\n- name: u\n  user: {token: t, unheard-of: [1]}\n",
     NULL, NULL},
    /* What other contexts hold is not ours. */
    {CLUSTER "users:\n- name: w\n  user: {exec: {command: x}}\n- name: u\n  user: {token: t}\n",
     NULL, NULL},
    {"{\"current-context\":\"x\",\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":"
     "\"https:\\/\\/[::1]:6443\",\"certificate-authority-data\":\"" PEM64 "\"}}],"
     "\"contexts\":[{\"name\":\"x\",\"context\":{\"cluster\":\"c\",\"user\":\"u\"}}],"
     "\"users\":[{\"name\":\"u\",\"user\":{\"token\":\"t\"}}]}",
     NULL, NULL},
    {CLUSTER "users:\n- name: u\n  user:\n    client-certificate-data: " PEM64
	     "\n    client-key-data: >\n      " PEM64 "\n",
     NULL, NULL},

    {"", NULL, "0:0: this is no kubeconfig: it has no contexts, clusters and users"},
    {"- a\n", NULL, "0:0: this is no kubeconfig: it has no contexts, clusters and users"},
    {"---", NULL, "0:0: this is no kubeconfig"},
    {"a: [\n", NULL, "2:1: no YAML: "},
    {"users: []\n", NULL, "1:1: no current-context is set: name a context"},
    {"current-context: ''\n", NULL, "1:1: no current-context is set"},
    {"current-context: x\n", NULL, "1:18: there is no context \"x\" among `contexts`"},
    {CLUSTER, "xy", "1:1: there is no context \"xy\" among `contexts`: did you mean \"x\"?"},
    {CLUSTER, NULL, "7:31: there is no user \"u\" among `users`"},
    {"current-context: x\ncontexts:\n- name: x\n", NULL,
     "3:9: contexts[0]: there is no `context:` in it"},
    {"current-context: x\ncontexts: {x: 1}\n", NULL,
     "1:18: there is no context \"x\" among `contexts`"},
    {"current-context: x\ncontexts: {x: 1}\n", NULL, "2:11: contexts: a map stands where a list"},
    {"current-context: x\ncontexts:\n- name: x\n  context: {user: u}\n", NULL,
     "4:12: contexts[0].context: it names no cluster"},
    {CLUSTER "users:\n- name: u\n  user:\n    exec:\n      command: aws\n", NULL,
     "13:7: users[0].user: exec: a program would have to be started for each token"},
    {CLUSTER "users:\n- name: u\n  user:\n    auth-provider: {name: gcp}\n", NULL,
     "12:20: users[0].user: auth-provider: kubectl's plug-ins"},
    {CLUSTER "users:\n- name: u\n  user: {as: root, token: t}\n", NULL,
     "11:14: users[0].user: as: impersonation is not done here"},
    {CLUSTER "users:\n- name: u\n  user: {username: a}\n", NULL,
     "11:20: users[0].user: username without password"},
    {CLUSTER "users:\n- name: u\n  user: {password: a}\n", NULL,
     "11:20: users[0].user: password without username"},
    {CLUSTER "users:\n- name: u\n  user: {username: 'a:b', password: c}\n", NULL,
     "11:20: users[0].user: username: a colon"},
    {CLUSTER "users:\n- name: u\n  user: {token: \"a\\nb\"}\n", NULL,
     "11:17: users[0].user: token: control characters"},
    {CLUSTER "users:\n- name: u\n  user: {token: [a]}\n", NULL,
     "11:17: users[0].user: token: a list stands where a single value belongs"},
    {CLUSTER "users:\n- name: u\n  user: {client-certificate: a}\n", NULL,
     "11:30: users[0].user: a client certificate without its key"},
    {CLUSTER "users:\n- name: u\n  user: {client-key-data: " PEM64 "}\n", NULL,
     "11:27: users[0].user: a client key without its certificate"},
    {CLUSTER "users:\n- name: u\n  user: {client-key-data: a-b, client-certificate: x}\n", NULL,
     "11:27: users[0].user: client-key-data: this is no base64"},
    {CLUSTER "users:\n- name: u\n  user: {client-key-data: AAAA, client-certificate: x}\n", NULL,
     "11:27: users[0].user: client-key-data: this is base64, but of no PEM"},

#define AROUND(cluster)                                                                            \
	"current-context: x\ncontexts:\n- {name: x, context: {cluster: c}}\n"                      \
	"clusters:\n- name: c\n  cluster: {" cluster "}\n"
    {AROUND("server: 'https://h:1'"), NULL, NULL},
    {AROUND("server: 'http://127.0.0.1:8001'"), NULL, NULL},
    {AROUND("server: 'https://h/k8s/clusters/c-1//'"), NULL, NULL},
    {AROUND(""), NULL, "6:12: clusters[0].cluster: there is no server"},
    {AROUND("server: 'h:6443'"), NULL, "6:21: clusters[0].cluster: server: \"h:6443\": a server"},
    {AROUND("server: 'https://'"), NULL, "6:21: clusters[0].cluster: server: \"https://\": there"},
    {AROUND("server: 'https://u@h'"), NULL, "6:21: clusters[0].cluster: server: \"https://u@h\":"},
    {AROUND("server: 'https://h/?a'"), NULL, "6:21: clusters[0].cluster: server: \"https://h/?a"},
    {AROUND("server: \"https://h\\0\""), NULL, "6:21: clusters[0].cluster: server: "},
    {AROUND("server: 'https://h', proxy-url: 'http://p'"), NULL,
     "6:45: clusters[0].cluster: proxy-url: proxies are not used here"},
    {AROUND("server: 'https://h', proxy-url: ''"), NULL, NULL},
    {AROUND("server: 'https://h', insecure-skip-tls-verify: true, certificate-authority: a"), NULL,
     "6:89: clusters[0].cluster: a certificate authority beside insecure-skip-tls-verify"},
    {AROUND("server: 'https://h', insecure-skip-tls-verify: maybe"), NULL,
     "6:60: clusters[0].cluster: insecure-skip-tls-verify: \"maybe\" is neither"},
    {AROUND("server: 'https://h', certificate-authority-data: '!'"), NULL,
     "6:62: clusters[0].cluster: certificate-authority-data: this is no base64"},
};

static void test_kubeconfig(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config_errors errors;
		struct kubeconfig *k = NULL;
		int r = kubeconfig_parse(view_str(cases[i].text), "/etc/k", cases[i].context,
					 &errors, &k);
		bool told = false;

		if (!cases[i].error) {
			if (errors.n)
				print_error("case %zu: %d:%d: %s\n", i, errors.items[0].line,
					    errors.items[0].col, errors.items[0].text);
			assert_int_equal(r, 0);
			assert_int_equal(errors.n, 0);
			kubeconfig_free(k);
		} else {
			assert_int_equal(r, -EINVAL);
			for (size_t j = 0; j < errors.n; j++) {
				char line[512];

				snprintf(line, sizeof(line), "%d:%d: %s", errors.items[j].line,
					 errors.items[j].col, errors.items[j].text);
				if (strncmp(line, cases[i].error, strlen(cases[i].error)) == 0)
					told = true;
				else if (j + 1 == errors.n && !told)
					print_error("case %zu: %s\n", i, line);
			}
			assert_true(told);
		}
		config_errors_deinit(&errors);
	}
}

/* Every cut of a good file is refused or means something, and never crashes. */
static void test_cut(void **state)
{
	static const char text[] =
	    CLUSTER "users:\n- name: u\n  user: {token: t, client-key-data: " PEM64
		    ", client-certificate-data: " PEM64 "}\n";

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		struct config_errors errors;
		struct kubeconfig *k = NULL;
		char *copy = malloc(len + 1);

		memcpy(copy, text, len);
		if (kubeconfig_parse((struct view){copy, len}, NULL, NULL, &errors, &k) == 0)
			assert_string_equal(k->server, "https://k8s.example:6443");
		else
			assert_true(errors.n > 0);
		kubeconfig_free(k);
		config_errors_deinit(&errors);
		free(copy);
	}
}

static struct kube_access *open_kubeconfig(const char *text)
{
	struct kube_access_conf conf = {.kubeconfig = folder_path("config")};
	struct kube_access *a = NULL;
	struct config_errors errors;
	int r;

	folder_put("config", text);
	r = kube_access_new(&conf, &errors, &a);
	config_errors_print(&errors, "config", stderr);
	config_errors_deinit(&errors);
	assert_int_equal(r, 0);
	return a;
}

static void test_meaning(void **state)
{
	struct kube_credentials c;
	struct kube_access *a;

	(void)state;
	a = open_kubeconfig(
	    "current-context: x\n"
	    "clusters: [{name: c, cluster: {server: 'https://h:6443/', tls-server-name: k,"
	    " certificate-authority-data: " PEM64 "}}]\n"
	    "contexts: [{name: x, context: {cluster: c, user: u, namespace: n}}]\n"
	    "users: [{name: u, user: {token: t, username: a, password: b}}]\n");
	kube_access_get(a, 5 * S, &c);
	assert_string_equal(c.url, "https://h:6443");
	assert_string_equal(c.authorization, "Bearer t");
	assert_string_equal(c.server_name, "k");
	assert_true(view_eq(c.ca, VIEW_LIT("-----BEGIN X-----\n")));
	assert_null(c.cert.ptr);
	assert_null(c.key.ptr);
	assert_false(c.insecure);
	assert_string_equal(kube_access_namespace(a), "n");
	assert_string_equal(kube_access_name(a), "x");
	assert_string_equal(kube_access_server(a), "https://h:6443");
	kube_access_free(a);

	/* RFC 7617's example. */
	a = open_kubeconfig("current-context: x\n"
			    "clusters: [{name: c, cluster: {server: 'https://h', "
			    "insecure-skip-tls-verify: true}}]\n"
			    "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
			    "users: [{name: u, user: {username: Aladdin, "
			    "password: open sesame}}]\n");
	kube_access_get(a, 5 * S, &c);
	assert_string_equal(c.authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	assert_true(c.insecure);
	assert_null(kube_access_namespace(a));
	kube_access_free(a);

	/* Files beside the kubeconfig; data has the last word over them but for tokens. */
	folder_put("ca", PEM_A);
	folder_put("tok", "from-file\n");
	a = open_kubeconfig("current-context: x\n"
			    "clusters: [{name: c, cluster: {server: 'https://h', "
			    "certificate-authority: ca}}]\n"
			    "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
			    "users: [{name: u, user: {tokenFile: ./tok, token: t, client-key: none,"
			    " client-key-data: " PEM64 ", client-certificate: ca}}]\n");
	kube_access_get(a, 5 * S, &c);
	assert_string_equal(c.authorization, "Bearer from-file");
	assert_true(view_eq(c.ca, VIEW_LIT(PEM_A)));
	assert_true(view_eq(c.cert, VIEW_LIT(PEM_A)));
	assert_true(view_eq(c.key, VIEW_LIT("-----BEGIN X-----\n")));
	kube_access_free(a);
}

static void refused(const struct kube_access_conf *conf, const char *wanted)
{
	struct kube_access *a = NULL;
	struct config_errors errors;
	char line[512];

	assert_int_equal(kube_access_new(conf, &errors, &a), -EINVAL);
	assert_null(a);
	assert_int_equal(errors.n, 1);
	snprintf(line, sizeof(line), "%d:%d: %s", errors.items[0].line, errors.items[0].col,
		 errors.items[0].text);
	if (!strstr(line, wanted))
		print_error("%s\n", line);
	assert_non_null(strstr(line, wanted));
	config_errors_deinit(&errors);
}

static void test_files_missing(void **state)
{
	struct kube_access_conf conf = {.kubeconfig = folder_path("none")};

	(void)state;
	refused(&conf, "0:0: it cannot be used: there is no such file");
	conf.kubeconfig = folder;
	refused(&conf, "0:0: it cannot be used: it is no file");
	folder_put("config", AROUND("server: 'https://h', certificate-authority: gone"));
	conf.kubeconfig = folder_path("config");
	refused(&conf, "6:57: ");
	refused(&conf, "gone cannot be used: there is no such file");
	folder_put("gone", "no pem");
	refused(&conf, "gone cannot be used: there is no PEM text in it");

	conf = (struct kube_access_conf){.host = "", .port = "443", .dir = folder};
	refused(&conf, "this is no pod");
	conf.host = "10.0.0.1";
	conf.port = "65536";
	refused(&conf, "this is no pod");
	conf.port = "443";
	unlink(folder_path("ca.crt"));
	folder_put("token", "t");
	refused(&conf, "/ca.crt cannot be used: there is no such file: a pod has it unless");
	folder_put("ca.crt", PEM_A);
	folder_put("token", " \n");
	refused(&conf, "/token cannot be used: it is empty");
	folder_put("token", "a\r\nX-Evil: 1\n");
	refused(&conf, "/token cannot be used: white space or control characters");
}

static struct kube_access *open_pod(const char *host)
{
	struct kube_access_conf conf = {.dir = folder, .host = host, .port = "6443"};
	struct kube_access *a = NULL;
	struct config_errors errors;

	assert_int_equal(kube_access_new(&conf, &errors, &a), 0);
	config_errors_deinit(&errors);
	return a;
}

static void test_pod(void **state)
{
	static const struct {
		const char *host, *url;
	} hosts[] = {
	    {"10.96.0.1", "https://10.96.0.1:6443"},
	    {"fd00::1", "https://[fd00::1]:6443"},
	    {"[fd00::1]", "https://[fd00::1]:6443"},
	    {"kubernetes.default.svc", "https://kubernetes.default.svc:6443"},
	};

	(void)state;
	folder_put("ca.crt", PEM_A);
	folder_put("token", "one\n");
	folder_put("namespace", "inference");
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct kube_access *a = open_pod(hosts[i].host);

		assert_string_equal(kube_access_server(a), hosts[i].url);
		assert_string_equal(kube_access_namespace(a), "inference");
		assert_string_equal(kube_access_name(a), "service account");
		kube_access_free(a);
	}
	/* What a pod's environment says. */
	setenv("KUBERNETES_SERVICE_HOST", "::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "7443", 1);
	{
		struct kube_access_conf conf = {.dir = folder};
		struct kube_access *a = NULL;
		struct config_errors errors;

		assert_int_equal(kube_access_new(&conf, &errors, &a), 0);
		assert_string_equal(kube_access_server(a), "https://[::1]:7443");
		kube_access_free(a);
		config_errors_deinit(&errors);
	}
	unsetenv("KUBERNETES_SERVICE_HOST");
	unsetenv("KUBERNETES_SERVICE_PORT");
}

/* The kubelet swaps a link: the old and the new have other inodes. */
static void test_rotation(void **state)
{
	struct kube_credentials c;
	struct kube_access *a;
	uint64_t version;

	(void)state;
	folder_put("ca.crt", PEM_A);
	folder_put("token", "one");
	a = open_pod("h");
	kube_access_get(a, 100 * S, &c);
	assert_string_equal(c.authorization, "Bearer one");
	version = c.version;
	folder_swap("token", "two\n");
	/* Within the same second nobody looks. */
	kube_access_get(a, 100 * S + S / 2, &c);
	assert_string_equal(c.authorization, "Bearer one");
	kube_access_get(a, 101 * S, &c);
	assert_string_equal(c.authorization, "Bearer two");
	assert_true(c.version != version);
	/* A 401 to what came before has its answer already; to this it has none yet. */
	assert_true(kube_access_refused(a, version, 101 * S));
	version = c.version;
	assert_false(kube_access_refused(a, version, 101 * S));
	/* At once after a 401. */
	folder_swap("token", "three");
	assert_true(kube_access_refused(a, version, 101 * S));
	kube_access_get(a, 101 * S, &c);
	assert_string_equal(c.authorization, "Bearer three");
	/* A CA that is renewed, and a token that is gone, empty, a folder: what was stays. */
	folder_swap("ca.crt", PEM_B);
	unlink(folder_path("token"));
	kube_access_get(a, 103 * S, &c);
	assert_true(view_eq(c.ca, VIEW_LIT(PEM_B)));
	assert_string_equal(c.authorization, "Bearer three");
	folder_put("token", "");
	kube_access_get(a, 105 * S, &c);
	assert_string_equal(c.authorization, "Bearer three");
	version = c.version;
	folder_swap("token", "three");
	kube_access_get(a, 107 * S, &c);
	assert_int_equal(c.version, version);
	/* Written over with the times kept: seen within the minute. */
	{
		struct stat st;
		FILE *f;

		assert_int_equal(stat(folder_path("token"), &st), 0);
		f = fopen(folder_path("token"), "r+");
		fputs("THREE", f);
		fclose(f);
		kube_access_get(a, 107 * S + 1, &c);
		assert_string_equal(c.authorization, "Bearer three");
		kube_access_get(a, 170 * S, &c);
		assert_string_equal(c.authorization, "Bearer THREE");
	}
	kube_access_free(a);
}

static int setup(void **state)
{
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return folder_make(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kubeconfig), cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_meaning),    cmocka_unit_test(test_files_missing),
	    cmocka_unit_test(test_pod),        cmocka_unit_test(test_rotation),
	};

	return cmocka_run_group_tests(tests, setup, folder_drop);
}
