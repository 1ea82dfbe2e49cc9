/* Who a server is and who we are, by certificates given as bytes: net/http against TLS of the
 * test's own. */
#include "net/http.h"

#include <signal.h>

#include "unit/folder.h"
#include "unit/net/secure.h"
#include "unit/net/stream.h"

static struct view pem(const char *name)
{
	static char text[8][8192];
	static int turn;
	char *out = text[turn++ % 8];
	size_t n;
	FILE *f;

	f = fopen(folder_path(name), "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(text[0]), f);
	fclose(f);
	return (struct view){out, n};
}

static void test_tls(void **state)
{
	struct secure *s = secure_start(folder, true, stream_echo, NULL);
	const struct http_tls good = {pem("ca.crt"), pem("client.crt"), pem("client.key"),
				      "kubernetes"};
	char v4[64], name[64], host[64], where[64], ca[128];
	const struct {
		struct http_tls tls;
		const char *url, *ca_file, *connect_to;
		bool insecure;
		enum http_error error; /* HTTP_TLS: or a cut, which TLS 1.3 makes of a refusal */
	} cases[] = {
	    {good, v4, NULL, NULL, false, HTTP_OK},
	    /* Without the name the address counts, and it is not in the certificate. */
	    {{good.ca, good.cert, good.key, NULL}, v4, NULL, NULL, false, HTTP_TLS},
	    {{good.ca, good.cert, good.key, NULL}, v4, NULL, NULL, true, HTTP_OK},
	    {{good.ca, good.cert, good.key, NULL}, name, NULL, where, false, HTTP_OK},
	    {{good.ca, good.cert, good.key, "127.0.0.2"}, v4, NULL, NULL, false, HTTP_OK},
	    {{good.ca, good.cert, good.key, "kubernetes.default"}, v4, NULL, NULL, false, HTTP_TLS},
	    /* The CA: another, the system's, from a file. */
	    {{pem("other.crt"), good.cert, good.key, "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    {{VIEW_NULL, good.cert, good.key, "kubernetes"}, v4, NULL, NULL, false, HTTP_TLS},
	    {{VIEW_NULL, good.cert, good.key, "kubernetes"}, v4, ca, NULL, false, HTTP_OK},
	    {{VIEW_LIT("no PEM"), good.cert, good.key, "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    /* The client's: none, another's, half of it, nonsense. */
	    {{good.ca, VIEW_NULL, VIEW_NULL, "kubernetes"}, v4, NULL, NULL, false, HTTP_TLS},
	    {{good.ca, pem("other.crt"), pem("other.key"), "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    {{good.ca, good.cert, pem("other.key"), "kubernetes"}, v4, NULL, NULL, false, HTTP_TLS},
	    {{good.ca, VIEW_LIT("x"), VIEW_LIT("y"), "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	};

	(void)state;
	snprintf(v4, sizeof(v4), "https://127.0.0.1:%u/x", s->peer->port);
	snprintf(name, sizeof(name), "https://kubernetes:%u/x", s->peer->port);
	snprintf(where, sizeof(where), "127.0.0.1:%u", s->peer->port);
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", s->peer->port);
	snprintf(ca, sizeof(ca), "%s/ca.crt", folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stream o = {0};
		struct http_request req = stream_request(cases[i].url);

		req.tls = cases[i].tls;
		req.ca_file = cases[i].ca_file;
		req.connect_to = cases[i].connect_to;
		req.tls_verify = !cases[i].insecure;
		stream_begin(&o, &req, i % 2);
		if (cases[i].error == HTTP_OK) {
			if (o.error != HTTP_OK)
				fail_msg("case %zu: %s", i, o.detail);
			assert_int_equal(o.told_status, 200);
			/* Host is the URL's, whatever the certificate is called. */
			if (cases[i].url == v4)
				assert_non_null(strstr(o.body, host));
		} else if (o.error != HTTP_TLS && o.error != HTTP_PROTOCOL) {
			fail_msg("case %zu: %s", i, http_error_name(o.error));
		}
		stream_end(&o);
	}
	/* One client, two identities: a kept connection is not lent to somebody else. */
	{
		struct stream o = {.base = event_base_new()};
		struct http_request req = stream_request(v4);

		o.c = http_client_new(o.base, 4);
		s->certified = 0;
		req.tls = good;
		for (int i = 0; i < 3; i++) {
			req.tls.cert = i == 1 ? VIEW_NULL : good.cert;
			req.tls.key = i == 1 ? VIEW_NULL : good.key;
			free(o.body);
			o.body = NULL;
			assert_int_equal(http_send(o.c, &req, stream_done, &o, NULL), 0);
			event_base_dispatch(o.base);
			assert_int_equal(o.error == HTTP_OK, i != 1);
		}
		assert_int_equal(s->certified, 1); /* and the first is reused by the third */
		stream_end(&o);
	}
	secure_stop(s);
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	return folder_make(state) == 0 ? secure_certificates(folder) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tls),
	};

	return cmocka_run_group_tests(tests, setup, folder_drop);
}
