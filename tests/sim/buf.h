/* A growing string of bytes. Memory that is out ends the program: this is a test server. */
#ifndef SIM_BUF_H
#define SIM_BUF_H

#include <stddef.h>

struct buf {
	char *p;
	size_t len, cap;
};

void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string with its quotes; other bytes than valid UTF-8 become U+FFFD. */
void buf_json(struct buf *b, const char *s);
/* As a header value: what is not printable ASCII, and '%', as %XX. */
void buf_header(struct buf *b, const char *s, size_t len);
void buf_base64(struct buf *b, const void *p, size_t len);
/* The first n bytes go. */
void buf_drain(struct buf *b, size_t n);
void buf_deinit(struct buf *b);

#endif
