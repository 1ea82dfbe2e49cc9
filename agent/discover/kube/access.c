/*
 * Where the API server is and who we are to it.
 *
 * Everything that can rotate is a file that is looked at again: a mounted secret is replaced by a
 * link to another folder, a hand-made one is written over; stat() tells both, once a second at
 * most. Each minute, and after a 401, the content is read whatever stat() says, since clocks of
 * file systems are coarse. A file that is gone or half-written leaves what it held: better an old
 * token for a moment than none.
 *
 * What became another thing raises the version, by which a 401 that came from older credentials is
 * told from one that the present ones got.
 */
#include "discover/kube/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/kubeconfig.h"

#define FILE_MAX     ((size_t)1 << 20)
#define STAT_EVERY   CLOCK_NS_PER_S
#define REREAD_EVERY (60 * CLOCK_NS_PER_S)

enum form { FORM_PEM, FORM_TOKEN, FORM_ANY };

/* PEM or a token, from a file or given. */
struct secret {
	enum form form;
	char *path; /* NULL: given, or there is none */
	char *text; /* NULL: there is none (yet) */
	size_t len;
	struct stat seen;
	const char *error; /* the last one that was told */
};

struct kube_access {
	char *url, *name, *namespace, *server_name;
	bool insecure;
	struct secret ca, cert, key, token;
	char *basic;         /* Authorization by name and password, or NULL */
	char *authorization; /* by the token, or NULL */
	uint64_t version, stat_ns, read_ns;
};

static struct secret *const *secrets(struct kube_access *a, struct secret *ret[5])
{
	ret[0] = &a->ca;
	ret[1] = &a->cert;
	ret[2] = &a->key;
	ret[3] = &a->token;
	ret[4] = NULL;
	return ret;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* Files */

static const char *fault(enum form form, char *text, size_t *len)
{
	if (form == FORM_ANY)
		return NULL;
	if (form == FORM_PEM)
		return memmem(text, *len, "-----BEGIN ", 11) ? NULL : "there is no PEM text in it";
	while (*len && strchr(" \t\r\n", text[*len - 1]))
		(*len)--;
	text[*len] = '\0';
	if (*len == 0)
		return "it is empty";
	for (size_t i = 0; i < *len; i++)
		if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f)
			return "white space or control characters stand in it";
	return NULL;
}

static const char *reason(int err)
{
	return err == ENOENT || err == ENOTDIR ? "there is no such file"
	       : err == EACCES || err == EPERM ? "permission denied"
	       : err == ENOMEM                 ? "out of memory"
					       : "it cannot be read";
}

/* The whole file, terminated; NULL and a reason. */
static char *read_file(const char *path, enum form form, size_t *ret_len, struct stat *ret_seen,
		       const char **ret_error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *text = NULL;
	size_t len = 0;
	struct stat st;
	ssize_t n = -1;

	*ret_error = NULL;
	if (fd < 0 || fstat(fd, &st) < 0) {
		*ret_error = reason(errno);
	} else if (!S_ISREG(st.st_mode) || (size_t)st.st_size > FILE_MAX) {
		*ret_error = S_ISREG(st.st_mode) ? "it is larger than a megabyte" : "it is no file";
	} else {
		text = malloc((size_t)st.st_size + 2);
		while (text && len <= (size_t)st.st_size &&
		       (n = read(fd, text + len, (size_t)st.st_size + 1 - len)) > 0)
			len += (size_t)n;
		if (!text || n < 0)
			*ret_error = reason(text ? errno : ENOMEM);
		else if (len > (size_t)st.st_size)
			*ret_error = "it grew while it was read";
		else
			text[len] = '\0';
	}
	if (fd >= 0)
		close(fd);
	if (!*ret_error)
		*ret_error = fault(form, text, &len);
	if (*ret_error) {
		free(text);
		return NULL;
	}
	*ret_len = len;
	*ret_seen = st;
	return text;
}

/* True when the secret became another one; an error leaves it, and is told once. */
static bool secret_read(struct secret *s)
{
	const char *error = NULL;
	bool other;
	size_t len = 0;
	char *text = read_file(s->path, s->form, &len, &s->seen, &error);

	if (!text) {
		s->seen = (struct stat){0};
		if (s->text && (!s->error || strcmp(s->error, error) != 0))
			log_event(LOG_LEVEL_WARNING, "kube_credentials_unreadable", "file", s->path,
				  "reason", error, NULL);
		s->error = error;
		return false;
	}
	s->error = NULL;
	other = !s->text || s->len != len || memcmp(s->text, text, len) != 0;
	if (s->text)
		explicit_bzero(s->text, s->len);
	free(s->text);
	s->text = text;
	s->len = len;
	return other;
}

