/*
 * A kubeconfig's text.
 *
 * Three lists of named things; a context names a cluster and a user. Only those of the chosen
 * context are looked at: what others hold may need a plug-in and be none of our business. Keys we
 * do not know are kubectl's. What the chosen ones hold and we cannot do is an error that names its
 * place and what to do instead: to go on without it would mean to be somebody else to the server.
 *
 * Where kubectl knows two ways to say a thing, its order holds: data before file, but tokenFile
 * before token, and a token before a name and password.
 */
#include "discover/kube/kubeconfig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "config/mistakes.h"
#include "config/suggest.h"
#include "config/tree.h"

struct reading {
	struct mistakes m;
	struct tree_node *root;
	const char *dir;
	struct kubeconfig *k;
};

#define CREDENTIALS                                                                                \
	"put a service account's token (kubectl create token) into `tokenFile` or `token`, or a "  \
	"client certificate"

/* The tree */

static struct tree_node *child(const struct tree_node *map, const char *key)
{
	if (map && map->kind == TREE_MAP)
		for (struct tree_item *i = map->first; i; i = i->next)
			if (view_eq(i->key->text, view_str(key)))
				return i->value;
	return NULL;
}

/* The map below @key, or NULL; something else there is an error. */
static struct tree_node *child_of_kind(struct reading *r, const struct tree_node *map,
				       const char *key, enum tree_kind kind)
{
	struct tree_node *n = child(map, key);

	if (!n || n->kind == TREE_NULL || n->kind == TREE_BROKEN)
		return NULL;
	if (n->kind != kind) {
		mistakes_add(&r->m, n->line, n->col, "%s: %s stands where %s belongs", key,
			     tree_kind_name(n->kind), tree_kind_name(kind));
		return NULL;
	}
	return n;
}

static bool has_control(struct view v)
{
	for (size_t i = 0; i < v.len; i++)
		if ((unsigned char)v.ptr[i] < 0x20 || v.ptr[i] == 0x7f)
			return true;
	return false;
}

/* The word below @key; absent when there is none, or it is empty. */
static struct tree_node *word(struct reading *r, const struct tree_node *map, const char *key)
{
	struct tree_node *n = child_of_kind(r, map, key, TREE_WORD);

	return n && n->text.len ? n : NULL;
}

/* A copy of a word on one line; NULL: none, or an error. */
static char *line_of(struct reading *r, const struct tree_node *map, const char *key)
{
	struct tree_node *n = word(r, map, key);
	char *copy;

	if (!n)
		return NULL;
	if (has_control(n->text)) {
		mistakes_add(&r->m, n->line, n->col,
			     "%s: control characters stand in it: write it on one line", key);
		return NULL;
	}
	copy = view_dup(n->text);
	if (!copy)
		r->m.err = -ENOMEM;
	return copy;
}

static bool truth(struct reading *r, const struct tree_node *map, const char *key)
{
	struct tree_node *n = word(r, map, key);

	if (!n || view_eq(n->text, VIEW_LIT("false")))
		return false;
	if (!view_eq(n->text, VIEW_LIT("true")))
		mistakes_add(&r->m, n->line, n->col, "%s: %s is neither true nor false", key,
			     mistakes_quote(n->text).text);
	return true;
}

static void refuse(struct reading *r, const struct tree_node *map, const char *key,
		   const char *text)
{
	const struct tree_node *n = child(map, key);

	if (n && n->kind != TREE_NULL && (n->kind != TREE_WORD || n->text.len))
		mistakes_add(&r->m, n->line, n->col, "%s: %s", key, text);
}

/* Secrets */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 §4, with white space in it. False: it is not. @out has room for @in.len bytes. */
static bool base64_decode(struct view in, char *out, size_t *ret_len)
{
	unsigned bits = 0, have = 0, digits = 0, padding = 0;
	size_t len = 0;

	for (size_t i = 0; i < in.len; i++) {
		int v;

		if (strchr(" \t\r\n", in.ptr[i]) && in.ptr[i])
			continue;
		if (in.ptr[i] == '=') {
			padding++;
			continue;
		}
		v = base64_value(in.ptr[i]);
		if (v < 0 || padding)
			return false;
		digits++;
		bits = (bits << 6 | (unsigned)v) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[len++] = (char)(bits >> have & 0xff);
		}
	}
	*ret_len = len;
	return digits % 4 != 1 && (digits + padding) % 4 == 0 && padding < 3;
}

static void read_data(struct reading *r, const struct tree_node *n, const char *key,
		      struct kubeconfig_secret *ret)
{
	ret->data = malloc(n->text.len + 1);
	if (!ret->data) {
		r->m.err = -ENOMEM;
		return;
	}
	if (!base64_decode(n->text, ret->data, &ret->len)) {
		mistakes_add(&r->m, n->line, n->col, "%s: this is no base64", key);
		ret->len = 0;
	} else if (!memmem(ret->data, ret->len, "-----BEGIN ", 11)) {
		mistakes_add(&r->m, n->line, n->col, "%s: this is base64, but of no PEM text", key);
	}
	ret->data[ret->len] = '\0';
}

