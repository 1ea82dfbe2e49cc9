/* The shapes of answers, whole and streamed, as vLLM writes them for each API. */
#ifndef SIM_ANSWER_H
#define SIM_ANSWER_H

#include "sim.h"

/* A stream's head and opening events; nothing for whole answers but their headers are kept. */
void answer_begin(struct job *j, const char *headers);
/* One token of a stream: the job has counted it already. */
void answer_token(struct job *j);
/* The end of a stream, or the whole answer. The connection is no longer the job's. */
void answer_finish(struct job *j);
/* A stream breaks off here, what it had is sent. The connection is no longer the job's. */
void answer_cut(struct job *j);

#endif
