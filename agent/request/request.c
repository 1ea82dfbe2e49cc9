#include "request/request.h"

#include "request/json.h"
#include "request/kind.h"
#include "request/multipart.h"
#include "request/name.h"
#include "request/tail.h"
#include "request/text.h"

/*
 * The decision. First what is in view: everything HAProxy holds (`text` covers it, in one piece or
 * as head and tail that touch), or a head and a tail with a gap between them. Then whether HAProxy
 * holds all that the client sends:
 *
 *   LENGTH_WHOLE   yes: a body that does not end as it should is invalid
 *   LENGTH_CUT     no: content-length or the advertised size exceed what is held
 *   LENGTH_UNKNOWN no length was announced and what is held fills the buffer to within the margin.
 *                  If the body is closed it is whole, else it is cut.
 *
 * A reader (JSON or multipart) then says: bad; or whether the text is closed and where a model is.
 * The rest is one table, in conclude().
 *
 * LENGTH_UNKNOWN and a gap: a tail that ends in a bracket looks closed, but may be a body that was
 * cut right behind an inner bracket, where reading backwards would take an inner "model" for the
 * top-level one. So what a JSON tail says is not believed then: a model of the head stands if the
 * tail does not contradict, all else needs the body. A multipart tail is read forwards from a
 * delimiter and needs no such care.
 */

enum length { LENGTH_WHOLE, LENGTH_CUT, LENGTH_UNKNOWN };

struct sight {
	struct span text; /* the head, or all that HAProxy holds */
	struct span tail; /* empty: none apart from text */
	bool all;         /* text is all that HAProxy holds */
	enum length length;
};

/* What the readers found out. */
struct finding {
	enum { FOUND_BAD, FOUND_OPEN, FOUND_CLOSED, FOUND_UNSURE } result;
	bool settled; /* nothing outside what was seen can change the answer */
	bool model, escaped;
	bool ascii; /* other bytes in the name mean one thing to us and another to the server */
	int64_t model_at, model_len;
	const struct span *model_in;
	const char *why;
	int64_t at;
};

static struct view skip_front(struct view v, size_t n)
{
	return (struct view){v.ptr + n, v.len - n};
}

/* False when there is no body, or none was sent. */
static bool look(struct sight *s, const struct request_input *in,
		 const struct request_limits *limits)
{
	int64_t announced = in->content_length > in->body_size ? in->content_length : in->body_size;
	int64_t held = in->body_len;

	/* Field by field: compilers would clear it as a whole by an instruction that is slow to
	 * begin. */
	s->text = s->tail = (struct span){VIEW_NULL, VIEW_NULL, 0};
	s->all = false;
	s->length = LENGTH_WHOLE;
	if (in->body.ptr && (in->body.len || !in->head.len)) {
		if (held > announced)
			announced = held;
		held = (int64_t)in->body.len;
		s->text.a = in->body;
		s->all = true;
	} else if (in->head.len || in->tail.len || in->head.ptr) {
		size_t head = in->head.len, tail = in->tail.len;

		s->text.a = in->head;
		if (held < 0 && in->content_length >= 0 && (int64_t)head >= in->content_length)
			held = (int64_t)head;
		if (held < 0) {
			/* where the tail stands is not known */
		} else if ((int64_t)head >= held) {
			s->all = true;
			held = (int64_t)head;
		} else if ((int64_t)tail >= held) {
			s->all = true;
			held = (int64_t)tail;
			s->text.a = in->tail;
		} else if ((int64_t)(head + tail) >= held) {
			s->all = true;
			s->text.b = skip_front(in->tail, head + tail - (size_t)held);
		} else if (tail) {
			s->tail.a = in->tail;
			s->tail.at = held - (int64_t)tail;
		}
	} else {
		return false;
	}

	if (held >= 0 && announced > held) {
		s->length = LENGTH_CUT;
	} else if (in->content_length < 0 && in->buffer_size) {
		int64_t margin = limits->cut_margin < in->buffer_size / 2 ? limits->cut_margin
									  : in->buffer_size / 2;

		if (held < 0 || held >= (int64_t)in->buffer_size - margin)
			s->length = LENGTH_UNKNOWN;
	}
	return !s->all || held > 0 || s->length == LENGTH_CUT;
}

