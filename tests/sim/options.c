/*
 * Options before the first --server are the defaults of all servers; inside --server (and after
 * it, up to the next) they are that server's own. A list option (listen, adapter) given to a
 * server replaces the list it inherited. So one server needs no --server at all, and six need each
 * setting said once.
 */
#include "options.h"

#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct target {
	struct sim_conf *conf;
	bool own_listen, own_adapters; /* lists begun for this server */
};

typedef const char *set_fn(struct target *t, const char *value);

static const char *parse_number(const char *value, double min, double max, double *ret)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(value, &end);
	if (errno || end == value || *end || !(v >= min && v <= max))
		return "not a number in range";
	*ret = v;
	return NULL;
}

static const char *parse_count(const char *value, uint32_t min, uint32_t *ret)
{
	double v;
	const char *wrong = parse_number(value, min, 1e9, &v);

	if (!wrong && v != (double)(uint32_t)v)
		wrong = "not a whole number";
	if (!wrong)
		*ret = (uint32_t)v;
	return wrong;
}

static const char *replace(char **at, const char *value)
{
	free(*at);
	*at = strdup(value);
	return *at ? NULL : "out of memory";
}

static void clear_list(char **list, uint32_t *n)
{
	while (*n > 0)
		free(list[--*n]);
}

static const char *set_name(struct target *t, const char *v)
{
	for (const char *p = v; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == ',')
			return "a name is printable ASCII without spaces and commas";
	return *v ? replace(&t->conf->name, v) : "empty";
}

static const char *set_listen(struct target *t, const char *v)
{
	struct sim_conf *c = t->conf;

	if (!t->own_listen)
		clear_list(c->listen, &c->n_listen);
	t->own_listen = true;
	if (c->n_listen == SIM_MAX_LISTEN)
		return "too many";
	c->listen[c->n_listen++] = strdup(v);
	return NULL;
}

static const char *set_model(struct target *t, const char *v)
{
	return *v ? replace(&t->conf->model, v) : "empty";
}

static const char *set_root(struct target *t, const char *v)
{
	return replace(&t->conf->root, v);
}

static const char *set_adapter(struct target *t, const char *v)
{
	struct sim_conf *c = t->conf;

	if (!t->own_adapters)
		clear_list(c->adapters, &c->n_adapters);
	t->own_adapters = true;
	if (!*v || *v == ':')
		return "empty";
	if (c->n_adapters == SIM_MAX_ADAPTERS)
		return "too many";
	c->adapters[c->n_adapters++] = strdup(v);
	return NULL;
}

static const char *set_max_loras(struct target *t, const char *v)
{
	return parse_count(v, 0, &t->conf->max_loras);
}

static const char *set_seed(struct target *t, const char *v)
{
	char *end;

	errno = 0;
	t->conf->seed = strtoull(v, &end, 0);
	return errno || end == v || *end ? "not a whole number" : NULL;
}

static const char *set_prefill_rate(struct target *t, const char *v)
{
	return parse_number(v, 1e-3, 1e12, &t->conf->engine.prefill_rate);
}

static const char *set_step_ms(struct target *t, const char *v)
{
	char *end;
	double a = strtod(v, &end), b = 0;

	if (end != v && *end == '+')
		b = strtod(end + 1, &end);
	if (end == v || *end || !(a >= 0 && a < 1e9) || !(b >= 0 && b < 1e9))
		return "A+B in milliseconds, as 6+0.35";
	t->conf->engine.step_a_ms = a;
	t->conf->engine.step_b_ms = b;
	return NULL;
}

static const char *set_max_num_seqs(struct target *t, const char *v)
{
	return parse_count(v, 1, &t->conf->engine.max_num_seqs);
}

static const char *set_max_batched(struct target *t, const char *v)
{
	return parse_count(v, 1, &t->conf->engine.max_batched_tokens);
}

static const char *set_kv_blocks(struct target *t, const char *v)
{
	const char *wrong = parse_count(v, 1, &t->conf->engine.kv_blocks);

	return wrong || t->conf->engine.kv_blocks <= 1 << 24 ? wrong : "at most 16,777,216";
}

