/*
 * The administration port with real sockets: its loop in a thread of its own, clients here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "serve/admin.h"

#define PATIENCE_MS 20000
#define BIG         3000000

struct rig {
	char dir[64], cert[96], key[96], token[96], address[160];
	char *addresses[1];
	struct config conf;
	struct event_base *base;
	struct event *stop, *reload;
	struct admin *admin;
	pthread_t thread;
	struct admin_counts counts; /* at the last order */
	int wake[2], done[2];
	uint16_t port;
	bool tls, is_unix;
};

/* --- pages --- */

static int write_small(void *arg, FILE *out)
{
	(void)arg;
	fputs("small\n", out);
	return 200;
}

static int write_big(void *arg, FILE *out)
{
	(void)arg;
	for (int i = 0; i < BIG / 10; i++)
		fputs("012345678\n", out);
	return 200;
}

static int write_down(void *arg, FILE *out)
{
	(void)arg;
	fputs("down\n", out);
	return 503;
}

static const struct admin_page pages[] = {
    {"/small", "text/plain", write_small, false},
    {"/big", "text/plain", write_big, false},
    {"/healthz", "text/plain", write_small, true},
    {"/readyz", "text/plain", write_down, true},
    {NULL, NULL, NULL, false},
};

/* --- the server --- */

static void on_order(evutil_socket_t fd, short what, void *arg)
{
	struct rig *r = arg;
	char order;

	(void)what;
	if (read(fd, &order, 1) != 1 || order == 'q') {
		event_base_loopbreak(r->base);
		return;
	}
	admin_reload(r->admin, &r->conf);
	r->counts = admin_counts(r->admin);
	assert_int_equal(write(r->done[1], "k", 1), 1);
}

static void *run(void *arg)
{
	struct rig *r = arg;

	event_base_dispatch(r->base);
	return NULL;
}

