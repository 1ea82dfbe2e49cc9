/*
 * Names → addresses by c-ares on the libevent loop.
 *
 * Each look-up has a channel of its own. It costs reading two small local files, no more than once
 * a second per name by the options' least ttl, and buys three things: a changed resolv.conf is
 * seen, a look-up can be given up alone (one channel can only give up all), and what one name
 * server does to one name cannot hold up another.
 *
 * c-ares calls back from inside its own functions, also from the one that starts the look-up;
 * on_result() therefore only keeps the outcome, and settle() tells the user once c-ares has
 * returned, from the loop. After that the look-up is destroyed; the user may cancel it, or free
 * everything, from inside the callback.
 *
 * c-ares tries each server TRIES times and doubles its patience each time; the first patience is
 * chosen so that all of it ends within the deadline. So a name whose AAAA never gets an answer
 * still yields its A in time. The deadline itself stands above that.
 *
 * Nothing is asked of the network for localhost (RFC 6761); the hosts file may say what it is.
 */
#include "net/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/clock.h"

#define TRIES       2
#define PATIENCE    3 /* 1 + 2: the sum of TRIES doublings */
#define SERVERS_MAX 16
#define HOST_MAX    1024

struct dns_watch {
	SLIST_ENTRY(dns_watch) link;
	ares_socket_t fd;
	struct event *event;
};

struct dns_query {
	LIST_ENTRY(dns_query) link;
	struct dns *dns; /* NULL: freed while telling */
	ares_channel channel;
	bool has_channel, telling, finished;
	SLIST_HEAD(, dns_watch) watches;
	struct event *timer;
	uint64_t deadline_ns;
	size_t max_addresses;
	dns_done done;
	void *arg;
	struct dns_answer answer;
	struct sockaddr_storage *addrs;
};

struct dns {
	struct event_base *base;
	char *servers; /* as c-ares reads them; NULL: resolv.conf */
	uint32_t timeout_ms;
	int first_patience_ms;
	LIST_HEAD(, dns_query) queries;
};

/* Answers */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sockaddr_storage));
}

/* Sorts, drops what is double or beyond the limit. */
static void put_in_order(struct dns_query *q, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(q->addrs, n, sizeof(*q->addrs), compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || compare(&q->addrs[i], &q->addrs[kept - 1]) != 0)
			q->addrs[kept++] = q->addrs[i];
	q->answer.dropped = kept > q->max_addresses ? kept - q->max_addresses : 0;
	q->answer.n = kept - q->answer.dropped;
	q->answer.addrs = q->addrs;
}

static void finish(struct dns_query *q, enum dns_error error, const char *detail)
{
	q->finished = true;
	q->answer.error = error;
	q->answer.detail = detail;
}

static size_t copy_node(struct sockaddr_storage *out, const struct ares_addrinfo_node *node)
{
	memset(out, 0, sizeof(*out));
	if (node->ai_family == AF_INET && node->ai_addrlen >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *from = (const void *)node->ai_addr;
		struct sockaddr_in *to = (struct sockaddr_in *)out;

		to->sin_family = AF_INET;
		to->sin_addr = from->sin_addr;
		return 1;
	}
	if (node->ai_family == AF_INET6 && node->ai_addrlen >= sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *from = (const void *)node->ai_addr;
		struct sockaddr_in6 *to = (struct sockaddr_in6 *)out;

		to->sin6_family = AF_INET6;
		to->sin6_addr = from->sin6_addr;
		to->sin6_scope_id = from->sin6_scope_id;
		return 1;
	}
	return 0;
}