static const char *set_block_size(struct target *t, const char *v)
{
	const char *wrong = parse_count(v, 1, &t->conf->engine.block_size);

	return wrong || t->conf->engine.block_size <= 256 ? wrong : "at most 256";
}

static const char *set_no_prefix(struct target *t, const char *v)
{
	(void)v;
	t->conf->engine.prefix_caching = false;
	return NULL;
}

static const char *set_speed(struct target *t, const char *v)
{
	return parse_number(v, 1e-6, 1e9, &t->conf->engine.speed);
}

static const char *set_ranks(struct target *t, const char *v)
{
	const char *wrong = parse_count(v, 1, &t->conf->ranks);

	return wrong || t->conf->ranks <= SIM_MAX_RANKS ? wrong : "at most 64";
}

static const char *set_output(struct target *t, const char *v)
{
	return parse_number(v, 1, 1e9, &t->conf->output_mean);
}

static const char *set_eos(struct target *t, const char *v)
{
	(void)v;
	t->conf->eos = true;
	return NULL;
}

static const char *set_max_model_len(struct target *t, const char *v)
{
	t->conf->limit_len = true;
	return parse_count(v, 1, &t->conf->max_model_len);
}

static const char *set_dimensions(struct target *t, const char *v)
{
	const char *wrong = parse_count(v, 1, &t->conf->dimensions);

	return wrong || t->conf->dimensions <= 65536 ? wrong : "at most 65536";
}

static const char *set_instant(struct target *t, const char *v)
{
	(void)v;
	t->conf->instant = true;
	return NULL;
}

static const char *set_lenient(struct target *t, const char *v)
{
	(void)v;
	t->conf->lenient = true;
	return NULL;
}

static const char *set_api_key(struct target *t, const char *v)
{
	return replace(&t->conf->api_key, v);
}

static const char *set_engine(struct target *t, const char *v)
{
	static const char *const names[] = {"vllm", "sglang", "trtllm", "triton", "llamacpp"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(v, names[i]) == 0) {
			t->conf->flavour = (enum sim_flavour)i;
			return NULL;
		}
	return "vllm, sglang, trtllm, triton or llamacpp";
}

static const char *set_old_metrics(struct target *t, const char *v)
{
	(void)v;
	t->conf->old_metrics = true;
	return NULL;
}

static const char *set_keep_alive(struct target *t, const char *v)
{
	return parse_number(v, 0, 1e6, &t->conf->keep_alive_s);
}

static const char *set_max_body(struct target *t, const char *v)
{
	return parse_number(v, 0.001, 4096, &t->conf->max_body_mb);
}

/* KIND:name=value:name=value, as a --server value has commas already. */
static bool from_words(const void *from, const char *name, char *out, size_t size)
{
	const char *at = strchr(from, ':');
	size_t len = strlen(name);

	for (; at; at = strchr(at, ':')) {
		at++;
		if (strncmp(at, name, len) == 0 && at[len] == '=') {
			snprintf(out, size, "%.*s", (int)strcspn(at + len + 1, ":"), at + len + 1);
			return true;
		}
	}
	return false;
}

static const char *set_fault(struct target *t, const char *v)
{
	char kind[32];

	snprintf(kind, sizeof(kind), "%.*s", (int)strcspn(v, ":"), v);
	return control_fault(&t->conf->faults, kind, from_words, v);
}

