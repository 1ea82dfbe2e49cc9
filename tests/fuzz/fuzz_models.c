/* Whatever a model server may answer to GET /v1/models: what is kept is sorted, unique, valid. */
#include <assert.h>
#include <stdlib.h>

#include "discover/models.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1);
	const char *error = NULL;
	struct models *m = NULL;

	assert(copy);
	if (size)
		memcpy(copy, data, size);
	if (models_parse((struct view){copy, size}, 50, &m, &error) == 0) {
		assert(m->n <= 50);
		for (size_t i = 0; i < m->n; i++) {
			const struct model *a = &m->items[i];

			assert(models_name_valid(a->id));
			assert(!a->parent.ptr || models_name_valid(a->parent));
			assert(!a->parent.ptr || !view_eq(a->parent, a->id));
			assert(models_find(m, a->id) == a);
		}
		models_unref(m);
	} else {
		assert(error);
	}
	free(copy);
	return 0;
}
