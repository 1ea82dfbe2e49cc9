/*
 * serve/health against a listener that says what a table tells it to, in pieces of every size: what
 * counts as well, what does not, and that nobody can keep it waiting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/health.h"

/* Accepts once, reads the request's head, writes @answer in pieces of @piece, closes unless @hold.
 */
struct peer {
	int fd;
	char url[128];
	char path[108];
	const char *answer;
	size_t len, piece;
	bool hold;
	SSL_CTX *tls; /* NULL: plain */
	char request[1024];
	pthread_t thread;
};

static void serve_tls(struct peer *p, int fd)
{
	SSL *ssl = SSL_new(p->tls);

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		SSL_read(ssl, p->request, sizeof(p->request) - 1);
		for (size_t at = 0; at < p->len; at++)
			SSL_write(ssl, p->answer + at, 1);
	}
	SSL_free(ssl);
	close(fd);
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	int fd = accept(p->fd, NULL, NULL);
	size_t have = 0;
	char c;

	if (fd < 0)
		return NULL;
	if (p->tls) {
		serve_tls(p, fd);
		return NULL;
	}
	while (have + 1 < sizeof(p->request) && !strstr(p->request, "\r\n\r\n")) {
		ssize_t n = recv(fd, p->request + have, sizeof(p->request) - 1 - have, 0);

		if (n <= 0)
			break;
		have += (size_t)n;
		p->request[have] = '\0';
	}
	for (size_t at = 0; at < p->len; at += p->piece) {
		size_t n = p->len - at < p->piece ? p->len - at : p->piece;

		if (send(fd, p->answer + at, n, MSG_NOSIGNAL) < 0)
			break;
	}
	if (p->hold)
		while (recv(fd, &c, 1, 0) > 0)
			;
	close(fd);
	return NULL;
}

static void peer_start(struct peer *p, bool local)
{
	if (local) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};

		snprintf(p->path, sizeof(p->path), "/tmp/test_health.%d.sock", (int)getpid());
		memcpy(un.sun_path, p->path, strlen(p->path) + 1);
		unlink(p->path);
		p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(bind(p->fd, (void *)&un, sizeof(un)), 0);
		snprintf(p->url, sizeof(p->url), "unix@%s", p->path);
	} else {
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(in);

		p->fd = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(bind(p->fd, (void *)&in, sizeof(in)), 0);
		assert_int_equal(getsockname(p->fd, (void *)&in, &len), 0);
		snprintf(p->url, sizeof(p->url), "http://127.0.0.1:%d", ntohs(in.sin_port));
	}
	assert_int_equal(listen(p->fd, 1), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_end(struct peer *p)
{
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	if (p->path[0])
		unlink(p->path);
}

static int run(const struct health_options *options, char out[1024], char err[1024])
{
	FILE *o = fmemopen(out, 1024, "w"), *e = fmemopen(err, 1024, "w");
	int r;

	out[0] = err[0] = '\0';
	r = health_ask(options, o, e);
	fclose(o);
	fclose(e);
	return r;
}

static char out[1024], err[1024];

static const char long_line[600] = {[0 ... 598] = 'x'};

static const struct {
	const char *answer;
	size_t len; /* 0: strlen */
	int want;
} answers[] = {
    {"HTTP/1.1 200 OK\r\n\r\nok\n", 0, 0},
    {"HTTP/1.0 200 OK\r\n\r\nok\n", 0, 0},
    {"HTTP/1.1 200\r\n\r\n", 0, 0},
    {"HTTP/1.1 200 \r\n\r\n", 0, 0},
    {"HTTP/1.1 200 OK\n\n", 0, 0},
    {"HTTP/1.1 503 Service Unavailable\r\n\r\n", 0, 1},
    {"HTTP/1.1 404 Not Found\r\n\r\n", 0, 1},
    {"HTTP/1.1 204 No Content\r\n\r\n", 0, 1},
    {"HTTP/1.1 2000 OK\r\n\r\n", 0, 1},
    {"HTTP/1.1 20 OK\r\n\r\n", 0, 1},
    {"HTTP/1.1  200 OK\r\n\r\n", 0, 1},
    {"HTTP/1.1 +20 OK\r\n\r\n", 0, 1},
    {"HTTP/2 200\r\n\r\n", 0, 1},
    {"HTTP/1.x 200 OK\r\n\r\n", 0, 1},
    {"HTTP/1.\n", 0, 1},
    {"HTTP/1.1\n", 0, 1},
    {"HTTP/1.1 \n", 0, 1},
    {"HTTP/1.1 2\n", 0, 1},
    {"HTTP/1.1 20\n", 0, 1},
    {"\n", 0, 1},
    {"\r\n", 0, 1},
    {"200 OK\r\n\r\n", 0, 1},
    {"ok 200\n", 0, 1},
    {"HTTP/1.1 200 OK", 0, 1},
    {"", 0, 1},
    {"HTTP/1.1 2\00000 OK\r\n\r\n", 20, 1},
    {"\000HTTP/1.1 200 OK\r\n\r\n", 20, 1},
    {"\x15\x03\x01\x00\x02\x02\x16", 7, 1},
    {long_line, 599, 1},
};

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		size_t len = answers[i].len ? answers[i].len : strlen(answers[i].answer);
		size_t most = len < 24 ? len : 24;

		for (size_t piece = 1; piece <= most || piece == 1; piece++) {
			struct peer p = {.answer = answers[i].answer, .len = len, .piece = piece};
			struct health_options options = {.url = p.url};
			int r;

			peer_start(&p, i % 2);
			r = run(&options, out, err);
			peer_end(&p);
			if (r != answers[i].want)
				fail_msg("answer %zu in pieces of %zu: %d, %s", i, piece, r, out);
		}
	}
}