static void found_bad(struct finding *f, const char *why, int64_t at)
{
	f->result = FOUND_BAD;
	f->why = why;
	f->at = at;
}

static void found_model(struct finding *f, const struct json *j, const struct span *in)
{
	f->model = true;
	f->escaped = j->model_escaped;
	f->model_at = j->model_at;
	f->model_len = j->model_len;
	f->model_in = in;
}

/* The gap was not seen and @j is what the head says: does the tail tell more? */
static void read_json_tail(struct finding *f, struct json *j, const struct sight *s,
			   unsigned max_depth)
{
	const bool head_key = j->key, head_like = j->like;
	const char top = j->top;
	const bool sure = s->length == LENGTH_WHOLE;

	if (s->tail.a.len == 0)
		return;
	switch (tail_read(j, &s->tail, top, max_depth)) {
	case TAIL_BLANK:
		return;
	case TAIL_OPEN:
		if (sure && top)
			found_bad(f, "the JSON does not end", span_end(&s->tail));
		else if (top)
			f->result = FOUND_OPEN;
		return;
	case TAIL_BAD:
		if (sure)
			found_bad(f, j->why, j->at);
		else
			f->model = false;
		return;
	case TAIL_READ:
		break;
	}
	if (top && j->top) {
		if (sure)
			found_bad(f, "bytes after the end of the JSON", s->tail.at);
		else
			f->model = false;
		return;
	}
	if (!sure) {
		if (j->key || j->like)
			f->model = false;
		return;
	}
	if ((head_key && (j->key || j->like)) || (head_like && j->key)) {
		found_bad(f, "a second top-level \"model\"", s->tail.at);
		return;
	}
	if (j->model)
		found_model(f, j, &s->tail);
}

/* The JSON ended in the head: nothing but blanks may follow, as far as it was seen. */
static void read_after_json(struct finding *f, const struct span *tail)
{
	const char *const start = tail->a.ptr;
	const char *p;

	if (tail->a.len == 0)
		return;
	p = text_blank(start, start + tail->a.len);
	if (p != start + tail->a.len)
		found_bad(f, "bytes after the end of the JSON", tail->at + (p - start));
}

static void read_json(struct finding *f, const struct sight *s, unsigned max_depth)
{
	struct json j;

	json_init(&j, max_depth);
	switch (json_scan(&j, &s->text)) {
	case JSON_BAD:
		found_bad(f, j.why, j.at);
		return;
	case JSON_CLOSED:
		f->result = FOUND_CLOSED;
		break;
	case JSON_OPEN:
		f->result = FOUND_OPEN;
		break;
	}
	if (j.model)
		found_model(f, &j, &s->text);
	if (s->all)
		return;
	/* a number at the end of the head may go on */
	if (f->result == FOUND_CLOSED && j.state == JSON_AFTER) {
		f->settled = true;
		read_after_json(f, &s->tail);
		return;
	}
	if (s->length == LENGTH_CUT)
		return;
	/* no object: what follows may be wrong, but cannot hold a model */
	f->settled = s->length == LENGTH_WHOLE && j.top && j.top != '{';
	f->result = f->settled ? FOUND_CLOSED : FOUND_UNSURE;
	if (!j.top || j.top == '{' || (f->settled && j.top == '['))
		read_json_tail(f, &j, s, max_depth);
}

static void found_field(struct finding *f, const struct multipart *m, const struct span *in)
{
	f->model = true;
	f->model_at = m->model_at;
	f->model_len = m->model_len;
	f->model_in = in;
}

