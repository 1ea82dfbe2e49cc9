/*
 * Plans out of a line of text: pools separated by " | ", each its name and its servers,
 *
 *   llama a=10.0.0.1:8000 b=[::1]:8000! | phi4* c=10.0.0.3:80
 *
 * where ! says that the server is draining, and * that the pool speaks h2c.
 */
#ifndef UNIT_DISCOVER_PLANS_H
#define UNIT_DISCOVER_PLANS_H

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "discover/plan.h"

#define PLANS_POOLS   8
#define PLANS_MEMBERS 8

struct plans {
	struct plan plan;
	struct plan_pool pools[PLANS_POOLS];
	struct plan_member members[PLANS_POOLS][PLANS_MEMBERS];
	char *text;
};

static inline void plans_address(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	char host[64];
	const char *colon = strrchr(text, ':');

	memset(ret, 0, sizeof(*ret));
	if (!colon)
		return;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (host[0] == '[') {
		host[strlen(host) - 1] = '\0';
		assert(inet_pton(AF_INET6, host + 1, &six->sin6_addr) == 1);
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)atoi(colon + 1));
	} else {
		assert(inet_pton(AF_INET, host, &four->sin_addr) == 1);
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)atoi(colon + 1));
	}
}

static inline void plans_init(struct plans *p, const char *text)
{
	struct plan_pool *pool = NULL;
	char *word, *rest;

	memset(p, 0, sizeof(*p));
	p->text = strdup(text);
	p->plan.pools = p->pools;
	for (word = strtok_r(p->text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '=');

		if (strcmp(word, "|") == 0) {
			pool = NULL;
		} else if (!pool) {
			pool = &p->pools[p->plan.npools];
			pool->members = p->members[p->plan.npools++];
			pool->h2c = word[strlen(word) - 1] == '*';
			pool->backend = (struct view){word, strlen(word) - pool->h2c};
			pool->name = pool->backend;
		} else {
			struct plan_member *m = &p->members[p->plan.npools - 1][pool->nmembers++];

			assert(equals);
			m->name = (struct view){word, (size_t)(equals - word)};
			m->draining = word[strlen(word) - 1] == '!';
			if (m->draining)
				word[strlen(word) - 1] = '\0';
			plans_address(equals + 1, &m->addr);
		}
	}
}

static inline void plans_deinit(struct plans *p)
{
	free(p->text);
}

#endif
