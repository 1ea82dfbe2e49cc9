/*
 * Bytes of the API server → JSON objects. Pure: no allocation but one buffer with a stated
 * maximum, every byte is looked at once, any split of the input gives the same objects.
 *
 * A watch is a sequence of objects with white space between them. A list is one object whose
 * member "items" is an array: its elements are handed out one by one as they come and left out
 * of the envelope, which comes last with "items":[]. So neither is ever held whole.
 *
 * What is handed out is balanced and closed, not yet proven to be JSON: the reader's parser does
 * that.
 */
#ifndef DISCOVER_KUBE_STREAM_H
#define DISCOVER_KUBE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

enum kube_stream_form { KUBE_STREAM_WATCH, KUBE_STREAM_LIST };

enum kube_stream_part {
	KUBE_STREAM_OBJECT,    /* an object of a watch, an item of a list */
	KUBE_STREAM_ENVELOPE,  /* what is around the items of a list; the last part */
	KUBE_STREAM_TOO_LARGE, /* an object past the maximum was left out; @text is its beginning */
};

/* @text is good during the call and may be changed there. false: enough, feed no more. */
typedef bool (*kube_stream_fn)(enum kube_stream_part part, char *text, size_t len, void *arg);

struct kube_stream;

/* @max: bytes of the largest object or envelope. NULL when memory is short. */
struct kube_stream *kube_stream_new(enum kube_stream_form form, size_t max, kube_stream_fn fn,
				    void *arg);
struct kube_stream *kube_stream_free(struct kube_stream *s); /* not from inside @fn */

/* 0; 1: @fn said enough; -EBADMSG: no JSON, *ret_error (a constant) says why; -ENOMEM. After
 * anything but 0 feed no more. */
int kube_stream_feed(struct kube_stream *s, struct view bytes, const char **ret_error)
    __attribute__((warn_unused_result));

/* Is nothing half-way? A watch: between two objects; a list: its envelope was handed out. */
bool kube_stream_whole(const struct kube_stream *s);

#endif
