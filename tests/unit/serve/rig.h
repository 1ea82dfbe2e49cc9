/*
 * An administration port with real sockets: its loop in a thread of its own, three pages, clients
 * that say what a test wants said.
 */
#ifndef UNIT_SERVE_RIG_H
#define UNIT_SERVE_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "serve/admin.h"

#define RIG_PATIENCE_MS 20000
#define RIG_BIG         3000000

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

static inline int rig_small(void *arg, FILE *out)
{
	(void)arg;
	fputs("small\n", out);
	return 200;
}

static inline int rig_big(void *arg, FILE *out)
{
	(void)arg;
	for (int i = 0; i < RIG_BIG / 10; i++)
		fputs("012345678\n", out);
	return 200;
}

static inline int rig_down(void *arg, FILE *out)
{
	(void)arg;
	fputs("down\n", out);
	return 503;
}

static inline int rig_below(void *arg, struct view rest, FILE *out)
{
	(void)arg;
	fprintf(out, "below: %.*s\n", (int)rest.len, rest.ptr);
	return 200;
}

static const struct admin_page rig_pages[] = {
    {"/small", "text/plain", rig_small, false, rig_below},
    {"/big", "text/plain", rig_big, false, NULL},
    {"/healthz", "text/plain", rig_small, true, NULL},
    {"/readyz", "text/plain", rig_down, true, NULL},
    {NULL, NULL, NULL, false, NULL},
};

static inline void rig_on_order(evutil_socket_t fd, short what, void *arg)
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

static inline void *rig_run(void *arg)
{
	struct rig *r = arg;

	event_base_dispatch(r->base);
	return NULL;
}

static inline void rig_order(struct rig *r, char what)
{
	char ok;

	assert_int_equal(write(r->wake[1], &what, 1), 1);
	if (what != 'q')
		assert_int_equal(read(r->done[0], &ok, 1), 1);
}

static inline void rig_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* A certificate of its own for @name. */
static inline void rig_certify(struct rig *r, const char *name)
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

static inline struct rig *rig_prepare(bool tls, const char *token, bool is_unix)
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
		rig_certify(r, "first");
		r->conf.listen.admin_cert = r->cert;
		r->conf.listen.admin_key = r->key;
	}
	if (token) {
		rig_write(r->token, token);
		r->conf.listen.admin_token_file = r->token;
	}
	r->tls = tls && !is_unix;
	r->is_unix = is_unix;
	r->conf.limits.admin_connections = 8;
	r->conf.timeouts.admin_ms = RIG_PATIENCE_MS;
	r->addresses[0] = r->address;
	r->conf.listen.admin = (struct config_list){1, r->addresses};
	assert_int_equal(pipe(r->wake), 0);
	assert_int_equal(pipe(r->done), 0);
	r->base = event_base_new();
	return r;
}

static inline void rig_start(struct rig *r)
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
		r->admin = admin_new(r->base, &r->conf, rig_pages, r);
	}
	assert_non_null(r->admin);
	r->stop = event_new(r->base, r->wake[0], EV_READ | EV_PERSIST, rig_on_order, r);
	event_add(r->stop, NULL);
	assert_int_equal(pthread_create(&r->thread, NULL, rig_run, r), 0);
}

static inline struct rig *rig_new(bool tls, const char *token)
{
	struct rig *r = rig_prepare(tls, token, false);

	rig_start(r);
	return r;
}

static inline void rig_free(struct rig *r)
{
	if (r->admin) {
		rig_order(r, 'q');
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

static inline int rig_dial(const struct rig *r)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(r->port)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = RIG_PATIENCE_MS / 1000};
	int fd = socket(r->is_unix ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->address + strlen("unix@"));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(r->is_unix ? connect(fd, (void *)&un, sizeof(un))
				    : connect(fd, (void *)&in, sizeof(in)),
			 0);
	return fd;
}

static inline char *rig_read(int fd, SSL *ssl)
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
static inline char *rig_say(const struct rig *r, const void *text, size_t len, char name[64])
{
	SSL_CTX *context = r->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
	SSL *ssl = context ? SSL_new(context) : NULL;
	int fd = rig_dial(r);
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
	said = rig_read(fd, ssl);
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return said;
}

static inline int rig_status(const char *said)
{
	assert_true(strncmp(said, "HTTP/1.1 ", 9) == 0);
	return atoi(said + 9);
}

static inline const char *rig_body(const char *said)
{
	const char *end = strstr(said, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static inline void rig_expect(const struct rig *r, const char *request, int status, const char *has)
{
	char *said = rig_say(r, request, strlen(request), NULL);

	if (rig_status(said) != status || (has && !strstr(said, has)))
		print_error("to %.200s:\n%.400s\n", request, said);
	assert_int_equal(rig_status(said), status);
	assert_true(!has || strstr(said, has));
	free(said);
}

static inline struct admin_counts rig_counts(struct rig *r)
{
	rig_order(r, 'r');
	return r->counts;
}

#endif
