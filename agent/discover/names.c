/*
 * Names followed as they change.
 *
 * After an answer a name waits for its TTL, held between dns.min_ttl and dns.max_ttl; a hosts file
 * tells none and gets the shortest. After a failure it waits min_ttl, doubled each time up to
 * max_ttl. Addresses are kept in a plain form (family, address, zeroes), so that they compare
 * bytewise.
 */
#include "discover/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/dns.h"
#include "net/timer.h"

struct name {
	struct names *names;
	char *host;
	unsigned refs;
	bool literal, answered, ended, refused;
	struct timer *timer;
	struct dns_query *query;
	size_t n, dropped;
	struct sockaddr_storage *addrs;
	uint64_t answered_ns;
	uint32_t failures;
	char error[128];
	UT_hash_handle hh;
};

struct names {
	struct event_base *base;
	struct dns *dns;
	struct names_hooks hooks;
	const struct config *conf;
	struct name *table;
	size_t pending;
};

struct names *names_new(struct event_base *base, struct dns *dns, const struct names_hooks *hooks)
{
	struct names *n = calloc(1, sizeof(*n));

	if (n) {
		n->base = base;
		n->dns = dns;
		n->hooks = *hooks;
	}
	return n;
}

static void name_free(struct name *name)
{
	struct names *n = name->names;

	HASH_DEL(n->table, name);
	if (!name->ended)
		n->pending--;
	if (name->query)
		dns_cancel(name->query);
	timer_free(name->timer);
	free(name->addrs);
	free(name->host);
	free(name);
}

struct names *names_free(struct names *n)
{
	struct name *one, *next;

	if (n)
		HASH_ITER(hh, n->table, one, next)
	name_free(one);
	free(n);
	return NULL;
}

void names_options(struct names *n, const struct config *conf)
{
	n->conf = conf;
}

bool names_literal(const char *host, struct sockaddr_storage *ret)
{
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		return true;
	}
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		return true;
	}
	memset(ret, 0, sizeof(*ret));
	return false;
}

static void wait_for(struct name *name, uint64_t ms)
{
	if (timer_start(name->timer, ms * CLOCK_NS_PER_MS) < 0)
		log_event(LOG_LEVEL_ERROR, "dns_timer", "name", name->host, "error",
			  "out of memory", NULL);
}

static void end(struct name *name)
{
	struct names *n = name->names;

	if (!name->ended) {
		name->ended = true;
		n->pending--;
	}
	if (n->hooks.settled)
		n->hooks.settled(n->hooks.arg);
}

static void fail(struct name *name, const char *error)
{
	const struct config *c = name->names->conf;
	uint64_t pause = c->dns.min_ttl_ms;
	struct log_line l;

	for (uint32_t i = 0; i < name->failures && pause < c->dns.max_ttl_ms; i++)
		pause *= 2;
	name->failures++;
	if (strcmp(name->error, error) != 0) {
		snprintf(name->error, sizeof(name->error), "%s", error);
		log_begin(&l, LOG_LEVEL_WARNING, "dns_failed");
		log_str(&l, "name", name->host);
		log_str(&l, "error", name->error);
		log_int(&l, "kept_addresses", (int64_t)name->n);
		log_end(&l);
	}
	wait_for(name, pause < c->dns.max_ttl_ms ? pause : c->dns.max_ttl_ms);
	end(name);
}

static void plain(const struct sockaddr_storage *from, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof(*to));
	to->ss_family = from->ss_family;
	if (from->ss_family == AF_INET6) {
		((struct sockaddr_in6 *)to)->sin6_addr =
		    ((const struct sockaddr_in6 *)from)->sin6_addr;
		((struct sockaddr_in6 *)to)->sin6_scope_id =
		    ((const struct sockaddr_in6 *)from)->sin6_scope_id;
	} else {
		((struct sockaddr_in *)to)->sin_addr = ((const struct sockaddr_in *)from)->sin_addr;
	}
}

