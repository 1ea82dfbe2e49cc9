/* A field of a multipart/form-data body. */
#ifndef SIM_MULTIPART_H
#define SIM_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

/* The first field of that name: where its value lies in body. */
bool multipart_find(const char *content_type, const char *body, size_t len, const char *name,
		    const char **ret_value, size_t *ret_len);

#endif