static void take_addresses(struct dns_query *q, const struct ares_addrinfo *info)
{
	const struct ares_addrinfo_node *node;
	uint32_t ttl = UINT32_MAX;
	size_t n = 0;

	for (node = info->nodes; node; node = node->ai_next)
		n++;
	q->addrs = calloc(n ? n : 1, sizeof(*q->addrs));
	if (!q->addrs) {
		finish(q, DNS_FAILED, "out of memory");
		return;
	}
	n = 0;
	for (node = info->nodes; node; node = node->ai_next) {
		n += copy_node(&q->addrs[n], node);
		if (node->ai_ttl >= 0 && (uint32_t)node->ai_ttl < ttl)
			ttl = (uint32_t)node->ai_ttl;
	}
	put_in_order(q, n);
	q->answer.ttl_s = ttl == UINT32_MAX ? 0 : ttl;
	if (n)
		finish(q, DNS_OK, "");
	else
		finish(q, DNS_NOT_FOUND, "no addresses");
}

static void on_result(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_query *q = arg;

	(void)timeouts;
	if (q->finished) /* given up already */
		goto out;
	switch (status) {
	case ARES_SUCCESS:
		take_addresses(q, info);
		break;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
		finish(q, DNS_NOT_FOUND, ares_strerror(status));
		break;
	case ARES_ETIMEOUT:
		finish(q, DNS_TIMEOUT, ares_strerror(status));
		break;
	default:
		finish(q, DNS_FAILED, ares_strerror(status));
		break;
	}
out:
	if (info)
		ares_freeaddrinfo(info);
}

/* The loop */

static void destroy(struct dns_query *q)
{
	struct dns_watch *w;

	q->finished = true;
	if (q->has_channel)
		ares_destroy(q->channel); /* calls on_result() and on_socket() */
	while ((w = SLIST_FIRST(&q->watches))) {
		SLIST_REMOVE_HEAD(&q->watches, link);
		if (w->event)
			event_free(w->event);
		free(w);
	}
	if (q->timer)
		event_free(q->timer);
	if (q->dns)
		LIST_REMOVE(q, link);
	free(q->addrs);
	free(q);
}

static int arm(struct dns_query *q)
{
	uint64_t now = clock_mono_ns();
	uint64_t us = now < q->deadline_ns ? (q->deadline_ns - now + 999) / 1000 : 0;
	struct timeval most = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)}, tv;

	return event_add(q->timer, ares_timeout(q->channel, &most, &tv));
}

/* From the loop, when c-ares has returned. */
static void settle(struct dns_query *q)
{
	if (!q->finished && clock_mono_ns() >= q->deadline_ns)
		finish(q, DNS_TIMEOUT, "the deadline has passed");
	if (!q->finished && arm(q) < 0)
		finish(q, DNS_FAILED, "out of memory");
	if (!q->finished)
		return;
	q->telling = true;
	q->done(&q->answer, q->arg);
	destroy(q);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *q = arg;

	if (!q->finished)
		ares_process_fd(q->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
				what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	settle(q);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *q = arg;

	(void)fd;
	(void)what;
	if (!q->finished && q->has_channel)
		ares_process_fd(q->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	settle(q);
}

static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns_query *q = arg;
	struct dns_watch *w;

	SLIST_FOREACH(w, &q->watches, link)
	if (w->fd == fd)
		break;
	if (!w) {
		if (!readable && !writable)
			return;
		w = calloc(1, sizeof(*w));
		if (!w)
			return; /* its deadline ends the look-up */
		w->fd = fd;
		SLIST_INSERT_HEAD(&q->watches, w, link);
	}
	if (w->event)
		event_free(w->event);
	w->event = NULL;
	if (readable || writable) {
		w->event = event_new(
		    q->dns->base, fd,
		    (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)),
		    on_event, q);
		if (w->event)
			event_add(w->event, NULL);
	} else {
		SLIST_REMOVE(&q->watches, w, dns_watch, link);
		free(w);
	}
}

/* Starting */

