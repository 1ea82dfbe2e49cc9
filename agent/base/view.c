#include "base/view.h"

#include <stdlib.h>
#include <strings.h>

bool view_caseeq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
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
