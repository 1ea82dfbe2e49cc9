/*
 * Connections that begin with something else than SPOP.
 *
 * A server line inherits what its defaults say of servers, ssl and send-proxy too; the first bytes
 * that then arrive read as the length of a frame that is far too long, which points to limits that
 * have nothing to do with it.
 */
#include "serve/stranger.h"

#include <string.h>

const char *stranger_remedy(const uint8_t *bytes, size_t len)
{
	static const struct {
		const char *begins;
		const char *remedy;
	} known[] = {
	    {"\x16\x03", "this is TLS: `no-ssl` on HAProxy's server line of the agent"},
	    {"PROXY ", "this is the PROXY protocol: `no-send-proxy` on the server line"},
	    {"\r\n\r\n", "this is the PROXY protocol: `no-send-proxy-v2` on the server line"},
	    {"GET ", "this is HTTP: pages are at listen.admin"},
	    {"HEAD ", "this is HTTP: pages are at listen.admin"},
	    {"POST ", "this is HTTP: pages are at listen.admin"},
	    {"OPTIONS ", "this is HTTP: `option spop-check`, not httpchk, in the agent's backend"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i].begins);

		if (len >= n && memcmp(bytes, known[i].begins, n) == 0)
			return known[i].remedy;
	}
	return NULL;
}