static int open_channel(const struct dns *d, const char *lookups, struct dns_query *q,
			ares_channel *ret)
{
	char order[4];
	struct ares_options options = {
	    .flags = ARES_FLAG_NOALIASES,
	    .timeout = d->first_patience_ms,
	    .tries = TRIES,
	    .lookups = order,
	    .sock_state_cb = on_socket,
	    .sock_state_cb_data = q,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
	int r;

	if (q)
		mask |= ARES_OPT_SOCK_STATE_CB;
	if (lookups) {
		snprintf(order, sizeof(order), "%s", lookups);
		mask |= ARES_OPT_LOOKUPS;
	}
	r = ares_init_options(ret, &options, mask);
	if (r != ARES_SUCCESS)
		return r == ARES_ENOMEM ? -ENOMEM : -EINVAL;
	if (d->servers) {
		r = ares_set_servers_ports_csv(*ret, d->servers);
		if (r != ARES_SUCCESS) {
			ares_destroy(*ret);
			return r == ARES_ENOMEM ? -ENOMEM : -EINVAL;
		}
	}
	return 0;
}

/* "IP" or "IP:PORT" or "[V6]:PORT" → the one way c-ares reads all of them. */
static int append_server(char *out, size_t size, const char *server)
{
	char host[INET6_ADDRSTRLEN];
	const char *port = "53", *colon = strrchr(server, ':');
	struct in6_addr address;
	size_t len = strlen(server), used = strlen(out);
	unsigned long number;
	char *end;
	bool v6;

	if (inet_pton(AF_INET6, server, &address) == 1)
		colon = NULL;
	else if (colon && len && server[len - 1] != ']') {
		port = colon + 1;
		len = (size_t)(colon - server);
	}
	if (len >= 2 && server[0] == '[' && server[len - 1] == ']') {
		server++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(host) || port[0] < '0' || port[0] > '9')
		return -EINVAL;
	memcpy(host, server, len);
	host[len] = '\0';
	number = strtoul(port, &end, 10);
	v6 = inet_pton(AF_INET6, host, &address) == 1;
	if (*end || number < 1 || number > 65535 ||
	    (!v6 && inet_pton(AF_INET, host, &address) != 1))
		return -EINVAL;
	len = (size_t)snprintf(out + used, size - used, v6 ? "%s[%s]:%lu" : "%s%s:%lu",
			       used ? "," : "", host, number);
	return len < size - used ? 0 : -EINVAL;
}

static int count_servers(struct dns *d)
{
	struct ares_addr_port_node *nodes = NULL, *node;
	ares_channel channel;
	int n = 0, r;

	r = open_channel(d, NULL, NULL, &channel);
	if (r < 0)
		return r;
	if (ares_get_servers_ports(channel, &nodes) == ARES_SUCCESS)
		for (node = nodes; node; node = node->next)
			n++;
	ares_free_data(nodes);
	ares_destroy(channel);
	return n > 0 ? n : 1;
}

int dns_new(struct event_base *base, const char *const *servers, size_t nservers,
	    uint32_t timeout_ms, struct dns **ret)
{
	size_t size = nservers * (INET6_ADDRSTRLEN + 16) + 1;
	struct dns *d;
	int r;

	if (nservers > SERVERS_MAX)
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	LIST_INIT(&d->queries);
	d->base = base;
	d->timeout_ms = timeout_ms ? timeout_ms : 1;
	d->first_patience_ms = 1;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(d);
		return -ENOMEM;
	}
	if (servers && nservers) {
		d->servers = calloc(1, size);
		if (!d->servers) {
			dns_free(d);
			return -ENOMEM;
		}
		for (size_t i = 0; i < nservers; i++) {
			if (append_server(d->servers, size, servers[i]) < 0) {
				dns_free(d);
				return -EINVAL;
			}
		}
	}
	r = count_servers(d);
	if (r < 0) {
		dns_free(d);
		return r;
	}
	/* A tenth of the deadline is left for what c-ares rounds up. */
	d->first_patience_ms = (int)(((uint64_t)d->timeout_ms * 9 / 10) / (uint64_t)(PATIENCE * r));
	if (d->first_patience_ms < 1)
		d->first_patience_ms = 1;
	*ret = d;
	return 0;
}

struct dns *dns_free(struct dns *d)
{
	struct dns_query *q;

