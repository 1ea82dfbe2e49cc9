/*
 * The KV-cache blocks of one model server: reference counts, names (hashes of the prefix that a
 * block ends) and the queue of free blocks, oldest first. A free block keeps its name, and can be
 * taken back by it, until somebody needs the room.
 */
#ifndef SIM_BLOCKS_H
#define SIM_BLOCKS_H

#include <stdint.h>

#define BLOCKS_NONE UINT32_MAX

struct blocks;

struct blocks *blocks_new(uint32_t count);
struct blocks *blocks_free(struct blocks *b);

/* Blocks nobody refers to, named or not. */
uint32_t blocks_n_free(const struct blocks *b);
uint32_t blocks_n_total(const struct blocks *b);
/* Grows whenever a block becomes free: a failed admission need not be tried again before. */
uint64_t blocks_n_released(const struct blocks *b);

/* The block of that name, in use or free, or BLOCKS_NONE. Does not take a reference. */
uint32_t blocks_find(const struct blocks *b, uint64_t name);
uint32_t blocks_refs(const struct blocks *b, uint32_t id);

/* One more reference; a free block leaves the queue. */
void blocks_hold(struct blocks *b, uint32_t id);
/* The free block unused for longest, its name forgotten, with one reference; or BLOCKS_NONE. */
uint32_t blocks_take(struct blocks *b);
/* One reference less; the last one puts the block at the end of the queue, still named. */
void blocks_drop(struct blocks *b, uint32_t id);
/* Names a block in use; when another block has the name already this one stays nameless. */
void blocks_name(struct blocks *b, uint32_t id, uint64_t name);

#endif
