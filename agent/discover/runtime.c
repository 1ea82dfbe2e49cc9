/*
 * The codec for HAProxy's runtime answers.
 *
 * Several commands asked at once, joined by ';', answer one after the other, each answer ended by
 * an empty line. The parts are told apart by how they begin and not by their place, since a
 * refused command leaves one line of text where its table would have been. A part without its
 * empty line was cut, by a HAProxy that ended in the middle of answering; the whole answer is
 * thrown away then, because the servers behind the cut would look deleted.
 *
 * "show servers state" is separated by single spaces and never quoted; "show stat" is CSV whose
 * free texts (the last check's outcome) may be quoted and hold commas.
 */
#include "discover/runtime.h"

#include <arpa/inet.h>
#include <errno.h>

static struct view take_line(struct view *rest)
{
	const char *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
	size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
	struct view line = {rest->ptr, len};

	rest->ptr += end ? len + 1 : len;
	rest->len -= end ? len + 1 : len;
	if (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	return line;
}

static bool begins(struct view v, const char *with)
{
	size_t len = strlen(with);

	return v.len >= len && memcmp(v.ptr, with, len) == 0;
}

/* Digits that fill the whole view; @max and above are @max. */
static bool number(struct view v, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (v.len == 0)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		if (v.ptr[i] < '0' || v.ptr[i] > '9')
			return false;
		n = n > max / 10 ? max : n * 10 + (uint64_t)(v.ptr[i] - '0');
		if (n > max)
			n = max;
	}
	*ret = n;
	return true;
}

static uint32_t number_or(struct view v, uint32_t otherwise)
{
	uint64_t n;

	return number(v, UINT32_MAX, &n) ? (uint32_t)n : otherwise;
}

int runtime_split(struct view text, struct runtime_answer *ret)
{
	*ret = (struct runtime_answer){0};
	while (text.len) {
		struct view part = text, line = take_line(&text);
		struct view *into = NULL;
		bool ended = false;

		if (line.len == 0)
			continue;
		if (begins(line, "Name: ") || begins(line, "Version: "))
			into = &ret->info;
		else if (begins(line, "# pxname,"))
			into = &ret->stat;
		else if (line.len <= 3 && line.ptr[0] >= '0' && line.ptr[0] <= '9')
			into = &ret->servers;
		else if (!ret->error.ptr)
			ret->error = line;
		part.len = line.len;
		while (text.len) {
			line = take_line(&text);
			if (line.len == 0) {
				ended = true;
				break;
			}
			part.len = (size_t)(line.ptr + line.len - part.ptr);
		}
		if (!ended)
			return -EAGAIN;
		if (into)
			*into = part;
	}
	if (ret->info.ptr && ret->servers.ptr && ret->stat.ptr)
		return 0;
	if (!ret->error.ptr)
		return -EAGAIN;
	return begins(ret->error, "Permission denied") ? -EACCES : -EPROTO;
}

int runtime_info(struct view part, struct runtime_info *ret)
{
	bool seen = false;

	*ret = (struct runtime_info){0};
	while (part.len) {
		struct view line = take_line(&part), value;
		const char *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;

		if (!colon)
			continue;
		value = (struct view){colon + 1, (size_t)(line.ptr + line.len - colon) - 1};
		if (value.len && value.ptr[0] == ' ') {
			value.ptr++;
			value.len--;
		}
		line.len = (size_t)(colon - line.ptr);
		if (view_eq(line, VIEW_LIT("Version"))) {
			ret->version = value;
		} else if (view_eq(line, VIEW_LIT("Pid"))) {
			ret->pid = number_or(value, 0);
			seen = ret->pid != 0;
		} else if (view_eq(line, VIEW_LIT("Uptime_sec"))) {
			ret->uptime_s = number_or(value, 0);
		} else if (view_eq(line, VIEW_LIT("Stopping"))) {
			ret->stopping = number_or(value, 0) != 0;
		}
	}
	return seen ? 0 : -EPROTO;
}

