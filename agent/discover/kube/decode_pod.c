/*
 * Pods: where a model server is and whether it may get requests. Readiness is the condition Ready,
 * which has the readiness gates in it. Of the ports nothing is read: a pool says which of them it
 * uses; a pod can narrow that by an annotation that Endpoint Pickers know too (data-parallel
 * ranks that are not all up).
 */
#include "discover/kube/decode.h"

#include <arpa/inet.h>
#include <cJSON.h>
#include <stdlib.h>

#define ACTIVE_PORTS "inference.networking.k8s.io/active-ports"

static bool read_address(struct view text, struct in6_addr *ret)
{
	struct in_addr v4;

	if (inet_pton(AF_INET6, text.ptr, ret) == 1)
		return true;
	if (inet_pton(AF_INET, text.ptr, &v4) != 1)
		return false;
	memset(ret, 0, sizeof(*ret));
	memset(ret->s6_addr + 10, 0xff, 2);
	memcpy(ret->s6_addr + 12, &v4, sizeof(v4));
	return true;
}

static void add_address(struct kube_reader *r, struct kube_pod *pod, struct view text)
{
	if (!text.len || pod->nips == 2)
		return;
	if (read_address(text, &pod->ips[pod->nips]))
		pod->nips++;
	else
		kube_reader_fail(r, "podIP", "not an IP address");
}

static void read_addresses(const cJSON *status, struct kube_pod *pod, struct kube_reader *r)
{
	size_t n;
	const cJSON *list = kube_reader_list(r, status, "podIPs", 16, &n), *item;

	cJSON_ArrayForEach(item, list) add_address(r, pod, kube_reader_peek(r, item, "ip"));
	if (!pod->nips)
		add_address(r, pod, kube_reader_peek(r, status, "podIP"));
}

static bool is_ready(const cJSON *status, struct kube_reader *r)
{
	size_t n;
	const cJSON *list = kube_reader_list(r, status, "conditions", 1024, &n), *item;

	cJSON_ArrayForEach(item, list)
	{
		if (view_eq(kube_reader_peek(r, item, "type"), VIEW_LIT("Ready")))
			return view_eq(kube_reader_peek(r, item, "status"), VIEW_LIT("True"));
	}
	return false;
}

/* "8000,8002"; what is no port is left out, as other pickers do it. */
static void read_ranks(struct view text, struct kube_pod *pod)
{
	const char *at = text.ptr;

	pod->ranks = true;
	while (*at && pod->nports < KUBE_PORTS_MAX) {
		char *end;
		unsigned long port = strtoul(at, &end, 10);

		end += strspn(end, " ");
		if (end != at && (*end == ',' || *end == '\0') && port > 0 && port < 65536)
			pod->ports[pod->nports++] = (uint16_t)port;
		at = strchr(end, ',');
		if (!at)
			break;
		at++;
	}
}

void kube_decode_pod(const cJSON *o, struct kube_pod *ret, struct kube_reader *r)
{
	const cJSON *meta = kube_reader_map(r, o, "metadata");
	const cJSON *status = kube_reader_map(r, o, "status");
	const cJSON *notes = kube_reader_any(meta, "annotations");
	size_t before = kube_reader_enter(r, "metadata");
	struct view phase, ranks = kube_reader_peek(r, notes, ACTIVE_PORTS);

	kube_decode_labels(r, meta, "labels", &ret->labels);
	ret->leaving = kube_reader_any(meta, "deletionTimestamp") != NULL;
	if (ranks.ptr)
		read_ranks(ranks, ret);
	kube_reader_leave(r, before);
	before = kube_reader_enter(r, "status");
	read_addresses(status, ret, r);
	phase = kube_reader_peek(r, status, "phase");
	ret->running = view_eq(phase, VIEW_LIT("Running"));
	ret->over = view_eq(phase, VIEW_LIT("Succeeded")) || view_eq(phase, VIEW_LIT("Failed"));
	ret->ready = is_ready(status, r);
	kube_reader_leave(r, before);
}
