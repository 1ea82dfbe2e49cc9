/* Kubeconfig text: never a crash; an error has a place within the file; what is accepted can be
 * put into a request: a URL of one line, PEM that is PEM, a token without control characters. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "discover/kube/kubeconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plain(const char *text)
{
	for (; text && *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			abort();
}

static void pem(const struct kubeconfig_secret *s)
{
	plain(s->path);
	if (s->path && s->data)
		abort();
	if (s->data && (!memmem(s->data, s->len, "-----BEGIN ", 11) || s->data[s->len]))
		abort();
}

static void accepted(const struct kubeconfig *k)
{
	if (!k->context || strncasecmp(k->server, "http", 4) != 0 ||
	    k->server[strlen(k->server) - 1] == '/' || strpbrk(k->server, " ?#@"))
		abort();
	plain(k->server);
	plain(k->server_name);
	plain(k->namespace);
	plain(k->username);
	plain(k->password);
	plain(k->token.data);
	plain(k->token.path);
	pem(&k->ca);
	pem(&k->cert);
	pem(&k->key);
	if (!k->username != !k->password ||
	    (!k->cert.path && !k->cert.data) != (!k->key.path && !k->key.data))
		abort();
	if (k->insecure && (k->ca.path || k->ca.data))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1);
	struct config_errors errors;
	struct kubeconfig *k = NULL;
	size_t lines = 1;

	if (!copy)
		abort();
	if (size)
		memcpy(copy, data, size);
	if (kubeconfig_parse((struct view){copy, size}, "/etc/kubernetes", NULL, &errors, &k) ==
	    0) {
		if (errors.n)
			abort();
		accepted(k);
		kubeconfig_free(k);
	} else if (errors.n == 0) {
		abort();
	}
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n' || data[i] == '\r' || data[i] >= 0x80;
	for (size_t i = 0; i < errors.n; i++)
		if (errors.items[i].line < 0 || (size_t)errors.items[i].line > lines ||
		    strchr(errors.items[i].text, '\n'))
			abort();
	config_errors_deinit(&errors);
	free(copy);
	return 0;
}