/* Takes one field off *@line; false when there is none left. */
static bool take_field(struct view *line, char separator, struct view *ret)
{
	size_t i = 0, end;

	if (!line->ptr)
		return false;
	if (separator == ',' && line->len && line->ptr[0] == '"') {
		for (i = 1; i < line->len; i++) {
			if (line->ptr[i] != '"')
				continue;
			if (i + 1 < line->len && line->ptr[i + 1] == '"')
				i++;
			else
				break;
		}
		*ret = (struct view){line->ptr + 1, i - 1};
		i += i < line->len;
		while (i < line->len && line->ptr[i] != separator)
			i++;
	} else {
		while (i < line->len && line->ptr[i] != separator)
			i++;
		*ret = (struct view){line->ptr, i};
	}
	end = i < line->len ? i + 1 : i;
	/* Behind the last separator comes one more field, an empty one. */
	if (i == line->len)
		*line = VIEW_NULL;
	else
		*line = (struct view){line->ptr + end, line->len - end};
	return true;
}

/* Reads the header line; the first @required names of @names must be there. */
static int open_table(struct view rest, char separator, const char *const *names, int n,
		      int required, struct runtime_table *ret)
{
	struct view line = take_line(&rest), field;

	if (!begins(line, "# "))
		return -EPROTO;
	line.ptr += 2;
	line.len -= 2;
	*ret = (struct runtime_table){.rest = rest, .separator = separator, .last = -1};
	for (int i = 0; i < RUNTIME_COLUMNS; i++)
		ret->column[i] = -1;
	for (int at = 0; take_field(&line, separator, &field); at++)
		for (int i = 0; i < n; i++)
			if (ret->column[i] < 0 && view_eq(field, view_str(names[i]))) {
				ret->column[i] = at;
				ret->last = at;
			}
	for (int i = 0; i < required; i++)
		if (ret->column[i] < 0)
			return -EPROTO;
	return 0;
}

/* 1 and the wanted fields of the next line (VIEW_NULL where a column is missing), 0 at the end,
 * -EPROTO where the line is too short. */
static int next_row(struct runtime_table *t, struct view fields[RUNTIME_COLUMNS])
{
	struct view line, field;
	int at = 0;

	do {
		if (t->rest.len == 0)
			return 0;
		line = take_line(&t->rest);
	} while (line.len == 0);
	for (int i = 0; i < RUNTIME_COLUMNS; i++)
		fields[i] = VIEW_NULL;
	for (; at <= t->last && take_field(&line, t->separator, &field); at++)
		for (int i = 0; i < RUNTIME_COLUMNS; i++)
			if (t->column[i] == at)
				fields[i] = field;
	return at > t->last ? 1 : -EPROTO;
}

/* HAProxy's names are letters, digits, "-_.:"; what could break a line or a string is none. */
static bool is_name(struct view v)
{
	for (size_t i = 0; i < v.len; i++)
		if ((unsigned char)v.ptr[i] <= ' ' || (unsigned char)v.ptr[i] >= 0x7f)
			return false;
	return v.len > 0;
}

/* srv_check_state: HAProxy's CHK_ST_ENABLED */
#define CHECK_ENABLED 0x04

enum { S_BACKEND, S_SERVER, S_ADDR, S_OP, S_ADMIN, S_WEIGHT, S_PORT, S_FQDN, S_SSL, S_CHECK, S_N };
static const char *const server_columns[S_N] = {
    "be_name",     "srv_name", "srv_addr", "srv_op_state", "srv_admin_state",
    "srv_uweight", "srv_port", "srv_fqdn", "srv_use_ssl",  "srv_check_state"};

int runtime_servers(struct view part, struct runtime_table *ret)
{
	struct view line = take_line(&part);

	if (!view_eq(line, VIEW_LIT("1")))
		return -EPROTO;
	return open_table(part, ' ', server_columns, S_N, S_FQDN, ret);
}

static void read_address(struct view addr, uint32_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	char text[INET6_ADDRSTRLEN];

	memset(ret, 0, sizeof(*ret));
	if (addr.len >= sizeof(text) || port == 0 || port > UINT16_MAX)
		return;
	memcpy(text, addr.ptr, addr.len);
	text[addr.len] = '\0';
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		if (four->sin_addr.s_addr == 0)
			return;
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
	} else {
		memset(ret, 0, sizeof(*ret));
		if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1 ||
		    IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) {
			memset(ret, 0, sizeof(*ret));
			return;
		}
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
	}
}

