/*
 * An API server of the test's own: one kind of objects, real HTTP on a loopback port, lists in
 * pages, watches from a resource version on, compaction, and every fault a test asks for. Its
 * state is changed by the test's thread and read by the connections' under one lock.
 */
#ifndef UNIT_DISCOVER_APISERVER_H
#define UNIT_DISCOVER_APISERVER_H

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit/net/peer.h"

#define API_OBJECTS 2048
#define API_EVENTS  8192
#define API_ASKED   8192

struct api_event {
	char type; /* A, M, D, B, or X: what text says */
	int name;
	long version;
	const char *text;
};

struct api {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct peer *peer;

	long version;           /* of the world */
	long held[API_OBJECTS]; /* version of object n, "o<n>"; 0: there is none */
	struct api_event events[API_EVENTS];
	int nevents;
	long oldest;      /* what a watch may begin at */
	const char *item; /* stands in place of object 0 in lists, or NULL */

	/* Faults */
	const char *token; /* wanted in Authorization, or NULL */
	int list_status, watch_status;
	const char *headers;         /* of such an answer */
	int list_times, watch_times; /* how often; < 0: always */
	bool expired_as_event;       /* a watch from too early: an ERROR event, not 410 */
	bool pages_expire;           /* continue is answered 410 */
	bool silent;                 /* watches say nothing and do not end */
	long list_cut, watch_cut;    /* bytes after which such an answer ends; < 0: never */
	long cut_step;               /* added to them at each such answer */
	int closing;                 /* this many watches end as soon as they began */
	unsigned chunk;              /* bytes of a chunk; 0: as they come */

	/* What was seen */
	int lists, watches, clocks, refused, expired;
	char asked[API_ASKED][256]; /* request targets */
	int nasked;
	long asked_ms[API_ASKED];
	unsigned epoch; /* raised to cut all watches */
};

static inline long api_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* An answer that may be cut. */
struct api_out {
	struct api *api;
	int fd;
	long left; /* < 0: no limit */
	bool gone;
};

static inline void api_put(struct api_out *o, const char *text, size_t len)
{
	size_t n = len;

	if (o->left >= 0 && (long)n > o->left)
		n = (size_t)o->left;
	if (o->gone)
		return;
	if (n && !peer_send(o->fd, text, n))
		o->gone = true;
	if (o->left >= 0)
		o->left -= (long)n;
	if (n < len)
		o->gone = true;
}

static inline void api_chunk(struct api_out *o, const char *text, size_t len)
{
	size_t most = o->api->chunk ? o->api->chunk : len;

	while (len && !o->gone) {
		size_t n = len < most ? len : most;
		char head[32];

		api_put(o, head, (size_t)snprintf(head, sizeof(head), "%zx\r\n", n));
		api_put(o, text, n);
		api_put(o, "\r\n", 2);
		text += n;
		len -= n;
	}
}

static inline void api_status(struct api_out *o, int status, const char *headers,
			      const char *reason)
{
	char body[512], head[512];
	int n = snprintf(body, sizeof(body),
			 "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
			 "\"message\":\"the %s of the test\",\"reason\":\"%s\",\"code\":%d}\n",
			 reason, reason, status);

	api_put(o, head,
		(size_t)snprintf(head, sizeof(head),
				 "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%s"
				 "Content-Length: %d\r\n\r\n",
				 status, headers ? headers : "", n));
	api_put(o, body, (size_t)n);
}

static inline const char *api_reason(int status)
{
	return status == 410   ? "Expired"
	       : status == 401 ? "Unauthorized"
	       : status == 403 ? "Forbidden"
	       : status == 404 ? "NotFound"
	       : status == 429 ? "TooManyRequests"
			       : "InternalError";
}

static inline int api_object(char *out, size_t size, int name, long version)
{
	return snprintf(out, size,
			"{\"metadata\":{\"name\":\"o%d\",\"namespace\":\"ns\","
			"\"resourceVersion\":\"%ld\",\"managedFields\":[{\"a\":\"]\"}]},"
			"\"spec\":{\"text\":\"}{\\\"\\u00e9\"}}",
			name, version);
}

/* The value of a parameter, or -1 when there is none or it is no number. */
static inline long api_param(const char *target, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = strchr(target, '?'); p; p = strchr(p, '&'))
		if (strncmp(++p, key, len) == 0 && p[len] == '=' && p[len + 1] >= '0' &&
		    p[len + 1] <= '9')
			return atol(p + len + 1);
	return -1;
}

static inline bool api_has(const char *target, const char *text)
{
	return strstr(target, text) != NULL;
}

