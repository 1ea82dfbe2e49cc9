/* What every decoder here is put through, from one vector.
 *
 * A vector is a stream of bytes for one side of a connection; what that side makes of it is written
 * down as text, one line an event. harness_stream() then asks for the same text however the bytes
 * arrive: at once, in two pieces at every place, byte by byte; always with the last byte against an
 * unreadable page, so that reading one byte too many kills the test without any sanitizer. A
 * truncated stream must give a beginning of that text and wait; a stream with a bit or a byte
 * changed may mean anything, but must be consumed, waited for or refused with a status of the
 * table.
 */
#ifndef TESTS_SPOP_HARNESS_H
#define TESTS_SPOP_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "spop/client.h"
#include "spop/session.h"

#define HARNESS_MAX_FRAME 16380u

/* ---- bytes ---- */

/* "0008 65" to bytes; spaces are skipped. The caller frees. */
static inline uint8_t *harness_hex(const char *hex, size_t *ret_len)
{
	uint8_t *out = malloc(strlen(hex) / 2 + 1);
	size_t nibbles = 0;

	assert_non_null(out);
	for (; *hex; hex++) {
		const char *digits = "0123456789abcdef";
		const char *at;

		if (*hex == ' ')
			continue;
		at = strchr(digits, *hex >= 'A' && *hex <= 'F' ? *hex + 32 : *hex);
		assert_non_null(at);
		if (nibbles % 2 == 0)
			out[nibbles / 2] = (uint8_t)((at - digits) << 4);
		else
			out[nibbles / 2] |= (uint8_t)(at - digits);
		nibbles++;
	}
	assert_int_equal(nibbles % 2, 0);
	*ret_len = nibbles / 2;
	return out;
}

static inline uint64_t harness_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Memory whose end is followed by a page that nobody may touch. */
struct harness_guard {
	uint8_t *map;
	size_t size; /* readable bytes */
};

static inline struct harness_guard harness_guard_new(size_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct harness_guard g = {.size = (room / page + 1) * page};

	g.map =
	    mmap(NULL, g.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g.map != MAP_FAILED);
	assert_int_equal(mprotect(g.map + g.size, page, PROT_NONE), 0);
	return g;
}

static inline void harness_guard_free(struct harness_guard *g)
{
	munmap(g->map, g->size + (size_t)sysconf(_SC_PAGESIZE));
}

/* len bytes of room that end at the page. */
static inline uint8_t *harness_guard_room(const struct harness_guard *g, size_t len)
{
	assert_true(len <= g->size);
	return g->map + g->size - len;
}

static inline uint8_t *harness_guard_put(const struct harness_guard *g, const void *bytes,
					 size_t len)
{
	uint8_t *at = harness_guard_room(g, len);

	if (len)
		memcpy(at, bytes, len);
	return at;
}

/* ---- the text of what happened ---- */

struct harness_text {
	char *str;
	size_t len;
	size_t cap;
};

static inline void __attribute__((format(printf, 2, 3)))
harness_say(struct harness_text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	if (t->cap - t->len < 2048) {
		t->cap += 4096;
		t->str = realloc(t->str, t->cap);
		assert_non_null(t->str);
	}
	va_start(args, fmt);
	n = vsnprintf(t->str + t->len, t->cap - t->len, fmt, args);
	va_end(args);
	assert_true(n >= 0 && (size_t)n < t->cap - t->len);
	t->len += (size_t)n;
}

static inline void harness_say_bytes(struct harness_text *t, struct spop_view v)
{
	if (!v.ptr) {
		harness_say(t, "-");
		return;
	}
	harness_say(t, "\"");
	for (size_t i = 0; i < v.len; i++)
		harness_say(t, v.ptr[i] >= 32 && v.ptr[i] < 127 ? "%c" : "\\%02x", v.ptr[i]);
	harness_say(t, "\"");
}

static inline void harness_say_value(struct harness_text *t, const struct spop_value *v)
{
	harness_say(t, "%s:", spop_data_type_name(v->type));
	switch (v->type) {
	case SPOP_DATA_T_NULL:
		break;
	case SPOP_DATA_T_BOOL:
		harness_say(t, "%d", v->boolean);
		break;
	case SPOP_DATA_T_INT32:
	case SPOP_DATA_T_INT64:
		harness_say(t, "%lld", (long long)v->sint);
		break;
	case SPOP_DATA_T_UINT32:
	case SPOP_DATA_T_UINT64:
		harness_say(t, "%llu", (unsigned long long)v->uint);
		break;
	default:
		harness_say_bytes(t, v->bytes);
		break;
	}
}

static inline void harness_say_disconnect(struct harness_text *t, const struct spop_disconnect *d)
{
	harness_say(t, "DISCONNECT %u ", d->status);
	harness_say_bytes(t, d->message);
	harness_say(t, "\n");
}

