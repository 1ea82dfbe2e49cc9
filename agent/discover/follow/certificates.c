/*
 * Certificates are looked at from outside: keys are none of the agent's business, and it may have
 * no right to read them. A renewed one is another file: the kubelet swaps a link to a folder of new
 * files, everybody else writes or renames.
 *
 * Files of a folder are summed up in whatever order they come, so each has a hash of its own and
 * the sum is one that order does not change. Folders in the folder are not entered, as HAProxy does
 * not; names with a dot in front are the kubelet's own and HAProxy does not load them either.
 */
#include "discover/follow/certificates.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define FILES_MAX 10000

static uint64_t print_of(const char *name, const struct stat *st)
{
	const uint64_t numbers[] = {(uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
				    (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ino,
				    (uint64_t)st->st_dev};

	return XXH3_64bits_withSeed(numbers, sizeof(numbers), XXH3_64bits(name, strlen(name)));
}

uint64_t certificates_print(const char *path)
{
	struct stat st;
	struct dirent *e;
	uint64_t sum = 0;
	DIR *dir;

	if (stat(path, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return print_of("", &st) | 1;
	dir = opendir(path);
	if (!dir)
		return 0;
	for (size_t n = 0; n < FILES_MAX && (e = readdir(dir));) {
		if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, 0) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		sum += print_of(e->d_name, &st) | 1;
		n++;
	}
	closedir(dir);
	return sum;
}

bool certificates_look(const char *path, uint64_t *seen)
{
	uint64_t print = path ? certificates_print(path) : 0;

	if (!print || print == *seen)
		return false;
	*seen = print;
	return true;
}