/* A list is taken at one moment; its later pages show the same one, as etcd's do: the mark is
 * "VERSION.INDEX" and is good while nothing was removed since, which is all a test needs. */
static inline void api_list(struct api *a, struct api_out *o, const char *target)
{
	long limit = api_param(target, "limit"), from = 0, version, wanted;
	const char *mark = strstr(target, "continue=");
	static _Thread_local char body[API_OBJECTS * 200];
	size_t len = 0;
	char go_on[64] = "", frame[256];
	unsigned chunk;
	long n = 0;

	if (mark && (a->pages_expire || sscanf(mark, "continue=%ld.%ld", &version, &from) != 2)) {
		a->expired++;
		api_status(o, 410, NULL, "Expired");
		return;
	}
	version = mark ? version : a->version;
	wanted = api_param(target, "resourceVersion");
	if (wanted > a->version) {
		api_put(
		    o, body,
		    (size_t)snprintf(body, sizeof(body),
				     "HTTP/1.1 504 X\r\nContent-Length: 149\r\n\r\n%-149s",
				     "{\"kind\":\"Status\",\"message\":\"Too large\",\"code\":504,"
				     "\"details\":{\"causes\":[{\"reason\":"
				     "\"ResourceVersionTooLarge\"}]}}"));
		return;
	}
	for (long i = from; i < API_OBJECTS; i++) {
		if (!a->held[i])
			continue;
		if (limit > 0 && n == limit) {
			snprintf(go_on, sizeof(go_on), "%ld.%ld", version, i);
			break;
		}
		if (n++)
			body[len++] = ',';
		if (i == 0 && a->item)
			len += (size_t)snprintf(body + len, sizeof(body) - len, "%s", a->item);
		else
			len +=
			    (size_t)api_object(body + len, sizeof(body) - len, (int)i, a->held[i]);
	}
	/* The real one writes what is around the items first. */
	n = snprintf(frame, sizeof(frame),
		     "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"%ld\","
		     "\"continue\":\"%s\"},\"items\":[",
		     version, go_on);
	memmove(body + n, body, len);
	memcpy(body, frame, (size_t)n);
	len += (size_t)n;
	len += (size_t)snprintf(body + len, sizeof(body) - len, "]}\n");
	chunk = a->chunk;
	pthread_mutex_unlock(&a->lock);
	n = snprintf(frame, sizeof(frame), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
	api_put(o, frame, (size_t)n);
	for (size_t at = 0; at < len && !o->gone;) {
		size_t step = chunk && chunk < len - at ? chunk : len - at;

		api_put(o, body + at, step);
		at += step;
	}
	pthread_mutex_lock(&a->lock);
}

static inline void api_tell(struct api_out *o, const struct api_event *e)
{
	char object[512], text[1024];
	int n;

	if (e->type == 'X') {
		api_chunk(o, e->text, strlen(e->text));
		return;
	}
	if (e->type == 'B')
		snprintf(object, sizeof(object), "{\"metadata\":{\"resourceVersion\":\"%ld\"}}",
			 e->version);
	else
		api_object(object, sizeof(object), e->name, e->version);
	n = snprintf(text, sizeof(text), "{\"type\":\"%s\",\"object\":%s}\n",
		     e->type == 'A'   ? "ADDED"
		     : e->type == 'M' ? "MODIFIED"
		     : e->type == 'D' ? "DELETED"
				      : "BOOKMARK",
		     object);
	api_chunk(o, text, (size_t)n);
}

static inline void api_watch(struct api *a, struct api_out *o, const char *target)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
				   "Content-Type: application/json\r\n\r\n";
	static const char expired[] =
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"status\":\"Failure\","
	    "\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";
	long from = api_param(target, "resourceVersion"),
	     seconds = api_param(target, "timeoutSeconds");
	unsigned epoch = a->epoch;
	struct timespec end;
	int at = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds > 0 ? seconds : 1;
	if (from < a->oldest) {
		a->expired++;
		if (!a->expired_as_event) {
			api_status(o, 410, NULL, "Expired");
			return;
		}
		api_put(o, head, sizeof(head) - 1);
		api_chunk(o, expired, sizeof(expired) - 1);
		api_put(o, "0\r\n\r\n", 5);
		return;
	}
	api_put(o, head, sizeof(head) - 1);
	if (a->closing > 0) {
		a->closing--;
		api_put(o, "0\r\n\r\n", 5);
		return;
	}
	while (!o->gone && a->epoch == epoch && !a->peer->stop) {
		struct timespec wake;

		for (; at < a->nevents && !o->gone && !a->silent; at++)
			if (a->events[at].version > from || a->events[at].type == 'X')
				api_tell(o, &a->events[at]);
		/* A client that went away is noticed in between. */
		if (!a->silent && recv(o->fd, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
			break;
		clock_gettime(CLOCK_REALTIME, &wake);
		if (!a->silent && wake.tv_sec >= end.tv_sec) {
			api_put(o, "0\r\n\r\n", 5);
			return;
		}
		wake.tv_nsec += 5000000;
		if (wake.tv_nsec >= 1000000000) {
			wake.tv_nsec -= 1000000000;
			wake.tv_sec++;
		}
		pthread_cond_timedwait(&a->changed, &a->lock, &wake);
	}
	o->gone = true;
}

static inline bool api_fault(int *status, int *times)
{
	if (!*status || *times == 0)
		return false;
	if (*times > 0)
		--*times;
	return true;
}

static inline bool api_answer(struct api *a, int fd, const char *head)
{
	struct api_out o = {.api = a, .fd = fd, .left = -1};
	char target[256] = "", wanted[128];
	bool watch, clock;

	sscanf(head, "%*s %255s", target);
	watch = api_has(target, "watch=true");
	clock = !watch && api_param(target, "limit") == 1 && !api_has(target, "continue=") &&
		!api_has(target, "resourceVersion=");
	pthread_mutex_lock(&a->lock);
	if (a->nasked < API_ASKED) {
		a->asked_ms[a->nasked] = api_ms();
		strcpy(a->asked[a->nasked++], target);
	}
	*(watch ? &a->watches : clock ? &a->clocks : &a->lists) += 1;
	snprintf(wanted, sizeof(wanted), "Authorization: Bearer %s\r\n", a->token ? a->token : "");
	if (a->token && !strstr(head, wanted)) {
		a->refused++;
		api_status(&o, 401, NULL, "Unauthorized");
	} else if (watch && api_fault(&a->watch_status, &a->watch_times)) {
		api_status(&o, a->watch_status, a->headers, api_reason(a->watch_status));
	} else if (!watch && api_fault(&a->list_status, &a->list_times)) {
		api_status(&o, a->list_status, a->headers, api_reason(a->list_status));
	} else if (watch) {
		o.left = a->watch_cut;
		if (a->watch_cut >= 0)
			a->watch_cut += a->cut_step;
		api_watch(a, &o, target);
	} else {
		if (!clock)
			o.left = a->list_cut;
		if (!clock && a->list_cut >= 0)
			a->list_cut += a->cut_step;
		api_list(a, &o, target);
	}
	pthread_mutex_unlock(&a->lock);
	return !o.gone;
}

static inline void api_connection(struct peer *p, int fd, int nth)
{
	char head[8192];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head)) && api_answer(p->arg, fd, head))
		;
}

