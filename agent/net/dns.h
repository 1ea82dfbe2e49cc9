/*
 * Names → addresses on the libevent loop, by c-ares (its one door): A and AAAA, hosts file,
 * TCP fall-back for large answers, never blocking.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct dns;
struct dns_query;

/* @servers: "IP:PORT" strings or NULL for /etc/resolv.conf. 0 and *ret, or -EINVAL (a server that
 * cannot be read), -ENOMEM. */
int dns_new(struct event_base *base, const char *const *servers, size_t nservers,
	    uint32_t timeout_ms, struct dns **ret) __attribute__((warn_unused_result));
struct dns *dns_free(struct dns *d); /* ends queries, no callbacks */

enum dns_error { DNS_OK, DNS_NOT_FOUND, DNS_TIMEOUT, DNS_FAILED };

struct dns_answer {
	enum dns_error error;
	const char *detail; /* never NULL */
	size_t n;           /* both families, sorted bytewise, without duplicates */
	const struct sockaddr_storage *addrs; /* port 0 */
	uint32_t ttl_s;                       /* the smallest; 0 when not told (hosts file) */
	size_t dropped;                       /* beyond max_addresses */
};

typedef void (*dns_done)(const struct dns_answer *answer, void *arg);

/* @done is called exactly once, from the loop, never inside this call. An IP literal answers
 * itself. */
int dns_lookup(struct dns *d, const char *host, size_t max_addresses, dns_done done, void *arg,
	       struct dns_query **ret) __attribute__((warn_unused_result));
/* After this @done is not called any more. No effect inside @done. */
void dns_cancel(struct dns_query *q);

#endif
