#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* proc(5): a name has at most 15 bytes, but for the kernel's own threads. */
struct origin {
	char name[64];
	int parent;
};

bool process_there(uint32_t pid)
{
	return kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

static bool origin_of(uint32_t pid, struct origin *ret)
{
	char path[32], row[256];
	char *from, *to, *end;
	long parent;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/stat", (unsigned)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, row, sizeof(row) - 1);
	close(fd);
	if (n <= 0)
		return false;
	row[n] = '\0';
	/* The name may hold any byte itself, a parenthesis too. */
	from = strchr(row, '(');
	to = strrchr(row, ')');
	if (!from || !to || to < from || (size_t)(to - from) > sizeof(ret->name))
		return false;
	if (to[1] != ' ' || !to[2] || to[3] != ' ') /* the state, one letter */
		return false;
	parent = strtol(to + 4, &end, 10);
	if (end == to + 4 || *end != ' ' || parent < 0 || parent > INT_MAX)
		return false;
	memcpy(ret->name, from + 1, (size_t)(to - from - 1));
	ret->name[to - from - 1] = '\0';
	ret->parent = (int)parent;
	return true;
}

bool process_siblings(uint32_t a, uint32_t b)
{
	struct origin of_a, of_b, of_parent;
	pid_t group;

	if (origin_of(a, &of_a) && origin_of(b, &of_b))
		return of_a.parent > 0 && of_a.parent == of_b.parent &&
		       strcmp(of_a.name, of_b.name) == 0 &&
		       origin_of((uint32_t)of_a.parent, &of_parent) &&
		       strcmp(of_a.name, of_parent.name) == 0;
	group = getpgid((pid_t)a);
	return group > 0 && group == getpgid((pid_t)b) && group != getpgrp();
}
