/*
 * What starting leaves resident: each of some forty libraries was linked and set itself up, and
 * OpenSSL built its tables, which touched 10 MB of code and constants of which serving uses a
 * third. They are pages of files that nobody has written to, so dropping them loses nothing.
 *
 * Only segments that the file itself says are never written: what the loader made read-only after
 * relocating it (RELRO) lies in a writable segment and stays, and so does an object with
 * relocations in its code. What this cannot see are a debugger's breakpoints, which are writes to
 * code: those set before are lost.
 */
#include "base/trim.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool relocates_code(const struct dl_phdr_info *object)
{
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &object->dlpi_phdr[i];
		const ElfW(Dyn) * d;

		if (p->p_type != PT_DYNAMIC)
			continue;
		for (d = (const void *)(object->dlpi_addr + p->p_vaddr); d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL ||
			    (d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
				return true;
		return false;
	}
	return true; /* the kernel's own, or something that is no shared object */
}

static int drop(struct dl_phdr_info *object, size_t size, void *arg)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)arg;
	if (strncmp(object->dlpi_name, "linux-", 6) == 0 || relocates_code(object))
		return 0;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &object->dlpi_phdr[i];
		uintptr_t begin = object->dlpi_addr + p->p_vaddr, end = begin + p->p_filesz;

		if (p->p_type != PT_LOAD || p->p_flags & PF_W)
			continue;
		/* Pages on which another segment ends or begins are not whole. */
		begin = (begin + page - 1) & ~(page - 1);
		end &= ~(page - 1);
		if (begin < end)
			madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void trim_after_start(void)
{
	malloc_trim(0);
	dl_iterate_phdr(drop, NULL);
}
