#include "scan_simdjson.h"

#include <simdjson.h>

bool scan_simdjson(const char *body, size_t len, const char *model)
{
	/* Kept, as its makers advise. */
	static simdjson::dom::parser parser;
	std::string_view name;
	simdjson::dom::element root;

	if (parser.parse(body, len, false).get(root) != simdjson::SUCCESS)
		return false;
	return root["model"].get(name) == simdjson::SUCCESS && name == model;
}
