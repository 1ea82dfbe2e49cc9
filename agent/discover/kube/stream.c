/*
 * Bytes of the API server → JSON objects.
 *
 * A scanner knows strings and depth, nothing else of JSON; it appends what it passes to its buffer
 * and stops where its object closes. A watch has one scanner. A list has two: the envelope's, which
 * stops inside the array "items", and from there on the items' one.
 *
 * The same stop serves to leave out metadata.managedFields: who set which field by what means is
 * half of a pod's bytes and more than half of its values, and nobody here reads it. What stays is
 * "managedFields":[]. A member is recognised by the key at the one depth where it can stand, and
 * its parent's; a key written with escapes is not, and is then simply kept.
 *
 * Invariant: len <= max; the bytes of an object past that are counted, not kept.
 */
#include "discover/kube/stream.h"

#include <errno.h>
#include <stdlib.h>

#define BEGINNING  1024        /* of an object that is too large, to be handed out */
#define KEPT_MAX   (64 * 1024) /* buffer kept for the next object, which may be minutes away */
#define BUFFER_MIN 4096

struct word {
	size_t at, len; /* in the buffer; quotes left out */
};

struct scanner {
	char *buf;
	size_t len, size;
	bool over; /* past the maximum: only the beginning is kept */

	unsigned depth;
	bool string, escaped;

	/* The array it stops in: its key, the depth the key stands at, the parent's key or NULL. */
	const char *key, *parent;
	unsigned key_depth;
	struct word last, key_seen, parent_seen;
	bool after_colon;

	unsigned inside; /* > 0: in an array that is left out, so deep */
};

struct kube_stream {
	enum kube_stream_form form;
	size_t max;
	kube_stream_fn fn;
	void *arg;
	enum {
		OUTSIDE, /* of everything */
		IN_OBJECT,
		IN_ENVELOPE,
		ITEMS_FIRST, /* behind "[" */
		ITEMS_VALUE, /* behind "," */
		ITEMS_NEXT,  /* behind an item */
		DONE
	} place;
	struct scanner object, envelope;
};

enum scan { SCAN_MORE, SCAN_CLOSED, SCAN_INSIDE, SCAN_MEMORY };

static int append(struct scanner *sc, size_t max, const char *bytes, size_t n)
{
	if (sc->over || n == 0)
		return 0;
	if (n > max - sc->len) {
		sc->over = true;
		n = sc->len < BEGINNING ? BEGINNING - sc->len : 0;
		if (n > max - sc->len)
			n = max - sc->len;
	}
	if (n >= sc->size - sc->len) { /* one more for the end */
		size_t size = sc->size ? sc->size : BUFFER_MIN;
		char *buf;

		while (size - sc->len <= n)
			size *= 2;
		buf = realloc(sc->buf, size);
		if (!buf)
			return -ENOMEM;
		sc->buf = buf;
		sc->size = size;
	}
	memcpy(sc->buf + sc->len, bytes, n);
	sc->len += n;
	return 0;
}

static bool word_is(const struct scanner *sc, struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(sc->buf + w.at, text, w.len) == 0;
}

/* One byte inside a string. */
static void in_string(struct scanner *sc, char c)
{
	if (sc->escaped)
		sc->escaped = false;
	else if (c == '\\')
		sc->escaped = true;
	else if (c == '"')
		sc->string = false;
}

/* A colon: what stood before it was a key. */
static void colon(struct scanner *sc)
{
	if (sc->depth == sc->key_depth) {
		sc->key_seen = sc->last;
		sc->after_colon = true;
	} else if (sc->depth + 1 == sc->key_depth) {
		sc->parent_seen = sc->last;
	}
}

/* Does this "[" open the array the scanner stops in? */
static bool opens(const struct scanner *sc)
{
	return sc->after_colon && sc->depth == sc->key_depth && !sc->over &&
	       word_is(sc, sc->key_seen, sc->key) &&
	       (!sc->parent || word_is(sc, sc->parent_seen, sc->parent));
}

/* Goes through an array that is left out; what is behind it is *@p. */
static void leave_out(struct scanner *sc, const char **p, const char *end)
{
	while (*p < end && sc->inside) {
		char c = *(*p)++;

		if (sc->string)
			in_string(sc, c);
		else if (c == '"')
			sc->string = true;
		else if (c == '[' || c == '{')
			sc->inside++;
		else if (c == ']' || c == '}')
			sc->inside--;
	}
}

static bool is_structure(char c)
{
	return c == '"' || c == ':' || c == ',' || c == '{' || c == '}' || c == '[' || c == ']';
}

/* Reads on in @bytes, which loses what was read. */
static enum scan scan(struct scanner *sc, size_t max, struct view *bytes)
{
	const char *start = bytes->ptr, *p = start, *end = start + bytes->len;
	enum scan result = SCAN_MORE;

	while (p < end && result == SCAN_MORE) {
		char c = *p++;

		/* Where in the buffer a word stands is known once all before it is there. */
		if (sc->string) {
			in_string(sc, c);
			if (!sc->string)
				sc->last.len = sc->len + (size_t)(p - 1 - start) - sc->last.at;
			continue;
		}
		if (!is_structure(c))
			continue;
		if (c == ':') {
			colon(sc);
			continue;
		}
		if (c == '"') {
			sc->string = true;
			sc->last.at = sc->len + (size_t)(p - start);
		} else if (c == '{' || c == '[') {
			if (sc->after_colon && c == '[' && sc->depth == sc->key_depth) {
				if (append(sc, max, start, (size_t)(p - start)) < 0)
					return SCAN_MEMORY;
				start = p;
				if (opens(sc))
					result = SCAN_INSIDE;
			}
			if (result == SCAN_MORE)
				sc->depth++;
		} else if (c != ',') {
			sc->depth--;
			if (sc->depth == 0)
				result = SCAN_CLOSED;
		}
		sc->after_colon = false;
	}
	if (append(sc, max, start, (size_t)(p - start)) < 0)
		return SCAN_MEMORY;
	bytes->ptr = p;
	bytes->len = (size_t)(end - p);
	return result;
}

