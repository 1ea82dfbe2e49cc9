/*
 * The questions a reflector asks. What they mean to the server: kubernetes.io, "API concepts",
 * resource versions and retrieving large results in chunks.
 */
#include "discover/kube/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t escape(char *out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *at = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-._", c)) {
			*at++ = (char)c;
		} else {
			*at++ = '%';
			*at++ = hex[c >> 4];
			*at++ = hex[c & 15];
		}
	}
	*at = '\0';
	return (size_t)(at - out);
}

char *kube_query_selector(const char *key, const char *value)
{
	size_t len = value ? strlen(value) : 0;
	char *out = malloc(strlen(key) + 3 + 3 * len);

	if (out && len)
		escape(out + sprintf(out, "&%s=", key), value);
	else if (out)
		*out = '\0';
	return out;
}

char *kube_query_list(const char *path, enum kube_query_origin origin, const char *version,
		      const char *go_on, uint32_t limit, const char *selectors)
{
	char pages[32] = "", *mark, *out;
	int n;

	/* With a version and a limit the server goes to etcd; without a limit, to its cache. */
	if (origin == KUBE_QUERY_ANY || origin == KUBE_QUERY_LATEST)
		snprintf(pages, sizeof(pages), "limit=%u&", limit);
	/* A page that goes on has its version in its mark, and must have no other. */
	if (go_on) {
		mark = kube_query_selector("continue", go_on);
		n = mark ? asprintf(&out, "%s?%s%s%s", path, pages, mark + 1, selectors) : -1;
		free(mark);
	} else {
		n = asprintf(&out, "%s?%sresourceVersion=%s%s", path, pages,
			     origin == KUBE_QUERY_ANY         ? "0"
			     : origin == KUBE_QUERY_NOT_OLDER ? version
							      : "",
			     selectors);
	}
	return n < 0 ? NULL : out;
}

char *kube_query_clock(const char *path, const char *selectors)
{
	char *out;

	return asprintf(&out, "%s?limit=1%s", path, selectors) < 0 ? NULL : out;
}

char *kube_query_watch(const char *path, const char *version, uint32_t seconds,
		       const char *selectors)
{
	char *out;

	return asprintf(&out,
			"%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u"
			"&resourceVersion=%s%s",
			path, seconds, version, selectors) < 0
		   ? NULL
		   : out;
}
