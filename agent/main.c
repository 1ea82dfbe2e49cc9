/*
 * spoa-inference: argv, setup, run, teardown.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trim.h"
#include "config/config.h"
#include "discover/kube/kube.h"
#include "serve/control.h"
#include "serve/explain.h"
#include "serve/health.h"

#define EXIT_USAGE 2

static const char usage[] =
    "spoa-inference: tells HAProxy which model server an inference request should go to\n"
    "\n"
    "  spoa-inference -f FILE             run in the foreground; SIGTERM drains and ends,\n"
    "                                     SIGHUP reads FILE again\n"
    "  spoa-inference -f FILE -t          check FILE and end: 0 it is good, 1 it is not;\n"
    "                                     files it names that cannot be read are told\n"
    "  spoa-inference explain -f FILE [--host H] [--port N] [--method M]\n"
    "                 [--path P] [--header 'NAME: VALUE']... [--content-type T] < BODY\n"
    "                                     tell where this body would go now, and why\n"
    "  spoa-inference health [-f FILE | --url URL] [--ready]\n"
    "                                     ask the agent that runs, by listen.admin of FILE:\n"
    "                                     0 it is well, 1 it is not or nobody answers;\n"
    "                                     URL: http(s)://IP:PORT or unix@PATH\n"
    "  spoa-inference --help-config       every option there is, as Markdown\n"
    "  spoa-inference --version\n"
    "  spoa-inference --help\n"
    "\n"
    "FILE is YAML; \"-\" is standard input. The smallest that works, for a haproxy.cfg with the\n"
    "backends llama and phi4 and a stats socket:\n"
    "\n"
    "  haproxy:\n"
    "    socket: /run/haproxy/admin.sock\n"
    "  pools:\n"
    "    llama: {}\n"
    "    phi4: {}\n";

struct arguments_given {
	const char *file;
	bool check, explain, health;
	struct explain_options options;
	struct health_options asked;
};

enum {
	OPTION_VERSION = 256,
	OPTION_HELP_CONFIG,
	OPTION_HOST,
	OPTION_PORT,
	OPTION_METHOD,
	OPTION_PATH,
	OPTION_HEADER,
	OPTION_TYPE,
	OPTION_URL,
	OPTION_READY
};

static const struct option options[] = {
    {"file", required_argument, NULL, 'f'},
    {"test", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help-config", no_argument, NULL, OPTION_HELP_CONFIG},
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"method", required_argument, NULL, OPTION_METHOD},
    {"path", required_argument, NULL, OPTION_PATH},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"content-type", required_argument, NULL, OPTION_TYPE},
    {"url", required_argument, NULL, OPTION_URL},
    {"ready", no_argument, NULL, OPTION_READY},
    {NULL, 0, NULL, 0},
};

static bool add_header(struct explain_options *o, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text) {
		fprintf(stderr, "spoa-inference: --header takes 'NAME: VALUE', not \"%s\"\n", text);
		return false;
	}
	o->headers[o->nheaders++] = text;
	return true;
}

static bool take_port(struct explain_options *o, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > UINT16_MAX) {
		fprintf(stderr, "spoa-inference: --port takes 1 to 65535, not \"%s\"\n", text);
		return false;
	}
	o->port = (uint32_t)n;
	return true;
}

/* -1: go on; else the exit status. @ret: zeroed, with room for headers. */
static int parse(int argc, char **argv, struct arguments_given *ret)
{
	int c;

	ret->explain = argc > 1 && strcmp(argv[1], "explain") == 0;
	ret->health = argc > 1 && strcmp(argv[1], "health") == 0;
	if (ret->explain || ret->health) {
		argv++;
		argc--;
	}
	while ((c = getopt_long(argc, argv, "f:th", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			if (ret->file) {
				fprintf(stderr,
					"spoa-inference: -f twice: \"%s\" and \"%s\"; one "
					"file holds everything\n",
					ret->file, optarg);
				return EXIT_USAGE;
			}
			ret->file = optarg;
			break;
		case 't':
			ret->check = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case OPTION_VERSION:
			puts("spoa-inference " SPOA_VERSION);
			return EXIT_SUCCESS;
		case OPTION_HELP_CONFIG:
			config_document(stdout);
			return EXIT_SUCCESS;
		case OPTION_HOST:
			ret->options.host = optarg;
			break;
		case OPTION_PORT:
			if (!take_port(&ret->options, optarg))
				return EXIT_USAGE;
			break;
		case OPTION_METHOD:
			ret->options.method = optarg;
			break;
		case OPTION_PATH:
			ret->options.path = optarg;
			break;
		case OPTION_HEADER:
			if (!add_header(&ret->options, optarg))
				return EXIT_USAGE;
			break;
		case OPTION_TYPE:
			ret->options.content_type = optarg;
			break;
		case OPTION_URL:
			ret->asked.url = optarg;
			break;
		case OPTION_READY:
			ret->asked.ready = true;
			break;
		default:
			fprintf(stderr, "try: spoa-inference --help\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "spoa-inference: what is \"%s\"? try: spoa-inference --help\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	if (ret->health) {
		ret->asked.file = ret->file;
		return -1;
	}
	if (ret->asked.url || ret->asked.ready) {
		fputs("spoa-inference: --url and --ready are for health\n", stderr);
		return EXIT_USAGE;
	}
	if (!ret->file) {
		fputs("spoa-inference: -f FILE is missing; try: spoa-inference --help\n", stderr);
		return EXIT_USAGE;
	}
	if (ret->explain && strcmp(ret->file, "-") == 0) {
		fputs("spoa-inference: explain reads the body from standard input, so -f must name "
		      "a file\n",
		      stderr);
		return EXIT_USAGE;
	}
	return -1;
}

static struct config *load(const char *path)
{
	struct config_errors errors = {0};
	struct config *conf = NULL;
	int r = config_load(path, &conf, &errors);

	if (r == -EINVAL)
		config_errors_print(&errors, path, stderr);
	else if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	config_errors_deinit(&errors);
	return r == 0 ? conf : NULL;
}

/* HAProxy from 3.1 on holds a connection for each request under way. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Else the next socket would be number 2, and the log would be written to a peer. */
static void hold_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int serve(struct config *conf)
{
	struct control *control;

	raise_descriptors();
	log_init((enum log_target)conf->log.target, (enum log_level)conf->log.level);
	control = control_new_consume(conf);
	if (!control)
		return EXIT_FAILURE;
	trim_after_start();
	control_run(control);
	control_free(control);
	return EXIT_SUCCESS;
}

static void note_file(const char *file, const char *pool, const char *option, const char *path)
{
	if (path && path[0] && access(path, R_OK) < 0)
		fprintf(stderr, "%s: %s%s%s%s: %s cannot be read now, by this user: %s\n", file,
			pool ? "pools." : "", pool ? pool : "", pool ? "." : "", option, path,
			strerror(errno));
}

static bool same_path(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Files that the configuration names and that are not to be had: no mistake of the configuration,
 * for they may come before the agent starts, or be another user's. */
static void note_files(const struct config *conf, const char *file)
{
	const struct config_scrape *all = &conf->scrape;

	note_file(file, NULL, "listen.admin_cert", conf->listen.admin_cert);
	note_file(file, NULL, "listen.admin_key", conf->listen.admin_key);
	note_file(file, NULL, "listen.admin_token_file", conf->listen.admin_token_file);
	note_file(file, NULL, "scrape.api_key_file", all->api_key_file);
	note_file(file, NULL, "scrape.tls_ca_file", all->tls_ca_file);
	for (size_t i = 0; i < conf->npools; i++) {
		const struct config_pool *p = &conf->pools[i];

		if (!same_path(p->scrape.api_key_file, all->api_key_file))
			note_file(file, p->name, "scrape.api_key_file", p->scrape.api_key_file);
		if (!same_path(p->scrape.tls_ca_file, all->tls_ca_file))
			note_file(file, p->name, "scrape.tls_ca_file", p->scrape.tls_ca_file);
	}
}

static int run(const struct arguments_given *given)
{
	struct config *conf;
	int r = EXIT_SUCCESS;

	signal(SIGPIPE, SIG_IGN);
	if (given->health)
		return health_ask(&given->asked, stdout, stderr);
	conf = load(given->file);
	if (!conf)
		return EXIT_FAILURE;
	if (given->explain)
		return explain_consume(conf, &given->options, stdin, stdout);
	if (!given->check)
		return serve(conf);
	note_files(conf, given->file);
	/* A pod's own account is only there in the pod. */
	if (conf->kubernetes.kubeconfig && kube_check(conf, stderr) < 0)
		r = EXIT_FAILURE;
	else
		printf("%s: the configuration is good\n", given->file);
	config_free(conf);
	return r;
}

int main(int argc, char **argv)
{
	struct arguments_given given = {0};
	/* There are no more of them than words. */
	const char **headers = calloc((size_t)argc + 1, sizeof(*headers));
	int r;

	hold_standard_descriptors();
	if (!headers)
		return EXIT_FAILURE;
	given.options.headers = headers;
	r = parse(argc, argv, &given);
	if (r < 0)
		r = run(&given);
	free(headers);
	return r;
}