static const struct option {
	const char *name, *value, *help; /* value NULL: a flag */
	set_fn *set;
} table[] = {
    {"name", "NAME", "said in X-Sim-Name [sim, sim-1, ...]", set_name},
    {"listen", "HOST:PORT", "repeatable; port 0 takes a free one [127.0.0.1:0]", set_listen},
    {"model", "ID", "the base model [meta-llama/Llama-3.1-8B-Instruct]", set_model},
    {"root", "PATH", "its root in /v1/models [the model]", set_root},
    {"adapter", "NAME[:ROOT]", "a LoRA adapter of it; repeatable", set_adapter},
    {"max-loras", "N", "max_lora in vllm:lora_requests_info; 0 = not printed [4]", set_max_loras},
    {"seed", "N", "of texts, lengths and shares of errors [0]", set_seed},
    {"prefill-rate", "N", "prompt tokens per second [8000]", set_prefill_rate},
    {"step-ms", "A+B", "a decode step lasts A + B x batch milliseconds [6+0.35]", set_step_ms},
    {"max-num-seqs", "N", "requests running at once [256]", set_max_num_seqs},
    {"max-batched-tokens", "N", "tokens of one step, >= max-num-seqs [2048]", set_max_batched},
    {"kv-blocks", "N", "KV-cache blocks [32768]", set_kv_blocks},
    {"block-size", "N", "tokens per block [16]", set_block_size},
    {"no-prefix-caching", NULL, "blocks are not reused", set_no_prefix},
    {"speed", "FACTOR", "10 = time runs ten times faster [1]", set_speed},
    {"dp-ranks", "N", "engines behind this one port, each with its own series [1]", set_ranks},
    {"output", "TOKENS", "mean answer where the request sets no limit [128]", set_output},
    {"eos", NULL, "answers may also end before max_tokens (not with ignore_eos)", set_eos},
    {"max-model-len", "N", "prompt + answer at most; else 400 [131072, not enforced]",
     set_max_model_len},
    {"dimensions", "N", "of embeddings [384]", set_dimensions},
    {"instant", NULL, "no model of time: answers at once, a stream in one write", set_instant},
    {"lenient", NULL, "chat completions take `prompt` for `messages`", set_lenient},
    {"api-key", "KEY", "asked for on /v1/*", set_api_key},
    {"engine", "KIND", "/metrics of vllm, sglang, trtllm, triton, llamacpp [vllm]", set_engine},
    {"old-metrics", NULL, "vllm:gpu_cache_usage_perc, as older vLLM has it", set_old_metrics},
    {"keep-alive", "SECONDS", "an idle connection is closed after it; 0 = never [5]",
     set_keep_alive},
    {"max-body-mb", "N", "larger bodies are answered 413 [64]", set_max_body},
    {"fault", "KIND[:K=V]",
     "as POST /sim/fault from the start: hang, refuse, stall,\n"
     "                             slow:factor=3, cut:after=5, error:p=0.1,\n"
     "                             error:n=3:status=503, metrics:mode=nan",
     set_fault},
};

#define N_OPTIONS (sizeof(table) / sizeof(table[0]))

static const struct option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

static void help(void)
{
	puts("spoa-sim: a model server that behaves like vLLM, without a GPU.\n\n"
	     "usage: spoa-sim [OPTION]... [--server OPTION=VALUE,... [OPTION]...]...\n\n"
	     "Options before the first --server hold for all servers. Several servers live in one\n"
	     "process. When all listen, one line \"ready NAME=HOST:PORT ...\" is printed.\n");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s %s", table[i].name,
			 table[i].value ? table[i].value : "");
		printf("  %-26s %s\n", left, table[i].help);
	}
	puts("  --server A=V,FLAG,...      begins another server\n"
	     "  --parent                   end when the parent process ends\n"
	     "  --ready-fd N               write the ready line there too, then close it\n"
	     "  --help\n\n"
	     "Control, on the same port: GET /sim/stats[?all]; POST /sim/fault?kind=...[&for=MS],\n"
	     "/sim/load?running=N&waiting=M&kv=X, /sim/adapters?add=NAME[&root=PATH] or "
	     "?remove=NAME;\n"
	     "server=NAME addresses another server of this process.");
}

static int complain(const char *option, const char *wrong)
{
	fprintf(stderr, "spoa-sim: --%s: %s (--help lists the options)\n", option, wrong);
	return 3;
}

/* name=value or a flag's name, up to a comma that is not inside the value's next option. */
static int server_words(struct target *t, const char *words)
{
	char *copy = strdup(words), *at = copy, *word;
	int err = 0;

	while (!err && (word = strsep(&at, ","))) {
		size_t len = strcspn(word, "=");
		const struct option *o = find(word, len);
		const char *wrong;

		if (!*word)
			continue;
		if (!o)
			wrong = "unknown option in it";
		else if ((word[len] == '=') != (o->value != NULL))
			wrong = o->value ? "an option in it lacks its value"
					 : "a flag in it has a value";
		else
			wrong = o->set(t, o->value ? word + len + 1 : "");
		if (wrong) {
			fprintf(stderr, "spoa-sim: --server: %s: %s (--help lists the options)\n",
				word, wrong);
			err = 3;
		}
	}
	free(copy);
	return err;
}

