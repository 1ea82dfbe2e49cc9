/*
 * Arguments by name. The names are few and differ in length, so a switch over the length leaves
 * one compare each. HAProxy sends lengths as integers or, from headers, as text.
 */
#include "serve/arguments.h"

#include "observe/logline.h"

static struct view bytes_of(const struct spop_value *v)
{
	struct spop_view b = spop_value_bytes(v);

	return (struct view){(const char *)b.ptr, b.len};
}

/* Digits only, as a content-length header must be; anything else is -1, "not told". */
static int64_t parse_length(struct view text)
{
	int64_t n = 0;

	if (text.len == 0 || text.len > 18)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return -1;
		n = n * 10 + (text.ptr[i] - '0');
	}
	return n;
}

static int64_t length_of(const struct spop_value *v)
{
	int64_t n;

	if (spop_value_integer(v, &n) == 0)
		return n < 0 ? -1 : n;
	return parse_length(bytes_of(v));
}

/* 0: not told. */
static uint32_t port_of(const struct spop_value *v)
{
	int64_t n = length_of(v);

	return n > 0 && n <= UINT16_MAX ? (uint32_t)n : 0;
}

/* @n is known when this is compiled: one or two comparisons of words instead of a call. */
static inline __attribute__((always_inline)) bool same(const uint8_t *p, const char *word, size_t n)
{
	if (n >= 8)
		return memcmp(p, word, 8) == 0 && memcmp(p + n - 8, word + n - 8, 8) == 0;
	if (n >= 4)
		return memcmp(p, word, 4) == 0 && memcmp(p + n - 4, word + n - 4, 4) == 0;
	return memcmp(p, word, 2) == 0;
}

/* Whether @name, which is as long, is @word of 2 or 4 to 16 letters. */
#define is(name, word) same((name).ptr, word, sizeof(word) - 1)

static void take_id(struct arguments *a, const struct spop_value *v)
{
	int64_t number;

	if (spop_value_integer(v, &number) == 0) {
		a->key = logline_key_of_number((uint64_t)number);
	} else {
		a->id = bytes_of(v);
		a->key = logline_key(a->id);
	}
}

static void take(struct arguments *a, const struct spop_arg *arg)
{
	struct request_input *in = &a->input;

	switch (arg->name.len) {
	case 2:
		if (is(arg->name, "id"))
			take_id(a, &arg->value);
		break;
	case 4:
		if (is(arg->name, "body"))
			in->body = bytes_of(&arg->value);
		else if (is(arg->name, "head"))
			in->head = bytes_of(&arg->value);
		else if (is(arg->name, "tail"))
			in->tail = bytes_of(&arg->value);
		else if (is(arg->name, "path"))
			a->where.path = bytes_of(&arg->value);
		else if (is(arg->name, "host"))
			a->where.host = bytes_of(&arg->value);
		else if (is(arg->name, "hdrs"))
			a->where.headers = bytes_of(&arg->value);
		break;
	case 5:
		if (is(arg->name, "model"))
			in->model = bytes_of(&arg->value);
		break;
	case 6:
		if (is(arg->name, "method"))
			a->where.method = bytes_of(&arg->value);
		break;
	case 8:
		if (is(arg->name, "body_len"))
			in->body_len = length_of(&arg->value);
		else if (is(arg->name, "dst_port"))
			a->where.port = port_of(&arg->value);
		break;
	case 9:
		if (is(arg->name, "body_size"))
			in->body_size = length_of(&arg->value);
		break;
	case 12:
		if (is(arg->name, "content_type"))
			in->content_type = bytes_of(&arg->value);
		break;
	case 14:
		if (is(arg->name, "content_length"))
			in->content_length = length_of(&arg->value);
		break;
	case 16:
		if (is(arg->name, "content_encoding"))
			in->content_encoding = bytes_of(&arg->value);
		break;
	default:
		break;
	}
}

/* Field by field: compilers would clear it as a whole by an instruction that is slow to begin. */
static void arguments_clear(struct arguments *a)
{
	struct request_input *in = &a->input;
	struct rule_request *where = &a->where;

	_Static_assert(sizeof(void *) != 8 ||
			   (sizeof(*in) == 6 * sizeof(struct view) + 4 * sizeof(int64_t) &&
			    sizeof(*where) == 6 * sizeof(struct view) + 8),
		       "all of it is cleared");
	a->id = VIEW_NULL;
	a->key = 0;
	in->body = in->head = in->tail = in->model = VIEW_NULL;
	in->content_type = in->content_encoding = VIEW_NULL;
	in->body_len = in->body_size = in->content_length = -1;
	where->host = where->path = where->method = VIEW_NULL;
	where->model = where->base = where->headers = VIEW_NULL;
	where->port = 0;
}

void arguments_read(struct arguments *ret, struct spop_notify *notify, uint32_t buffer_size)
{
	struct spop_message message;
	struct spop_arg arg;

	arguments_clear(ret);
	ret->input.buffer_size = buffer_size;
	while (spop_notify_message(notify, &message))
		while (spop_notify_arg(notify, &arg))
			take(ret, &arg);
}