/* An object, with what is left out of it. */
static enum scan scan_object(struct scanner *sc, size_t max, struct view *bytes)
{
	enum scan r = SCAN_MORE;

	while (bytes->len && r == SCAN_MORE) {
		if (sc->inside) {
			const char *p = bytes->ptr;

			leave_out(sc, &p, bytes->ptr + bytes->len);
			bytes->len -= (size_t)(p - bytes->ptr);
			bytes->ptr = p;
			if (sc->inside == 0 && append(sc, max, "]", 1) < 0)
				return SCAN_MEMORY;
		} else {
			r = scan(sc, max, bytes);
			if (r == SCAN_INSIDE) {
				sc->inside = 1;
				r = SCAN_MORE;
			}
		}
	}
	return r;
}

static void scanner_clear(struct scanner *sc)
{
	if (sc->size > KEPT_MAX) {
		free(sc->buf);
		sc->buf = NULL;
		sc->size = 0;
	}
	*sc = (struct scanner){.buf = sc->buf,
			       .size = sc->size,
			       .key = sc->key,
			       .parent = sc->parent,
			       .key_depth = sc->key_depth};
}

/* Hands out what has closed. 0, or 1: enough. */
static int hand_out(struct kube_stream *s, struct scanner *sc, enum kube_stream_part part)
{
	size_t len = sc->len;
	bool more;

	if (sc->over) {
		part = KUBE_STREAM_TOO_LARGE;
		len = len < BEGINNING ? len : BEGINNING;
	}
	sc->buf[len] = '\0';
	more = s->fn(part, sc->buf, len, s->arg);
	scanner_clear(sc);
	return more ? 0 : 1;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One byte between objects. 0, or -EBADMSG. */
static int between(struct kube_stream *s, char c, const char **ret_error)
{
	bool list = s->form == KUBE_STREAM_LIST;

	if (s->place == OUTSIDE && c == '{') {
		s->place = list ? IN_ENVELOPE : IN_OBJECT;
		return 0;
	}
	if ((s->place == ITEMS_FIRST || s->place == ITEMS_VALUE) && c == '{') {
		s->place = IN_OBJECT;
		return 0;
	}
	if (s->place == ITEMS_NEXT && c == ',') {
		s->place = ITEMS_VALUE;
		return 0;
	}
	if ((s->place == ITEMS_FIRST || s->place == ITEMS_NEXT) && c == ']') {
		s->place = IN_ENVELOPE;
		return append(&s->envelope, s->max, "]", 1);
	}
	*ret_error = s->place == DONE      ? "something follows the end of the list"
		     : s->place == OUTSIDE ? "something that is no object"
					   : "the list of items is broken";
	return -EBADMSG;
}

/* Reads on inside an object or the envelope. */
static int within(struct kube_stream *s, struct view *bytes, const char **ret_error)
{
	bool object = s->place == IN_OBJECT;
	enum scan r =
	    object ? scan_object(&s->object, s->max, bytes) : scan(&s->envelope, s->max, bytes);

	if (s->envelope.over) {
		*ret_error = "what is around the items is too large";
		return -EBADMSG;
	}
	switch (r) {
	case SCAN_MORE:
		return 0;
	case SCAN_INSIDE:
		s->place = ITEMS_FIRST;
		return 0;
	case SCAN_MEMORY:
		return -ENOMEM;
	case SCAN_CLOSED:
		break;
	}
	if (!object) {
		s->place = DONE;
		return hand_out(s, &s->envelope, KUBE_STREAM_ENVELOPE);
	}
	s->place = s->form == KUBE_STREAM_LIST ? ITEMS_NEXT : OUTSIDE;
	return hand_out(s, &s->object, KUBE_STREAM_OBJECT);
}

int kube_stream_feed(struct kube_stream *s, struct view bytes, const char **ret_error)
{
	int r = 0;

	*ret_error = "";
	while (r == 0 && bytes.len) {
		if (s->place == IN_OBJECT || s->place == IN_ENVELOPE) {
			r = within(s, &bytes, ret_error);
		} else {
			char c = *bytes.ptr;

			if (!is_space(c))
				r = between(s, c, ret_error);
			/* An opening brace is the scanner's. */
			if (r == 0 && s->place != IN_OBJECT && c != '{') {
				bytes.ptr++;
				bytes.len--;
			}
		}
	}
	if (r == -ENOMEM)
		*ret_error = "out of memory";
	return r;
}

bool kube_stream_whole(const struct kube_stream *s)
{
	return s->place == (s->form == KUBE_STREAM_LIST ? DONE : OUTSIDE);
}

struct kube_stream *kube_stream_new(enum kube_stream_form form, size_t max, kube_stream_fn fn,
				    void *arg)
{
	struct kube_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->form = form;
	s->max = max;
	s->fn = fn;
	s->arg = arg;
	/* {"metadata":{"managedFields":…; in a watch {"type":…,"object":{ is around it. */
	s->object.key = "managedFields";
	s->object.parent = "metadata";
	s->object.key_depth = form == KUBE_STREAM_LIST ? 2 : 3;
	s->envelope.key = "items";
	s->envelope.key_depth = 1;
	return s;
}

struct kube_stream *kube_stream_free(struct kube_stream *s)
{
	if (s) {
		free(s->object.buf);
		free(s->envelope.buf);
		free(s);
	}
	return NULL;
}
