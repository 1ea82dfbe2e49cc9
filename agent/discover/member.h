/* One member of a group beside what its source says of it: for roster.c. */
#ifndef DISCOVER_MEMBER_H
#define DISCOVER_MEMBER_H

#include "discover/roster.h"

/* 0: the address is not known. */
size_t member_address_len(const struct sockaddr_storage *a);
bool member_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* Whether @w says what it has, draining left aside. */
bool member_is(const struct member *m, const struct roster_want *w);
/* Takes over what @w says. False when memory is short; the member is as before then. */
bool member_take(struct member *m, const struct roster_want *w);

/* Whose it is: 1 when that is new, 0 when it was so. -ENOMEM: it is as before. */
int member_place(struct member *m, const char *pool, const char *backend);

void member_free(struct member *m);

#endif
