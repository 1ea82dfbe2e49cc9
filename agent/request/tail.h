/*
 * The end of a JSON body whose middle was not seen. Read backwards from the closing bracket,
 * because there depth and strings are certain; then checked forwards from the first byte whose
 * place in the grammar is known.
 */
#ifndef REQUEST_TAIL_H
#define REQUEST_TAIL_H

#include "request/json.h"

enum tail_result {
	TAIL_READ,  /* @j holds what the tail says of the model */
	TAIL_BLANK, /* blanks only: the value ends before it */
	TAIL_OPEN,  /* the last byte that is no blank does not close @top */
	TAIL_BAD,   /* no valid body ends like this; @j has why and at */
};

/*
 * @text is the end of the body, @top the bracket it began with, 0 if not known. @j needs no
 * initialisation. What is found is right if the whole is valid JSON and ends where @text does; a
 * key or value that may begin before @text is not counted.
 */
enum tail_result tail_read(struct json *j, const struct span *text, char top, unsigned max_depth);

#endif
