/*
 * Forms of values.
 *
 * An address is split at its last colon, once, in syntax_split(); the callers differ in what a
 * host may be and whether port 0 is one. Hosts are numeric where a look-up could block or would
 * have to be repeated (listeners, HAProxy's socket, name servers), names elsewhere.
 */
#include "config/syntax.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#define SYNTAX_UNIX_MAX 107 /* sockaddr_un.sun_path and its NUL */

__attribute__((format(printf, 2, 3))) static bool syntax_no(struct syntax_why *why, const char *fmt,
							    ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	return false;
}

static bool syntax_starts(struct view *text, const char *with)
{
	size_t len = strlen(with);

	if (text->len < len || memcmp(text->ptr, with, len) != 0)
		return false;
	text->ptr += len;
	text->len -= len;
	return true;
}

static bool syntax_is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool syntax_is_only(struct view text, const char *also)
{
	for (size_t i = 0; i < text.len; i++)
		if (!syntax_is_alnum(text.ptr[i]) && (!text.ptr[i] || !strchr(also, text.ptr[i])))
			return false;
	return text.len > 0;
}

static bool syntax_is_ip(struct view text, int family)
{
	unsigned char address[sizeof(struct in6_addr)];
	char copy[INET6_ADDRSTRLEN];

	if (text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	return inet_pton(family, copy, address) == 1;
}

int64_t syntax_number(struct view text, int64_t max)
{
	int64_t value = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c < '0' || c > '9' || value > (max - (c - '0')) / 10)
			return -1;
		value = value * 10 + (c - '0');
	}
	return text.len ? value : -1;
}

/* Looks like four numbers, so a name server should not be asked about it. */
static bool syntax_is_dotted(struct view text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((text.ptr[i] < '0' || text.ptr[i] > '9') && text.ptr[i] != '.')
			return false;
	return text.len > 0;
}

static bool syntax_host(struct view host, struct syntax_why *why)
{
	if (syntax_is_dotted(host))
		return syntax_is_ip(host, AF_INET) ||
		       syntax_no(why, "is no IPv4 address in front of the port");
	if (host.len > 253 || !syntax_is_only(host, "-._") || host.ptr[0] == '-' ||
	    host.ptr[0] == '.')
		return syntax_no(why, "has no host name or address in front of the port");
	for (size_t i = 0, label = 0; i < host.len; i++) {
		label = host.ptr[i] == '.' ? 0 : label + 1;
		if (label > 63 || (label == 0 && host.ptr[i - 1] == '.'))
			return syntax_no(why, "has no host name or address in front of the port");
	}
	return true;
}

/* HOST:REST into @host and @rest. */
static bool syntax_split(struct view text, struct view *host, struct view *rest,
			 struct syntax_why *why)
{
	const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;

	if (!colon)
		return syntax_no(why, "has no port: write HOST:PORT");
	*host = (struct view){text.ptr, (size_t)(colon - text.ptr)};
	*rest = (struct view){colon + 1, text.len - host->len - 1};
	if (host->len >= 2 && host->ptr[0] == '[' && host->ptr[host->len - 1] == ']') {
		*host = (struct view){host->ptr + 1, host->len - 2};
		return syntax_is_ip(*host, AF_INET6) ||
		       syntax_no(why, "has no IPv6 address in its brackets");
	}
	if (text.ptr[0] == '[' || memchr(host->ptr, ':', host->len))
		return syntax_no(why, "is no address with a port: an IPv6 address is written "
				      "[ADDRESS]:PORT");
	return syntax_host(*host, why);
}

static bool syntax_port(struct view text, int64_t least, uint16_t *ret, struct syntax_why *why)
{
	int64_t port = syntax_number(text, UINT16_MAX);

	if (port < least)
		return syntax_no(why, "has no port from %d to 65535 behind the colon", (int)least);
	*ret = (uint16_t)port;
	return true;
}

static bool syntax_path(struct view path, const char *form, struct syntax_why *why)
{
	if (path.len == 0 || path.ptr[0] != '/')
		return syntax_no(why, "is no absolute path: write %s", form);
	if (path.len > SYNTAX_UNIX_MAX)
		return syntax_no(why, "is %zu bytes long: the path of a unix socket has at most %d",
				 path.len, SYNTAX_UNIX_MAX);
	return true;
}

bool syntax_name(struct view text, struct syntax_why *why)
{
	return syntax_is_only(text, "_.:-") ||
	       syntax_no(why, "is no name for HAProxy: letters, digits and _ . : - make one");
}

