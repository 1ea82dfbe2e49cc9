#include "base/view.h"

#include <stdlib.h>
#include <strings.h>

bool view_caseeq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

struct view view_pack(char **at, struct view v)
{
	struct view packed = {*at, v.len};

	if (!v.ptr)
		return VIEW_NULL;
	if (v.len)
		memcpy(*at, v.ptr, v.len);
	*at += v.len;
	return packed;
}

char *view_dup(struct view v)
{
	char *copy = malloc(v.len + 1);

	if (!copy)
		return NULL;
	if (v.len)
		memcpy(copy, v.ptr, v.len);
	copy[v.len] = '\0';
	return copy;
}