int runtime_servers_next(struct runtime_table *t, struct runtime_server *ret)
{
	struct view f[RUNTIME_COLUMNS];
	int r = next_row(t, f);

	if (r <= 0)
		return r;
	*ret = (struct runtime_server){
	    .backend = f[S_BACKEND],
	    .server = f[S_SERVER],
	    .admin = number_or(f[S_ADMIN], 0),
	    .op = (int)(number_or(f[S_OP], RUNTIME_RUNNING) & 0xff),
	    .weight = number_or(f[S_WEIGHT], 1),
	    .ssl = view_eq(f[S_SSL], VIEW_LIT("1")),
	    .checking = number_or(f[S_CHECK], CHECK_ENABLED) & CHECK_ENABLED,
	};
	if (!is_name(f[S_BACKEND]) || !is_name(f[S_SERVER]))
		return -EPROTO;
	if (is_name(f[S_FQDN]) && !view_eq(f[S_FQDN], VIEW_LIT("-")))
		ret->fqdn = f[S_FQDN];
	read_address(f[S_ADDR], number_or(f[S_PORT], 0), &ret->addr);
	return 1;
}

enum { T_BACKEND, T_SERVER, T_STATUS, T_SCUR, T_QCUR, T_SLIM, T_BACKUP, T_N };
static const char *const stat_columns[T_N] = {"pxname", "svname", "status", "scur",
					      "qcur",   "slim",   "bck"};

int runtime_stats(struct view part, struct runtime_table *ret)
{
	return open_table(part, ',', stat_columns, T_N, T_BACKUP, ret);
}

int runtime_stats_next(struct runtime_table *t, struct runtime_stat *ret)
{
	struct view f[RUNTIME_COLUMNS];
	int r = next_row(t, f);

	if (r <= 0)
		return r;
	*ret = (struct runtime_stat){
	    .backend = f[T_BACKEND],
	    .server = f[T_SERVER],
	    .status = f[T_STATUS],
	    .is_backend = view_eq(f[T_SERVER], VIEW_LIT("BACKEND")),
	    .unchecked = view_eq(f[T_STATUS], VIEW_LIT("no check")),
	    .current = number_or(f[T_SCUR], 0),
	    .queued = number_or(f[T_QCUR], 0),
	    .limit = number_or(f[T_SLIM], 0),
	};
	if (!is_name(f[T_BACKEND]) || !is_name(f[T_SERVER]))
		return -EPROTO;
	ret->backup = !ret->is_backend && number_or(f[T_BACKUP], 0) != 0;
	return 1;
}

bool runtime_maps_next(struct view *text, struct runtime_map *ret)
{
	static const char behind[] = ") pattern loaded from file";

	while (text->len) {
		struct view line = take_line(text), id = line;
		const char *open = line.len ? memchr(line.ptr, '(', line.len) : NULL, *close;
		size_t rest;

		if (!open || open < line.ptr + 2 || open[-1] != ' ')
			continue;
		id.len = (size_t)(open - line.ptr) - 1;
		for (rest = 0; rest < id.len; rest++)
			if (id.ptr[rest] < '0' || id.ptr[rest] > '9')
				break;
		if (rest < id.len)
			continue;
		open++;
		rest = (size_t)(line.ptr + line.len - open);
		close = memmem(open, rest, behind, sizeof(behind) - 1);
		if (!close)
			close = memchr(open, ')', rest);
		if (!close || close == open)
			continue;
		ret->id = id;
		ret->path = (struct view){open, (size_t)(close - open)};
		return true;
	}
	return false;
}

bool runtime_pairs_next(struct view *text, struct runtime_pair *ret)
{
	while (text->len) {
		struct view line = take_line(text), pointer;

		if (!begins(line, "0x") || !take_field(&line, ' ', &pointer) ||
		    !take_field(&line, ' ', &ret->key))
			continue;
		ret->value = line.ptr ? line : (struct view){ret->key.ptr + ret->key.len, 0};
		return true;
	}
	return false;
}

bool runtime_whole(struct view *text)
{
	if (text->len == 0 || text->ptr[text->len - 1] != '\n')
		return false;
	if (text->len >= 2 && text->ptr[text->len - 2] != '\n')
		return false;
	text->len--;
	return true;
}

int64_t runtime_prepared(struct view text)
{
	static const char words[] = "New version created: ";
	struct view line;
	uint64_t n;

	if (!begins(text, words))
		return -EPROTO;
	line = take_line(&text);
	line.ptr += sizeof(words) - 1;
	line.len -= sizeof(words) - 1;
	return number(line, UINT32_MAX, &n) ? (int64_t)n : -EPROTO;
}