bool syntax_socket(struct view text, struct syntax_why *why)
{
	struct view host, port;
	uint16_t number;

	if (syntax_starts(&text, "unix@") || (text.len && text.ptr[0] == '/'))
		return syntax_path(text, "unix@/PATH", why);
	if (memchr(text.ptr, '/', text.len) || !memchr(text.ptr, ':', text.len))
		return syntax_no(why, "is neither an absolute path nor HOST:PORT");
	if (!syntax_split(text, &host, &port, why) || !syntax_port(port, 1, &number, why))
		return false;
	return view_eq(host, VIEW_LIT("localhost")) || syntax_is_ip(host, AF_INET) ||
	       syntax_is_ip(host, AF_INET6) ||
	       syntax_no(why, "is a name: write an IP address or localhost");
}

bool syntax_listener(struct view text, struct syntax_why *why)
{
	struct view host, port;
	uint16_t number;

	if (syntax_starts(&text, "unix@"))
		return syntax_path(text, "unix@/PATH", why);
	if (text.len && text.ptr[0] == '/')
		return syntax_no(why, "is a path: write unix@/PATH");
	if (syntax_starts(&text, "abns@"))
		return (text.len > 0 && text.len <= SYNTAX_UNIX_MAX) ||
		       syntax_no(why, "has no name of 1 to %d bytes behind abns@", SYNTAX_UNIX_MAX);
	if (syntax_starts(&text, "*:"))
		return syntax_port(text, 0, &number, why);
	if (text.len && text.ptr[0] == ':' && !memchr(text.ptr + 1, ':', text.len - 1))
		return syntax_no(why, "has no address: write 0.0.0.0:PORT or [::]:PORT to listen "
				      "on all of them");
	if (!syntax_split(text, &host, &port, why) || !syntax_port(port, 0, &number, why))
		return false;
	return view_eq(host, VIEW_LIT("localhost")) || syntax_is_ip(host, AF_INET) ||
	       syntax_is_ip(host, AF_INET6) ||
	       syntax_no(why, "is a name: write an IP address or localhost");
}

bool syntax_nameserver(struct view text, struct syntax_why *why)
{
	struct view host, port;
	uint16_t number;

	if (syntax_is_ip(text, AF_INET))
		return syntax_no(why, "has no port: write %.*s:53", (int)text.len, text.ptr);
	if (syntax_is_ip(text, AF_INET6))
		return syntax_no(why, "has no port: write [%.*s]:53", (int)text.len, text.ptr);
	if (!syntax_split(text, &host, &port, why) || !syntax_port(port, 1, &number, why))
		return false;
	return syntax_is_ip(host, AF_INET) || syntax_is_ip(host, AF_INET6) ||
	       syntax_no(why, "is no IP:PORT: a name server is found by its address");
}

/* RFC 1123: lower-case letters, digits and '-' inside; with @dots several of those. */
static bool syntax_is_dns(struct view text, size_t max, bool dots)
{
	size_t label = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		bool end = i + 1 == text.len || text.ptr[i + 1] == '.';

		if (c == '.') {
			if (!dots || label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    (c != '-' || label == 0 || end))
			return false;
		label++;
	}
	return label > 0 && text.len <= max;
}

bool syntax_namespace(struct view text, struct syntax_why *why)
{
	return syntax_is_dns(text, 63, false) ||
	       syntax_no(why,
			 "is no namespace: up to 63 lower-case letters, digits and - make one");
}

bool syntax_object(struct view text, struct syntax_why *why)
{
	const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
	size_t at = slash ? (size_t)(slash - text.ptr) : 0;

	return (slash && syntax_is_dns((struct view){text.ptr, at}, 63, false) &&
		syntax_is_dns((struct view){slash + 1, text.len - at - 1}, 253, true)) ||
	       syntax_no(why, "is not NAMESPACE/NAME of an object");
}

bool syntax_hostname(struct view text, struct syntax_why *why)
{
	return syntax_is_ip(text, AF_INET) || syntax_is_ip(text, AF_INET6) ||
	       (!syntax_is_dotted(text) && syntax_is_dns(text, 253, true)) ||
	       syntax_no(why, "is neither an IP address nor a host's name");
}

bool syntax_portname(struct view text, struct syntax_why *why)
{
	const char *equals = text.len ? memchr(text.ptr, '=', text.len) : NULL;
	size_t at = equals ? (size_t)(equals - text.ptr) : 0;

	return (equals && syntax_is_dns((struct view){text.ptr, at}, 15, false) &&
		syntax_number((struct view){equals + 1, text.len - at - 1}, 65535) > 0) ||
	       syntax_no(why, "is not NAME=PORT of a container's port, as in http=8080");
}

