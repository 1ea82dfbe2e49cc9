/*
 * Bytes in, struct request out: which model does this body ask for?
 *
 * One pass over the bytes, no allocation, no I/O, no clock. The rules are those of the contract
 * (haproxy/README.md, "What the agent reads"): only the top level counts, escapes are decoded, a
 * duplicate top-level "model", a model that is no string, empty, too long or holding control
 * characters, invalid JSON by RFC 8259 and nesting past the limit are bad requests; a cut body is
 * not invalid JSON.
 */
#ifndef REQUEST_REQUEST_H
#define REQUEST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

/* Longest model name in bytes after unescaping. */
#define REQUEST_MODEL_MAX 256

struct request_limits {
	unsigned max_depth;  /* deepest nesting of arrays and objects; option, default 512 */
	unsigned cut_margin; /* bytes: an unclosed body without a length that comes this close to
				HAProxy's buffer is cut, not invalid; option, default 16384, never
				more than half of the buffer */
	bool whole; /* `body: whole`: slices that do not cover the body → need_body; cut → too_large
		     */
};

/*
 * What HAProxy sent; absent arguments have ptr NULL or are -1. The views must stay readable while
 * struct request is in use.
 *
 * body beats head and tail. Head and tail need body_len, which says where the tail stands; those
 * that cover the body are read as one text, in place. model is used when nothing was read (no body,
 * or a content type that carries no model), and instead of need_body or too_large unless
 * limits.whole; else the bytes win. It is held to the rules for names. With limits.whole and a
 * body_len it is a look at a body that we have not seen: need_body. So is a body_len without any
 * bytes and without a model: HAProxy's own look found none, which says nothing of what it cannot
 * read.
 *
 * Read as JSON: application/json, text/json, +json, no content type; and text/plain and
 * application/x-www-form-urlencoded whose first byte that is no blank is '{', because that is what
 * curl -d and fetch() send when nobody says otherwise. Other forms and texts are no_model.
 */
struct request_input {
	struct view body;             /* the whole buffered body */
	struct view head, tail;       /* or its first and its last bytes (they may overlap) */
	struct view model;            /* or the name, found by HAProxy */
	struct view content_type;     /* as the header stands; absent or empty: JSON */
	struct view content_encoding; /* as the header stands */
	int64_t body_len;             /* bytes that HAProxy holds; -1: body.len */
	int64_t body_size;            /* bytes advertised; -1, 0 or < body_len: not known */
	int64_t content_length;       /* the header; -1: none */
	uint32_t buffer_size;         /* HAProxy's tune.bufsize, as HELLO tells; 0: not known */
};

/* rows: symbol, verdict on the wire, HTTP status */
enum request_status {
	REQUEST_OK,           /* a model was found */
	REQUEST_NO_MODEL,     /* no body, a content type without a model, or no "model" in it */
	REQUEST_NEED_BODY,    /* the slices cannot tell and HAProxy holds the whole */
	REQUEST_BAD,          /* see why/at */
	REQUEST_TOO_LARGE,    /* no model in what is there and HAProxy does not hold the rest */
	REQUEST_BAD_ENCODING, /* compressed */
};

struct request {
	enum request_status status;
	struct view model; /* unescaped; points into the input or into model_buf */
	bool truncated;    /* HAProxy does not hold the whole body, as far as was seen */
	bool multipart;
	/* The bytes between the quotes (or of the multipart field), from the body's first byte;
	 * -1 when the name did not come from the body. */
	int64_t model_at;
	int64_t model_len;
	const char *why; /* REQUEST_BAD: a constant sentence for logs and `explain` */
	int64_t at;      /* REQUEST_BAD: offset of the offending byte in the body; else -1 */
	char model_buf[REQUEST_MODEL_MAX];
};

/* Never fails: every outcome is a status. @req must not move afterwards (model may point into
 * it). */
void request_read(struct request *req, const struct request_input *in,
		  const struct request_limits *limits);

/* "ok", "no_model", "need_body", "bad_request", "too_large", "unsupported_encoding". */
const char *request_status_name(enum request_status status);

#endif