/* What the peer says goes to a terminal or a log. */
static void test_unprintable(void **state)
{
	static const char answer[] = "HTTP/1.1 503 \x1b[2J\x07\xff\r\n";
	struct peer p = {.answer = answer, .len = sizeof(answer) - 1, .piece = 64};
	struct health_options options = {.url = p.url};

	(void)state;
	peer_start(&p, false);
	assert_int_equal(run(&options, out, err), 1);
	peer_end(&p);
	assert_non_null(strstr(out, "503 ?[2J??\n"));
}

static void test_path(void **state)
{
	static const struct {
		const char *suffix;
		bool ready;
		const char *want;
	} rows[] = {
	    {"", false, "GET /healthz HTTP/1.0\r\n"},
	    {"/", false, "GET /healthz HTTP/1.0\r\n"},
	    {"", true, "GET /readyz HTTP/1.0\r\n"},
	    {"/a/b?c=d", false, "GET /a/b?c=d HTTP/1.0\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer p = {.answer = "HTTP/1.1 200 OK\r\n\r\n", .len = 19, .piece = 19};
		struct health_options options = {.url = p.url, .ready = rows[i].ready};

		peer_start(&p, false);
		strcat(p.url, rows[i].suffix);
		assert_int_equal(run(&options, out, err), 0);
		peer_end(&p);
		assert_int_equal(strncmp(p.request, rows[i].want, strlen(rows[i].want)), 0);
	}
}

/* Nobody keeps it: no answer, half an answer. The deadline is for all addresses together. */
static void test_silence(void **state)
{
	static const char *const halves[] = {"", "HTTP/1.1 200 OK"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct peer p = {
		    .answer = halves[i], .len = strlen(halves[i]), .piece = 64, .hold = true};
		struct health_options options = {.url = p.url, .timeout_ms = 50};
		uint64_t before = clock_mono_ns();

		peer_start(&p, false);
		assert_int_equal(run(&options, out, err), 1);
		assert_true(clock_mono_ns() - before >= 50 * CLOCK_NS_PER_MS);
		peer_end(&p);
		assert_non_null(strstr(out, "timed out"));
	}
}

static void test_nobody(void **state)
{
	struct health_options options = {.url = "unix@/nonexistent/socket"};

	(void)state;
	assert_int_equal(run(&options, out, err), 1);
	assert_non_null(strstr(out, "No such file"));
}

static void test_bad_urls(void **state)
{
	static const char *const urls[] = {
	    "",
	    "127.0.0.1:80",
	    "https://127.0.0.1",
	    "https:///healthz",
	    "ftp://127.0.0.1:80",
	    "http://",
	    "http:///healthz",
	    "http://:80",
	    "http://127.0.0.1",
	    "http://127.0.0.1:",
	    "http://127.0.0.1:99999",
	    "http://127.0.0.1:80:80",
	    "http://example.net:80",
	    "http://127.0.0.1:80/a b",
	    "http://127.0.0.1:80/a\r\nX: y",
	    "unix@",
	    "unix@relative",
	};
	char longest[1024] = "http://127.0.0.1:80/";

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct health_options options = {.url = urls[i]};

		if (run(&options, out, err) != 2)
			fail_msg("\"%s\" was taken", urls[i]);
		assert_non_null(strstr(err, "is wanted"));
	}
	memset(longest + strlen(longest), 'a', 600);
	assert_int_equal(run(&(struct health_options){.url = longest}, out, err), 2);
}

