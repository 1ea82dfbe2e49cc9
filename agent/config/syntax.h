/*
 * The forms of single values: names, addresses, URLs. Each check says whether @text has the form;
 * if not, @why is what is wrong and what would be right, to stand behind the quoted text.
 */
#ifndef CONFIG_SYNTAX_H
#define CONFIG_SYNTAX_H

#include <stdint.h>
#include "base/view.h"

struct syntax_why {
	char text[256];
};

struct syntax_address {
	struct view host; /* without brackets */
	uint16_t port;
	bool https;
};

typedef bool syntax_check(struct view text, struct syntax_why *why);

syntax_check syntax_name;       /* HAProxy's names: letters, digits, _ . : - */
syntax_check syntax_socket;     /* /PATH, unix@/PATH, or HOST:PORT with IP or localhost */
syntax_check syntax_listener;   /* unix@/PATH, abns@NAME, HOST:PORT; port 0: any free one */
syntax_check syntax_nameserver; /* IP:PORT */
syntax_check syntax_namespace;  /* Kubernetes': a DNS label */
syntax_check syntax_object;     /* NAMESPACE/NAME */
syntax_check syntax_hostname;   /* an IP address or a host's name, without a port */
syntax_check syntax_portname;   /* NAME=PORT: a container's port as Kubernetes names it */
syntax_check syntax_keywords;   /* of a server line in haproxy.cfg */
syntax_check syntax_urlpath;    /* /PATH */
syntax_check syntax_url;        /* http(s)://HOST[:PORT]/… */

/* HOST:PORT or http(s)://HOST:PORT of a model server. */
bool syntax_address(struct view text, struct syntax_address *ret, struct syntax_why *why);

#define SYNTAX_PORTS_MAX 16
/* HOST:PORT[,PORT…]; *nports of @ports are filled. */
bool syntax_dns(struct view text, struct view *host, uint16_t ports[SYNTAX_PORTS_MAX],
		size_t *nports, struct syntax_why *why);

/* Digits alone, up to @max: the value, or -1. */
int64_t syntax_number(struct view text, int64_t max);

#endif
