/*
 * Written by hand rather than through a JSON library, because a token of a stream is written a
 * thousand times for each time it is read: what stays the same in a stream's events is made once
 * (job.pre), and a token costs three copies and one send().
 *
 * Every token is its own event, its own chunk and its own write, so that a proxy that buffers is
 * seen. Only --instant sends a stream in one piece: it is there to cost nothing.
 */
#include "answer.h"

#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SSE "text/event-stream; charset=utf-8"

static struct buf text; /* one event, or one answer */

static void emit(struct job *j)
{
	if (j->sim->conf.instant)
		buf_add(&j->sim->batch, text.p, text.len);
	else
		http_chunk(j->conn, text.p, text.len);
	text.len = 0;
}

static const char *finish_reason(const struct job *j)
{
	return j->stopped ? "stop" : "length";
}

static bool is_last(const struct job *j)
{
	return j->made == j->output;
}

static const char *word(const struct job *j)
{
	return words_at(j->seed, j->made - 1);
}

static void usage(struct buf *b, const struct job *j)
{
	buf_printf(b,
		   "{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":%u,"
		   "\"prompt_tokens_details\":null}",
		   j->prompt, j->prompt + j->made, j->made);
}

/* --- chat and plain completions --- */

static void openai_begin(struct job *j)
{
	bool chat = j->api == API_CHAT;

	buf_printf(&j->pre,
		   "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
		   chat ? "chat.completion.chunk" : "text_completion", (long long)j->created);
	buf_json(&j->pre, j->model->id);
	buf_puts(&j->pre, ",\"choices\":[");
}