static void read_path(struct reading *r, const struct tree_node *map, const char *key,
		      struct kubeconfig_secret *ret)
{
	char *path = line_of(r, map, key), *whole;

	if (!path)
		return;
	if (path[0] == '/' || !r->dir) {
		ret->path = path;
		return;
	}
	whole = malloc(strlen(r->dir) + strlen(path) + 2);
	if (whole)
		sprintf(whole, "%s/%s", r->dir, path);
	else
		r->m.err = -ENOMEM;
	free(path);
	ret->path = whole;
}

/* PEM: as "KEY-data" in the text, or in the file "KEY". */
static void read_pem(struct reading *r, const struct tree_node *map, const char *key,
		     struct kubeconfig_secret *ret)
{
	const struct tree_node *n;
	char data_key[64];

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	n = word(r, map, data_key);
	if (n) {
		read_data(r, n, data_key, ret);
	} else {
		n = word(r, map, key);
		read_path(r, map, key, ret);
	}
	if (n) {
		ret->line = n->line;
		ret->col = n->col;
	}
}

static void read_token(struct reading *r, const struct tree_node *user,
		       struct kubeconfig_secret *ret)
{
	const struct tree_node *n = word(r, user, "tokenFile");

	ret->data = line_of(r, user, "token");
	ret->len = ret->data ? strlen(ret->data) : 0;
	read_path(r, user, "tokenFile", ret);
	if (!n)
		n = word(r, user, "token");
	if (n) {
		ret->line = n->line;
		ret->col = n->col;
	}
}

/* The three parts */

/* NULL, or what is wrong with it. */
static const char *url_fault(struct view v)
{
	size_t scheme = v.len >= 8 && strncasecmp(v.ptr, "https://", 8) == 0  ? 8
			: v.len >= 7 && strncasecmp(v.ptr, "http://", 7) == 0 ? 7
									      : 0;

	if (!scheme)
		return "a server is https://HOST:PORT";
	if (scheme == v.len || strchr("/:?#", v.ptr[scheme]))
		return "there is no host in it: a server is https://HOST:PORT";
	for (size_t i = scheme; i < v.len; i++)
		if ((unsigned char)v.ptr[i] <= 0x20 || (unsigned char)v.ptr[i] >= 0x7f ||
		    strchr("?#@\"\\<>", v.ptr[i]))
			return "a server is https://HOST:PORT, or that with a path: no user, query "
			       "or other characters";
	return NULL;
}

static void read_cluster(struct reading *r, const struct tree_node *c)
{
	const struct tree_node *server = word(r, c, "server");
	const char *fault = server ? url_fault(server->text) : NULL;
	struct kubeconfig *k = r->k;

	if (!server) {
		mistakes_add(&r->m, c->line, c->col,
			     "there is no server: add `server: https://HOST:PORT`");
	} else if (fault) {
		mistakes_add(&r->m, server->line, server->col, "server: %s: %s",
			     mistakes_quote(server->text).text, fault);
	} else {
		struct view v = server->text;

		while (v.ptr[v.len - 1] == '/')
			v.len--;
		k->server = view_dup(v);
		if (!k->server)
			r->m.err = -ENOMEM;
	}
	read_pem(r, c, "certificate-authority", &k->ca);
	k->server_name = line_of(r, c, "tls-server-name");
	k->insecure = truth(r, c, "insecure-skip-tls-verify");
	if (k->insecure && (k->ca.path || k->ca.data))
		mistakes_add(&r->m, k->ca.line, k->ca.col,
			     "a certificate authority beside insecure-skip-tls-verify: keep one");
	refuse(r, c, "proxy-url",
	       "proxies are not used here: the server must be reachable "
	       "directly; remove it");
}

static void read_user(struct reading *r, const struct tree_node *u)
{
	static const char *const disguises[] = {"as", "as-uid", "as-groups", "as-user-extra"};
	struct kubeconfig *k = r->k;

	refuse(r, u, "exec",
	       "a program would have to be started for each token, which is not done "
	       "here: " CREDENTIALS);
	refuse(r, u, "auth-provider",
	       "kubectl's plug-ins for tokens are not known here: " CREDENTIALS);
	for (size_t i = 0; i < sizeof(disguises) / sizeof(disguises[0]); i++)
		refuse(r, u, disguises[i],
		       "impersonation is not done here: use credentials of that user");
	read_pem(r, u, "client-certificate", &k->cert);
	read_pem(r, u, "client-key", &k->key);
	if ((k->cert.path || k->cert.data) && !k->key.path && !k->key.data)
		mistakes_add(&r->m, k->cert.line, k->cert.col,
			     "a client certificate without its key: add client-key or "
			     "client-key-data");
	if ((k->key.path || k->key.data) && !k->cert.path && !k->cert.data)
		mistakes_add(&r->m, k->key.line, k->key.col,
			     "a client key without its certificate: add client-certificate or "
			     "client-certificate-data");
	read_token(r, u, &k->token);
	k->username = line_of(r, u, "username");
	k->password = line_of(r, u, "password");
	if (!k->username != !k->password) {
		const struct tree_node *n = child(u, k->username ? "username" : "password");

		mistakes_add(&r->m, n->line, n->col, "%s without %s",
			     k->username ? "username" : "password",
			     k->username ? "password" : "username");
	}
	if (k->username && strchr(k->username, ':'))
		mistakes_add(&r->m, child(u, "username")->line, child(u, "username")->col,
			     "username: a colon would end it");
}

