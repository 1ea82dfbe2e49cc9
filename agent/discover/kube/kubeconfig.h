/*
 * A kubeconfig's text → what is needed of it: of one context its cluster and its user. Pure: files
 * that it names are not looked at.
 */
#ifndef DISCOVER_KUBE_KUBECONFIG_H
#define DISCOVER_KUBE_KUBECONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"

struct config_errors;

/* PEM or a token: in the text, or in a file; neither: there is none. */
struct kubeconfig_secret {
	char *path; /* as it stands, or behind the folder that relative ones start at */
	char *data; /* terminated; PEM is decoded */
	size_t len;
	int line, col; /* of the value that was used */
};

struct kubeconfig {
	char *context, *namespace; /* the latter NULL: it does not say */
	char *server;              /* http(s)://HOST[:PORT][/PATH], no slash at the end */
	char *server_name;         /* or NULL */
	bool insecure;
	struct kubeconfig_secret ca, cert, key;
	struct kubeconfig_secret token; /* both: the file counts, data until it can be read */
	char *username, *password;      /* both or neither; not beside a token */
};

/* @context: NULL for the current-context. @dir: NULL leaves relative paths as they are. 0; -EINVAL
 * and at least one error; -ENOMEM. @ret_errors is the caller's to deinit in any case. */
int kubeconfig_parse(struct view text, const char *dir, const char *context,
		     struct config_errors *ret_errors, struct kubeconfig **ret)
    __attribute__((warn_unused_result));
struct kubeconfig *kubeconfig_free(struct kubeconfig *k); /* wipes what is secret */

#endif
