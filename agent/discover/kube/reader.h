/*
 * Fields of a JSON object, by name and type, into an object's memory. The first value that is not
 * what it has to be fails the reading, with its path; what is read after that is empty, so a
 * decoder is straight and asks once at its end. null is as good as absent.
 */
#ifndef DISCOVER_KUBE_READER_H
#define DISCOVER_KUBE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/pack.h"

struct cJSON;

#define KUBE_TEXT_MAX 200 /* bytes of a message */

struct kube_reader {
	struct kube_pack *pack;
	bool failed;
	char error[KUBE_TEXT_MAX]; /* of the first failure: "PATH: what is wrong" */
	size_t path_len;
	char path[KUBE_TEXT_MAX];
};

void kube_reader_init(struct kube_reader *r, struct kube_pack *pack);

/* One step down the path; leave() takes what these return. */
size_t kube_reader_enter(struct kube_reader *r, const char *key);
size_t kube_reader_enter_item(struct kube_reader *r, size_t i);
void kube_reader_leave(struct kube_reader *r, size_t before);
void kube_reader_fail(struct kube_reader *r, const char *key, const char *what);
/* "PATH.key: what" in the object's memory, for a value that is wrong without failing all. */
struct view kube_reader_text(struct kube_reader *r, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* NULL: absent, null, or not of this type, which fails. @parent may be NULL. */
const struct cJSON *kube_reader_any(const struct cJSON *parent, const char *key);
const struct cJSON *kube_reader_map(struct kube_reader *r, const struct cJSON *parent,
				    const char *key);
/* *ret_n: its length; more than @max fails. */
const struct cJSON *kube_reader_list(struct kube_reader *r, const struct cJSON *parent,
				     const char *key, size_t max, size_t *ret_n);
/* A string in place, or copied; absent when it is absent. */
struct view kube_reader_peek(struct kube_reader *r, const struct cJSON *parent, const char *key);
struct view kube_reader_string(struct kube_reader *r, const struct cJSON *parent, const char *key);
/* The same with a fallback for what is absent. */
struct view kube_reader_string_or(struct kube_reader *r, const struct cJSON *parent,
				  const char *key, const char *fallback);
int64_t kube_reader_integer(struct kube_reader *r, const struct cJSON *parent, const char *key,
			    int64_t min, int64_t max, int64_t fallback);
bool kube_reader_bool(struct kube_reader *r, const struct cJSON *parent, const char *key,
		      bool fallback);
/* @n zeroed elements of @size; never NULL unless n is 0 or memory is short. */
void *kube_reader_array(struct kube_reader *r, size_t n, size_t size);
/* A list of strings; *ret_n of them. */
const struct view *kube_reader_strings(struct kube_reader *r, const struct cJSON *parent,
				       const char *key, size_t max, size_t *ret_n);

/* The first member of @parent that is not null and none of @known, which NULL ends; NULL: there is
 * none. For fields that a newer API has: what they ask for cannot be guessed. */
const char *kube_reader_unknown(const struct cJSON *parent, const char *const *known);

/* Seconds since the epoch of RFC 3339 as the API server writes it; 0: none or no such thing. */
int64_t kube_reader_time(struct view text);

#endif
