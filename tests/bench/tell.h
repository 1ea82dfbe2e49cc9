/*
 * The end of each request, told as HAProxy's ring tells it: octet-counted lines over one TCP
 * connection, many a write.
 */
#ifndef BENCH_TELL_H
#define BENCH_TELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tell {
	int fd;
	size_t len, pos, cap;
	char *buf;
	uint64_t lines;
};

/* IPV4:PORT. Exits when it cannot. */
void tell_open(struct tell *t, const char *address);
/* Exits when a megabyte waits to be read. */
void tell_ticket(struct tell *t, int64_t ticket);
/* Writes what is there, as far as the socket takes it. */
void tell_flush(struct tell *t);
static inline size_t tell_waiting(const struct tell *t)
{
	return t->len - t->pos;
}

#endif
