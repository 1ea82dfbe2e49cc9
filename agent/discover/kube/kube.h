/*
 * The agent as a controller: what the API server holds becomes a plan, the plan becomes what
 * discover/ serves and what our own HAProxy is told, and the objects' status says so. Control
 * thread only.
 */
#ifndef DISCOVER_KUBE_KUBE_H
#define DISCOVER_KUBE_KUBE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "config/config.h"
#include "discover/follow/follow.h"
#include "discover/kube/mirror.h"
#include "discover/kube/resolve.h"
#include "discover/kube/writer.h"

struct discover;
struct event_base;
struct kube;

/* All are borrowed. @discover holds the plan in use: between kube_free() and discover_free(), or
 * discover_reload() to a configuration without kubernetes: before kube_free(), nothing may run. */
struct kube_env {
	struct event_base *base;
	struct discover *discover;
	bool read_only; /* no status is written, HAProxy is left alone (explain) */
};

/* @conf must have a kubernetes: section and is borrowed until kube_commit_consume() of another one.
 * 0, -ENOMEM, or -EINVAL after log lines that say why. */
int kube_new(const struct kube_env *env, const struct config *conf, struct kube **ret)
    __attribute__((warn_unused_result));
struct kube *kube_free(struct kube *k);

/*
 * Another configuration, in two steps with no turn of the loop between them: what can fail, as
 * kube_new() does; then what cannot. What was served goes on being served until what the new one
 * asks for is known.
 */
struct kube_next;
int kube_prepare(struct kube *k, const struct config *conf, struct kube_next **ret)
    __attribute__((warn_unused_result));
void kube_commit_consume(struct kube *k, struct kube_next *next);
struct kube_next *kube_next_free(struct kube_next *next);

/* Can the API server's whereabouts be read? 0, or -EINVAL and lines on @err; for -t. */
int kube_check(const struct config *conf, FILE *err) __attribute__((warn_unused_result));

/* --- for /state, /metrics and /readyz --- */

struct kube_status_report {
	const char *server;    /* URL */
	const char *namespace; /* our own */
	bool synced;           /* everything was listed once; a plan is in use */
	bool following;        /* our own HAProxy is told */
	struct kube_counts counts;
	size_t rules, members, problems;
	uint64_t resolves, resolve_ns, resolve_sum_ns; /* resolve_ns: of the last */
	uint64_t plans;                                /* that differed from the one before */
	uint64_t left_out;
	size_t store_bytes;
	bool writing;
	struct kube_writer_stats writer;
	struct follow_status follow;
};
void kube_report(const struct kube *k, struct kube_status_report *ret);
void kube_report_kind(const struct kube *k, enum kube_kind kind, struct kube_mirror_kind *ret);
/* The @i-th problem of now, NULL past the end. */
const struct kube_problem *kube_report_problem(const struct kube *k, size_t i);

#endif
