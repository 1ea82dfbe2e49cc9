/*
 * Token files, by path. A mounted secret is replaced by a link to another directory, a hand-made
 * one is written over; stat() before each use tells both, and costs nothing beside a request.
 */
#include "discover/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "base/log.h"

struct token {
	char *path;
	struct stat seen;
	const char *error;
	char text[TOKEN_MAX + 3];
	UT_hash_handle hh;
};

struct tokens {
	struct token *table;
};

struct tokens *tokens_new(void)
{
	return calloc(1, sizeof(struct tokens));
}

struct tokens *tokens_free(struct tokens *t)
{
	struct token *one, *next;

	if (!t)
		return NULL;
	HASH_ITER(hh, t->table, one, next)
	{
		HASH_DEL(t->table, one);
		explicit_bzero(one->text, sizeof(one->text));
		free(one->path);
		free(one);
	}
	free(t);
	return NULL;
}

static struct token *find(struct tokens *t, const char *path)
{
	struct token *one;

	HASH_FIND_STR(t->table, path, one);
	if (one)
		return one;
	one = calloc(1, sizeof(*one));
	if (!one)
		return NULL;
	one->path = strdup(path);
	if (!one->path) {
		free(one);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, t->table, one->path, strlen(one->path), one);
	if (!one->hh.tbl) {
		free(one->path);
		free(one);
		return NULL;
	}
	return one;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Trims one->text of @len bytes and looks at what is left. */
static const char *judge(struct token *one, size_t len)
{
	size_t from = 0;

	while (len && blank(one->text[len - 1]))
		len--;
	while (from < len && blank(one->text[from]))
		from++;
	len -= from;
	memmove(one->text, one->text + from, len);
	one->text[len] = '\0';
	if (len == 0)
		return "the token file is empty";
	if (len > TOKEN_MAX)
		return "the token file is too long";
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)one->text[i] < 0x20 || one->text[i] == 0x7f)
			return "the token holds control characters";
	return NULL;
}

static const char *read_file(struct token *one)
{
	int fd = open(one->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t r;

	if (fd < 0)
		return errno == ENOENT   ? "there is no such token file"
		       : errno == EACCES ? "this user may not read the token file"
					 : "the token file cannot be read";
	if (fstat(fd, &one->seen) < 0 || !S_ISREG(one->seen.st_mode)) {
		close(fd);
		return "the token file is no plain file";
	}
	while (len < TOKEN_MAX + 2 && (r = read(fd, one->text + len, TOKEN_MAX + 2 - len)) > 0)
		len += (size_t)r;
	close(fd);
	return judge(one, len);
}

const char *token_get(struct tokens *t, const char *path, const char **ret_error)
{
	struct token *one = find(t, path);
	const char *before;
	struct stat now;

	if (!one) {
		*ret_error = "out of memory";
		return NULL;
	}
	if (stat(path, &now) < 0)
		memset(&now, 0, sizeof(now));
	if (now.st_ino && !one->error && one->text[0] && same_file(&now, &one->seen))
		return one->text;
	before = one->error;
	one->error = read_file(one);
	if (one->error && one->error != before)
		log_event(LOG_LEVEL_ERROR, "token_unreadable", "file", path, "error", one->error,
			  NULL);
	else if (before && !one->error)
		log_event(LOG_LEVEL_INFO, "token_readable", "file", path, NULL);
	*ret_error = one->error;
	return one->error ? NULL : one->text;
}
