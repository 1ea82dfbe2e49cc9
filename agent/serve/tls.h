/*
 * TLS for connections that we accept: OpenSSL's and libevent_openssl's one door.
 */
#ifndef SERVE_TLS_H
#define SERVE_TLS_H

#include "base/view.h"

struct bufferevent;
struct event_base;
struct tls;

/* From PEM files: the certificate with its chain, and its key. NULL: a line was logged that says
 * which file and why. */
struct tls *tls_new(const char *cert, const char *key);
/* Connections that were accepted with it keep what they need. */
struct tls *tls_free(struct tls *t);

/* The server's end of a connection on @fd, which it closes when freed. NULL: out of memory, and
 * @fd is still open. */
struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd);
/* Tells the peer that nothing more comes: what it got is whole. */
void tls_goodbye(struct bufferevent *bev);

/* In a time that depends on the lengths alone. */
bool tls_same_secret(struct view a, struct view b);

#endif
