/*
 * One simulated model server: its options, its models, its engines (one per data-parallel rank),
 * its HTTP listener, the requests in flight and the faults it was told to have. Several live in
 * one process on one event loop and know nothing of each other.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "buf.h"
#include "engine.h"
#include "http.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#define SIM_MAX_LISTEN   8
#define SIM_MAX_ADAPTERS 1024
#define SIM_MAX_RANKS    64

struct event;
struct event_base;

enum sim_flavour { SIM_VLLM, SIM_SGLANG, SIM_TRTLLM, SIM_TRITON, SIM_LLAMACPP };
enum sim_page {
	PAGE_RIGHT,
	PAGE_GARBAGE,
	PAGE_NAN,
	PAGE_NEGATIVE,
	PAGE_HUGE,
	PAGE_SLOW,
	PAGE_404,
	PAGE_500
};
enum sim_api {
	API_CHAT,
	API_COMPLETIONS,
	API_RESPONSES,
	API_MESSAGES,
	API_EMBEDDINGS,
	API_RERANK,
	API_SCORE,
	API_TRANSCRIPTION,
	API_IMAGES,
	API_N
};

struct sim_faults {
	bool hang, dead, refuse;
	double slow; /* steps take so many times longer; 1 = right, 0 = they stand still */
	enum sim_page metrics;
	uint32_t error_next; /* so many requests fail */
	double error_share;  /* and of the others this share */
	int error_status;
	uint32_t cut; /* streams break after so many tokens; 0 = never */
};

struct sim_conf {
	char *name;
	char *listen[SIM_MAX_LISTEN];
	uint32_t n_listen;
	char *model, *root;
	char *adapters[SIM_MAX_ADAPTERS]; /* NAME or NAME:ROOT */
	uint32_t n_adapters;
	uint32_t max_loras;
	struct engine_conf engine;
	uint64_t seed;
	uint32_t ranks;
	double output_mean;
	uint32_t max_model_len;
	bool limit_len; /* max_model_len was asked for, so it is enforced */
	bool eos, instant, lenient, old_metrics;
	uint32_t dimensions;
	char *api_key;
	enum sim_flavour flavour;
	double keep_alive_s;
	double max_body_mb;
	struct sim_faults faults;
};

struct sim_model {
	char *id, *root;
	bool adapter, loaded;
	uint32_t open;     /* in flight */
	uint64_t requests; /* accepted so far */
};

/* A request in flight, from acceptance to its end. */
struct job {
	LIST_ENTRY(job) next;
	struct sim *sim;
	struct http_conn *conn; /* NULL once the client has gone or been answered */
	struct engine *engine;
	struct engine_req *req; /* NULL when the engine knows it no longer */
	struct sim_model *model;
	enum sim_api api;
	bool stream, include_usage, stopped; /* stopped: ends by itself, not at max_tokens */
	uint32_t prompt, output, made;
	uint64_t seed;
	uint32_t sequence; /* of response events */
	char id[32];
	time_t created;
	int64_t arrived, last;
	struct buf pre; /* stream: what stands before each token; else the headers to answer with */
	struct buf whole; /* an answer that was made at once: embeddings, scores */
	const char *whole_type;
};

/* Upper bounds of buckets, ended by 0. */
struct sim_histogram {
	const double *bounds;
	uint64_t count[32]; /* not cumulative; the last one used is over the last bound */
	uint64_t n;
	double sum;
};

struct sim {
	LIST_ENTRY(sim) next;
	struct sim_conf conf;
	struct event_base *base;
	struct event *timer, *fault_timer, *die_timer;
	struct http_server *http;
	char addresses[SIM_MAX_LISTEN][64];
	struct engine *ranks[SIM_MAX_RANKS];
	struct sim_model *models[SIM_MAX_ADAPTERS + 1]; /* [0] is the base model */
	uint32_t n_models;
	struct sim_faults faults;
	uint32_t foreign_running, foreign_waiting;
	double foreign_kv;
	LIST_HEAD(, job) jobs;
	LIST_HEAD(, job) over; /* to be cancelled and freed when the engine has returned */
	bool advancing;
	struct buf batch; /* --instant: a whole stream, sent at once */
	uint64_t serial;
	time_t born;
	uint32_t in_flight, max_in_flight, hung;
	uint64_t started, finished, cancelled, errors;
	uint64_t finished_stop, finished_length, finished_abort;
	uint64_t tokens_out, prompt_tokens;
	struct sim_histogram ttft, itl, e2e;
};

LIST_HEAD(sims, sim);
extern struct sims sim_all;

/* Listens. NULL after saying why on stderr. Takes the strings of conf over. */
struct sim *sim_new(struct event_base *base, const struct sim_conf *conf);
void sim_free(struct sim *s);
struct sim *sim_find(const char *name);

struct sim_model *sim_model_find(struct sim *s, const char *id);
/* NULL when there is no room; root NULL: the id. */
struct sim_model *sim_adapter_add(struct sim *s, const char *id, const char *root);

/* The headers every answer carries. body_model NULL: none was found. */
void sim_headers(struct sim *s, struct http_conn *c, const char *body_model, struct buf *ret);

/*
 * Starts a job that api.c has filled in: conn, api, model, prompt, output, seed, flags. ids as in
 * struct engine_ask, one per block.
 */
void sim_start(struct job *j, const uint64_t *ids, uint32_t n_ids, const char *headers);

void sim_apply_faults(struct sim *s);
/* All faults gone after so many ms; 0: they stay. */
void sim_faults_end_in(struct sim *s, double ms);
int64_t sim_now(void);

#endif