static void openai_token(struct job *j)
{
	bool chat = j->api == API_CHAT;
	const char *close = chat ? "\"}" : "\"";

	if (chat && j->made == 1) {
		buf_add(&text, j->pre.p, j->pre.len);
		buf_puts(&text, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
				"\"logprobs\":null,\"finish_reason\":null}]}\n\n");
		emit(j);
	}
	buf_add(&text, j->pre.p, j->pre.len);
	buf_puts(&text,
		 chat ? "{\"index\":0,\"delta\":{\"content\":\"" : "{\"index\":0,\"text\":\"");
	buf_puts(&text, word(j));
	buf_puts(&text, close);
	if (is_last(j))
		buf_printf(
		    &text,
		    ",\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null}]}\n\n",
		    finish_reason(j));
	else
		buf_puts(&text, ",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
	emit(j);
}

static void openai_end(struct job *j)
{
	if (j->include_usage) {
		buf_add(&text, j->pre.p, j->pre.len);
		buf_puts(&text, "],\"usage\":");
		usage(&text, j);
		buf_puts(&text, "}\n\n");
		emit(j);
	}
	buf_puts(&text, "data: [DONE]\n\n");
	emit(j);
}

static void openai_whole(struct job *j)
{
	bool chat = j->api == API_CHAT;

	buf_printf(&text, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
		   chat ? "chat.completion" : "text_completion", (long long)j->created);
	buf_json(&text, j->model->id);
	buf_printf(&text, ",\"choices\":[{\"index\":0,%s\"",
		   chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
	words_text(&text, j->seed, j->made);
	buf_printf(&text, "\"%s,\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null}],",
		   chat ? ",\"refusal\":null,\"tool_calls\":[]}" : "", finish_reason(j));
	buf_puts(&text, "\"usage\":");
	usage(&text, j);
	buf_puts(&text, "}");
}

/* --- responses --- */

static void response_object(struct buf *b, const struct job *j, bool done)
{
	buf_printf(b,
		   "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",",
		   j->id, (long long)j->created,
		   !done        ? "in_progress"
		   : j->stopped ? "completed"
				: "incomplete");
	buf_printf(b,
		   "\"error\":null,\"incomplete_details\":%s,\"instructions\":null,\"metadata\":{},"
		   "\"model\":",
		   done && !j->stopped ? "{\"reason\":\"max_output_tokens\"}" : "null");
	buf_json(b, j->model->id);
	buf_puts(b, ",\"output\":[");
	if (done) {
		buf_printf(b,
			   "{\"id\":\"msg_%s\",\"type\":\"message\",\"role\":\"assistant\","
			   "\"status\":\"completed\",\"content\":[{\"type\":\"output_text\","
			   "\"annotations\":[],\"logprobs\":null,\"text\":\"",
			   j->id + 5);
		words_text(b, j->seed, j->made);
		buf_puts(b, "\"}]}");
	}
	buf_printf(b,
		   "],\"parallel_tool_calls\":true,\"temperature\":1.0,\"tool_choice\":\"auto\","
		   "\"tools\":[],\"top_p\":1.0,\"max_output_tokens\":%u,\"usage\":",
		   j->output);
	if (done)
		buf_printf(
		    b,
		    "{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":0},"
		    "\"output_tokens\":%u,\"output_tokens_details\":{\"reasoning_tokens\":0},"
		    "\"total_tokens\":%u}}",
		    j->prompt, j->made, j->prompt + j->made);
	else
		buf_puts(b, "null}");
}

static void event(struct job *j, const char *type, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* fmt: members after the first two, each with a comma before it. */
static void event(struct job *j, const char *type, const char *fmt, ...)
{
	char members[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(members, sizeof(members), fmt, ap);
	va_end(ap);
	buf_printf(&text, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u%s}\n\n", type,
		   type, j->sequence++, members);
	emit(j);
}

static void response_event(struct job *j, const char *type, bool done)
{
	buf_printf(&text,
		   "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u,\"response\":", type,
		   type, j->sequence++);
	response_object(&text, j, done);
	buf_puts(&text, "}\n\n");
	emit(j);
}

static void responses_begin(struct job *j)
{
	buf_printf(
	    &j->pre,
	    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
	    "\"content_index\":0,\"item_id\":\"msg_%s\",\"logprobs\":[],\"output_index\":0,"
	    "\"delta\":\"",
	    j->id + 5);
	response_event(j, "response.created", false);
	response_event(j, "response.in_progress", false);
}

static void responses_token(struct job *j)
{
	if (j->made == 1) {
		event(j, "response.output_item.added",
		      ",\"output_index\":0,\"item\":{\"id\":\"msg_%s\",\"type\":\"message\","
		      "\"role\":\"assistant\",\"status\":\"in_progress\",\"content\":[]}",
		      j->id + 5);
		event(j, "response.content_part.added",
		      ",\"item_id\":\"msg_%s\",\"output_index\":0,\"content_index\":0,\"part\":{"
		      "\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}",
		      j->id + 5);
	}
	buf_add(&text, j->pre.p, j->pre.len);
	buf_puts(&text, word(j));
	buf_printf(&text, "\",\"sequence_number\":%u}\n\n", j->sequence++);
	emit(j);
}

static void responses_end(struct job *j)
{
	static const char *const types[] = {
	    "response.output_text.done", "response.content_part.done", "response.output_item.done"};
	static const char *const heads[] = {
	    "\"content_index\":0,\"logprobs\":[],\"text\":\"",
	    "\"content_index\":0,\"part\":{\"type\":\"output_text\",\"annotations\":[],"
	    "\"logprobs\":null,\"text\":\"",
	};
	static const char *const tails[] = {"\"", "\"}", "\"}]}"};

	for (size_t i = 0; i < 3; i++) {
		buf_printf(&text, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u,",
			   types[i], types[i], j->sequence++);
		if (i < 2)
			buf_printf(&text, "\"item_id\":\"msg_%s\",\"output_index\":0,%s", j->id + 5,
				   heads[i]);
		else
			buf_printf(&text,
				   "\"output_index\":0,\"item\":{\"id\":\"msg_%s\","
				   "\"type\":\"message\",\"role\":\"assistant\","
				   "\"status\":\"completed\",\"content\":[{"
				   "\"type\":\"output_text\",\"annotations\":[],"
				   "\"logprobs\":null,\"text\":\"",
				   j->id + 5);
		words_text(&text, j->seed, j->made);
		buf_puts(&text, tails[i]);
		buf_puts(&text, "}\n\n");
		emit(j);
	}
	response_event(j, "response.completed", true);
}

/* --- messages --- */

static void message_object(struct buf *b, const struct job *j, bool done)
{
	buf_printf(b, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[",
		   j->id);
	if (done) {
		buf_puts(b, "{\"type\":\"text\",\"text\":\"");
		words_text(b, j->seed, j->made);
		buf_puts(b, "\"}");
	}
	buf_puts(b, "],\"model\":");
	buf_json(b, j->model->id);
	buf_printf(b,
		   ",\"stop_reason\":%s,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%u,"
		   "\"output_tokens\":%u}}",
		   !done        ? "null"
		   : j->stopped ? "\"end_turn\""
				: "\"max_tokens\"",
		   j->prompt, j->made);
}

static void messages_begin(struct job *j)
{
	buf_puts(&j->pre, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
			  "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"");
}

static void messages_token(struct job *j)
{
	if (j->made == 1) {
		j->made = 0;
		buf_puts(&text,
			 "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
		message_object(&text, j, false);
		buf_puts(&text, "}\n\n");
		emit(j);
		j->made = 1;
		buf_puts(&text,
			 "event: content_block_start\ndata: {\"type\":\"content_block_start\","
			 "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
		emit(j);
		buf_puts(&text, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
		emit(j);
	}
	buf_add(&text, j->pre.p, j->pre.len);
	buf_puts(&text, word(j));
	buf_puts(&text, "\"}}\n\n");
	emit(j);
}

static void messages_end(struct job *j)
{
	buf_puts(&text, "event: content_block_stop\n"
			"data: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
	emit(j);
	buf_printf(&text,
		   "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
		   "\"stop_reason\":\"%s\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":%u,"
		   "\"output_tokens\":%u}}\n\n",
		   j->stopped ? "end_turn" : "max_tokens", j->prompt, j->made);
	emit(j);
	buf_puts(&text, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
	emit(j);
}

/* --- the table --- */

static void responses_whole(struct job *j)
{
	response_object(&text, j, true);
}

static void messages_whole(struct job *j)
{
	message_object(&text, j, true);
}

static void transcription_whole(struct job *j)
{
	if (strncmp(j->whole_type, "text/", 5) == 0) {
		words_text(&text, j->seed, j->made);
		buf_puts(&text, "\n");
		return;
	}
	buf_puts(&text, "{\"text\":\"");
	words_text(&text, j->seed, j->made);
	buf_printf(&text, "\",\"usage\":{\"type\":\"duration\",\"seconds\":%u}}",
		   j->prompt / 50 + 1);
}

static const struct {
	void (*begin)(struct job *j), (*token)(struct job *j), (*end)(struct job *j),
	    (*whole)(struct job *j);
} shapes[API_N] = {
    [API_CHAT] = {openai_begin, openai_token, openai_end, openai_whole},
    [API_COMPLETIONS] = {openai_begin, openai_token, openai_end, openai_whole},
    [API_RESPONSES] = {responses_begin, responses_token, responses_end, responses_whole},
    [API_MESSAGES] = {messages_begin, messages_token, messages_end, messages_whole},
    [API_TRANSCRIPTION] = {.whole = transcription_whole},
};

void answer_begin(struct job *j, const char *headers)
{
	text.len = 0;
	if (!j->stream) {
		buf_puts(&j->pre, headers);
		buf_add(&j->pre, "", 1);
		return;
	}
	http_begin(j->conn, 200, SSE, headers);
	shapes[j->api].begin(j);
}

void answer_token(struct job *j)
{
	shapes[j->api].token(j);
}

static void send_batch(struct job *j)
{
	http_chunk(j->conn, j->sim->batch.p, j->sim->batch.len);
	j->sim->batch.len = 0;
}

void answer_cut(struct job *j)
{
	send_batch(j);
	http_cut(j->conn);
	j->conn = NULL;
}

void answer_finish(struct job *j)
{
	if (j->stream) {
		shapes[j->api].end(j);
		send_batch(j);
		http_end(j->conn);
	} else if (shapes[j->api].whole) {
		shapes[j->api].whole(j);
		http_reply(j->conn, 200, j->whole_type, j->pre.p, text.p, text.len);
		text.len = 0;
	} else {
		http_reply(j->conn, 200, j->whole_type, j->pre.p, j->whole.p, j->whole.len);
	}
	j->conn = NULL;
}
