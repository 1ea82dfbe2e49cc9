/*
 * One SPOP connection of the load generator: frames out in batches, ACKs in.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "spop/client.h"

/* NOTIFYs under way on one connection; a power of two. */
#define PEER_WINDOW 4096
#define PEER_BATCH  64 /* most frames of one write */

struct peer_frame {
	uint8_t head[SPOP_FRAME_HEAD_MAX];
	uint8_t head_len;
	struct spop_view payload;
};

struct peer {
	int fd;
	bool greeted, want_write;
	struct spop_client client;
	uint64_t next,
	    written;          /* stream-ids: next to be queued; first that is not wholly written */
	size_t written_bytes; /* of that one */
	unsigned in_flight;
	struct peer_frame *frames; /* PEER_WINDOW of them, by stream-id */
	uint64_t *since_ns;        /* when it was to be sent, by stream-id; 0: answered */
	uint8_t *in;
	size_t in_len, in_cap;
};

/* One ACK: what it says, and how long after its intended time it came. */
struct peer_ack {
	bool routed;
	int64_t ticket;
	uint64_t since_ns;
};
typedef void peer_ack_fn(void *arg, struct peer *p, const struct peer_ack *ack);

/* Connects to unix@PATH or IPV4:PORT and says HELLO. Exits when it cannot. */
void peer_open(struct peer *p, const char *address, uint32_t max_frame);
void peer_close(struct peer *p);
/* A NOTIFY with this payload, not written yet. False: PEER_WINDOW are under way. */
bool peer_queue(struct peer *p, struct spop_view payload, uint64_t since_ns);
/* Writes what is queued, PEER_BATCH frames at a time; sets want_write when the socket is full. */
void peer_flush(struct peer *p);
/* Reads once and hands out each ACK; exits on anything else but AGENT-HELLO. */
void peer_read(struct peer *p, peer_ack_fn *fn, void *arg);

#endif
