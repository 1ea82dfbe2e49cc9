/*
 * The configuration file as a whole.
 *
 * Text → tree (tree.c) → values by rows (section.c, value.c, poolconf.c) → checks between values
 * (check.c). Each step goes on after an error where it can, so that a file's errors come all at
 * once; only then is the result thrown away. Sections are read in an order of their own, not the
 * file's: pools last, since they start from scrape:.
 */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include "config/check.h"
#include "config/poolconf.h"
#include "config/section.h"
#include "config/tree.h"

#define CONFIG_FILE_MAX ((size_t)16 << 20)
#define CONFIG_SMALLEST "{haproxy: {socket: /run/haproxy/admin.sock}, pools: {NAME: {}}}"

const char *const config_enum_body[] = {"slices", "whole", NULL};
const char *const config_enum_no_model[] = {"pass", "default", "reject", NULL};
const char *const config_enum_unknown_model[] = {"reject", "default", NULL};
const char *const config_enum_log_target[] = {"stderr", "syslog", NULL};
const char *const config_enum_log_level[] = {"error", "warning", "info", "debug", NULL};
const char *const config_enum_engine[] = {"auto",   "vllm",     "sglang", "trtllm",
					  "triton", "llamacpp", "none",   NULL};
const char *const config_enum_scheme[] = {"auto", "http", "https", NULL};
const char *const config_enum_routing[] = {"httproutes", "models", NULL};
const char *const config_enum_policy[] = {"least-loaded", "round-robin", "random-of-two",
					  "shortest-wait", NULL};
const char *const config_enum_when_full[] = {"queue", "reject", NULL};

static const char *const config_extra[] = {"haproxy", "listen", "log",        "limits", "timeouts",
					   "scrape",  "dns",    "kubernetes", "pools",  NULL};

/* The top-level map as found: sections wait here for their turn. */
struct loading {
	struct config *c;
	struct mistakes *r;
	const struct tree_node *sections[OPTION_POOL + 1];
};

static void *config_base(struct config *c, enum option_section s)
{
	return s == OPTION_SCRAPE ? (void *)&c->scrape : (void *)c;
}

static void config_note_section(const struct option *o, const struct tree_item *item, void *arg)
{
	struct loading *l = arg;

	(void)o;
	for (enum option_section s = OPTION_HAPROXY; s <= OPTION_POOL; s++)
		if (view_eq(item->key->text, view_str(option_section_name(s))))
			l->sections[s] = item->value;
}

static void config_read_root(struct loading *l, const struct tree_node *root,
			     struct section_place *places)
{
	struct section top = {.rows = OPTION_TOP,
			      .base = l->c,
			      .extra = config_extra,
			      .custom = config_note_section,
			      .arg = l,
			      .places = places};

	section_read(&top, l->r, root);
	for (enum option_section s = OPTION_HAPROXY; s < OPTION_POOL; s++) {
		struct section section = {
		    .rows = s, .base = config_base(l->c, s), .places = places};
		size_t before = mistakes_enter(l->r, view_str(option_section_name(s)));

		if (l->sections[s] && !l->r->err)
			section_read(&section, l->r, l->sections[s]);
		mistakes_leave(l->r, before);
	}
	l->c->kubernetes.here = l->sections[OPTION_KUBERNETES] != NULL;
	if (l->sections[OPTION_POOL] && !l->r->err)
		poolconf_read(l->c, l->r, l->sections[OPTION_POOL]);
}

static void config_read_tree(struct config *c, struct mistakes *r, const struct tree_node *root)
{
	struct loading l = {.c = c, .r = r};
	struct section_place *places = calloc(option_count, sizeof(*places));
	bool whole;

	if (!places) {
		r->err = -ENOMEM;
		return;
	}
	for (enum option_section s = OPTION_TOP; s < OPTION_POOL && !r->err; s++)
		r->err = option_defaults(s, config_base(c, s));
	if (!r->err)
		config_read_root(&l, root, places);
	whole = r->errors->n == 0;
	if (!r->err && c->npools == 0 && !c->kubernetes.here &&
	    (!l.sections[OPTION_POOL] || l.sections[OPTION_POOL]->kind == TREE_MAP ||
	     l.sections[OPTION_POOL]->kind == TREE_NULL) &&
	    root->kind == TREE_MAP)
		mistakes_add(r, l.sections[OPTION_POOL] ? l.sections[OPTION_POOL]->line : 1,
			     l.sections[OPTION_POOL] ? l.sections[OPTION_POOL]->col : 1,
			     "no pools: the smallest configuration is %s", CONFIG_SMALLEST);
	if (!r->err)
		check_config(c, r, places, whole);
	free(places);
}

