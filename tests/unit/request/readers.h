/*
 * The same tests with every reader of blocks that this machine has, and with none; SPOA_TEXT names
 * a single one.
 */
#ifndef TESTS_READERS_H
#define TESTS_READERS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "request/text.h"

#define READERS 4
static const char *const reader_names[READERS] = {"none", "neon", "avx2", "avx512"};

/* @tests is cmocka's: 0 or the number of failed ones. */
static inline int readers_each(int (*tests)(void))
{
	const char *only = getenv("SPOA_TEXT");
	int failed = 0, ran = 0;

	for (int i = 0; i < READERS; i++) {
		if ((only && strcmp(only, reader_names[i]) != 0) ||
		    !text_use_blocks(reader_names[i]))
			continue;
		printf("reader of blocks: %s\n", reader_names[i]);
		fflush(stdout);
		failed += tests();
		ran++;
	}
	if (!ran)
		fprintf(stderr, "no reader of blocks is called %s here\n", only);
	return ran ? failed : 1;
}

#endif
