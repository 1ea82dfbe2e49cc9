/* bench-body SHAPE SIZE MODEL [first] > FILE: a body of bodies.h, for wrk and curl. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bodies.h"

int main(int argc, char **argv)
{
	enum body_shape shape = argc > 1 ? body_shape_find(argv[1]) : BODY_SHAPES;
	size_t len;
	char *body;

	if (argc < 4 || shape == BODY_SHAPES) {
		fprintf(stderr, "usage: %s SHAPE SIZE MODEL [first]\nshapes:", argv[0]);
		for (unsigned i = 0; i < BODY_SHAPES; i++)
			fprintf(stderr, " %s", body_shape_name((enum body_shape)i));
		fprintf(stderr, "\n");
		return 2;
	}
	body = body_make(shape, strtoull(argv[2], NULL, 10), argv[3],
			 argc > 4 && strcmp(argv[4], "first") == 0, &len);
	return fwrite(body, 1, len, stdout) == len ? 0 : 1;
}