/* They go into a file and into commands, word by word: nothing that either would take for more. */
bool syntax_keywords(struct view text, struct syntax_why *why)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < ' ' || text.ptr[i] > '~' || strchr("\"'\\#$;", text.ptr[i]))
			return syntax_no(why,
					 "has more than words: quotes, backslashes, #, $ and ; "
					 "cannot be had");
	return true;
}

static bool syntax_is_visible(struct view text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
			return false;
	return true;
}

bool syntax_urlpath(struct view text, struct syntax_why *why)
{
	return (text.len && text.ptr[0] == '/' && syntax_is_visible(text)) ||
	       syntax_no(why, "is no path: it begins with / and has no spaces; others than ASCII "
			      "are written %%XX");
}

static bool syntax_scheme(struct view *text, bool *https)
{
	*https = syntax_starts(text, "https://");
	return *https || syntax_starts(text, "http://");
}

/* Behind the scheme and before the path. */
static bool syntax_no_user(struct view text, struct syntax_why *why)
{
	return !memchr(text.ptr, '@', text.len) ||
	       syntax_no(why,
			 "has a user name: write HOST:PORT; the bearer token that servers want "
			 "stands in the file of scrape.api_key_file");
}

bool syntax_url(struct view text, struct syntax_why *why)
{
	struct view host, port;
	const char *slash;
	uint16_t number;
	bool https;

	if (!syntax_scheme(&text, &https) || !syntax_is_visible(text))
		return syntax_no(why, "is no URL: write http://HOST:PORT/PATH or https://…");
	slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
	if (slash)
		text.len = (size_t)(slash - text.ptr);
	if (!syntax_no_user(text, why))
		return false;
	if (text.len && text.ptr[text.len - 1] != ']' && !memchr(text.ptr, ':', text.len))
		return syntax_host(text, why) ||
		       syntax_no(why, "has no host name or address behind http://");
	if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
		return syntax_is_ip((struct view){text.ptr + 1, text.len - 2}, AF_INET6) ||
		       syntax_no(why, "has no IPv6 address in its brackets");
	return syntax_split(text, &host, &port, why) && syntax_port(port, 1, &number, why);
}

bool syntax_address(struct view text, struct syntax_address *ret, struct syntax_why *why)
{
	bool scheme = syntax_scheme(&text, &ret->https);
	struct view port;

	if (memmem(text.ptr, text.len, "://", 3))
		return syntax_no(why, "has an unknown scheme: write http:// or https://");
	if (scheme && text.len && text.ptr[text.len - 1] == '/')
		text.len--;
	if (memchr(text.ptr, '/', text.len))
		return syntax_no(why, "has a path: write HOST:PORT alone; metrics_path, "
				      "models_path and metrics say where pages are");
	if (!syntax_no_user(text, why))
		return false;
	return syntax_split(text, &ret->host, &port, why) && syntax_port(port, 1, &ret->port, why);
}

bool syntax_dns(struct view text, struct view *host, uint16_t ports[SYNTAX_PORTS_MAX],
		size_t *nports, struct syntax_why *why)
{
	struct view rest = VIEW_NULL;

	*nports = 0;
	if (memmem(text.ptr, text.len, "://", 3))
		return syntax_no(why, "is a URL: write HOST:PORT[,PORT…]; scrape.scheme says "
				      "whether it is https");
	if (!syntax_split(text, host, &rest, why))
		return false;
	for (bool more = true; more;) {
		const char *comma = rest.len ? memchr(rest.ptr, ',', rest.len) : NULL;
		struct view one = {rest.ptr, comma ? (size_t)(comma - rest.ptr) : rest.len};
		uint16_t port = 0;

		if (!syntax_port(one, 1, &port, why))
			return syntax_no(why, "has no ports from 1 to 65535 behind the colon: "
					      "write HOST:PORT[,PORT…]");
		for (size_t i = 0; i < *nports; i++)
			if (ports[i] == port)
				return syntax_no(why, "names port %u twice", port);
		if (*nports == SYNTAX_PORTS_MAX)
			return syntax_no(why, "has more than %d ports", SYNTAX_PORTS_MAX);
		ports[(*nports)++] = port;
		more = comma != NULL;
		rest.ptr += one.len + more;
		rest.len -= one.len + more;
	}
	return true;
}
