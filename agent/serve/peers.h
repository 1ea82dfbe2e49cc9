/*
 * The processes that have asked us of late, by the number the kernel gave of a unix socket's other
 * end. HAProxy says a number of itself, too, in its lines and on its runtime socket: that the two
 * mean the same process can be relied on for those that are here. In another PID namespace they do
 * not, and over TCP nothing is known. Any thread.
 */
#ifndef SERVE_PEERS_H
#define SERVE_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#define PEERS_KEPT 32

struct peers {
	_Atomic uint32_t pids[PEERS_KEPT];
	_Atomic uint32_t next;
};

/* The process that connected, where that can be told: on a unix socket, in our PID namespace. 0:
 * not known. */
uint32_t peers_process(int fd);
/* @pid has connected; 0: not known. Checks do so every second, so who lives comes back when others
 * have taken its place. */
void peers_note(struct peers *p, uint32_t pid);
bool peers_has(const struct peers *p, uint32_t pid);

#endif