static bool secret_changed(const struct secret *s)
{
	struct stat st;

	return stat(s->path, &st) < 0 || st.st_ino != s->seen.st_ino ||
	       st.st_dev != s->seen.st_dev || st.st_size != s->seen.st_size ||
	       memcmp(&st.st_mtim, &s->seen.st_mtim, sizeof(st.st_mtim)) != 0 ||
	       memcmp(&st.st_ctim, &s->seen.st_ctim, sizeof(st.st_ctim)) != 0;
}

/* The header by the token; without memory the old one stays. */
static int authorize(struct kube_access *a)
{
	char *text;

	if (!a->token.text)
		return 0;
	text = malloc(a->token.len + sizeof("Bearer "));
	if (!text)
		return -ENOMEM;
	sprintf(text, "Bearer %s", a->token.text);
	wipe(a->authorization);
	a->authorization = text;
	return 0;
}

/* Looks at the files; with @all, reads them whatever stat() says. */
static void look(struct kube_access *a, bool all)
{
	bool other = false;
	struct secret *list[5];

	for (struct secret *const *s = secrets(a, list); *s; s++) {
		if (!(*s)->path || (!all && !secret_changed(*s)) || !secret_read(*s))
			continue;
		other = true;
		log_event(LOG_LEVEL_DEBUG, "kube_credentials_read", "file", (*s)->path, NULL);
	}
	if (other) {
		a->version++;
		(void)authorize(a);
	}
}

void kube_access_get(struct kube_access *a, uint64_t now_ns, struct kube_credentials *ret)
{
	bool all = now_ns - a->read_ns >= REREAD_EVERY;

	if (all || now_ns - a->stat_ns >= STAT_EVERY) {
		a->stat_ns = now_ns;
		if (all)
			a->read_ns = now_ns;
		look(a, all);
	}
	*ret = (struct kube_credentials){
	    .url = a->url,
	    .authorization = a->authorization ? a->authorization : a->basic,
	    .ca = {a->ca.text, a->ca.len},
	    .cert = {a->cert.text, a->cert.len},
	    .key = {a->key.text, a->key.len},
	    .server_name = a->server_name,
	    .insecure = a->insecure,
	    .version = a->version,
	};
}

bool kube_access_refused(struct kube_access *a, uint64_t version, uint64_t now_ns)
{
	if (a->version == version) {
		a->stat_ns = a->read_ns = now_ns;
		look(a, true);
	}
	return a->version != version;
}

const char *kube_access_namespace(const struct kube_access *a)
{
	return a->namespace;
}

const char *kube_access_server(const struct kube_access *a)
{
	return a->url;
}

const char *kube_access_name(const struct kube_access *a)
{
	return a->name;
}

/* Making one */

static char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *fmt, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	text = n < 0 ? NULL : malloc((size_t)n + 1);
	if (!text)
		return NULL;
	va_start(args, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, args);
	va_end(args);
	return text;
}

/* Adds an error; returns -EINVAL, or -ENOMEM. @text is the callee's; NULL: memory was short. */
static int complain_consume(struct config_errors *errors, int line, int col, char *text)
{
	struct config_error *items =
	    text ? realloc(errors->items, (errors->n + 1) * sizeof(*items)) : NULL;

	if (!items) {
		free(text);
		return -ENOMEM;
	}
	errors->items = items;
	errors->items[errors->n++] = (struct config_error){line, col, text};
	return -EINVAL;
}

/* Files must be readable when it begins. */
static int first_look(struct kube_access *a, const struct kubeconfig *k,
		      struct config_errors *errors)
{
	struct secret *list[5];
	const struct kubeconfig_secret *from[4] = {0};
	int r = 0;

	if (k) {
		from[0] = &k->ca;
		from[1] = &k->cert;
		from[2] = &k->key;
		from[3] = &k->token;
	}
	for (struct secret *const *s = secrets(a, list); *s && r != -ENOMEM; s++) {
		const struct kubeconfig_secret *place = from[s - list];

		if (!(*s)->path)
			continue;
		secret_read(*s);
		if ((*s)->error)
			r = complain_consume(
			    errors, place ? place->line : 0, place ? place->col : 0,
			    format("%s cannot be used: %s%s", (*s)->path, (*s)->error,
				   place ? ""
					 : ": a pod has it unless automountServiceAccountToken "
					   "is false"));
	}
	if (r < 0)
		return r;
	a->version = 1;
	return authorize(a);
}

/* As it stands in a URL: an IPv6 address in brackets. */
static char *service_url(const char *host, const char *port)
{
	struct in6_addr v6;
	bool bare = inet_pton(AF_INET6, host, &v6) == 1;

	return format("https://%s%s%s:%s", bare ? "[" : "", host, bare ? "]" : "", port);
}

static bool is_port(const char *text)
{
	size_t len = strlen(text);
	long port = strtol(text, NULL, 10);

	return len && len <= 5 && strspn(text, "0123456789") == len && port > 0 && port <= 65535;
}

