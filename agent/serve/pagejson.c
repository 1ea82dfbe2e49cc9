/*
 * cJSON's adding functions say nothing when memory is short: what could not be made is left out,
 * and the page would go out with status 200, short of an endpoint or a name. Looking at each of
 * some hundred answers would hide what a page says; so the allocator itself remembers whether it
 * ever had to say no since the page began.
 */
#include "serve/pagejson.h"

#include <stdlib.h>

static bool failed;

static void *allocate(size_t size)
{
	void *p = malloc(size);

	failed |= !p;
	return p;
}

cJSON *pagejson_begin(void)
{
	cJSON_Hooks hooks = {.malloc_fn = allocate, .free_fn = free};

	failed = false;
	cJSON_InitHooks(&hooks);
	return cJSON_CreateObject();
}

char *pagejson_end_consume(cJSON *root, bool pretty)
{
	char *text = pretty ? cJSON_Print(root) : cJSON_PrintUnformatted(root);

	cJSON_Delete(root);
	cJSON_InitHooks(NULL);
	if (failed) {
		free(text);
		return NULL;
	}
	return text;
}

static char *terminated(struct view v)
{
	char *copy = view_dup(v);

	failed |= !copy;
	return copy;
}

void pagejson_add_view(cJSON *object, const char *key, struct view v)
{
	char *copy = terminated(v);

	if (copy)
		cJSON_AddStringToObject(object, key, copy);
	free(copy);
}

void pagejson_append_consume(cJSON *array, cJSON *item)
{
	if (!cJSON_AddItemToArray(array, item))
		cJSON_Delete(item);
}

void pagejson_append_view(cJSON *array, struct view v)
{
	char *copy = terminated(v);

	if (copy)
		pagejson_append_consume(array, cJSON_CreateString(copy));
	free(copy);
}
