/* The bodies of inference requests, read as vLLM reads them. */
#ifndef SIM_ASK_H
#define SIM_ASK_H

#include "sim.h"

/* Starts a job for this API, or answers why not. */
void ask(struct sim *s, struct http_conn *c, enum sim_api api);
/* POST /v1/load_lora_adapter, /v1/unload_lora_adapter. */
void ask_adapter(struct sim *s, struct http_conn *c, bool load);
/* POST /v1/messages/count_tokens. */
void ask_count_tokens(struct sim *s, struct http_conn *c);

#endif