static inline struct api *api_start(void)
{
	struct api *a = calloc(1, sizeof(*a));

	assert(a);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	a->version = 1000;
	a->oldest = 1000;
	a->list_cut = a->watch_cut = -1;
	a->peer = peer_start(api_connection, a);
	return a;
}

static inline void api_free(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->epoch++;
	a->peer->stop = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	peer_stop(a->peer);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/* Changes of the world. */

static inline void api_event(struct api *a, char type, int name, const char *text)
{
	pthread_mutex_lock(&a->lock);
	assert(a->nevents < API_EVENTS);
	if (type != 'X')
		a->version++;
	if (type == 'A' || type == 'M')
		a->held[name] = a->version;
	else if (type == 'D')
		a->held[name] = 0;
	a->events[a->nevents++] = (struct api_event){type, name, a->version, text};
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

/* Watches end, cut. */
static inline void api_cut(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->epoch++;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

/* What happened up to now cannot be watched any more. */
static inline void api_compact(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->version++;
	a->oldest = a->version;
	a->nevents = 0;
	pthread_mutex_unlock(&a->lock);
}

/* With the lock held for as long as the statement takes. */
#define API_WITH(a, statement)                                                                     \
	do {                                                                                       \
		pthread_mutex_lock(&(a)->lock);                                                    \
		statement;                                                                         \
		pthread_mutex_unlock(&(a)->lock);                                                  \
	} while (0)

#define API_GET(a, field)                                                                          \
	({                                                                                         \
		__typeof__((a)->field) value_;                                                     \
		pthread_mutex_lock(&(a)->lock);                                                    \
		value_ = (a)->field;                                                               \
		pthread_mutex_unlock(&(a)->lock);                                                  \
		value_;                                                                            \
	})

#endif
