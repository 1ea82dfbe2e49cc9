/*
 * The configuration file, read, checked and immutable. Everything that is configured lives here;
 * a reload builds a second one and swaps.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Positions of the words in config_enum_*, defined in config.c. */
enum config_body { CONFIG_BODY_SLICES, CONFIG_BODY_WHOLE };
enum config_no_model { CONFIG_NO_MODEL_PASS, CONFIG_NO_MODEL_DEFAULT, CONFIG_NO_MODEL_REJECT };
enum config_unknown_model { CONFIG_UNKNOWN_REJECT, CONFIG_UNKNOWN_DEFAULT };
enum config_engine {
	CONFIG_ENGINE_AUTO,
	CONFIG_ENGINE_VLLM,
	CONFIG_ENGINE_SGLANG,
	CONFIG_ENGINE_TRTLLM,
	CONFIG_ENGINE_TRITON,
	CONFIG_ENGINE_LLAMACPP,
	CONFIG_ENGINE_NONE
};
enum config_scheme { CONFIG_SCHEME_AUTO, CONFIG_SCHEME_HTTP, CONFIG_SCHEME_HTTPS };
enum config_routing { CONFIG_ROUTING_HTTPROUTES, CONFIG_ROUTING_MODELS };
enum config_when_full { CONFIG_FULL_QUEUE, CONFIG_FULL_REJECT };
/* log.target and log.level have the values of base/log.h; policy is the position in the words
 * of config_enum_policy. */

struct config_list {
	size_t n;
	char **items;
};

struct config_scrape {
	uint32_t interval_ms, timeout_ms, stale_ms, failures, models_interval_ms;
	char *metrics_path, *models_path, *api_key_file, *tls_ca_file;
	int engine, scheme;
	bool tls_verify;
};

struct config_model {
	char *name;
	char *base; /* NULL: the name itself */
	bool hidden;
	int line, col; /* where it stands, for later errors */
};

struct config_target {
	char *model;
	uint32_t weight;
	bool rewrite;
	int line, col;
};

struct config_alias {
	char *name;
	size_t ntargets;
	struct config_target *targets;
	int line, col;
};

struct config_endpoint {
	char *host; /* name or address, without brackets */
	uint16_t port;
	bool https;    /* https:// was written */
	char *server;  /* NULL: none */
	char *metrics; /* NULL: address + metrics_path */
	int line, col;
};

struct config_pool {
	char *name;
	char *backend; /* never NULL: defaults to name */
	int policy, when_full;
	uint32_t max_inflight, retry_after;
	size_t nmodels, naliases, nendpoints;
	struct config_model *models;
	struct config_alias *aliases;
	struct config_endpoint *endpoints;
	char *dns_host; /* NULL: none */
	size_t ndns_ports;
	uint16_t dns_ports[16];
	struct config_scrape scrape; /* the top level's, with the pool's own rows over it */
	int line, col;
};

struct config {
	char *path; /* the file it came from */
	struct {
		char *socket; /* NULL: none */
		char *map, *map_file;
		uint32_t poll_ms, timeout_ms;
		uint64_t max_answer;
	} haproxy;
	struct {
		struct config_list spop, admin, feedback;
		uint32_t spop_mode, backlog;
		char *spop_group;
		char *admin_cert, *admin_key, *admin_token_file;
		bool admin_open;
	} listen;
	uint32_t workers;
	int body, no_model, unknown_model;
	char *default_pool;
	uint32_t drain_ms;
	struct config_list variables;
	struct {
		int target, level;
	} log;
	struct {
		uint32_t endpoints, models, pools, tickets, model_labels, connections,
		    admin_connections, depth;
		uint64_t frame, output, partial, cut_margin, metrics_page, models_page, pages;
	} limits;
	struct {
		uint32_t hello_ms, frame_ms, ticket_ms, admin_ms;
	} timeouts;
	struct config_scrape scrape;
	struct {
		uint32_t min_ttl_ms, max_ttl_ms, timeout_ms, max_addresses;
		struct config_list servers;
	} dns;
	struct {
		bool here; /* the section is in the file, with or without rows */
		char *kubeconfig, *context, *namespace, *controller, *service, *configmaps,
		    *haproxy_dir, *haproxy_master;
		struct config_list namespaces, addresses, tls_secrets, ports;
		char *tls_dir, *server_keywords;
		int routing;
		bool status;
		uint32_t reload_ms, settle_ms, page, watch_ms, idle_ms, retry_ms, retry_max_ms,
		    max_objects, max_writes;
		uint64_t max_object;
	} kubernetes;
	size_t npools; /* 0 only with kubernetes */
	struct config_pool *pools;
};

/* Optional strings are NULL when not given, never "". */

/* Everything that is wrong with a file, in the order of the lines. */
struct config_errors {
	size_t n;
	struct config_error {
		int line, col; /* from 1; 0: the file as a whole */
		char *text;    /* "what is wrong, what would be right" */
	} * items;
};

/*
 * Reads and checks @path ("-": standard input). 0 and *ret, or -EINVAL with at least one error in
 * @errors, or -ENOMEM. The caller frees both with config_free() and config_errors_deinit().
 */
int config_load(const char *path, struct config **ret, struct config_errors *errors)
    __attribute__((warn_unused_result));
/* The same from memory; @name stands for the path in messages. */
int config_parse(const char *name, const char *text, size_t len, struct config **ret,
		 struct config_errors *errors) __attribute__((warn_unused_result));
struct config *config_free(struct config *c);
void config_errors_deinit(struct config_errors *errors);
/* One line each: "path:line:col: text". */
void config_errors_print(const struct config_errors *errors, const char *path, FILE *out);

/* Names the options that differ between @old and @new and need a restart, each by
 * @report(key, arg); copies their old values into @new so that it tells what is in force. */
int config_keep_fixed(const struct config *old, struct config *new,
		      void (*report)(const char *key, void *arg), void *arg)
    __attribute__((warn_unused_result));

const struct config_pool *config_pool_find(const struct config *c, const char *name);

/* The reference: a Markdown table per section, made from config.def. */
void config_document(FILE *out);
/* The words of an enum option by position, NULL-terminated: config_enum_policy and so on. */
extern const char *const config_enum_body[];
extern const char *const config_enum_no_model[];
extern const char *const config_enum_unknown_model[];
extern const char *const config_enum_log_target[];
extern const char *const config_enum_log_level[];
extern const char *const config_enum_engine[];
extern const char *const config_enum_scheme[];
extern const char *const config_enum_policy[];
extern const char *const config_enum_routing[];
extern const char *const config_enum_when_full[];

#endif
