/*
 * YAML text → a tree of maps, lists and words with their places. libyaml's one door.
 *
 * One document; anchors and aliases are followed, within a bound on what they expand to; tags,
 * merge keys and keys that are no plain words are refused. A key stands once in a map.
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "config/mistakes.h"

enum tree_kind {
	TREE_NULL, /* nothing, ~ or null */
	TREE_WORD,
	TREE_LIST,
	TREE_MAP,
	TREE_BROKEN /* an error was reported here; say no more */
};

struct tree_node {
	enum tree_kind kind;
	int line, col;
	struct view text; /* of a word, terminated as well; may hold any byte */
	size_t n;         /* of a list or map */
	struct tree_item *first;
	size_t expanded; /* nodes below and itself, with every alias written out */
};

struct tree_item {
	struct tree_node *key; /* NULL in a list */
	struct tree_node *value;
	struct tree_item *next;
};

struct tree;

/* 0, or -ENOMEM. *root is NULL when there is nothing in the text or no tree could be made of it;
 * the latter leaves an error in @r. The nodes live until tree_free(), which is due in any case. */
int tree_parse(struct view text, struct mistakes *r, struct tree **ret, struct tree_node **root)
    __attribute__((warn_unused_result));
struct tree *tree_free(struct tree *t);

/* "a list", "a map", … for messages. */
const char *tree_kind_name(enum tree_kind kind);

#endif
