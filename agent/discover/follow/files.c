/*
 * The folder.
 *
 * The files are ahead of HAProxy at every moment: whatever makes it start or load anew, it has what
 * is wanted. So the backends in them, and those that were in them, are what HAProxy may have from
 * us; names are kept for as long as the agent lives, since a backend that is not wanted any more
 * stays in HAProxy for as long as it has streams.
 */
#include "discover/follow/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#include "base/log.h"
#include "discover/file.h"
#include "discover/follow/follow.h"
#include "discover/follow/generate.h"

#define OLD_FILE_MAX (64 * 1024 * 1024)

struct owned {
	UT_hash_handle hh;
	char name[];
};

struct files {
	const char *dir;
	bool looked_back;
	struct owned *owned;
	uint64_t writes;
	char error[200];
};

struct files *files_new(const char *dir)
{
	struct files *f = calloc(1, sizeof(*f));

	if (f)
		f->dir = dir;
	return f;
}

struct files *files_free(struct files *f)
{
	struct owned *o, *next;

	if (!f)
		return NULL;
	HASH_ITER(hh, f->owned, o, next)
	{
		HASH_DEL(f->owned, o);
		free(o);
	}
	free(f);
	return NULL;
}

void files_move(struct files *f, const char *dir)
{
	f->dir = dir;
	f->looked_back = false;
	f->error[0] = '\0';
}

bool files_owns(const struct files *f, struct view backend)
{
	struct owned *o;

	HASH_FIND(hh, f->owned, backend.ptr, backend.len, o);
	return o != NULL;
}

static bool own(struct files *f, struct view name)
{
	struct owned *o;

	if (files_owns(f, name))
		return true;
	o = calloc(1, sizeof(*o) + name.len + 1);
	if (!o)
		return false;
	memcpy(o->name, name.ptr, name.len);
	HASH_ADD(hh, f->owned, name[0], name.len, o);
	if (!o->hh.tbl) {
		free(o);
		return false;
	}
	return true;
}

static char *path_of(const struct files *f, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", f->dir, name) < 0 ? NULL : path;
}

static void look_back(struct files *f)
{
	char *path = path_of(f, FOLLOW_POOLS_FILE), *text = NULL;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	struct view rest = VIEW_NULL, name;
	ssize_t n;

	if (size > 0 && size <= OLD_FILE_MAX)
		text = malloc((size_t)size);
	while (text && rest.len < (size_t)size &&
	       (n = pread(fd, text + rest.len, (size_t)size - rest.len, (off_t)rest.len)) > 0)
		rest.len += (size_t)n;
	rest.ptr = text;
	while (generate_backends_next(&rest, &name))
		if (!own(f, name))
			break;
	free(text);
	free(path);
	if (fd >= 0)
		close(fd);
}

static bool write_one(struct files *f, const char *name, const struct want *w,
		      char *(*generate)(const struct want *, size_t *))
{
	const char *what = "generate it";
	char *path = path_of(f, name), *text;
	size_t len = 0;
	int r = -ENOMEM;
	char error[200];

	text = path ? generate(w, &len) : NULL;
	if (text)
		r = file_replace(path, (struct view){text, len}, &what);
	free(text);
	free(path);
	if (r >= 0) {
		f->writes += r > 0;
		return true;
	}
	snprintf(error, sizeof(error), "%s: cannot %s: %s", name, what, strerror(-r));
	if (strcmp(f->error, error) != 0) {
		snprintf(f->error, sizeof(f->error), "%s", error);
		log_event(LOG_LEVEL_WARNING, "haproxy_file_failed", "dir", f->dir, "error", error,
			  "effect", "HAProxy cannot load what is wanted now", "remedy",
			  "let the agent's user write the folder", NULL);
	}
	return false;
}

bool files_write(struct files *f, const struct want *w)
{
	if (!f->looked_back)
		look_back(f);
	f->looked_back = true;
	for (size_t i = 0; i < w->npools; i++)
		if (!own(f, w->pools[i].backend))
			return false;
	/* Rules and pools first: the stamp in the other one vouches for them. */
	if (!write_one(f, FOLLOW_POOLS_FILE, w, generate_pools) ||
	    !write_one(f, FOLLOW_ENV_FILE, w, generate_env))
		return false;
	f->error[0] = '\0';
	return true;
}

const char *files_error(const struct files *f)
{
	return f->error[0] ? f->error : NULL;
}

uint64_t files_writes(const struct files *f)
{
	return f->writes;
}
