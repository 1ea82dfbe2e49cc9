/*
 * libyaml's events, made into a tree.
 *
 * libyaml's own document API neither follows aliases nor bounds anything, so the events are read
 * here: depth, number of nodes and of anchors are limited, and an alias adds the size of what it
 * stands for to the count, so that a few lines cannot grow into a billion nodes. Aliased nodes
 * are shared, not copied: the tree is a graph without cycles, since an anchor can be referred to
 * only when its node is complete.
 *
 * Nodes come from an arena and go with it. The first error of the grammar ends the reading, as
 * nothing after it can be trusted; everything else is reported and read on, the node marked
 * broken.
 */
#include "config/tree.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <yaml.h>

#define TREE_DEPTH_MAX   32
#define TREE_NODES_MAX   ((size_t)1 << 21)
#define TREE_ANCHORS_MAX 1000
#define TREE_CHUNK       ((size_t)64 << 10)

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char bytes[];
};

struct anchor {
	const char *name;
	struct tree_node *node;
	bool complete;
	struct anchor *next;
};

struct tree {
	struct chunk *chunks;
	struct anchor *anchors;
	size_t nanchors, nodes;
	bool stop;               /* the grammar is lost or a bound reached; or r->err */
	int last_line, last_col; /* where the text ends */
	struct view text;
	struct mistakes *r;
	yaml_parser_t parser;
};

static void *tree_alloc(struct tree *t, size_t size)
{
	struct chunk *c = t->chunks;
	void *p;

	size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	if (!c || size > c->size - c->used) {
		size_t room = size > TREE_CHUNK ? size : TREE_CHUNK;

		c = malloc(sizeof(*c) + room);
		if (!c) {
			t->r->err = -ENOMEM;
			t->stop = true;
			return NULL;
		}
		*c = (struct chunk){.next = t->chunks, .size = room};
		t->chunks = c;
	}
	p = c->bytes + c->used;
	c->used += size;
	return memset(p, 0, size);
}

static int tree_line(yaml_mark_t mark)
{
	return (int)mark.line + 1;
}

static int tree_col(yaml_mark_t mark)
{
	return (int)mark.column + 1;
}

/* At the end of a text without a last line break libyaml is one line further than the text. */
static void tree_clamp(const struct tree *t, int *line, int *col)
{
	if (*line > t->last_line) {
		*line = t->last_line;
		*col = t->last_col;
	}
}

/* Is there a tab in what indents the line, up to the column? Both from 0. */
static bool tree_tab_before(struct view text, size_t line, size_t column)
{
	size_t i = 0;

	for (; line > 0 && i < text.len; i++)
		line -= text.ptr[i] == '\n';
	for (size_t end = i + column; i < text.len && i <= end; i++) {
		if (text.ptr[i] == '\t')
			return true;
		if (text.ptr[i] != ' ')
			break;
	}
	return false;
}

static void tree_grammar(struct tree *t)
{
	const yaml_parser_t *p = &t->parser;
	int line = tree_line(p->problem_mark), col = tree_col(p->problem_mark);
	int from = tree_line(p->context_mark), from_col = 0;

	t->stop = true;
	tree_clamp(t, &line, &col);
	tree_clamp(t, &from, &from_col);
	if (p->error == YAML_MEMORY_ERROR || !p->problem)
		t->r->err = -ENOMEM;
	else if (tree_tab_before(t->text, p->problem_mark.line, p->problem_mark.column))
		mistakes_add(t->r, line, col,
			     "a tab stands where YAML wants spaces: indent with spaces");
	else if (p->context)
		mistakes_add(t->r, line, col, "no YAML: %s from line %d on: %s", p->context, from,
			     p->problem);
	else
		mistakes_add(t->r, line, col, "no YAML: %s", p->problem);
}

static bool tree_next(struct tree *t, yaml_event_t *ev)
{
	if (t->stop)
		return false;
	if (yaml_parser_parse(&t->parser, ev))
		return true;
	tree_grammar(t);
	return false;
}

static struct tree_node *tree_node_new(struct tree *t, enum tree_kind kind, yaml_mark_t at)
{
	struct tree_node *n = NULL;