static void take(struct name *name, const struct dns_answer *answer)
{
	const struct config *c = name->names->conf;
	struct sockaddr_storage *addrs = calloc(answer->n, sizeof(*addrs));
	uint64_t ttl = (uint64_t)answer->ttl_s * 1000;
	bool same;
	struct log_line l;

	if (!addrs) {
		fail(name, "out of memory");
		return;
	}
	for (size_t i = 0; i < answer->n; i++)
		plain(&answer->addrs[i], &addrs[i]);
	same = name->answered && name->n == answer->n &&
	       memcmp(name->addrs, addrs, answer->n * sizeof(*addrs)) == 0;
	if (!same || name->failures) {
		log_begin(&l, LOG_LEVEL_INFO, "dns_answer");
		log_str(&l, "name", name->host);
		log_int(&l, "addresses", (int64_t)answer->n);
		if (answer->dropped)
			log_int(&l, "dropped", (int64_t)answer->dropped);
		log_end(&l);
	}
	free(name->addrs);
	name->addrs = addrs;
	name->n = answer->n;
	name->dropped = answer->dropped;
	name->answered = true;
	name->refused = false;
	name->answered_ns = clock_mono_ns();
	name->failures = 0;
	name->error[0] = '\0';
	if (ttl < c->dns.min_ttl_ms)
		ttl = c->dns.min_ttl_ms;
	wait_for(name, ttl < c->dns.max_ttl_ms ? ttl : c->dns.max_ttl_ms);
	if (!same && name->names->hooks.changed)
		name->names->hooks.changed(name->names->hooks.arg);
	end(name);
}

static void answered(const struct dns_answer *answer, void *arg)
{
	struct name *name = arg;

	name->query = NULL;
	name->refused = answer->error == DNS_NOT_FOUND;
	if (answer->error != DNS_OK)
		fail(name, answer->detail);
	else if (answer->n == 0)
		fail(name, "no addresses");
	else
		take(name, answer);
}

static void due(void *arg)
{
	struct name *name = arg;
	int r;

	if (name->query)
		return;
	r = dns_lookup(name->names->dns, name->host, name->names->conf->dns.max_addresses, answered,
		       name, &name->query);
	if (r < 0) {
		name->query = NULL;
		fail(name, r == -ENOMEM ? "out of memory" : "not a name that can be looked up");
	}
}

struct name *names_follow(struct names *n, const char *host)
{
	struct sockaddr_storage literal;
	struct name *name;

	HASH_FIND_STR(n->table, host, name);
	if (name) {
		name->refs++;
		return name;
	}
	name = calloc(1, sizeof(*name));
	if (!name)
		return NULL;
	name->names = n;
	name->refs = 1;
	name->host = strdup(host);
	name->literal = names_literal(host, &literal);
	if (name->literal) {
		name->addrs = calloc(1, sizeof(*name->addrs));
		if (name->addrs)
			name->addrs[name->n++] = literal;
		name->answered = name->ended = true;
	} else {
		name->timer = timer_new(n->base, due, name);
	}
	if (name->host)
		HASH_ADD_KEYPTR(hh, n->table, name->host, strlen(name->host), name);
	if (!name->hh.tbl || (name->literal ? !name->addrs : !name->timer) ||
	    (name->timer && timer_start(name->timer, 0) < 0)) {
		if (name->hh.tbl)
			HASH_DEL(n->table, name);
		timer_free(name->timer);
		free(name->addrs);
		free(name->host);
		free(name);
		return NULL;
	}
	n->pending += !name->ended;
	return name;
}

void name_unref(struct name *name)
{
	if (name && --name->refs == 0)
		name_free(name);
}

void name_view(const struct name *name, struct name_view *ret)
{
	*ret = (struct name_view){
	    .host = name->host,
	    .n = name->n,
	    .addrs = name->addrs,
	    .answered = name->answered,
	    .ended = name->ended,
	    .refused = name->refused,
	    .answered_ns = name->answered_ns,
	    .failures = name->failures,
	    .error = name->error[0] ? name->error : NULL,
	    .dropped = name->dropped,
	};
}

struct name *names_next(const struct names *n, struct name *after)
{
	return after ? after->hh.next : n->table;
}

size_t names_pending(const struct names *n)
{
	return n->pending;
}
