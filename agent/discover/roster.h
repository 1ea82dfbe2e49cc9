/*
 * Who is there now: groups of model servers by the source that names them, with a slot of
 * pick/endpoint.h each. The mutable side of discover/, control thread only; snapshots are made
 * from it.
 *
 * A group is a set of servers from one source: a HAProxy backend (shared by all pools on it), or a
 * pool's own list, or a DNS name, or the pods of a plan's pool. Its source says the whole set each
 * time; the roster finds out what is new, gone or changed.
 */
#ifndef DISCOVER_ROSTER_H
#define DISCOVER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <uthash.h>
#include "base/view.h"
#include "discover/place.h"
#include "pick/endpoint.h"

enum roster_source { ROSTER_HAPROXY, ROSTER_LISTED, ROSTER_DNS, ROSTER_KUBE };

/* What HAProxy says of one of its servers. */
struct standing {
	bool known;     /* its last word, and not too old */
	bool unchecked; /* HAProxy runs no health check of it: its UP says nothing */
	bool backup;
	unsigned flags; /* MAINT, DRAIN, DOWN of enum endpoint_flag */
};

struct member {
	struct place place; /* strings are the member's */
	struct group *group;
	struct standing standing;
	bool https;
	bool answers;     /* a scrape did, and since then not too many failed */
	bool told_dead;   /* too many failed: not judged yet */
	bool scrape_dead; /* too many scrapes failed */
	bool excused;     /* and it is used all the same: see roster_judge() */
	bool draining;    /* its source wants it to get no more requests */
	bool kept;        /* roster_set() at work */
	struct member *next_gone;
	UT_hash_handle by_name, by_addr; /* roster_set() at work */
};

struct group {
	enum roster_source source;
	char *key;
	char *backend;
	const struct config_pool *pool;      /* the first that uses it */
	const struct config_pool *next_pool; /* a reload at work: what the two are to be */
	bool asked;
	bool ask_models;         /* some pool on it wants its servers' own lists */
	bool known;              /* the source has answered: who is not here does not exist */
	bool listed_here;        /* HAProxy: its backend is there */
	bool missed;             /* that it is not there has been logged */
	bool used;               /* a reload at work */
	size_t n, room, refused; /* refused: left out, the table of endpoints is full */
	struct member **members;
	UT_hash_handle hh;
};

/* One server as its source names it. Strings are only read. */
struct roster_want {
	struct view name, server; /* server.ptr NULL: none */
	struct view host;         /* for URL and TLS; absent: the address */
	struct sockaddr_storage addr;
	bool https;
	bool draining; /* keeps what it has, gets nothing new */
	const char *metrics;
};

struct roster;

/* Borrows @e and @hooks' target. NULL when memory is short. */
struct roster *roster_new(struct endpoints *e, const struct place_hooks *hooks);
/* Tells of no removals; gives all slots back. */
struct roster *roster_free(struct roster *r);

/* The group of that key, made when there is none. NULL: -ENOMEM. */
struct group *roster_group(struct roster *r, enum roster_source source, const char *backend,
			   const char *pool);
struct group *roster_find(struct roster *r, enum roster_source source, const char *key);
struct group *roster_groups(struct roster *r); /* the first; go on by ->hh.next */
/* Drops groups whose ->used is false, with their members. */
bool roster_sweep(struct roster *r);

/*
 * The group's servers are now @wants, in this order. A server keeps its slot when name and address
 * are as before; when only the name changed; or when an address became known. Another address is
 * another server. Repeated names count once. True: something differs from before.
 */
bool roster_set(struct roster *r, struct group *g, const struct roster_want *wants, size_t n);

/* The pool's options changed (reload): tells the hooks where that makes a difference. */
void roster_options(struct roster *r, struct group *g, const struct config_pool *pool,
		    bool changed);

struct member *roster_at(const struct roster *r, uint32_t slot); /* NULL: nobody */
/* In @g by HAProxy's server name; O(members). */
struct member *roster_server(const struct group *g, struct view server);

/*
 * Settles the endpoint flags of the group from what HAProxy and the scraper say of each. The
 * scraper's word is told by roster_dead() and roster_alive(), which judge at once; it may be
 * overruled (excused).
 */
void roster_judge(struct roster *r, struct group *g);
void roster_dead(struct roster *r, struct member *m);
void roster_alive(struct roster *r, struct member *m);

/* Called where HAProxy finds a server up again that it had down or in maintenance. */
void roster_on_back(struct roster *r, void (*back)(uint32_t slot, void *arg), void *arg);

/* Somebody left and still holds a slot. */
bool roster_leaving(const struct roster *r);
/* The new snapshot is out and nobody reads the old one: those who left give their slots back. */
void roster_reap(struct roster *r);

size_t roster_count(const struct roster *r);
size_t roster_refused(const struct roster *r);

#endif
