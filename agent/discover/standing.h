/* What HAProxy and the scraper say of the servers of one group, settled into endpoint flags. */
#ifndef DISCOVER_STANDING_H
#define DISCOVER_STANDING_H

#include "discover/roster.h"

/* @back is called for those that HAProxy finds up again; NULL: nobody wants to know. */
void standing_judge(struct endpoints *e, struct member *const *members, size_t n,
		    void (*back)(uint32_t slot, void *arg), void *arg);

#endif