	if (!d)
		return NULL;
	while ((q = LIST_FIRST(&d->queries))) {
		if (q->telling) { /* settle() destroys it when the user's callback returns */
			LIST_REMOVE(q, link);
			q->dns = NULL;
		} else {
			destroy(q);
		}
	}
	free(d->servers);
	free(d);
	ares_library_cleanup();
	return NULL;
}

static bool is_localhost(const char *host)
{
	size_t len = strlen(host), word = strlen("localhost");

	if (len && host[len - 1] == '.')
		len--;
	if (len < word || strncasecmp(host + len - word, "localhost", word) != 0)
		return false;
	return len == word || host[len - word - 1] == '.';
}

/* An address needs no look-up. 1 if it was one. */
static int take_literal(struct dns_query *q, const char *host)
{
	char address[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
	struct sockaddr_storage addr = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;
	char *scope = NULL;

	if (strlen(host) >= sizeof(address))
		return 0;
	memcpy(address, host, strlen(host) + 1);
	if (strchr(address, ':') && (scope = strchr(address, '%')))
		*scope++ = '\0';
	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
	} else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		if (scope) {
			in6->sin6_scope_id = if_nametoindex(scope);
			if (!in6->sin6_scope_id)
				return 0;
		}
	} else {
		return 0;
	}
	q->addrs = malloc(sizeof(*q->addrs));
	if (!q->addrs)
		return -ENOMEM;
	q->addrs[0] = addr;
	put_in_order(q, 1);
	finish(q, DNS_OK, "");
	return 1;
}

static int take_loopback(struct dns_query *q)
{
	struct sockaddr_in *in;
	struct sockaddr_in6 *in6;

	free(q->addrs);
	q->addrs = calloc(2, sizeof(*q->addrs));
	if (!q->addrs)
		return -ENOMEM;
	in = (struct sockaddr_in *)&q->addrs[0];
	in6 = (struct sockaddr_in6 *)&q->addrs[1];
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6->sin6_family = AF_INET6;
	in6->sin6_addr = in6addr_loopback;
	put_in_order(q, 2);
	finish(q, DNS_OK, "");
	return 0;
}

static int start(struct dns_query *q, const char *host)
{
	static const struct ares_addrinfo_hints hints = {
	    .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	bool local = is_localhost(host);
	int r = take_literal(q, host);

	if (r != 0)
		return r < 0 ? r : 0;
	r = open_channel(q->dns, local ? "f" : NULL, q, &q->channel);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		finish(q, DNS_FAILED, "the resolver's configuration cannot be read");
		return 0;
	}
	q->has_channel = true;
	ares_getaddrinfo(q->channel, host, NULL, &hints, on_result, q);
	if (local && q->finished && q->answer.error != DNS_OK)
		return take_loopback(q);
	return 0;
}

int dns_lookup(struct dns *d, const char *host, size_t max_addresses, dns_done done, void *arg,
	       struct dns_query **ret)
{
	struct dns_query *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	q->dns = d;
	LIST_INSERT_HEAD(&d->queries, q, link);
	SLIST_INIT(&q->watches);
	q->done = done;
	q->arg = arg;
	q->max_addresses = max_addresses;
	q->deadline_ns = clock_mono_ns() + d->timeout_ms * CLOCK_NS_PER_MS;
	q->answer.detail = "";
	q->timer = event_new(d->base, -1, 0, on_timer, q);
	if (!q->timer) {
		destroy(q);
		return -ENOMEM;
	}
	if (!host[0] || strlen(host) > HOST_MAX) {
		finish(q, DNS_FAILED, "no name");
		r = 0;
	} else {
		r = start(q, host);
	}
	if (r < 0) {
		destroy(q);
		return r;
	}
	if (q->finished) {
		event_active(q->timer, EV_TIMEOUT, 0); /* tell from the loop */
	} else if (arm(q) < 0) {
		destroy(q);
		return -ENOMEM;
	}
	if (ret)
		*ret = q;
	return 0;
}

void dns_cancel(struct dns_query *q)
{
	if (q && !q->telling)
		destroy(q);
}
