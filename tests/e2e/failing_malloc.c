/*
 * For LD_PRELOAD: every n-th allocation of a program fails, those of its libraries included. The
 * file that FAILING_MALLOC names holds n as a decimal number, 0 for none; it is read again as it
 * changes, so that a test can let memory come back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static const volatile char *text;
static atomic_ulong count;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAILING_MALLOC");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED)
		text = at;
}

static int fails(void)
{
	unsigned long every = 0;

	for (int i = 0; text && i < 6 && text[i] >= '0' && text[i] <= '9'; i++)
		every = every * 10 + (unsigned long)(text[i] - '0');
	if (!every || atomic_fetch_add(&count, 1) % every != every - 1)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}