/* A certificate made out to somebody else. */
static SSL_CTX *server_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const void *)"example.net", -1, -1,
				   0);
	X509_set_issuer_name(cert, name);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return context;
}

static void secure_url(char url[136], const struct peer *p)
{
	snprintf(url, 136, "https://%.120s", p->url + strlen("http://"));
}

static void test_tls(void **state)
{
	static const char *const said[] = {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n",
					   ""};
	SSL_CTX *context = server_context();

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct peer p = {.answer = said[i], .len = strlen(said[i]), .tls = context};
		char url[136];
		struct health_options options = {.url = url, .timeout_ms = 60000};

		peer_start(&p, false);
		secure_url(url, &p);
		assert_int_equal(run(&options, out, err), i > 0);
		peer_end(&p);
		assert_int_equal(strncmp(p.request, "GET /healthz ", 13), 0);
	}
	SSL_CTX_free(context);
}

/* TLS to one who does not speak it, the other way round, and to one who says nothing. */
static void test_tls_mismatch(void **state)
{
	SSL_CTX *context = server_context();
	struct peer plain = {.answer = "HTTP/1.1 200 OK\r\n\r\n\r\n\r\n", .len = 23, .piece = 23};
	struct peer tls = {.answer = plain.answer, .len = 23, .tls = context};
	char url[136];
	struct health_options options = {.url = url, .timeout_ms = 300};

	(void)state;
	peer_start(&plain, false);
	secure_url(url, &plain);
	assert_int_equal(run(&options, out, err), 1);
	peer_end(&plain);
	peer_start(&tls, false);
	options.url = tls.url;
	assert_int_equal(run(&options, out, err), 1);
	peer_end(&tls);
	SSL_CTX_free(context);
}

static void write_config(char *path, const char *admin)
{
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fprintf(f,
		"listen:\n  admin: [%s]\n  admin_open: true\npools:\n  llama:\n    endpoints: "
		"['127.0.0.1:1']\n",
		admin);
	fclose(f);
}

/* Every address of the file is asked until one is well; who listens everywhere, by loopback. */
static void test_file(void **state)
{
	struct peer p = {.answer = "HTTP/1.1 200 OK\r\n\r\n", .len = 19, .piece = 19};
	char path[] = "/tmp/test_health.XXXXXX", admin[256];
	struct health_options options = {.file = path};

	(void)state;
	peer_start(&p, false);
	snprintf(admin, sizeof(admin), "unix@/nonexistent/socket, '0.0.0.0%s'",
		 strrchr(p.url, ':'));
	write_config(path, admin);
	assert_int_equal(run(&options, out, err), 0);
	peer_end(&p);
	assert_int_equal(run(&options, out, err), 1);
	unlink(path);
	assert_string_equal(err, "");
}

/* A file spoilt after the start does not make the agent ill: the default address is asked. */
static void test_bad_file(void **state)
{
	char path[] = "/tmp/test_health.XXXXXX";
	struct health_options options = {.file = path};

	(void)state;
	write_config(path, "not an address");
	run(&options, out, err);
	unlink(path);
	assert_non_null(strstr(err, path));
	assert_non_null(strstr(err, "asking the agent that runs"));
	assert_non_null(strstr(out, "127.0.0.1:9015"));
	run(&options, out, err);
	assert_non_null(strstr(err, "No such file"));
	assert_non_null(strstr(out, "127.0.0.1:9015"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers), cmocka_unit_test(test_unprintable),
	    cmocka_unit_test(test_path),    cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_tls),     cmocka_unit_test(test_tls_mismatch),
	    cmocka_unit_test(test_nobody),  cmocka_unit_test(test_bad_urls),
	    cmocka_unit_test(test_file),    cmocka_unit_test(test_bad_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
