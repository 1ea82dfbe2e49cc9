/*
 * Listeners of the plan: by which ports of HAProxy requests come in, and which host names are
 * listened for there.
 *
 * A listener's port is one of the Service's, HAProxy knows that of its own socket: the Service's
 * targetPort leads from one to the other, by a number or by the name of a container's port
 * (kubernetes.ports). Where there is a proxy in front that tells the port it was reached by
 * (the PROXY protocol), or where HAProxy shares the node's network, it is the Service's port itself
 * or its nodePort that HAProxy sees; so these are known too, behind all target ports. Without a
 * Service a listener's port is HAProxy's own.
 *
 * Ports of the Service without a listener are known as well: what comes in there is for nobody.
 * Two Service ports with one target cannot be told apart, so they are one. There are 64 bits: the
 * 64th port and those behind it are not told from each other.
 */
#include "discover/kube/resolve.h"

#include "discover/kube/resolve_parts.h"
#include "discover/plan.h"

#define BITS 64

struct output {
	struct rule_port *ports;
	size_t nports;
	struct rule_listener *listeners;
	size_t nlisteners;
	uint8_t bits; /* given out */
};

static const struct rule_port *find_port(const struct output *out, uint16_t port)
{
	for (size_t i = 0; i < out->nports; i++)
		if (out->ports[i].port == port)
			return &out->ports[i];
	return NULL;
}

static uint8_t new_bit(struct output *out)
{
	return out->bits < BITS - 1 ? out->bits++ : BITS - 1;
}

static void add_port(struct output *out, uint16_t port, uint8_t bit)
{
	if (port && !find_port(out, port))
		out->ports[out->nports++] = (struct rule_port){port, bit};
}

static uint16_t target_of(const struct resolving *r, const struct kube_service_port *p)
{
	if (p->target)
		return p->target;
	for (size_t i = 0; i < r->set->nports; i++)
		if (view_eq(r->set->ports[i].name, p->target_name))
			return r->set->ports[i].port;
	return 0;
}

/* The bits of the Service's ports; by them, those of listeners. */
static void add_service(const struct resolving *r, const struct kube_service *s, uint8_t *bit_of,
			struct output *out)
{
	for (size_t i = 0; i < s->nports; i++) {
		uint16_t target = target_of(r, &s->ports[i]);
		const struct rule_port *known = target ? find_port(out, target) : NULL;

		bit_of[s->ports[i].port] = known ? known->bit : new_bit(out);
		add_port(out, target, bit_of[s->ports[i].port]);
	}
	for (size_t i = 0; i < s->nports; i++)
		add_port(out, s->ports[i].port, bit_of[s->ports[i].port]);
	for (size_t i = 0; i < s->nports; i++)
		add_port(out, s->ports[i].node, bit_of[s->ports[i].port]);
}

static uint32_t add_host(struct resolving *r, struct output *out, struct view host, uint64_t ports)
{
	for (size_t i = 0; i < out->nlisteners; i++)
		if (view_eq(out->listeners[i].host, host)) {
			out->listeners[i].ports |= ports;
			return (uint32_t)i + 1;
		}
	out->listeners[out->nlisteners++] = (struct rule_listener){resolve_keep(r, host), ports};
	return (uint32_t)out->nlisteners;
}

void resolve_listeners(struct resolving *r)
{
	const struct kube_object *service = resolve_service(r);
	size_t n = 0, nports = service ? 3 * service->service.nports : 0;
	uint8_t *bit_of = resolve_get(r, 65536);
	struct output out = {0};

	for (size_t i = 0; i < r->ngateways; i++)
		n += r->gateways[i].nlisteners;
	out.ports = arena_get(r->lasting, (nports + n + 1) * sizeof(*out.ports));
	out.listeners = arena_get(r->lasting, (n + 1) * sizeof(*out.listeners));
	r->failed |= !out.ports || !out.listeners;
	if (r->failed)
		return;
	if (service)
		add_service(r, &service->service, bit_of, &out);
	for (size_t i = 0; i < r->ngateways; i++)
		for (size_t k = 0; k < r->gateways[i].nlisteners; k++) {
			struct resolve_listener *l = &r->gateways[i].listeners[k];

			if (!l->programmed)
				continue;
			if (!service && !find_port(&out, l->conf->port)) {
				bit_of[l->conf->port] = new_bit(&out);
				add_port(&out, l->conf->port, bit_of[l->conf->port]);
			}
			l->ports = UINT64_C(1) << bit_of[l->conf->port];
			l->place = add_host(r, &out, l->conf->hostname, l->ports);
		}
	r->plan->listeners =
	    (struct rule_listeners){out.listeners, out.nlisteners, out.ports, out.nports};
}