/* The member @what of the item of the list @list whose name is @name; says what is wrong, at
 * @from if nothing better is known. The path has been entered, to be left by the caller. */
static struct tree_node *named(struct reading *r, const char *list, const char *what,
			       struct view name, const struct tree_node *from)
{
	struct tree_node *items = child_of_kind(r, r->root, list, TREE_LIST);
	const char *names[32];
	size_t n = 0, i = 0;
	const char *near;

	for (struct tree_item *item = items ? items->first : NULL; item; item = item->next, i++) {
		struct tree_node *own = child(item->value, "name"), *value;

		if (!own || own->kind != TREE_WORD)
			continue;
		if (n < sizeof(names) / sizeof(names[0]))
			names[n++] = own->text.ptr;
		if (!view_eq(own->text, name))
			continue;
		mistakes_enter(&r->m, view_str(list));
		mistakes_enter_item(&r->m, i);
		value = child_of_kind(r, item->value, what, TREE_MAP);
		if (!value && r->m.errors->n == 0 && r->m.err == 0)
			mistakes_add(&r->m, own->line, own->col, "there is no `%s:` in it", what);
		mistakes_enter(&r->m, view_str(what));
		return value;
	}
	near = suggest_nearest(name, names, n);
	mistakes_add(&r->m, from->line, from->col, "there is no %s %s among `%s`%s%s%s", what,
		     mistakes_quote(name).text, list, near ? ": did you mean " : "",
		     near ? mistakes_quote(view_str(near)).text : "", near ? "?" : "");
	return NULL;
}

static void read_context(struct reading *r, const char *wanted)
{
	struct tree_node *current = word(r, r->root, "current-context"), *context, *part, *name;
	struct view which = wanted ? view_str(wanted) : current ? current->text : VIEW_NULL;

	if (!which.ptr) {
		mistakes_add(&r->m, r->root->line, r->root->col,
			     "no current-context is set: name a context, here or in our "
			     "configuration");
		return;
	}
	r->k->context = view_dup(which);
	if (!r->k->context)
		r->m.err = -ENOMEM;
	context = named(r, "contexts", "context", which, wanted ? r->root : current);
	if (context)
		r->k->namespace = line_of(r, context, "namespace");
	for (int user = 0; user < 2 && context; user++) {
		const char *what = user ? "user" : "cluster";

		name = word(r, context, what);
		if (!name && !user)
			mistakes_add(&r->m, context->line, context->col, "it names no %s", what);
		if (!name)
			continue;
		mistakes_leave(&r->m, 0);
		part = named(r, user ? "users" : "clusters", what, name->text, name);
		if (part && user)
			read_user(r, part);
		else if (part)
			read_cluster(r, part);
	}
	mistakes_leave(&r->m, 0);
}

int kubeconfig_parse(struct view text, const char *dir, const char *context,
		     struct config_errors *ret_errors, struct kubeconfig **ret)
{
	struct reading r = {.dir = dir};
	struct tree *tree = NULL;

	mistakes_init(&r.m, ret_errors);
	r.k = calloc(1, sizeof(*r.k));
	if (!r.k)
		return -ENOMEM;
	if (tree_parse(text, &r.m, &tree, &r.root) < 0)
		r.m.err = -ENOMEM;
	if (r.m.err == 0 && r.root && r.root->kind == TREE_MAP)
		read_context(&r, context);
	else if (r.m.err == 0 && ret_errors->n == 0)
		mistakes_add(&r.m, 0, 0,
			     "this is no kubeconfig: it has no contexts, clusters and users");
	mistakes_close(&r.m);
	tree_free(tree);
	if (r.m.err < 0 || ret_errors->n) {
		kubeconfig_free(r.k);
		return r.m.err < 0 ? r.m.err : -EINVAL;
	}
	*ret = r.k;
	return 0;
}

static void secret_free(struct kubeconfig_secret *s)
{
	if (s->data)
		explicit_bzero(s->data, s->len);
	free(s->data);
	free(s->path);
}

struct kubeconfig *kubeconfig_free(struct kubeconfig *k)
{
	if (!k)
		return NULL;
	secret_free(&k->ca);
	secret_free(&k->cert);
	secret_free(&k->key);
	secret_free(&k->token);
	if (k->password)
		explicit_bzero(k->password, strlen(k->password));
	free(k->context);
	free(k->namespace);
	free(k->server);
	free(k->server_name);
	free(k->username);
	free(k->password);
	free(k);
	return NULL;
}
