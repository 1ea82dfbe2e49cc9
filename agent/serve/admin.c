/*
 * The administration port.
 *
 * Every page is read-only, and is built whole before its first byte leaves. On TCP, what the
 * configuration names protects it: TLS, and a bearer token for every page that is not for probes; a
 * unix socket has its permissions. config/check.c sees to it that addresses which others than this
 * machine can reach are protected, or open by the word of whoever runs it.
 *
 * Room is for limits.admin_connections. One more takes the place of the oldest, the ones that only
 * wait for their peer's end before the others: whoever asks at once, as probes do, is answered
 * within a turn of the loop, however many connect to say nothing. Therefore few are accepted in one
 * turn: each gets its own before it can be the oldest. And handshakes of TLS are paid for by this
 * thread, which follows the servers and closes the tickets too: past HANDSHAKES_A_SECOND the kernel
 * keeps who knocks at TCP doors waiting; nobody is refused for it.
 */
#include "serve/admin.h"

#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/token.h"
#include "serve/address.h"
#include "serve/httpconn.h"
#include "base/textfile.h"
#include "serve/tls.h"

#define BACKLOG        128
#define ACCEPTS_A_TURN 8
/* accept() out of descriptors: the kernel keeps the peer waiting, we try again after this. */
#define PAUSE_MS 100
/* TLS handshakes, at a millisecond of this thread's each: so many a second, as many at once. */
#define HANDSHAKES_A_SECOND 100

struct door {
	struct admin *admin;
	struct address address;
	struct event *knock;
	int fd;
};

struct admin {
	struct event_base *base;
	const struct admin_page *pages;
	void *arg;
	uint32_t max_connections, timeout_ms;
	struct tls *tls; /* NULL: none */
	struct tokens *tokens;
	char *token_file; /* NULL: none is wanted */
	struct httpconn_owner owner;
	TAILQ_HEAD(, httpconn) conns; /* oldest first */
	uint32_t nconns;
	struct admin_counts counts;
	struct event *resume;
	bool failing;
	double handshakes;   /* that may be begun now */
	uint64_t counted_ns; /* when that was so */
	size_t ndoors;
	struct door *doors;
};

/* --- answers --- */

static void answer_text(struct httpconn *c, int status, const char *extra, const char *text,
			bool head_only)
{
	char *body = strdup(text);

	httpconn_answer_consume(c, status, "text/plain; charset=utf-8", extra, body,
				body ? strlen(body) : 0, head_only);
}

static void answer_page(struct admin *a, struct httpconn *c, const struct admin_page *page,
			struct view rest, bool head_only)
{
	struct textfile file;
	char *body = NULL;
	int status = 500;
	size_t len;

	if (textfile_open(&file)) {
		status = rest.ptr ? page->write_below(a->arg, rest, file.out)
				  : page->write(a->arg, file.out);
		body = textfile_close(&file, &len);
	}
	if (body && status != 500) {
		httpconn_answer_consume(c, status, page->content_type, "", body, len, head_only);
		return;
	}
	free(body);
	answer_text(c, 500, "", "out of memory\n", head_only);
}

