/*
 * The kinds of which little is needed: Namespace, Service, GatewayClass, ReferenceGrant.
 *
 * A Service's addresses are what a Gateway will tell as its own: what the load balancer was given
 * when there is one to be, and nothing while it was not given yet; else external IPs, then the
 * cluster's. "None" and names of other clusters (ExternalName) are no addresses.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>

#define ADDRESSES_MAX 16 /* as many as a Gateway's status can hold */

void kube_decode_namespace(const cJSON *o, struct kube_namespace *ret, struct kube_reader *r)
{
	const cJSON *meta = kube_reader_map(r, o, "metadata");
	size_t before = kube_reader_enter(r, "metadata");

	kube_decode_labels(r, meta, "labels", &ret->labels);
	kube_reader_leave(r, before);
}

/* --- Service --- */

static void add_address(struct kube_service *s, struct view *room, struct kube_reader *r,
			struct view text)
{
	if (!text.len || view_eq(text, VIEW_LIT("None")) || s->naddresses == ADDRESSES_MAX)
		return;
	for (size_t i = 0; i < s->naddresses; i++)
		if (view_eq(room[i], text))
			return;
	room[s->naddresses++] = kube_pack_dup(r->pack, text);
}

static void add_list(struct kube_service *s, struct view *room, struct kube_reader *r,
		     const cJSON *spec, const char *key)
{
	size_t n;
	const cJSON *list = kube_reader_list(r, spec, key, 1024, &n), *item;

	cJSON_ArrayForEach(item, list)
	{
		if (cJSON_IsString(item))
			add_address(s, room, r, view_str(item->valuestring));
	}
}

static void add_balancer(struct kube_service *s, struct view *room, struct kube_reader *r,
			 const cJSON *o)
{
	const cJSON *status = kube_reader_map(r, o, "status");
	const cJSON *balancer = kube_reader_map(r, status, "loadBalancer"), *item;
	size_t n;
	const cJSON *list = kube_reader_list(r, balancer, "ingress", 1024, &n);

	cJSON_ArrayForEach(item, list)
	{
		struct view ip = kube_reader_peek(r, item, "ip");

		add_address(s, room, r, ip.len ? ip : kube_reader_peek(r, item, "hostname"));
	}
}

/* A number, a name, or nothing for the same number. */
static void read_target(const cJSON *item, struct kube_service_port *p, struct kube_reader *r)
{
	const cJSON *target = kube_reader_any(item, "targetPort");

	p->target_name = VIEW_NULL;
	if (cJSON_IsString(target) && target->valuestring[0])
		p->target_name = kube_pack_dup(r->pack, view_str(target->valuestring));
	else
		p->target = (uint16_t)kube_reader_integer(r, item, "targetPort", 0, 65535, 0);
	if (!p->target && !p->target_name.ptr)
		p->target = p->port;
}

static void read_ports(const cJSON *spec, struct kube_service *s, struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, spec, "ports", 1024, &n), *item;
	struct kube_service_port *ports = kube_reader_array(r, n, sizeof(*ports));

	if (!ports)
		return;
	cJSON_ArrayForEach(item, list)
	{
		struct view protocol = kube_reader_peek(r, item, "protocol");
		int64_t port = kube_reader_integer(r, item, "port", 1, 65535, 0);

		if (!port || (protocol.len && !view_eq(protocol, VIEW_LIT("TCP"))))
			continue;
		ports[i].port = (uint16_t)port;
		ports[i].node = (uint16_t)kube_reader_integer(r, item, "nodePort", 0, 65535, 0);
		read_target(item, &ports[i++], r);
	}
	s->ports = ports;
	s->nports = i;
}

void kube_decode_service(const cJSON *o, struct kube_service *ret, struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	struct view *room = kube_reader_array(r, ADDRESSES_MAX, sizeof(*room));
	size_t before = kube_reader_enter(r, "spec");

	ret->type = kube_reader_string_or(r, spec, "type", "ClusterIP");
	if (room && view_eq(ret->type, VIEW_LIT("LoadBalancer"))) {
		add_balancer(ret, room, r, o);
	} else if (room && !view_eq(ret->type, VIEW_LIT("ExternalName"))) {
		add_list(ret, room, r, spec, "externalIPs");
		if (!ret->naddresses)
			add_list(ret, room, r, spec, "clusterIPs");
		if (!ret->naddresses)
			add_address(ret, room, r, kube_reader_peek(r, spec, "clusterIP"));
	}
	ret->addresses = room;
	read_ports(spec, ret, r);
	kube_reader_leave(r, before);
}

/* --- GatewayClass --- */

void kube_decode_class(const cJSON *o, struct kube_class *ret, struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	size_t before = kube_reader_enter(r, "spec");

	ret->controller = kube_reader_string_or(r, spec, "controllerName", "");
	ret->parameters = kube_reader_any(spec, "parametersRef") != NULL;
	kube_reader_leave(r, before);
}

/* --- ReferenceGrant --- */

#define GRANTS_MAX 256

static void read_from(const cJSON *spec, struct kube_grant *g, struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, spec, "from", GRANTS_MAX, &n), *item;
	struct kube_grant_from *from = kube_reader_array(r, n, sizeof(*from));

	if (!from)
		return;
	cJSON_ArrayForEach(item, list)
	{
		from[i].group = kube_reader_string_or(r, item, "group", "");
		from[i].kind = kube_reader_string_or(r, item, "kind", "");
		from[i++].namespace = kube_reader_string_or(r, item, "namespace", "");
	}
	g->from = from;
	g->nfrom = i;
}

static void read_to(const cJSON *spec, struct kube_grant *g, struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, spec, "to", GRANTS_MAX, &n), *item;
	struct kube_grant_to *to = kube_reader_array(r, n, sizeof(*to));

	if (!to)
		return;
	cJSON_ArrayForEach(item, list)
	{
		to[i].group = kube_reader_string_or(r, item, "group", "");
		to[i].kind = kube_reader_string_or(r, item, "kind", "");
		to[i].name = kube_reader_string(r, item, "name");
		/* A name that is empty is none, in Go's way of leaving fields out. */
		if (!to[i].name.len)
			to[i].name = VIEW_NULL;
		i++;
	}
	g->to = to;
	g->nto = i;
}

void kube_decode_grant(const cJSON *o, struct kube_grant *ret, struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	size_t before = kube_reader_enter(r, "spec");

	read_from(spec, ret, r);
	read_to(spec, ret, r);
	kube_reader_leave(r, before);
}
