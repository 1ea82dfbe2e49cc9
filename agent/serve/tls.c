/*
 * TLS, the server's side.
 *
 * Nothing is negotiated that costs without being needed: no sessions are kept, no renegotiation
 * and no compression is offered, and TLS 1.2 is the oldest. Which ciphers, is OpenSSL's and the
 * system's decision (openssl.cnf).
 */
#include "serve/tls.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/log.h"

struct tls {
	SSL_CTX *context;
};

/* A key behind a pass phrase: nobody is here to type it. */
static int no_phrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static struct tls *refused(struct tls *t, const char *option, const char *path)
{
	unsigned long first = ERR_peek_error(), code = ERR_peek_last_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;
	struct log_line l;

	log_begin(&l, LOG_LEVEL_ERROR, "certificate_refused");
	log_str(&l, "option", option);
	log_str(&l, "file", path);
	/* What comes after it says no more than "system lib". */
	if (first && ERR_SYSTEM_ERROR(first))
		log_errno(&l, "error", ERR_GET_REASON(first));
	else
		log_str(&l, "error", why ? why : "cannot be read");
	log_str(&l, "remedy",
		"a readable PEM file; the key without a pass phrase, and the one of this "
		"certificate");
	log_end(&l);
	ERR_clear_error();
	return tls_free(t);
}

struct tls *tls_new(const char *cert, const char *key)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	ERR_clear_error();
	t->context = SSL_CTX_new(TLS_server_method());
	if (!t->context || !SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION))
		return refused(t, "listen.admin_cert", cert);
	SSL_CTX_set_options(t->context,
			    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(t->context, 0);
	SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(t->context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_default_passwd_cb(t->context, no_phrase);
	if (SSL_CTX_use_certificate_chain_file(t->context, cert) != 1)
		return refused(t, "listen.admin_cert", cert);
	if (SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(t->context) != 1)
		return refused(t, "listen.admin_key", key);
	return t;
}

struct tls *tls_free(struct tls *t)
{
	if (t) {
		SSL_CTX_free(t->context);
		free(t);
	}
	return NULL;
}

struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd)
{
	SSL *ssl = SSL_new(t->context);
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (bev)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	else
		SSL_free(ssl);
	return bev;
}

void tls_goodbye(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (ssl && SSL_is_init_finished(ssl))
		SSL_shutdown(ssl);
	ERR_clear_error();
}

bool tls_same_secret(struct view a, struct view b)
{
	return a.len == b.len && a.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}
