/*
 * "*.example.com" stands for every name with something in front of ".example.com", dots or not, and
 * not for "example.com" itself. So of two names that have something in common, one lies within the
 * other whole: there is no third name to be made of two wildcards.
 */
#include "discover/kube/hostname.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

static bool is_address(struct view name)
{
	char text[64];
	struct in_addr v4;

	if (name.len >= sizeof(text))
		return false;
	memcpy(text, name.ptr, name.len);
	text[name.len] = '\0';
	return inet_pton(AF_INET, text, &v4) == 1;
}

static bool is_wild(struct view name)
{
	return name.len > 2 && name.ptr[0] == '*' && name.ptr[1] == '.';
}

bool kube_hostname_valid(struct view name)
{
	size_t label = 0;

	if (name.len == 0 || name.len > 253 || is_address(name))
		return false;
	for (size_t i = is_wild(name) ? 2 : 0; i <= name.len; i++) {
		char c = i < name.len ? name.ptr[i] : '.';

		if (c == '.') {
			if (label == 0 || label > 63 || name.ptr[i - 1] == '-')
				return false;
			label = 0;
		} else if (islower((unsigned char)c) || isdigit((unsigned char)c) ||
			   (c == '-' && label)) {
			label++;
		} else {
			return false;
		}
	}
	return true;
}

/* Does @outer, a wildcard, stand for all that @inner does? */
static bool covers(struct view outer, struct view inner)
{
	if (!is_wild(outer))
		return false;
	outer.ptr++;
	outer.len--;
	if (is_wild(inner)) {
		inner.ptr++;
		inner.len--;
		return inner.len >= outer.len &&
		       memcmp(inner.ptr + inner.len - outer.len, outer.ptr, outer.len) == 0;
	}
	return inner.len > outer.len &&
	       memcmp(inner.ptr + inner.len - outer.len, outer.ptr, outer.len) == 0;
}

bool kube_hostname_intersect(struct view a, struct view b, struct view *ret)
{
	if (!a.len || !b.len) {
		*ret = a.len ? a : b;
		return true;
	}
	if (view_eq(a, b) || covers(b, a)) {
		*ret = a;
		return true;
	}
	*ret = b;
	return covers(a, b);
}