static void order(struct rig *r, char what)
{
	char ok;

	assert_int_equal(write(r->wake[1], &what, 1), 1);
	if (what != 'q')
		assert_int_equal(read(r->done[0], &ok, 1), 1);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* A certificate of its own for @name. */
static void write_certificate(struct rig *r, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	FILE *f;

	assert_non_null(key);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	f = fopen(r->cert, "w");
	assert_true(f && PEM_write_X509(f, cert));
	fclose(f);
	f = fopen(r->key, "w");
	assert_true(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static struct rig *prepare(bool tls, const char *token, bool is_unix)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	strcpy(r->dir, "/tmp/test-admin-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->cert, sizeof(r->cert), "%s/cert", r->dir);
	snprintf(r->key, sizeof(r->key), "%s/key", r->dir);
	snprintf(r->token, sizeof(r->token), "%s/token", r->dir);
	if (tls) {
		write_certificate(r, "first");
		r->conf.listen.admin_cert = r->cert;
		r->conf.listen.admin_key = r->key;
	}
	if (token) {
		write_file(r->token, token);
		r->conf.listen.admin_token_file = r->token;
	}
	r->tls = tls && !is_unix;
	r->is_unix = is_unix;
	r->conf.limits.admin_connections = 8;
	r->conf.timeouts.admin_ms = PATIENCE_MS;
	r->addresses[0] = r->address;
	r->conf.listen.admin = (struct config_list){1, r->addresses};
	assert_int_equal(pipe(r->wake), 0);
	assert_int_equal(pipe(r->done), 0);
	r->base = event_base_new();
	return r;
}

static void start(struct rig *r)
{
	/* A port that is free now may be taken in a moment: try others. */
	for (int i = 0; i < 20 && !r->admin; i++) {
		if (r->is_unix) {
			snprintf(r->address, sizeof(r->address), "unix@%s/admin", r->dir);
		} else {
			struct sockaddr_in any = {.sin_family = AF_INET};
			socklen_t len = sizeof(any);
			int fd = socket(AF_INET, SOCK_STREAM, 0);

			any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
			assert_int_equal(bind(fd, (void *)&any, len), 0);
			assert_int_equal(getsockname(fd, (void *)&any, &len), 0);
			close(fd);
			r->port = ntohs(any.sin_port);
			snprintf(r->address, sizeof(r->address), "127.0.0.1:%u", r->port);
		}
		r->admin = admin_new(r->base, &r->conf, pages, r);
	}
	assert_non_null(r->admin);
	r->stop = event_new(r->base, r->wake[0], EV_READ | EV_PERSIST, on_order, r);
	event_add(r->stop, NULL);
	assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static struct rig *rig_new(bool tls, const char *token)
{
	struct rig *r = prepare(tls, token, false);

	start(r);
	return r;
}

static void rig_free(struct rig *r)
{
	if (r->admin) {
		order(r, 'q');
		pthread_join(r->thread, NULL);
		event_free(r->stop);
		admin_free(r->admin);
	}
	event_base_free(r->base);
	unlink(r->cert);
	unlink(r->key);
	unlink(r->token);
	assert_int_equal(rmdir(r->dir), 0);
	for (int i = 0; i < 2; i++) {
		close(r->wake[i]);
		close(r->done[i]);
	}
	free(r);
}

/* --- clients --- */

static int dial(const struct rig *r)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(r->port)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int fd = socket(r->is_unix ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->address + strlen("unix@"));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(r->is_unix ? connect(fd, (void *)&un, sizeof(un))
				    : connect(fd, (void *)&in, sizeof(in)),
			 0);
	return fd;
}

static char *read_all(int fd, SSL *ssl)
{
	size_t len = 0, room = 1 << 16;
	char *text = malloc(room + 1);
	ssize_t n;

	while ((n = ssl ? SSL_read(ssl, text + len, (int)(room - len))
			: recv(fd, text + len, room - len, 0)) > 0) {
		len += (size_t)n;
		if (len == room)
			text = realloc(text, (room *= 2) + 1);
	}
	if (!ssl)
		assert_int_equal(n, 0); /* an end, not a reset */
	else
		assert_int_equal(SSL_get_error(ssl, (int)n), SSL_ERROR_ZERO_RETURN);
	text[len] = '\0';
	return text;
}

/* What is answered to the bytes of @text; @name: whose certificate it was. */
static char *say(const struct rig *r, const void *text, size_t len, char name[64])
{
	SSL_CTX *context = r->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
	SSL *ssl = context ? SSL_new(context) : NULL;
	int fd = dial(r);
	char *said;

	if (ssl) {
		SSL_set_fd(ssl, fd);
		assert_int_equal(SSL_connect(ssl), 1);
		if (name) {
			X509 *cert = SSL_get1_peer_certificate(ssl);

			X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
						  64);
			X509_free(cert);
		}
		assert_int_equal(SSL_write(ssl, text, (int)len), (int)len);
	} else {
		assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
	}
	said = read_all(fd, ssl);
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return said;
}

static int status_of(const char *said)
{
	assert_true(strncmp(said, "HTTP/1.1 ", 9) == 0);
	return atoi(said + 9);
}

static const char *body_of(const char *said)
{
	const char *end = strstr(said, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static void expect(const struct rig *r, const char *request, int status, const char *has)
{
	char *said = say(r, request, strlen(request), NULL);

	if (status_of(said) != status || (has && !strstr(said, has)))
		print_error("to %.200s:\n%.400s\n", request, said);
	assert_int_equal(status_of(said), status);
	assert_true(!has || strstr(said, has));
	free(said);
}

/* --- tests --- */

static const struct {
	const char *request;
	int status;
	const char *has;
} plain_cases[] = {
    {"GET /small HTTP/1.1\r\nHost: a\r\n\r\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small HTTP/1.0\r\n\r\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small HTTP/1.1\n\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small?a=b?c HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET http://other/small HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET HTTPS://other:1/small?x HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET /readyz HTTP/1.1\r\n\r\n", 503, "down\n"},
    {"GET / HTTP/1.1\r\n\r\n", 200, "/small\n/big\n"},
    {"GET /nothing HTTP/1.1\r\n\r\n", 404, "/small\n"},
    {"GET /small/ HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET //small HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /x/../small HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /%73mall HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /small%00 HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /SMALL HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET http://other HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET ftp://other/small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET * HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small#x HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /sm\x01ll HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /sm\xc3\xa4ll HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET  /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small  HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.2\r\n\r\n", 505, NULL},
    {"GET /small HTTP/2.0\r\n\r\n", 505, NULL},
    {"GET /small http/1.1\r\n\r\n", 400, NULL},
    {"G\x7fT /small HTTP/1.1\r\n\r\n", 400, NULL},
    {" GET /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"\r\n\r\n", 400, NULL},
    {"\n\nGET /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL},
    {"\x16\x03\x01\x02\n\n", 400, NULL},
    {"GET /small HTTP/1.1\r\nA : b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\n a: b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\nno colon\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\n: b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: b\rc\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: \x01\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: \xff\t\xfe \r\nb:\r\n\r\n", 200, NULL},
    {"POST /small HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 405, "Allow: GET, HEAD\r\n"},
    {"DELETE /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"get /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"OPTIONS /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"TRACE /small HTTP/1.1\r\nCookie: secret\r\n\r\n", 405, NULL},
    {"PROPFIND /none HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n\r\n", 405, NULL},
};

static void test_requests(void **state)
{
	struct rig *r = rig_new(false, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(plain_cases) / sizeof(plain_cases[0]); i++)
		expect(r, plain_cases[i].request, plain_cases[i].status, plain_cases[i].has);
	rig_free(r);
}

static void test_nul_is_no_end(void **state)
{
	static const char request[] = "GET /small\0x HTTP/1.1\r\n\r\n";
	struct rig *r = rig_new(false, NULL);
	char *said = say(r, request, sizeof(request) - 1, NULL);

	(void)state;
	assert_int_equal(status_of(said), 400);
	free(said);
	rig_free(r);
}

static void test_head(void **state)
{
	struct rig *r = rig_new(false, NULL);
	const char *request = "HEAD /big HTTP/1.1\r\n\r\n";
	char *said = say(r, request, strlen(request), NULL);

	(void)state;
	assert_int_equal(status_of(said), 200);
	assert_non_null(strstr(said, "\r\nContent-Length: 3000000\r\n"));
	assert_string_equal(body_of(said), "");
	free(said);
	rig_free(r);
}

static void test_big_page(bool tls)
{
	struct rig *r = rig_new(tls, NULL);
	const char *request = "GET /big HTTP/1.1\r\n\r\n";
	char *said = say(r, request, strlen(request), NULL);

	assert_int_equal(strlen(body_of(said)), BIG);
	free(said);
	rig_free(r);
}

static void test_big(void **state)
{
	(void)state;
	test_big_page(false);
	test_big_page(true);
}

/* A connection is asked once: what follows is neither a body nor a request. */
static void test_one_request(void **state)
{
	static const char *const requests[] = {
	    "GET /small HTTP/1.1\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	    "GET /small HTTP/1.1\r\nContent-Length: 22\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	    ("GET /small HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
	     "0\r\n\r\nGET /big HTTP/1.1\r\n\r\n"),
	    "HEAD /small HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	};
	struct rig *r = rig_new(false, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		char *said = say(r, requests[i], strlen(requests[i]), NULL);

		assert_int_equal(status_of(said), 200);
		assert_non_null(strstr(said, "\r\nConnection: close\r\n"));
		assert_null(strstr(body_of(said), "HTTP/1.1"));
		assert_null(strstr(said, "0123"));
		free(said);
	}
	rig_free(r);
}

static void test_lengths(void **state)
{
	struct rig *r = rig_new(false, NULL);
	char *text = malloc(200000), *said;
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, "GET /%010000d HTTP/1.1\r\n\r\n", 0);
	said = say(r, text, n, NULL);
	assert_int_equal(status_of(said), 404);
	free(said);
	/* A head that is too long, with an end or without, in one line or many. */
	for (int kind = 0; kind < 3; kind++) {
		n = kind == 0 ? (size_t)sprintf(text, "GET /%017000d HTTP/1.1\r\n\r\n", 0)
			      : (size_t)sprintf(text, "GET /small HTTP/1.1\r\n");
		for (int i = 0; kind && i < 9000; i++)
			n += (size_t)sprintf(text + n, "%s", kind == 1 ? "a: b\r\n" : "aaaaaa");
		said = say(r, text, n, NULL);
		assert_int_equal(status_of(said), 431);
		free(said);
	}
	free(text);
	rig_free(r);
}

/* Bytes that come one by one are a request all the same, and a peer that has said everything and
 * closed its side gets its answer. */
static void test_byte_by_byte(void **state)
{
	const char *request = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
	struct rig *r = rig_new(false, NULL);
	int fd = dial(r);
	char *said;

	(void)state;
	for (const char *p = request; *p; p++) {
		assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
		poll(NULL, 0, 1);
	}
	shutdown(fd, SHUT_WR);
	said = read_all(fd, NULL);
	assert_int_equal(strlen(body_of(said)), BIG);
	free(said);
	close(fd);
	rig_free(r);
}

static const char right[] = "GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-ours\r\n\r\n";

static const struct {
	const char *request;
	int status;
} token_cases[] = {
    {right, 200},
    {"GET /small HTTP/1.1\r\nauthorization:bearer   s3cret-of-ours \r\n\r\n", 200},
    {"GET /small HTTP/1.1\r\n\r\n", 401},
    {"GET / HTTP/1.1\r\n\r\n", 401},
    {"GET /none HTTP/1.1\r\n\r\n", 401},
    {"POST /small HTTP/1.1\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-our\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-oursx\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer S3cret-of-ours\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer \r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: s3cret-of-ours\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Basic s3cret-of-ours\r\n\r\n", 401},
    {"GET /small?token=s3cret-of-ours HTTP/1.1\r\n\r\n", 401},
    {"GET /healthz/../small HTTP/1.1\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer x\r\nAuthorization: Bearer "
     "s3cret-of-ours\r\n\r\n",
     400},
    {"GET /healthz HTTP/1.1\r\n\r\n", 200},
    {"GET /readyz HTTP/1.1\r\n\r\n", 503},
    {"GET /healthz HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n", 200},
};

static void check_token(bool tls)
{
	struct rig *r = rig_new(tls, "\n s3cret-of-ours\n");

	for (size_t i = 0; i < sizeof(token_cases) / sizeof(token_cases[0]); i++)
		expect(r, token_cases[i].request, token_cases[i].status,
		       token_cases[i].status == 401 ? "\r\nWWW-Authenticate: Bearer realm=" : NULL);
	/* Replaced as a mounted secret is; then gone, when nobody may pass. */
	unlink(r->token);
	write_file(r->token, "another");
	expect(r, right, 401, "error=\"invalid_token\"");
	expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer another\r\n\r\n", 200, "small");
	unlink(r->token);
	expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer another\r\n\r\n", 503, NULL);
	expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 503, NULL);
	expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, NULL);
	write_file(r->token, "");
	expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 503, NULL);
	rig_free(r);
}

static void test_token(void **state)
{
	(void)state;
	check_token(false);
}

static void test_token_and_tls(void **state)
{
	(void)state;
	check_token(true);
}

static void test_unix_is_trusted(void **state)
{
	struct rig *r = prepare(true, "secret", true);
	struct stat st;

	(void)state;
	r->conf.listen.spop_mode = 0640;
	start(r);
	assert_int_equal(stat(r->address + strlen("unix@"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	rig_free(r);
}

/* Plain bytes to a port that speaks TLS: no page, no hang. */
static void test_plain_to_tls(void **state)
{
	struct rig *r = rig_new(true, NULL);
	const char *request = "GET /small HTTP/1.1\r\n\r\n";
	int fd = dial(r);
	char text[1000];
	ssize_t n;

	(void)state;
	assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	while ((n = recv(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		assert_null(strstr(text, "small"));
	}
	assert_true(n == 0 || errno == ECONNRESET);
	close(fd);
	rig_free(r);
}

static void test_old_tls_is_refused(void **state)
{
	struct rig *r = rig_new(true, NULL);
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	int fd = dial(r);

	(void)state;
	SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
	SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
	ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	assert_true(SSL_connect(ssl) != 1);
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	rig_free(r);
}

static void test_certificate_is_read_again(void **state)
{
	const char *request = "GET /small HTTP/1.1\r\n\r\n";
	struct rig *r = rig_new(true, NULL);
	char name[64];

	(void)state;
	free(say(r, request, strlen(request), name));
	assert_string_equal(name, "first");
	write_certificate(r, "second");
	order(r, 'r');
	free(say(r, request, strlen(request), name));
	assert_string_equal(name, "second");
	/* One that is broken, half written or not of this key changes nothing. */
	write_file(r->cert, "-----BEGIN CERTIFICATE-----\nMIIB\n");
	order(r, 'r');
	free(say(r, request, strlen(request), name));
	assert_string_equal(name, "second");
	rig_free(r);
}

static void test_start_refuses(void **state)
{
	struct rig *r;

	(void)state;
	for (int i = 0; i < 4; i++) {
		r = prepare(i < 3, i == 3 ? "" : NULL, false);
		strcpy(r->address, "127.0.0.1:0");
		if (i == 0)
			unlink(r->cert);
		if (i == 1)
			write_file(r->key, "no key");
		if (i == 2) {
			char kept[96];

			/* The key of another certificate. */
			memcpy(kept, r->cert, sizeof(kept));
			snprintf(r->cert, sizeof(r->cert), "%s/other", r->dir);
			write_certificate(r, "other");
			unlink(r->cert);
			memcpy(r->cert, kept, sizeof(kept));
		}
		assert_null(admin_new(r->base, &r->conf, pages, r));
		rig_free(r);
	}
}

static struct admin_counts counts_of(struct rig *r)
{
	order(r, 'r');
	return r->counts;
}

/* Many that say nothing, or begin and never end: a probe gets its answer at once, and the room is
 * never more than was configured. */
static void check_flood(bool tls, const char *beginning)
{
	struct rig *r = rig_new(tls, "token");
	enum { FLOOD = 300 };
	int fds[FLOOD], open = 0;

	for (int i = 0; i < FLOOD; i++) {
		fds[i] = dial(r);
		if (*beginning)
			(void)!send(fds[i], beginning, strlen(beginning), MSG_NOSIGNAL);
		if (i % 50 == 49)
			expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, "small");
	}
	expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, "small");
	assert_true(counts_of(r).evicted >= FLOOD - 8);
	assert_int_equal(counts_of(r).late, 0);
	for (int i = 0; i < FLOOD; i++) {
		char byte;
		ssize_t n = recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);

		open += n < 0 && errno == EAGAIN;
	}
	assert_true(open <= 8);
	for (int i = 0; i < FLOOD; i++)
		close(fds[i]);
	rig_free(r);
}

static void test_flood(void **state)
{
	(void)state;
	check_flood(false, "");
	check_flood(false, "GET /small HTTP/1.1\r\nHost: ");
	check_flood(true, "");
	check_flood(true, "\x16\x03\x01");
}

/* Handshakes cost the control thread time: so many a second are begun, the others wait, and none is
 * refused. */
static void test_handshakes_wait(void **state)
{
	enum { KNOCKS = 220, A_SECOND = 100 };
	struct timespec from, to;
	struct rig *r;
	int fds[KNOCKS];
	double passed;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &from);
	r = rig_new(true, NULL);
	/* As many as the kernel's queue and the first second hold. */
	for (int i = 0; i < KNOCKS; i++)
		fds[i] = dial(r);
	for (;;) {
		struct admin_counts n = counts_of(r);

		clock_gettime(CLOCK_MONOTONIC, &to);
		passed =
		    (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
		assert_true((double)n.accepted <= A_SECOND * (1 + passed) + 1);
		if (n.accepted == KNOCKS)
			break;
		assert_true(passed < PATIENCE_MS / 1000.0);
		poll(NULL, 0, 5);
	}
	assert_true(counts_of(r).held > 0 || passed > 1);
	expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	for (int i = 0; i < KNOCKS; i++)
		close(fds[i]);
	rig_free(r);

	/* What is not encrypted does not wait. */
	r = rig_new(false, NULL);
	for (int i = 0; i < KNOCKS; i++)
		fds[i] = dial(r);
	expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	assert_int_equal(counts_of(r).held, 0);
	for (int i = 0; i < KNOCKS; i++)
		close(fds[i]);
	rig_free(r);
}

/* Time is for the whole of it: a byte now and then does not stretch it. */
static void test_slow(void **state)
{
	struct rig *r = prepare(false, NULL, false);
	struct timespec from, to;
	int fd, slow_reader, error = 0;
	char text[64];

	(void)state;
	r->conf.timeouts.admin_ms = 300;
	start(r);
	slow_reader = dial(r);
	assert_true(send(slow_reader, "GET /big HTTP/1.1\r\n\r\n", 21, MSG_NOSIGNAL) == 21);
	fd = dial(r);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < PATIENCE_MS / 20 && !error; i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		(void)!send(fd, "a", 1, MSG_NOSIGNAL);
		error = poll(&p, 1, 20) > 0 && recv(fd, text, sizeof(text), 0) <= 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(error);
	/* The other reads nothing: its page is not kept for it. */
	for (int i = 0; i < 1000 && counts_of(r).late < 2; i++)
		poll(NULL, 0, 10);
	assert_int_equal(counts_of(r).late, 2);
	close(fd);
	close(slow_reader);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_requests),
	    cmocka_unit_test(test_nul_is_no_end),
	    cmocka_unit_test(test_head),
	    cmocka_unit_test(test_big),
	    cmocka_unit_test(test_one_request),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_byte_by_byte),
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_token_and_tls),
	    cmocka_unit_test(test_unix_is_trusted),
	    cmocka_unit_test(test_plain_to_tls),
	    cmocka_unit_test(test_old_tls_is_refused),
	    cmocka_unit_test(test_certificate_is_read_again),
	    cmocka_unit_test(test_start_refuses),
	    cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_handshakes_wait),
	    cmocka_unit_test(test_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
