/*
 * TLS in front of a peer of the tests: the handler speaks plain text to one end of a socket pair,
 * a thread carries it to and from the TLS connection. Certificates are made by openssl(1) for the
 * run: a CA, a server's for the name "kubernetes" and 127.0.0.2, a client's.
 */
#ifndef UNIT_NET_SECURE_H
#define UNIT_NET_SECURE_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "unit/net/peer.h"

struct secure {
	SSL_CTX *ctx;
	peer_fn inner;
	void *arg;
	struct peer *peer;
	_Atomic int handshakes, certified; /* that were done; with a client's certificate */
};

/* ca.crt, server.crt and .key, client.crt and .key, other.crt (of no one's CA) in @dir. */
static inline int secure_certificates(const char *dir)
{
	char command[2048];

	snprintf(command, sizeof(command),
		 "cd %s && exec 2>openssl.log && "
		 "new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && "
		 "$new -x509 -keyout ca.key -out ca.crt -days 2 -subj /CN=ca && "
		 "$new -x509 -keyout other.key -out other.crt -days 2 -subj /CN=other && "
		 "$new -keyout server.key -out server.csr -subj /CN=server && "
		 "printf 'subjectAltName=DNS:kubernetes,IP:127.0.0.2' >ext && "
		 "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 2 "
		 "-set_serial 2 -extfile ext -out server.crt && "
		 "$new -keyout client.key -out client.csr -subj /O=people/CN=jane && "
		 "openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -days 2 "
		 "-set_serial 3 -out client.crt",
		 dir);
	return system(command) == 0 ? 0 : -1;
}

struct secure_relay {
	SSL *ssl;
	int plain, fd;
};

/* One thread does all of the connection's TLS. */
static inline void *secure_relay(void *arg)
{
	struct secure_relay *r = arg;
	struct pollfd p[2] = {{.fd = r->fd, .events = POLLIN}, {.fd = r->plain, .events = POLLIN}};
	char buf[16384];

	for (;;) {
		int n;

		if (!SSL_pending(r->ssl))
			poll(p, 2, -1);
		if (SSL_pending(r->ssl) || p[0].revents) {
			n = SSL_read(r->ssl, buf, sizeof(buf));
			if (n <= 0 || !peer_send(r->plain, buf, (size_t)n))
				break;
		}
		if (p[1].revents) {
			ssize_t got = recv(r->plain, buf, sizeof(buf), 0);

			if (got <= 0 || SSL_write(r->ssl, buf, (int)got) <= 0)
				break;
		}
		p[0].revents = p[1].revents = 0;
	}
	shutdown(r->plain, SHUT_RDWR);
	return NULL;
}

static inline void secure_serve(struct peer *p, int fd, int nth)
{
	struct secure *s = p->arg;
	SSL *ssl = SSL_new(s->ctx);
	int pair[2];

	assert(ssl && SSL_set_fd(ssl, fd) == 1);
	if (SSL_accept(ssl) == 1) {
		struct secure_relay relay = {.ssl = ssl, .fd = fd};
		X509 *client = SSL_get_peer_certificate(ssl);
		pthread_t thread;
		struct peer inner = *p;

		s->handshakes++;
		s->certified += client != NULL;
		X509_free(client);
		assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		relay.plain = pair[1];
		assert(pthread_create(&thread, NULL, secure_relay, &relay) == 0);
		inner.arg = s->arg;
		s->inner(&inner, pair[0], nth);
		shutdown(pair[0], SHUT_RDWR);
		pthread_join(thread, NULL);
		close(pair[0]);
		close(pair[1]);
	}
	SSL_shutdown(ssl);
	SSL_free(ssl);
	ERR_clear_error();
}

/* @client_ca: clients must show a certificate of it; NULL: they need none. */
static inline struct secure *secure_start(const char *dir, bool client, peer_fn inner, void *arg)
{
	struct secure *s = calloc(1, sizeof(*s));
	char path[256];

	assert(s);
	s->inner = inner;
	s->arg = arg;
	s->ctx = SSL_CTX_new(TLS_server_method());
	snprintf(path, sizeof(path), "%s/server.crt", dir);
	assert(SSL_CTX_use_certificate_chain_file(s->ctx, path) == 1);
	snprintf(path, sizeof(path), "%s/server.key", dir);
	assert(SSL_CTX_use_PrivateKey_file(s->ctx, path, SSL_FILETYPE_PEM) == 1);
	if (client) {
		snprintf(path, sizeof(path), "%s/ca.crt", dir);
		assert(SSL_CTX_load_verify_locations(s->ctx, path, NULL) == 1);
		SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	s->peer = peer_start(secure_serve, s);
	return s;
}

static inline void secure_stop(struct secure *s)
{
	peer_stop(s->peer);
	SSL_CTX_free(s->ctx);
	free(s);
}

#endif
