/*
 * Sections.
 *
 * A key that is none of the section's is answered with what was probably meant: the nearest key
 * here, or the section that has it, or all there is.
 */
#include "config/section.h"

#include "config/suggest.h"
#include "config/value.h"

#define SECTION_KEYS_MAX 48

static size_t section_keys(const struct section *s, const char *keys[SECTION_KEYS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < option_count && n < SECTION_KEYS_MAX; i++)
		if (option_rows[i].section == s->rows)
			keys[n++] = option_rows[i].key;
	for (size_t i = 0; s->extra && s->extra[i] && n < SECTION_KEYS_MAX; i++)
		keys[n++] = s->extra[i];
	return n;
}

/* "under haproxy:, scrape: or dns:" */
static bool section_elsewhere(struct view key, char *buf, size_t size)
{
	enum option_section found[OPTION_SECTIONS];
	size_t n = 0, len = 0;

	for (enum option_section s = OPTION_HAPROXY; s <= OPTION_POOL; s++)
		if (option_find(s, key))
			found[n++] = s;
	for (size_t i = 0; i < n && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s%s:",
					i == 0       ? "under "
					: i + 1 == n ? " or "
						     : ", ",
					option_section_name(found[i]),
					found[i] == OPTION_POOL ? ".NAME" : "");
	if (n == 0 && option_find(OPTION_TOP, key))
		n = (size_t)snprintf(buf, size, "at the top level");
	return n > 0;
}

static void section_unknown(const struct section *s, struct mistakes *r,
			    const struct tree_node *key)
{
	const char *keys[SECTION_KEYS_MAX];
	size_t n = section_keys(s, keys), len = 0;
	const char *nearest = suggest_nearest(key->text, keys, n);
	struct mistakes_quoted quoted = mistakes_quote(key->text);
	char text[640] = "";

	if (nearest) {
		mistakes_add(r, key->line, key->col, "%s is unknown: did you mean \"%s\"?",
			     quoted.text, nearest);
	} else if (section_elsewhere(key->text, text, sizeof(text))) {
		mistakes_add(r, key->line, key->col, "%s is unknown here: it stands %s",
			     quoted.text, text);
	} else {
		for (size_t i = 0; i < n && len < sizeof(text); i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						i ? ", " : "", keys[i]);
		mistakes_add(r, key->line, key->col, "%s is unknown: what may stand here is %s",
			     quoted.text, text);
	}
}

static bool section_is_extra(const struct section *s, struct view key)
{
	for (size_t i = 0; s->extra && s->extra[i]; i++)
		if (view_eq(key, view_str(s->extra[i])))
			return true;
	return false;
}

static void section_demand(const struct section *s, struct mistakes *r, const struct tree_node *map)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];
		const struct tree_item *item = map->first;

		if (o->section != s->rows || !option_required(o))
			continue;
		while (item && !view_eq(item->key->text, view_str(o->key)))
			item = item->next;
		if (!item)
			mistakes_add(r, map->line, map->col, "lacks %s: %s", o->key, o->doc);
	}
}

void section_read(const struct section *s, struct mistakes *r, const struct tree_node *map)
{
	struct tree_node empty = {.kind = TREE_MAP, .line = map->line, .col = map->col};

	if (map->kind == TREE_NULL)
		map = &empty;
	if (!value_expect(r, map, TREE_MAP, "a map (KEY: VALUE)"))
		return;
	for (const struct tree_item *item = map->first; item && !r->err; item = item->next) {
		const struct option *o = option_find(s->rows, item->key->text);
		size_t before;

		if (!o && !section_is_extra(s, item->key->text)) {
			section_unknown(s, r, item->key);
			continue;
		}
		if (o && s->places)
			s->places[o - option_rows] =
			    (struct section_place){item->value->line, item->value->col};
		before = mistakes_enter(r, item->key->text);
		if (o && o->type->kind != OPTION_CUSTOM)
			value_read(o, (char *)s->base + o->offset, r, item->value);
		else
			s->custom(o, item, s->arg);
		mistakes_leave(r, before);
	}
	section_demand(s, r, map);
}
