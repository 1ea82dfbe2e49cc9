/*
 * Optimal string alignment distance, three rows at a time. A word is near when at most a third of
 * the longer one's letters differ, and one letter always may; `_` and `-` count as the same, since
 * both are habits. So is a word that was cut short, three letters or more of it.
 */
#include "config/suggest.h"

#include <stdint.h>

#define SUGGEST_MAX 48

static char suggest_fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '-' ? '_' : c;
}

static size_t suggest_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t suggest_distance(struct view a, struct view b)
{
	size_t rows[3][SUGGEST_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	if (a.len > SUGGEST_MAX || b.len > SUGGEST_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b.len; j++)
		before[j] = last[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t *spare = before;
		char c = suggest_fold(a.ptr[i - 1]);

		now[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			char d = suggest_fold(b.ptr[j - 1]);

			now[j] = suggest_min(last[j], now[j - 1]) + 1;
			now[j] = suggest_min(now[j], last[j - 1] + (c != d));
			if (i > 1 && j > 1 && c == suggest_fold(b.ptr[j - 2]) &&
			    suggest_fold(a.ptr[i - 2]) == d)
				now[j] = suggest_min(now[j], before[j - 2] + 1);
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b.len];
}

const char *suggest_nearest(struct view word, const char *const *words, size_t n)
{
	const char *nearest = NULL;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < n; i++) {
		struct view known = view_str(words[i]);
		size_t longer = word.len > known.len ? word.len : known.len;
		size_t distance = suggest_distance(word, known);

		if (word.len >= 3 && word.len < known.len &&
		    view_caseeq(word, (struct view){known.ptr, word.len}))
			distance = distance > 2 ? 2 : distance;
		else if (distance > 1 && distance > longer / 3)
			continue;
		if (distance < least && distance < longer) {
			least = distance;
			nearest = words[i];
		}
	}
	return nearest;
}