static inline void harness_say_notify(struct harness_text *t, const struct spop_frame *f,
				      struct spop_notify n)
{
	struct spop_message message;
	struct spop_arg arg;

	harness_say(t, "NOTIFY %llu/%llu", (unsigned long long)f->stream_id,
		    (unsigned long long)f->frame_id);
	while (spop_notify_message(&n, &message)) {
		harness_say(t, " ");
		harness_say_bytes(t, message.name);
		harness_say(t, "(");
		while (spop_notify_arg(&n, &arg)) {
			harness_say(t, " ");
			harness_say_bytes(t, arg.name);
			harness_say(t, "=");
			harness_say_value(t, &arg.value);
		}
		harness_say(t, " )");
	}
	harness_say(t, "\n");
}

static inline void harness_say_actions(struct harness_text *t, const struct spop_frame *f,
				       struct spop_actions a)
{
	struct spop_action action;

	harness_say(t, "ACK %llu/%llu", (unsigned long long)f->stream_id,
		    (unsigned long long)f->frame_id);
	while (spop_actions_next(&a, &action)) {
		harness_say(t, " %s %d.", action.type == SPOP_ACT_T_SET_VAR ? "set" : "unset",
			    (int)action.scope);
		harness_say_bytes(t, action.name);
		harness_say(t, "=");
		harness_say_value(t, &action.value);
	}
	harness_say(t, "\n");
}

static inline void harness_say_error(struct harness_text *t, ssize_t r,
				     const struct spop_fault *fault)
{
	assert_int_equal(-r, fault->code);
	assert_non_null(fault->msg);
	assert_string_not_equal(spop_error_name(fault->code), "SPOP_ERR_?");
	harness_say(t, "%s\n", spop_error_name(fault->code));
}

/* ---- one side of a connection under test ---- */

struct harness_side {
	bool client; /* HAProxy's side: receives what an agent sends */
	struct spop_session session;
	struct spop_client peer;
	struct harness_text text;
};

static inline void harness_side_init(struct harness_side *s, bool client)
{
	uint8_t hello[256];

	memset(s, 0, sizeof(*s));
	s->client = client;
	harness_say(&s->text, "%s", "");
	if (!client) {
		spop_session_init(&s->session, HARNESS_MAX_FRAME);
		return;
	}
	spop_client_init(&s->peer, HARNESS_MAX_FRAME, SPOP_CAP_PIPELINING, false);
	assert_true(spop_client_write_hello(&s->peer, hello, sizeof(hello), NULL) > 0);
}

static inline void harness_session_event(struct harness_side *s, const struct spop_input *in)
{
	uint8_t reply[SPOP_AGENT_HELLO_MAX];

	switch (in->event) {
	case SPOP_EV_HELLO:
		harness_say(&s->text, "HELLO max=%u caps=%x engine=", in->hello.max_frame_size,
			    in->hello.capabilities);
		harness_say_bytes(&s->text, in->hello.engine_id);
		harness_say(&s->text, " check=%d\n", in->hello.healthcheck);
		assert_true(spop_session_write_hello(&s->session, reply, sizeof(reply)) > 0);
		break;
	case SPOP_EV_NOTIFY:
		harness_say_notify(&s->text, &in->frame, in->notify);
		break;
	case SPOP_EV_DISCONNECT:
		harness_say_disconnect(&s->text, &in->disconnect);
		break;
	case SPOP_EV_IGNORED:
		if (s->session.state != SPOP_ST_CLOSING)
			harness_say(&s->text, "IGNORED %d\n", in->frame.type);
		break;
	}
}

static inline void harness_client_event(struct harness_side *s, const struct spop_client_input *in)
{
	switch (in->event) {
	case SPOP_CLIENT_EV_HELLO:
		harness_say(&s->text, "HELLO max=%u caps=%x\n", in->hello.max_frame_size,
			    in->hello.capabilities);
		break;
	case SPOP_CLIENT_EV_ACK:
		harness_say_actions(&s->text, &in->frame, in->actions);
		break;
	case SPOP_CLIENT_EV_DISCONNECT:
		harness_say_disconnect(&s->text, &in->disconnect);
		break;
	case SPOP_CLIENT_EV_IGNORED:
		if (s->peer.state != SPOP_CLIENT_ST_CLOSING)
			harness_say(&s->text, "IGNORED %d\n", in->frame.type);
		break;
	}
}

