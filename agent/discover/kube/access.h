/*
 * Where the API server is and who we are to it: from inside a pod, or from a kubeconfig file.
 *
 * In a pod: KUBERNETES_SERVICE_HOST and _PORT, and the service account's files. Those rotate: the
 * token and the CA are read again when they change (looked at no more than once a second), at
 * least each minute, and at once after kube_access_refused().
 *
 * kubeconfig: the format of kubectl, YAML or JSON, one file. Relative paths start at the file's
 * folder. Read once; the files that it names (tokenFile, certificates, keys) are read again as
 * above. What it holds that we cannot do (exec and auth-provider plug-ins, proxies) is refused.
 */
#ifndef DISCOVER_KUBE_ACCESS_H
#define DISCOVER_KUBE_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

#define KUBE_ACCESS_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct config_errors;
struct kube_access;

struct kube_access_conf {
	const char *kubeconfig;  /* a file; NULL: we are in a pod */
	const char *context;     /* of the kubeconfig; NULL: its current-context */
	const char *dir;         /* of the service account; NULL: KUBE_ACCESS_DIR */
	const char *host, *port; /* in a pod; NULL: what the environment says */
};

/*
 * 0; -EINVAL and @ret_errors (the caller's to deinit in any case), to be printed with the file's
 * name, kube_access_conf.kubeconfig or the service account's folder; -ENOMEM. Files that a
 * kubeconfig names, token and CA of a pod must be readable now; later they may be gone for a while.
 */
int kube_access_new(const struct kube_access_conf *conf, struct config_errors *ret_errors,
		    struct kube_access **ret) __attribute__((warn_unused_result));
struct kube_access *kube_access_free(struct kube_access *a);

/* What a request needs. Every pointer is good until the next call of this or of free; none of it
 * may be logged but url, name and user. */
struct kube_credentials {
	const char *url;           /* https://HOST[:PORT][/PATH], no slash at the end */
	const char *authorization; /* value of the header; NULL: none */
	struct view ca, cert, key; /* PEM; absent: the system's CAs, no client certificate */
	const char *server_name; /* the certificate's name when it is not the URL's host; or NULL */
	bool insecure;           /* the certificate is not looked at */
	uint64_t version;        /* another number when any of the above became another */
};

/* What there is at @now_ns (monotonic); files that cannot be read any more leave what they held. */
void kube_access_get(struct kube_access *a, uint64_t now_ns, struct kube_credentials *ret);

/* The server said 401 to the credentials of @version: true when others were found by looking
 * again, so that asking once more makes sense now. */
bool kube_access_refused(struct kube_access *a, uint64_t version, uint64_t now_ns);

/* The namespace we are in: of the service account, or of the context; NULL when neither says. */
const char *kube_access_namespace(const struct kube_access *a);
/* For logs and /state: the server's URL; "service account" or the context's name. */
const char *kube_access_server(const struct kube_access *a);
const char *kube_access_name(const struct kube_access *a);

#endif
