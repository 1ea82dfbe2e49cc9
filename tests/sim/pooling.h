/* Requests whose answer is made at once: vectors, scores, pictures. False when one was refused. */
#ifndef SIM_POOLING_H
#define SIM_POOLING_H

#include "reading.h"

bool pooling_embeddings(struct reading *r);
bool pooling_rerank(struct reading *r);
bool pooling_score(struct reading *r);
bool pooling_images(struct reading *r);

#endif