	if (t->nodes < TREE_NODES_MAX) {
		n = tree_alloc(t, sizeof(*n));
	} else {
		mistakes_add(t->r, tree_line(at), tree_col(at),
			     "more than %zu values: too many for a configuration", TREE_NODES_MAX);
		t->stop = true;
	}
	if (!n)
		return NULL;
	t->nodes++;
	n->kind = kind;
	n->line = tree_line(at);
	n->col = tree_col(at);
	n->expanded = 1;
	return n;
}

static char *tree_copy(struct tree *t, const char *text, size_t len)
{
	char *copy = tree_alloc(t, len + 1);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

/* @name may be NULL. */
static struct anchor *tree_anchor(struct tree *t, const yaml_char_t *name, struct tree_node *node)
{
	struct anchor *a;

	if (!name)
		return NULL;
	if (t->nanchors == TREE_ANCHORS_MAX) {
		mistakes_add(t->r, node->line, node->col, "more than %d anchors", TREE_ANCHORS_MAX);
		t->stop = true;
		return NULL;
	}
	a = tree_alloc(t, sizeof(*a));
	if (!a)
		return NULL;
	a->name = tree_copy(t, (const char *)name, strlen((const char *)name));
	if (!a->name)
		return NULL;
	a->node = node;
	a->next = t->anchors;
	t->anchors = a;
	t->nanchors++;
	return a;
}

static struct tree_node *tree_alias(struct tree *t, const yaml_event_t *ev)
{
	const char *name = (const char *)ev->data.alias.anchor;
	int line = tree_line(ev->start_mark), col = tree_col(ev->start_mark);

	for (const struct anchor *a = t->anchors; a; a = a->next) {
		if (strcmp(a->name, name) != 0)
			continue;
		if (!a->complete) {
			mistakes_add(t->r, line, col, "*%.64s stands within what it refers to",
				     name);
			return tree_node_new(t, TREE_BROKEN, ev->start_mark);
		}
		if (a->node->expanded > TREE_NODES_MAX - t->nodes) {
			mistakes_add(t->r, line, col,
				     "written out, the aliases up to here are more than %zu "
				     "values: too many for a configuration",
				     TREE_NODES_MAX);
			t->stop = true;
			return NULL;
		}
		t->nodes += a->node->expanded;
		return a->node;
	}
	mistakes_add(t->r, line, col, "*%.64s refers to no &%.64s before it", name, name);
	return tree_node_new(t, TREE_BROKEN, ev->start_mark);
}

static void tree_refuse_tag(struct tree *t, const yaml_char_t *tag, const struct tree_node *n)
{
	if (tag && n)
		mistakes_add(t->r, n->line, n->col, "YAML tags are not used here: remove %s",
			     mistakes_quote(view_str((const char *)tag)).text);
}

static bool tree_is_null(struct view text)
{
	return text.len == 0 || view_eq(text, VIEW_LIT("~")) || view_eq(text, VIEW_LIT("null")) ||
	       view_eq(text, VIEW_LIT("Null")) || view_eq(text, VIEW_LIT("NULL"));
}

static struct tree_node *tree_word(struct tree *t, const yaml_event_t *ev)
{
	struct view text = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct tree_node *n =
	    tree_node_new(t, plain && tree_is_null(text) ? TREE_NULL : TREE_WORD, ev->start_mark);
	struct anchor *a;

	if (!n)
		return NULL;
	n->text = (struct view){tree_copy(t, text.ptr, text.len), text.len};
	if (!n->text.ptr)
		return NULL;
	tree_refuse_tag(t, ev->data.scalar.tag, n);
	a = tree_anchor(t, ev->data.scalar.anchor, n);
	if (a)
		a->complete = true;
	return n;
}

static struct tree_node *tree_read(struct tree *t, yaml_event_t *ev, int depth);

/* A key that can be used, or NULL and an error. */
static struct tree_node *tree_key(struct tree *t, struct tree_node *key)
{
	if (key->kind == TREE_LIST || key->kind == TREE_MAP) {
		mistakes_add(t->r, key->line, key->col,
			     "%s stands where a key belongs: keys are words",
			     tree_kind_name(key->kind));
		return NULL;
	}
	if (view_eq(key->text, VIEW_LIT("<<"))) {
		mistakes_add(t->r, key->line, key->col,
			     "merge keys (<<) are not used here: write the keys out, or "
			     "alias a whole value");
		return NULL;
	}
	return key->kind == TREE_BROKEN ? NULL : key;
}

/* What stands between a start event and its end; false when the reading stopped. */
static bool tree_children(struct tree *t, struct tree_node *n, int depth)
{
	struct tree_item **tail = &n->first;
	yaml_event_type_t end =
	    n->kind == TREE_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
	yaml_event_t ev;

	while (tree_next(t, &ev)) {
		struct tree_item item = {0}, *copy;
		bool used = true;

		if (ev.type == end) {
			yaml_event_delete(&ev);
			return true;
		}
		if (n->kind == TREE_MAP) {
			item.key = tree_read(t, &ev, depth + 1);
			if (!item.key || !tree_next(t, &ev))
				return false;
			used = tree_key(t, item.key) != NULL;
		}
		item.value = tree_read(t, &ev, depth + 1);
		if (!item.value)
			return false;
		if (!used)
			continue;
		copy = tree_alloc(t, sizeof(*copy));
		if (!copy)
			return false;
		*copy = item;
		*tail = copy;
		tail = &copy->next;
		n->n++;
		n->expanded += item.value->expanded + (item.key != NULL);
	}
	return false;
}

static int tree_compare(const void *a, const void *b)
{
	const struct tree_node *x = *(struct tree_node *const *)a;
	const struct tree_node *y = *(struct tree_node *const *)b;
	size_t least = x->text.len < y->text.len ? x->text.len : y->text.len;
	int order = least ? memcmp(x->text.ptr, y->text.ptr, least) : 0;

	if (order)
		return order;
	if (x->text.len != y->text.len)
		return x->text.len < y->text.len ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->col < y->col ? -1 : x->col > y->col;
}

static void tree_unique_keys(struct tree *t, struct tree_node *map)
{
	struct tree_node **keys;
	size_t n = 0;

	if (map->n < 2)
		return;
	keys = calloc(map->n, sizeof(struct tree_node *));
	if (!keys) {
		t->r->err = -ENOMEM;
		t->stop = true;
		return;
	}
	for (struct tree_item *i = map->first; i; i = i->next)
		keys[n++] = i->key;
	qsort(keys, n, sizeof(struct tree_node *), tree_compare);
	for (size_t i = 1, first = 0; i < n; i++) {
		if (!view_eq(keys[i]->text, keys[first]->text)) {
			first = i;
			continue;
		}
		mistakes_add(t->r, keys[i]->line, keys[i]->col,
			     "%s is given twice, first in line %d: keep one",
			     mistakes_quote(keys[i]->text).text, keys[first]->line);
	}
	free(keys);
}

static struct tree_node *tree_branch(struct tree *t, yaml_event_t *ev, int depth)
{
	bool map = ev->type == YAML_MAPPING_START_EVENT;
	struct tree_node *n = tree_node_new(t, map ? TREE_MAP : TREE_LIST, ev->start_mark);
	struct anchor *a;

	if (!n)
		return NULL;
	if (depth > TREE_DEPTH_MAX) {
		mistakes_add(t->r, n->line, n->col,
			     "nested deeper than %d: no option goes that deep", TREE_DEPTH_MAX);
		t->stop = true;
		return NULL;
	}
	tree_refuse_tag(t, map ? ev->data.mapping_start.tag : ev->data.sequence_start.tag, n);
	a = tree_anchor(t, map ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor, n);
	if (t->stop || !tree_children(t, n, depth))
		return NULL;
	if (map)
		tree_unique_keys(t, n);
	if (a)
		a->complete = true;
	return n;
}

/* The node that begins with @ev, which is deleted; NULL when the reading stopped. */
static struct tree_node *tree_read(struct tree *t, yaml_event_t *ev, int depth)
{
	struct tree_node *n = NULL;

	if (ev->type == YAML_ALIAS_EVENT)
		n = tree_alias(t, ev);
	else if (ev->type == YAML_SCALAR_EVENT)
		n = tree_word(t, ev);
	else if (ev->type == YAML_SEQUENCE_START_EVENT || ev->type == YAML_MAPPING_START_EVENT)
		n = tree_branch(t, ev, depth);
	yaml_event_delete(ev);
	return t->stop ? NULL : n;
}

static struct tree_node *tree_stream(struct tree *t)
{
	struct tree_node *root = NULL;
	bool begun = false;
	yaml_event_t ev;

	while (tree_next(t, &ev)) {
		switch (ev.type) {
		case YAML_STREAM_END_EVENT:
			yaml_event_delete(&ev);
			return root;
		case YAML_DOCUMENT_START_EVENT:
			if (begun) {
				mistakes_add(t->r, tree_line(ev.start_mark),
					     tree_col(ev.start_mark),
					     "a second document starts here: a configuration is "
					     "one document");
				t->stop = true;
			}
			begun = true;
			yaml_event_delete(&ev);
			break;
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			yaml_event_delete(&ev);
			break;
		default:
			root = tree_read(t, &ev, 1);
		}
	}
	return NULL;
}

/* Length of the character at @p if YAML may hold it, else 0. */
static size_t tree_char(const unsigned char *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (n == 0 || len < n)
		return 0;
	if (n == 1)
		return (c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n' || c == '\r';
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff || c == 0xfffe ||
	    c == 0xffff || (c < 0xa0 && c != 0x85))
		return 0;
	return n;
}

/* Does the character of @n bytes at @p end a line, to libyaml? Of CR LF the second does. */
static bool tree_is_break(const unsigned char *p, size_t n, size_t len)
{
	if (n == 1)
		return *p == '\n' || (*p == '\r' && (len == 1 || p[1] != '\n'));
	if (n == 2)
		return p[0] == 0xc2 && p[1] == 0x85;
	return n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);
}