int config_parse(const char *name, const char *text, size_t len, struct config **ret,
		 struct config_errors *errors)
{
	struct config *c = calloc(1, sizeof(*c));
	struct tree_node *root = NULL;
	struct tree *tree = NULL;
	struct mistakes r;

	mistakes_init(&r, errors);
	if (c)
		c->path = strdup(name);
	if (!c || !c->path)
		r.err = -ENOMEM;
	else if (len > CONFIG_FILE_MAX)
		mistakes_add(&r, 0, 0, "larger than %zu MB: this is no configuration",
			     CONFIG_FILE_MAX >> 20);
	else
		r.err = tree_parse((struct view){text, len}, &r, &tree, &root);
	if (!r.err && errors->n == 0 && (!root || root->kind == TREE_NULL))
		mistakes_add(&r, 1, 1, "empty: the smallest configuration is %s", CONFIG_SMALLEST);
	else if (!r.err && root)
		config_read_tree(c, &r, root);
	tree_free(tree);
	mistakes_close(&r);
	if (!r.err && errors->n == 0) {
		*ret = c;
		return 0;
	}
	config_free(c);
	if (r.err)
		config_errors_deinit(errors);
	return r.err ? r.err : -EINVAL;
}

/* At most @max + 1 bytes; the caller frees. 0 or -errno. */
static int config_slurp(FILE *in, size_t max, char **ret, size_t *ret_len)
{
	size_t size = 0, len = 0, n;
	char *text = NULL;

	do {
		if (len == size) {
			size_t more = size ? size * 2 : 16384;
			char *grown = realloc(text, more);

			if (!grown) {
				free(text);
				return -ENOMEM;
			}
			text = grown;
			size = more;
		}
		errno = 0;
		n = fread(text + len, 1, size - len, in);
		len += n;
	} while (n > 0 && len <= max);
	if (ferror(in)) {
		int err = errno ? errno : EIO;

		free(text);
		return -err;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

static int config_unreadable(struct config_errors *errors, int err)
{
	struct mistakes r;

	mistakes_init(&r, errors);
	mistakes_add(&r, 0, 0, "cannot be read: %s", strerror(err));
	return r.err ? r.err : -EINVAL;
}

int config_load(const char *path, struct config **ret, struct config_errors *errors)
{
	FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t len = 0;
	int err;

	*errors = (struct config_errors){0};
	if (!in)
		return errno == ENOMEM ? -ENOMEM : config_unreadable(errors, errno);
	err = config_slurp(in, CONFIG_FILE_MAX, &text, &len);
	if (in != stdin)
		fclose(in);
	if (err)
		return err == -ENOMEM ? err : config_unreadable(errors, -err);
	err = config_parse(path, text, len, ret, errors);
	free(text);
	return err;
}

struct config *config_free(struct config *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->npools; i++)
		poolconf_deinit(&c->pools[i]);
	free(c->pools);
	for (enum option_section s = OPTION_TOP; s < OPTION_POOL; s++)
		option_clear(s, config_base(c, s));
	free(c->path);
	free(c);
	return NULL;
}

int config_keep_fixed(const struct config *old, struct config *new,
		      void (*report)(const char *key, void *arg), void *arg)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];
		const void *before;
		char path[64];
		void *after;
		int err;

		if (o->reload || o->section >= OPTION_POOL)
			continue;
		before = config_base((struct config *)old, o->section);
		after = config_base(new, o->section);
		if (option_equal(o, before, after))
			continue;
		err = option_copy(o, after, before);
		if (err)
			return err;
		report(option_path(o, path), arg);
	}
	return 0;
}

const struct config_pool *config_pool_find(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->npools; i++)
		if (c->pools[i].name && strcmp(c->pools[i].name, name) == 0)
			return &c->pools[i];
	return NULL;
}