static void read_multipart(struct finding *f, const struct sight *s, struct view content_type)
{
	const bool cut = s->length == LENGTH_CUT;
	char buf[MULTIPART_BOUNDARY_MAX];
	struct view boundary;
	struct multipart m;
	enum multipart_result result;
	const char *why = multipart_type(content_type, buf, &boundary, &f->ascii);

	if (why) {
		found_bad(f, why, 0);
		return;
	}
	result = multipart_read(&m, &s->text, boundary, s->all && !cut);
	f->result = result == MULTIPART_CLOSED ? FOUND_CLOSED : FOUND_OPEN;
	if (result == MULTIPART_BAD)
		found_bad(f, m.why, m.at);
	else if (m.model)
		found_field(f, &m, &s->text);
	if (s->all || f->result == FOUND_BAD)
		return;
	f->settled = f->result == FOUND_CLOSED;
	if (!f->settled && s->length != LENGTH_CUT)
		f->result = FOUND_UNSURE;
	if (s->tail.a.len == 0)
		return;
	result = multipart_read(&m, &s->tail, boundary, !cut);
	if (result == MULTIPART_BAD)
		found_bad(f, m.why, m.at);
	else if (f->settled && m.delimiters)
		found_bad(f, MULTIPART_BEHIND, s->tail.at);
	else if (m.model && f->model)
		found_bad(f, "a second field \"model\"", m.model_at);
	else if (m.model)
		found_field(f, &m, &s->tail);
}

static void bad(struct request *req, const char *why, int64_t at)
{
	req->status = REQUEST_BAD;
	req->why = why;
	req->at = at;
}

static bool is_ascii(struct view v)
{
	unsigned char all = 0;

	for (size_t i = 0; i < v.len; i++)
		all |= (unsigned char)v.ptr[i];
	return all < 0x80;
}

static void take_model(struct request *req, const struct finding *f)
{
	char scratch[6 * REQUEST_MODEL_MAX];
	enum name_result result;
	struct view raw;
	const char *why;

	req->model_at = f->model_at;
	req->model_len = f->model_len;
	/* no escape stands for more than six bytes per byte */
	if (f->model_len > (int64_t)(f->escaped ? sizeof(scratch) : REQUEST_MODEL_MAX)) {
		bad(req, name_why(NAME_LONG), f->model_at);
		return;
	}
	raw = span_view(f->model_in, f->model_at, (size_t)f->model_len, scratch);
	if (f->escaped) {
		result = name_unescape(raw, req->model_buf, sizeof(req->model_buf), &req->model);
		if (result != NAME_OK) {
			bad(req, name_why(result), f->model_at);
			return;
		}
	} else if (raw.ptr == scratch && raw.len) {
		memcpy(req->model_buf, raw.ptr, raw.len);
		req->model = (struct view){req->model_buf, raw.len};
	} else {
		req->model = raw;
	}
	why = name_check(req->model);
	if (!why && f->ascii && !is_ascii(req->model))
		why = "a model that is not ASCII in another charset than UTF-8";
	if (why)
		bad(req, why, f->model_at);
	else
		req->status = REQUEST_OK;
}

static void conclude(struct request *req, const struct sight *s, const struct finding *f)
{
	if (f->result == FOUND_BAD) {
		bad(req, f->why, f->at);
		return;
	}
	if (f->result == FOUND_OPEN && s->length == LENGTH_WHOLE) {
		bad(req,
		    req->multipart ? "no closing multipart delimiter" : "the JSON does not end",
		    span_end(&s->text));
		return;
	}
	req->truncated =
	    s->length == LENGTH_CUT || (s->length == LENGTH_UNKNOWN && f->result == FOUND_OPEN);
	if (f->model)
		take_model(req, f);
	else if (req->truncated)
		req->status = REQUEST_TOO_LARGE;
	else if (s->all || f->settled)
		req->status = REQUEST_NO_MODEL;
	else
		req->status = REQUEST_NEED_BODY;
	if (req->status != REQUEST_OK) {
		req->model = VIEW_NULL;
		req->model_at = req->model_len = -1;
	}
}

/* The name that HAProxy found itself. */
static void take_argument(struct request *req, struct view model)
{
	const char *why = name_check(model);

	if (why) {
		bad(req, why, 0);
		return;
	}
	req->status = REQUEST_OK;
	req->model = model;
	req->model_at = req->model_len = -1;
}

/* First byte of the text that is no blank; 0: there is none. */
static char first_byte(const struct span *text)
{
	const struct view *pieces[] = {&text->a, &text->b};

	for (size_t i = 0; i < 2; i++) {
		size_t len = pieces[i]->len;
		const char *p = len ? text_blank(pieces[i]->ptr, pieces[i]->ptr + len) : NULL;

		if (p && p != pieces[i]->ptr + len)
			return *p;
	}
	return 0;
}