/* Feeds what is there until it needs more or ends; bytes consumed. */
static inline size_t harness_side_feed(struct harness_side *s, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct spop_fault fault;
		struct spop_client_input answer;
		struct spop_input in;
		ssize_t n;

		if (s->client)
			n = spop_client_receive(&s->peer, buf + done, len - done, &answer, &fault);
		else
			n = spop_session_receive(&s->session, buf + done, len - done, &in, &fault);
		if (n == 0)
			break;
		if (n < 0) {
			assert_true(fault.at <= len - done);
			harness_say_error(&s->text, n, &fault);
			assert_int_equal(s->client ? s->peer.state : s->session.state,
					 s->client ? (int)SPOP_CLIENT_ST_CLOSING
						   : (int)SPOP_ST_CLOSING);
			return len;
		}
		assert_true((size_t)n <= len - done);
		if (s->client)
			harness_client_event(s, &answer);
		else
			harness_session_event(s, &in);
		done += (size_t)n;
	}
	return done;
}

/* Feeds bytes[0..len) cut at `cut` (0 or len: not at all). What the first piece left over comes
 * again in front of the second, as in a daemon's buffer. Returns the text; the caller frees.
 */
static inline char *harness_run(bool client, const struct harness_guard *g, const uint8_t *bytes,
				size_t len, size_t cut)
{
	struct harness_side s;
	size_t done = 0;

	harness_side_init(&s, client);
	if (cut > 0 && cut < len)
		done = harness_side_feed(&s, harness_guard_put(g, bytes, cut), cut);
	if (done < len)
		(void)harness_side_feed(&s, harness_guard_put(g, bytes + done, len - done),
					len - done);
	return s.text.str;
}

static inline void harness_check_trickle(bool client, const struct harness_guard *g,
					 const uint8_t *bytes, size_t len, const char *want)
{
	struct harness_side s;
	size_t done = 0;

	harness_side_init(&s, client);
	for (size_t have = 1; have <= len; have++)
		done += harness_side_feed(&s, harness_guard_put(g, bytes + done, have - done),
					  have - done);
	assert_string_equal(s.text.str, want);
	free(s.text.str);
}

/* Every byte turned into every other, or (bits) each of its bits alone. */
static inline void harness_check_corruption(bool client, const struct harness_guard *g,
					    uint8_t *bytes, size_t len, bool bits)
{
	for (size_t i = 0; i < len; i++) {
		for (unsigned int flip = 1; flip < 256; flip = bits ? flip << 1 : flip + 1) {
			bytes[i] ^= (uint8_t)flip;
			free(harness_run(client, g, bytes, len, 0));
			bytes[i] ^= (uint8_t)flip;
		}
	}
}

static inline void harness_stream_bytes(bool client, const uint8_t *given, size_t len,
					const char *want)
{
	struct harness_guard g = harness_guard_new(len);
	uint8_t *bytes = malloc(len + 1);
	char *text;

	assert_non_null(bytes);
	memcpy(bytes, given, len);
	for (size_t cut = 0; cut < len; cut++) {
		text = harness_run(client, &g, bytes, len, cut);
		assert_string_equal(text, want);
		free(text);
	}
	harness_check_trickle(client, &g, bytes, len, want);
	for (size_t n = 0; n < len; n++) {
		text = harness_run(client, &g, bytes, n, 0);
		assert_memory_equal(text, want, strlen(text));
		free(text);
	}
	harness_check_corruption(client, &g, bytes, len, true);
	free(bytes);
	harness_guard_free(&g);
}

static inline void harness_stream(bool client, const char *hex, const char *want)
{
	size_t len;
	uint8_t *bytes = harness_hex(hex, &len);

	harness_stream_bytes(client, bytes, len, want);
	free(bytes);
}

/* For the few streams that hold everything: all 255 changes of each byte. */
static inline void harness_any_byte(bool client, const char *hex)
{
	size_t len;
	uint8_t *bytes = harness_hex(hex, &len);
	struct harness_guard g = harness_guard_new(len);

	harness_check_corruption(client, &g, bytes, len, false);
	harness_guard_free(&g);
	free(bytes);
}

/* ---- encoders ---- */

/* encode(buf, cap, arg) must give the bytes of hex where they fit, at the very end of memory too,
 * and 0 for every smaller buffer.
 */
static inline void harness_encoder(size_t (*encode)(void *buf, size_t cap, void *arg), void *arg,
				   const char *hex)
{
	size_t len;
	uint8_t *want = harness_hex(hex, &len);
	struct harness_guard g = harness_guard_new(len + 64);

	for (size_t cap = 0; cap <= len + 8; cap++) {
		uint8_t *buf = harness_guard_room(&g, cap);
		size_t n = encode(buf, cap, arg);

		assert_int_equal(n, cap < len ? 0 : len);
		if (n)
			assert_memory_equal(buf, want, len);
	}
	assert_int_equal(encode(NULL, 0, arg), 0);
	harness_guard_free(&g);
	free(want);
}

#endif
