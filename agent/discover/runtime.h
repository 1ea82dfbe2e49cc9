/*
 * What HAProxy's runtime socket answers, read: text in, rows out. No I/O, no allocation; every
 * view points into the text that was given.
 *
 * Commands and formats: HAProxy management guide §9.3 ("show servers state", "show stat", "show
 * info", "show map"). Versions 2.6 to 3.4 differ in their columns, so columns are found by the
 * names in the header line, never by their position.
 */
#ifndef DISCOVER_RUNTIME_H
#define DISCOVER_RUNTIME_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

/* The question that runtime_split() reads the answer of. */
#define RUNTIME_QUESTION "show info;show servers state;show stat -1 6 -1\n"

/* srv_admin_state of "show servers state", as HAProxy's enum srv_admin has it. */
enum runtime_admin {
	RUNTIME_FMAINT = 0x01, /* set by the socket or the configuration */
	RUNTIME_IMAINT = 0x02, /* inherited from a tracked server */
	RUNTIME_CMAINT = 0x04, /* "disabled" in the configuration */
	RUNTIME_FDRAIN = 0x08,
	RUNTIME_IDRAIN = 0x10,
	RUNTIME_RMAINT = 0x20, /* its name does not resolve */
	RUNTIME_HMAINT = 0x40, /* its host name was changed */
	RUNTIME_ANY_MAINT = 0x67,
	RUNTIME_ANY_DRAIN = 0x18,
};

/* srv_op_state */
enum runtime_op { RUNTIME_STOPPED, RUNTIME_STARTING, RUNTIME_RUNNING, RUNTIME_STOPPING };

struct runtime_info {
	struct view version;
	uint32_t pid;
	uint64_t uptime_s;
	bool stopping; /* an old worker on its way out: its word does not count */
};

/* The three parts of one answer, each with its header line and without the empty line that ends
 * it, and the first line that belongs to none of them (an error, as a rule). */
struct runtime_answer {
	struct view info, servers, stat, error;
};

/* 0: all three parts are there and whole. -EAGAIN: the text ends too soon. -EACCES: a command was
 * refused (@ret->error says how). -EPROTO: not HAProxy's answer. @ret is filled as far as it goes
 * in every case. */
int runtime_split(struct view text, struct runtime_answer *ret) __attribute__((warn_unused_result));

/* 0, or -EPROTO without a Pid. */
int runtime_info(struct view part, struct runtime_info *ret) __attribute__((warn_unused_result));

#define RUNTIME_COLUMNS 12

/* A table under way; what is in it is runtime.c's. */
struct runtime_table {
	struct view rest;
	char separator;
	int column[RUNTIME_COLUMNS]; /* wanted → position, -1: this version has it not */
	int last;                    /* the last position that is wanted */
};

struct runtime_server {
	struct view backend, server;
	struct view fqdn;             /* absent: written as an address */
	struct sockaddr_storage addr; /* family 0: a unix socket, not resolved, or any address */
	unsigned admin;               /* enum runtime_admin */
	int op;                       /* enum runtime_op; unknown numbers as they are */
	uint32_t weight;
	bool ssl;
	bool checking; /* its health check is switched on; meaningless for one without any */
};

/* 0, or -EPROTO: another format version, or a column is missing. */
int runtime_servers(struct view part, struct runtime_table *ret)
    __attribute__((warn_unused_result));
/* 1 and a row, 0 at the end, -EPROTO at a line that is none. */
int runtime_servers_next(struct runtime_table *t, struct runtime_server *ret)
    __attribute__((warn_unused_result));

struct runtime_stat {
	struct view backend, server;
	bool is_backend; /* the backend as a whole; server is "BACKEND" */
	struct view
	    status;     /* UP, "UP 1/3", DOWN, MAINT, "MAINT (via b/s)", DRAIN, NOLB, "no check" */
	bool unchecked; /* HAProxy runs no check of it: its UP says nothing */
	bool backup;
	uint32_t current, queued; /* requests there now; waiting for it in HAProxy */
	uint32_t limit;           /* maxconn; 0: none */
};

int runtime_stats(struct view part, struct runtime_table *ret) __attribute__((warn_unused_result));
int runtime_stats_next(struct runtime_table *t, struct runtime_stat *ret)
    __attribute__((warn_unused_result));

/* "show map": one loaded map. */
struct runtime_map {
	struct view id;   /* digits */
	struct view path; /* as HAProxy names it, which may be file@…, virt@…, opt@… */
};
/* Takes lines off *@text. True and a map, false at the end. Other lines are passed over. */
bool runtime_maps_next(struct view *text, struct runtime_map *ret);

/* "show map NAME": one entry. The value is the rest of the line, as HAProxy has stored it. */
struct runtime_pair {
	struct view key, value;
};
bool runtime_pairs_next(struct view *text, struct runtime_pair *ret);

/* True: *@text ended in the empty line that ends every answer, which is taken off. */
bool runtime_whole(struct view *text);

/* "New version created: N" → N, or -EPROTO. */
int64_t runtime_prepared(struct view text);

#endif
