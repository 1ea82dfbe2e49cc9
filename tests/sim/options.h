/* The command line: one table of options for --NAME VALUE and for --server name=VALUE,... */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "sim.h"

#define OPTIONS_MAX_SERVERS 1024

struct options {
	struct sim_conf *servers[OPTIONS_MAX_SERVERS];
	uint32_t n_servers;
	bool parent;  /* end with the parent process */
	int ready_fd; /* -1: none */
};

/* 0, or the exit status + 1 after having printed why (or the help). */
int options_parse(struct options *o, int argc, char **argv);
void options_deinit(struct options *o);

#endif
