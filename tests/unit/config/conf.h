/* A configuration out of a text that must be right. */
#ifndef UNIT_CONFIG_CONF_H
#define UNIT_CONFIG_CONF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"

static inline struct config *conf_of(const char *text)
{
	struct config_errors errors = {0};
	struct config *conf = NULL;

	if (config_parse("test", text, strlen(text), &conf, &errors) < 0) {
		config_errors_print(&errors, "test", stderr);
		fail();
	}
	return conf;
}

#endif