/* libyaml tells these by offset in a text of its own; here they get their place. */
static bool tree_is_text(struct tree *t)
{
	const unsigned char *p = (const unsigned char *)t->text.ptr;
	size_t len = t->text.len;
	int line = 1, col = 1;

	if (len >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
		mistakes_add(t->r, 1, 1, "this is UTF-16: save the file as UTF-8");
		return false;
	}
	for (size_t i = 0, n; i < len; i += n) {
		n = tree_char(p + i, len - i);
		if (n == 0 && p[i] < 0x80) {
			mistakes_add(t->r, line, col,
				     "the control character 0x%02x: a configuration is text", p[i]);
			return false;
		}
		if (n == 0) {
			mistakes_add(t->r, line, col,
				     "the byte 0x%02x is no UTF-8 text: save the file as UTF-8",
				     p[i]);
			return false;
		}
		col++;
		if (tree_is_break(p + i, n, len - i)) {
			line++;
			col = 1;
		}
	}
	t->last_line = line;
	t->last_col = col;
	return true;
}

int tree_parse(struct view text, struct mistakes *r, struct tree **ret, struct tree_node **root)
{
	struct tree *t = calloc(1, sizeof(*t));

	*ret = t;
	*root = NULL;
	if (!t)
		return -ENOMEM;
	if (text.len >= 3 && memcmp(text.ptr, "\xef\xbb\xbf", 3) == 0)
		text = (struct view){text.ptr + 3, text.len - 3};
	t->text = text;
	t->r = r;
	if (!tree_is_text(t))
		return r->err;
	if (!yaml_parser_initialize(&t->parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&t->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&t->parser, (const unsigned char *)text.ptr, text.len);
	*root = tree_stream(t);
	yaml_parser_delete(&t->parser);
	return r->err;
}

struct tree *tree_free(struct tree *t)
{
	if (!t)
		return NULL;
	for (struct chunk *c = t->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(t);
	return NULL;
}

const char *tree_kind_name(enum tree_kind kind)
{
	static const char *const names[] = {"nothing", "a single value", "a list", "a map",
					    "an error"};

	return names[kind];
}
