/* "did you mean": the word nearest to a mistyped one. */
#ifndef CONFIG_SUGGEST_H
#define CONFIG_SUGGEST_H

#include "base/view.h"

/* Insertions, deletions, replacements and swaps of neighbours between @a and @b, ASCII case aside;
 * SIZE_MAX where one of them is longer than 48 bytes. */
size_t suggest_distance(struct view a, struct view b);
/* The nearest of @n words, the first of equals; NULL when none is near enough to be meant. */
const char *suggest_nearest(struct view word, const char *const *words, size_t n);

#endif