static int of_pod(struct kube_access *a, const struct kube_access_conf *conf,
		  struct config_errors *errors)
{
	const char *host = conf->host ? conf->host : getenv("KUBERNETES_SERVICE_HOST");
	const char *port = conf->port ? conf->port : getenv("KUBERNETES_SERVICE_PORT");
	const char *dir = conf->dir ? conf->dir : KUBE_ACCESS_DIR, *error;
	char *path = format("%s/namespace", dir);
	struct stat st;
	size_t len;

	if (!host || !*host || !port || !is_port(port)) {
		free(path);
		return complain_consume(
		    errors, 0, 0,
		    format("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this "
			   "is no pod; name a kubeconfig file"));
	}
	a->url = service_url(host, port);
	a->name = strdup("service account");
	a->ca.path = format("%s/ca.crt", dir);
	a->token.path = format("%s/token", dir);
	if (!path || !a->url || !a->name || !a->ca.path || !a->token.path) {
		free(path);
		return -ENOMEM;
	}
	a->namespace = read_file(path, FORM_TOKEN, &len, &st, &error);
	free(path);
	return first_look(a, NULL, errors);
}

static char *base64(const char *text, size_t len)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = malloc((len + 2) / 3 * 4 + 1), *at = out;

	for (size_t i = 0; out && i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = 0;

		for (size_t j = 0; j < 3; j++)
			v = v << 8 | (j < n ? (unsigned char)text[i + j] : 0);
		for (size_t j = 0; j < 4; j++)
			*at++ = j <= n ? digits[v >> (18 - 6 * j) & 63] : '=';
	}
	if (out)
		*at = '\0';
	return out;
}

static char *basic(const struct kubeconfig *k)
{
	char *pair = format("%s:%s", k->username, k->password), *code, *text = NULL;

	code = pair ? base64(pair, strlen(pair)) : NULL;
	if (code)
		text = format("Basic %s", code);
	wipe(pair);
	wipe(code);
	return text;
}

/* Takes what the secret of a kubeconfig holds. */
static void take(struct secret *s, struct kubeconfig_secret *from)
{
	s->path = from->path;
	s->text = from->data;
	s->len = from->len;
	from->path = from->data = NULL;
}

static int of_kubeconfig(struct kube_access *a, struct kubeconfig *k, struct config_errors *errors)
{
	a->url = k->server;
	a->name = k->context;
	a->namespace = k->namespace;
	a->server_name = k->server_name;
	k->server = k->context = k->namespace = k->server_name = NULL;
	a->insecure = k->insecure;
	take(&a->ca, &k->ca);
	take(&a->cert, &k->cert);
	take(&a->key, &k->key);
	take(&a->token, &k->token);
	if (k->username && !a->token.path && !a->token.text) {
		a->basic = basic(k);
		if (!a->basic)
			return -ENOMEM;
	}
	return first_look(a, k, errors);
}

static int load_kubeconfig(struct kube_access *a, const struct kube_access_conf *conf,
			   struct config_errors *errors)
{
	const char *slash = strrchr(conf->kubeconfig, '/'), *error = NULL;
	struct kubeconfig *k = NULL;
	struct config_errors found;
	char *dir, *text;
	struct stat st;
	size_t len = 0;
	int r;

	text = read_file(conf->kubeconfig, FORM_ANY, &len, &st, &error);
	if (!text)
		return complain_consume(errors, 0, 0, format("it cannot be used: %s", error));
	dir = slash
		  ? format("%.*s", slash == conf->kubeconfig ? 1 : (int)(slash - conf->kubeconfig),
			   conf->kubeconfig)
		  : NULL;
	if (slash && !dir) {
		wipe(text);
		return -ENOMEM;
	}
	r = kubeconfig_parse((struct view){text, len}, dir, conf->context, &found, &k);
	*errors = found;
	if (r == 0)
		r = of_kubeconfig(a, k, errors);
	kubeconfig_free(k);
	free(dir);
	explicit_bzero(text, len);
	free(text);
	return r;
}

int kube_access_new(const struct kube_access_conf *conf, struct config_errors *ret_errors,
		    struct kube_access **ret)
{
	struct kube_access *a = calloc(1, sizeof(*a));
	int r;

	*ret_errors = (struct config_errors){0};
	if (!a)
		return -ENOMEM;
	a->token.form = FORM_TOKEN;
	r = conf->kubeconfig ? load_kubeconfig(a, conf, ret_errors) : of_pod(a, conf, ret_errors);
	if (r < 0) {
		kube_access_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct kube_access *kube_access_free(struct kube_access *a)
{
	struct secret *list[5];

	if (!a)
		return NULL;
	for (struct secret *const *s = secrets(a, list); *s; s++) {
		if ((*s)->text)
			explicit_bzero((*s)->text, (*s)->len);
		free((*s)->text);
		free((*s)->path);
	}
	wipe(a->basic);
	wipe(a->authorization);
	free(a->url);
	free(a->name);
	free(a->namespace);
	free(a->server_name);
	free(a);
	return NULL;
}