static void answer_list(struct admin *a, struct httpconn *c, int status, bool head_only)
{
	char text[512] = "spoa-inference\n";
	size_t len = strlen(text);

	for (const struct admin_page *p = a->pages; p->path && len < sizeof(text); p++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", p->path);
	answer_text(c, status, "", text, head_only);
}

/* 0, or the status to answer. */
static int refuse_token(struct admin *a, const struct httpconn *c, struct view given)
{
	const char *error, *token;

	if (c->trusted || !a->token_file)
		return 0;
	token = token_get(a->tokens, a->token_file, &error);
	if (!token)
		return 503;
	return tls_same_secret(given, view_str(token)) ? 0 : 401;
}

/* @ret_rest: what follows the page's path and a slash; absent without a slash. */
static const struct admin_page *find_page(const struct admin *a, struct view path,
					  struct view *ret_rest)
{
	*ret_rest = VIEW_NULL;
	for (const struct admin_page *p = a->pages; p->path; p++) {
		size_t len = strlen(p->path);

		if (view_eq(path, view_str(p->path)))
			return p;
		if (p->write_below && path.len > len && memcmp(path.ptr, p->path, len) == 0 &&
		    path.ptr[len] == '/') {
			*ret_rest = (struct view){path.ptr + len + 1, path.len - len - 1};
			return p;
		}
	}
	return NULL;
}

/* Who has no token is told nothing, not even which pages there are. */
static void answer_refusal(struct admin *a, struct httpconn *c, int status, bool given,
			   bool head_only)
{
	const char *challenge =
	    given ? "WWW-Authenticate: Bearer realm=\"spoa-inference\", error=\"invalid_token\"\r\n"
		  : "WWW-Authenticate: Bearer realm=\"spoa-inference\"\r\n";

	if (status == 401) {
		a->counts.unauthorized++;
		answer_text(c, 401, challenge, "a bearer token is wanted\n", head_only);
	} else {
		answer_text(c, status, "", "the token cannot be checked, see the log\n", head_only);
	}
}

static void on_asked(struct httpconn *c, int bad, const struct httphead *head, void *arg)
{
	const bool head_only = !bad && view_eq(head->method, VIEW_LIT("HEAD"));
	const struct admin_page *page;
	struct admin *a = arg;
	struct view rest;
	int refusal;

	if (bad) {
		answer_text(c, bad, "", "this is no request for a page\n", false);
		return;
	}
	page = find_page(a, head->path, &rest);
	refusal = page && page->open ? 0 : refuse_token(a, c, head->token);
	if (refusal)
		answer_refusal(a, c, refusal, head->token.ptr, head_only);
	else if (!head_only && !view_eq(head->method, VIEW_LIT("GET")))
		answer_text(c, 405, "Allow: GET, HEAD\r\n", "pages are read only\n", false);
	else if (page)
		answer_page(a, c, page, rest, head_only);
	else
		answer_list(a, c, view_eq(head->path, VIEW_LIT("/")) ? 200 : 404, head_only);
}

/* --- connections --- */

static void forget(struct admin *a, struct httpconn *c)
{
	TAILQ_REMOVE(&a->conns, c, link);
	a->nconns--;
}

static void on_gone(struct httpconn *c, bool late, void *arg)
{
	struct admin *a = arg;

	/* Who has its answer is late with its close alone. */
	a->counts.late += late && !c->written;
	forget(a, c);
}

static void make_room(struct admin *a)
{
	struct httpconn *c, *oldest = TAILQ_FIRST(&a->conns);

	if (!oldest)
		return;
	TAILQ_FOREACH(c, &a->conns, link)
	{
		if (c->written) {
			oldest = c;
			break;
		}
	}
	a->counts.evicted += !oldest->written;
	forget(a, oldest);
	httpconn_free(oldest);
}

static void take(struct admin *a, const struct door *d, int fd)
{
	const bool trusted = d->address.addr.ss_family == AF_UNIX;
	struct bufferevent *bev;
	struct httpconn *c;

	while (a->nconns && a->nconns >= a->max_connections)
		make_room(a);
	a->handshakes -= a->tls && !trusted;
	bev = a->tls && !trusted ? tls_accept(a->tls, a->base, fd)
				 : bufferevent_socket_new(a->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		close(fd);
	c = httpconn_new_consume(&a->owner, a->base, bev, a->timeout_ms, trusted);
	if (!c)
		return;
	a->counts.accepted++;
	TAILQ_INSERT_TAIL(&a->conns, c, link);
	a->nconns++;
}

static void close_doors(struct admin *a, bool tls_only)
{
	const struct timeval wait = {.tv_usec = PAUSE_MS * 1000};

	for (size_t i = 0; i < a->ndoors; i++)
		if (!tls_only || a->doors[i].address.addr.ss_family != AF_UNIX)
			event_del(a->doors[i].knock);
	event_add(a->resume, &wait);
}

static void pause_doors(struct admin *a, int err)
{
	struct log_line l;

	if (!a->failing) {
		log_begin(&l, LOG_LEVEL_ERROR, "accept_failed");
		log_str(&l, "option", "listen.admin");
		log_errno(&l, "error", err);
		log_str(&l, "remedy", "raise the limit of open files (ulimit -n, LimitNOFILE)");
		log_end(&l);
	}
	a->failing = true;
	close_doors(a, false);
}

/* Whether @d may take one more now; if not, TLS's doors are closed for a moment. */
static bool may_take(struct admin *a, const struct door *d)
{
	uint64_t now = clock_mono_ns();

	if (!a->tls || d->address.addr.ss_family == AF_UNIX)
		return true;
	a->handshakes +=
	    (double)(now - a->counted_ns) / (double)CLOCK_NS_PER_S * HANDSHAKES_A_SECOND;
	if (a->handshakes > HANDSHAKES_A_SECOND)
		a->handshakes = HANDSHAKES_A_SECOND;
	a->counted_ns = now;
	if (a->handshakes < 1) {
		a->counts.held++;
		close_doors(a, true);
		return false;
	}
	return true;
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < a->ndoors; i++)
		event_add(a->doors[i].knock, NULL);
}

static void on_knock(evutil_socket_t fd, short what, void *arg)
{
	struct door *d = arg;
	struct admin *a = d->admin;
	uint32_t most = a->max_connections < ACCEPTS_A_TURN ? a->max_connections : ACCEPTS_A_TURN;

	(void)what;
	for (uint32_t i = 0; i < most && may_take(a, d); i++) {
		int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (peer >= 0) {
			a->failing = false;
			take(a, d, peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_doors(a, errno);
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* --- life --- */

static int open_door(struct admin *a, const struct config *conf, const char *text)
{
	struct door *d = &a->doors[a->ndoors];
	int fd = address_parse(text, &d->address);

	if (fd == 0)
		fd = address_listen(&d->address, SOCK_STREAM, BACKLOG, conf->listen.spop_mode,
				    conf->listen.spop_group);
	if (fd < 0)
		return fd;
	d->admin = a;
	d->fd = fd;
	a->ndoors++;
	d->knock = event_new(a->base, fd, EV_READ | EV_PERSIST, on_knock, d);
	return d->knock && event_add(d->knock, NULL) == 0 ? 0 : -ENOMEM;
}

static bool open_doors(struct admin *a, const struct config *conf)
{
	const struct config_list *list = &conf->listen.admin;

	for (size_t i = 0; i < list->n; i++) {
		int r = open_door(a, conf, list->items[i]);

		if (r < 0) {
			address_complain(&a->doors[i].address, -r, "listen.admin", list->items[i]);
			return false;
		}
	}
	return true;
}

/* What protects it; false: a line was logged. */
static bool arm(struct admin *a, const struct config *conf)
{
	const char *error;

	if (conf->listen.admin_cert) {
		a->tls = tls_new(conf->listen.admin_cert, conf->listen.admin_key);
		if (!a->tls)
			return false;
	}
	if (conf->listen.admin_token_file) {
		a->token_file = strdup(conf->listen.admin_token_file);
		if (!a->token_file || !token_get(a->tokens, a->token_file, &error))
			return false;
	}
	return true;
}

struct admin *admin_new(struct event_base *base, const struct config *conf,
			const struct admin_page *pages, void *arg)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	TAILQ_INIT(&a->conns);
	a->base = base;
	a->pages = pages;
	a->arg = arg;
	a->max_connections = conf->limits.admin_connections;
	a->timeout_ms = conf->timeouts.admin_ms;
	a->owner = (struct httpconn_owner){.asked = on_asked, .gone = on_gone, .arg = a};
	a->tokens = tokens_new();
	a->handshakes = HANDSHAKES_A_SECOND;
	a->counted_ns = clock_mono_ns();
	a->resume = event_new(base, -1, 0, on_resume, a);
	a->doors = calloc(conf->listen.admin.n + 1, sizeof(*a->doors));
	if (!a->tokens || !a->resume || !a->doors || !arm(a, conf) || !open_doors(a, conf))
		return admin_free(a);
	return a;
}

void admin_reload(struct admin *a, const struct config *conf)
{
	a->max_connections = conf->limits.admin_connections;
	a->timeout_ms = conf->timeouts.admin_ms;
	while (a->nconns > a->max_connections)
		make_room(a);
	if (a->tls) {
		struct tls *new = tls_new(conf->listen.admin_cert, conf->listen.admin_key);

		if (new) {
			tls_free(a->tls);
			a->tls = new;
		}
	}
}

struct admin *admin_free(struct admin *a)
{
	struct httpconn *c;

	if (!a)
		return NULL;
	assert(a->ndoors == 0 || a->doors);
	for (size_t i = 0; i < a->ndoors; i++) {
		if (a->doors[i].knock)
			event_free(a->doors[i].knock);
		address_unlink(&a->doors[i].address);
		close(a->doors[i].fd);
	}
	while ((c = TAILQ_FIRST(&a->conns))) {
		forget(a, c);
		httpconn_free(c);
	}
	if (a->resume)
		event_free(a->resume);
	tls_free(a->tls);
	tokens_free(a->tokens);
	free(a->token_file);
	free(a->doors);
	free(a);
	return NULL;
}

struct admin_counts admin_counts(const struct admin *a)
{
	return a->counts;
}