static char *copy(const char *s)
{
	return s ? strdup(s) : NULL;
}

static struct sim_conf *inherit(const struct sim_conf *from)
{
	struct sim_conf *c = malloc(sizeof(*c));

	if (!c)
		abort();
	*c = *from;
	c->name = copy(from->name);
	c->model = copy(from->model);
	c->root = copy(from->root);
	c->api_key = copy(from->api_key);
	for (uint32_t i = 0; i < from->n_listen; i++)
		c->listen[i] = copy(from->listen[i]);
	for (uint32_t i = 0; i < from->n_adapters; i++)
		c->adapters[i] = copy(from->adapters[i]);
	return c;
}

static void conf_free(struct sim_conf *c)
{
	free(c->name);
	free(c->model);
	free(c->root);
	free(c->api_key);
	clear_list(c->listen, &c->n_listen);
	clear_list(c->adapters, &c->n_adapters);
	free(c);
}

static void complete(struct options *o)
{
	for (uint32_t i = 0; i < o->n_servers; i++) {
		struct sim_conf *c = o->servers[i];
		char name[32];

		snprintf(name, sizeof(name), o->n_servers > 1 ? "sim-%u" : "sim", i + 1);
		if (!c->name)
			c->name = strdup(name);
		if (!c->model)
			c->model = strdup("meta-llama/Llama-3.1-8B-Instruct");
		if (c->n_listen == 0)
			c->listen[c->n_listen++] = strdup("127.0.0.1:0");
	}
}

int options_parse(struct options *o, int argc, char **argv)
{
	struct sim_conf *defaults = calloc(1, sizeof(*defaults));
	struct target t = {.conf = defaults};
	int err = 0;

	if (!defaults)
		abort();
	*o = (struct options){.ready_fd = -1};
	defaults->engine = ENGINE_CONF_DEFAULT;
	defaults->ranks = 1;
	defaults->output_mean = 128;
	defaults->max_model_len = 131072;
	defaults->max_loras = 4;
	defaults->dimensions = 384;
	defaults->keep_alive_s = 5;
	defaults->max_body_mb = 64;
	defaults->faults = (struct sim_faults){.slow = 1, .error_status = 500};
	for (int i = 1; i < argc && !err; i++) {
		const char *name = argv[i] + 2, *value = NULL;
		size_t len;
		const struct option *opt;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			help();
			err = 1;
			break;
		}
		if (strncmp(argv[i], "--", 2) != 0) {
			fprintf(stderr, "spoa-sim: %s: options begin with --\n", argv[i]);
			err = 3;
			break;
		}
		len = strcspn(name, "=");
		if (len == 6 && strncmp(name, "parent", 6) == 0) {
			o->parent = true;
			continue;
		}
		opt = find(name, len);
		if (name[len] == '=')
			value = name + len + 1;
		else if ((!opt || opt->value) && i + 1 < argc)
			value = argv[++i];
		if (len == 6 && strncmp(name, "server", 6) == 0) {
			if (o->n_servers == OPTIONS_MAX_SERVERS) {
				err = complain("server", "too many");
				break;
			}
			t = (struct target){.conf = inherit(defaults)};
			o->servers[o->n_servers++] = t.conf;
			err = value ? server_words(&t, value) : complain("server", "no value");
		} else if (len == 8 && strncmp(name, "ready-fd", 8) == 0) {
			o->ready_fd = value ? atoi(value) : -1;
		} else if (!opt) {
			err = complain(name, "unknown option");
		} else if (opt->value && !value) {
			err = complain(name, "no value");
		} else {
			const char *wrong = opt->set(&t, value ? value : "");

			if (wrong)
				err = complain(name, wrong);
		}
	}
	if (o->n_servers == 0)
		o->servers[o->n_servers++] = defaults;
	else
		conf_free(defaults);
	if (!err)
		complete(o);
	return err;
}

void options_deinit(struct options *o)
{
	while (o->n_servers > 0)
		conf_free(o->servers[--o->n_servers]);
}