/* False: the body was not read, because there is none or it carries no model. */
static bool read_body(struct request *req, const struct request_input *in,
		      const struct request_limits *limits)
{
	unsigned max_depth = limits->max_depth;
	enum kind kind = kind_of(in->content_type);
	struct finding f = {.result = FOUND_OPEN, .model_at = -1, .model_len = -1};
	struct sight s;

	if (!look(&s, in, limits) || kind == KIND_NONE)
		return false;
	req->truncated = s.length == LENGTH_CUT;
	if (!kind_is_plain(in->content_encoding)) {
		req->status = REQUEST_BAD_ENCODING;
		return true;
	}
	if (limits->whole && !s.all) {
		req->status = REQUEST_NEED_BODY;
		return true;
	}
	if (kind == KIND_GUESS) {
		char first = first_byte(&s.text);

		if (!first && !s.all) {
			req->status = REQUEST_NEED_BODY;
			return true;
		}
		if (first != '{')
			return false;
	}
	if (kind == KIND_MULTIPART) {
		req->multipart = true;
		read_multipart(&f, &s, in->content_type);
	} else {
		const char *why = kind_of_json(in->content_type, &f.ascii);

		if (why)
			found_bad(&f, why, 0);
		else
			read_json(&f, &s, max_depth);
	}
	conclude(req, &s, &f);
	/* What was cut off may name another model. */
	if (limits->whole && req->status == REQUEST_OK && req->truncated) {
		req->status = REQUEST_TOO_LARGE;
		req->model = VIEW_NULL;
		req->model_at = req->model_len = -1;
	}
	return true;
}

/* There is a body that may name a model, and nothing of it was sent. */
static bool is_unseen(const struct request_input *in)
{
	return in->body_len > 0 && !in->body.ptr && !in->head.ptr && !in->tail.ptr &&
	       kind_of(in->content_type) != KIND_NONE;
}

/* What HAProxy found: it makes one byte of \u0080 to \u00ff, which is no UTF-8, and nothing of
 * those above. */
static bool is_readable(struct view model)
{
	return model.ptr && text_valid(model.ptr, model.ptr + model.len);
}

static void not_seen(struct request *req, const struct request_input *in)
{
	req->truncated = in->content_length > in->body_len || in->body_size > in->body_len;
	if (!kind_is_plain(in->content_encoding))
		req->status = REQUEST_BAD_ENCODING;
	else
		req->status = req->truncated ? REQUEST_TOO_LARGE : REQUEST_NEED_BODY;
}

void request_read(struct request *req, const struct request_input *in,
		  const struct request_limits *limits)
{
	req->status = REQUEST_NO_MODEL;
	req->model = VIEW_NULL;
	req->truncated = req->multipart = false;
	req->model_at = req->model_len = -1;
	req->why = NULL;
	req->at = -1;

	if (!read_body(req, in, limits)) {
		/* Somebody else's look at a body is not every byte of it. */
		if (in->model.ptr && limits->whole && in->body_len > 0 && !in->body.len &&
		    !in->head.len)
			req->status = REQUEST_NEED_BODY;
		else if (is_unseen(in) && !is_readable(in->model))
			not_seen(req, in);
		else if (in->model.ptr)
			take_argument(req, in->model);
	} else if (in->model.ptr && !limits->whole &&
		   (req->status == REQUEST_NEED_BODY || req->status == REQUEST_TOO_LARGE) &&
		   !name_check(in->model)) {
		take_argument(req, in->model);
	}
}

const char *request_status_name(enum request_status status)
{
	static const char *const names[] = {
	    [REQUEST_OK] = "ok",
	    [REQUEST_NO_MODEL] = "no_model",
	    [REQUEST_NEED_BODY] = "need_body",
	    [REQUEST_BAD] = "bad_request",
	    [REQUEST_TOO_LARGE] = "too_large",
	    [REQUEST_BAD_ENCODING] = "unsupported_encoding",
	};

	return names[status];
}
