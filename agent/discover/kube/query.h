/*
 * The questions a reflector asks, as the path and query of a URL. Each is a new string, or NULL
 * when memory is short.
 */
#ifndef DISCOVER_KUBE_QUERY_H
#define DISCOVER_KUBE_QUERY_H

#include <stdint.h>

/* Which list, by resource version; reflector.c says when. */
enum kube_query_origin {
	KUBE_QUERY_ANY,       /* what the server has at hand */
	KUBE_QUERY_NOT_OLDER, /* than the version given */
	KUBE_QUERY_LATEST,    /* what is true now */
	KUBE_QUERY_WHOLE,     /* the same, not in pages */
};

/* "&KEY=VALUE" with everything escaped that may have a meaning; "" without a value. */
char *kube_query_selector(const char *key, const char *value);

/* @go_on: the mark of the next page, or NULL for the first. @selectors as made above. */
char *kube_query_list(const char *path, enum kube_query_origin origin, const char *version,
		      const char *go_on, uint32_t limit, const char *selectors);
char *kube_query_clock(const char *path, const char *selectors);
char *kube_query_watch(const char *path, const char *version, uint32_t seconds,
		       const char *selectors);

#endif
