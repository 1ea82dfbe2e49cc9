/*
 * Replacing a file.
 *
 * Content first, then the name: whoever opens the path finds the old whole or the new whole, also
 * after a crash. What is not a file (a device, a directory) is left alone.
 */
#include "discover/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool file_holds(const char *path, struct view want, struct stat *ret_stat)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	size_t len = 0;
	ssize_t r = 0;
	bool same = false;

	if (fd >= 0 && fstat(fd, ret_stat) == 0 && (size_t)ret_stat->st_size == want.len)
		text = malloc(want.len + 1);
	while (text && len <= want.len && (r = read(fd, text + len, want.len + 1 - len)) > 0)
		len += (size_t)r;
	if (text && r == 0)
		same = len == want.len && memcmp(text, want.ptr, len) == 0;
	free(text);
	if (fd >= 0)
		close(fd);
	return same;
}

static int write_all(int fd, struct view text)
{
	while (text.len) {
		ssize_t r = write(fd, text.ptr, text.len);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		text.ptr += r;
		text.len -= (size_t)r;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static void sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		/* The name may come a little later; the content is safe. */
		(void)!fsync(fd);
		close(fd);
	}
	free(copy);
}

static int replace(const char *path, struct view want, const struct stat *old,
		   const char **ret_what)
{
	char *beside;
	int fd, r;

	*ret_what = "write a file beside it";
	if (asprintf(&beside, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		free(beside);
		return r;
	}
	r = fchmod(fd, old->st_mode ? old->st_mode & 07777 : 0644) < 0 ? -errno : 0;
	/* Only root can; the mode is what HAProxy needs. */
	if (old->st_mode)
		(void)!fchown(fd, old->st_uid, old->st_gid);
	if (r == 0)
		r = write_all(fd, want);
	close(fd);
	if (r == 0) {
		*ret_what = "rename the new file over it";
		r = rename(beside, path) < 0 ? -errno : 0;
	}
	if (r < 0)
		unlink(beside);
	else
		sync_directory(path);
	free(beside);
	return r;
}

int file_replace(const char *path, struct view text, const char **ret_what)
{
	struct stat old = {0};
	char *real;
	int r;

	if (file_holds(path, text, &old))
		return 0;
	if (old.st_mode && !S_ISREG(old.st_mode)) {
		*ret_what = "replace what is not a file";
		return -EINVAL;
	}
	real = realpath(path, NULL);
	r = replace(real ? real : path, text, &old, ret_what);
	free(real);
	return r < 0 ? r : 1;
}
