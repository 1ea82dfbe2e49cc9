/* Who may ask the administration port: tokens, TLS, the unix socket. */
#include "serve/admin.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>

#include "unit/serve/rig.h"

static const char right[] = "GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-ours\r\n\r\n";

static const struct {
	const char *request;
	int status;
} token_cases[] = {
    {right, 200},
    {"GET /small HTTP/1.1\r\nauthorization:bearer   s3cret-of-ours \r\n\r\n", 200},
    {"GET /small HTTP/1.1\r\n\r\n", 401},
    {"GET / HTTP/1.1\r\n\r\n", 401},
    {"GET /none HTTP/1.1\r\n\r\n", 401},
    {"POST /small HTTP/1.1\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-our\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer s3cret-of-oursx\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer S3cret-of-ours\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer \r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: s3cret-of-ours\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Basic s3cret-of-ours\r\n\r\n", 401},
    {"GET /small?token=s3cret-of-ours HTTP/1.1\r\n\r\n", 401},
    {"GET /healthz/../small HTTP/1.1\r\n\r\n", 401},
    {"GET /small HTTP/1.1\r\nAuthorization: Bearer x\r\nAuthorization: Bearer "
     "s3cret-of-ours\r\n\r\n",
     400},
    {"GET /healthz HTTP/1.1\r\n\r\n", 200},
    {"GET /readyz HTTP/1.1\r\n\r\n", 503},
    {"GET /healthz HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n", 200},
};

static void check_token(bool tls)
{
	struct rig *r = rig_new(tls, "\n s3cret-of-ours\n");

	for (size_t i = 0; i < sizeof(token_cases) / sizeof(token_cases[0]); i++)
		rig_expect(r, token_cases[i].request, token_cases[i].status,
			   token_cases[i].status == 401 ? "\r\nWWW-Authenticate: Bearer realm="
							: NULL);
	/* Replaced as a mounted secret is; then gone, when nobody may pass. */
	unlink(r->token);
	rig_write(r->token, "another");
	rig_expect(r, right, 401, "error=\"invalid_token\"");
	rig_expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer another\r\n\r\n", 200, "small");
	unlink(r->token);
	rig_expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer another\r\n\r\n", 503, NULL);
	rig_expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 503, NULL);
	rig_expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, NULL);
	rig_write(r->token, "");
	rig_expect(r, "GET /small HTTP/1.1\r\nAuthorization: Bearer\r\n\r\n", 503, NULL);
	rig_free(r);
}

static void test_token(void **state)
{
	(void)state;
	check_token(false);
}

static void test_token_and_tls(void **state)
{
	(void)state;
	check_token(true);
}

static void test_unix_is_trusted(void **state)
{
	struct rig *r = rig_prepare(true, "secret", true);
	struct stat st;

	(void)state;
	r->conf.listen.spop_mode = 0640;
	rig_start(r);
	assert_int_equal(stat(r->address + strlen("unix@"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	rig_expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	rig_free(r);
}

/* Plain bytes to a port that speaks TLS: no page, no hang. */
static void test_plain_to_tls(void **state)
{
	struct rig *r = rig_new(true, NULL);
	const char *request = "GET /small HTTP/1.1\r\n\r\n";
	int fd = rig_dial(r);
	char text[1000];
	ssize_t n;

	(void)state;
	assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	while ((n = recv(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		assert_null(strstr(text, "small"));
	}
	assert_true(n == 0 || errno == ECONNRESET);
	close(fd);
	rig_free(r);
}

static void test_old_tls_is_refused(void **state)
{
	struct rig *r = rig_new(true, NULL);
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	int fd = rig_dial(r);

	(void)state;
	SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
	SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
	ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	assert_true(SSL_connect(ssl) != 1);
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	rig_free(r);
}

static void test_certificate_is_read_again(void **state)
{
	const char *request = "GET /small HTTP/1.1\r\n\r\n";
	struct rig *r = rig_new(true, NULL);
	char name[64];

	(void)state;
	free(rig_say(r, request, strlen(request), name));
	assert_string_equal(name, "first");
	rig_certify(r, "second");
	rig_order(r, 'r');
	free(rig_say(r, request, strlen(request), name));
	assert_string_equal(name, "second");
	/* One that is broken, half written or not of this key changes nothing. */
	rig_write(r->cert, "-----BEGIN CERTIFICATE-----\nMIIB\n");
	rig_order(r, 'r');
	free(rig_say(r, request, strlen(request), name));
	assert_string_equal(name, "second");
	rig_free(r);
}

static void test_start_refuses(void **state)
{
	struct rig *r;

	(void)state;
	for (int i = 0; i < 4; i++) {
		r = rig_prepare(i < 3, i == 3 ? "" : NULL, false);
		strcpy(r->address, "127.0.0.1:0");
		if (i == 0)
			unlink(r->cert);
		if (i == 1)
			rig_write(r->key, "no key");
		if (i == 2) {
			char kept[96];

			/* The key of another certificate. */
			memcpy(kept, r->cert, sizeof(kept));
			snprintf(r->cert, sizeof(r->cert), "%s/other", r->dir);
			rig_certify(r, "other");
			unlink(r->cert);
			memcpy(r->cert, kept, sizeof(kept));
		}
		assert_null(admin_new(r->base, &r->conf, rig_pages, r));
		rig_free(r);
	}
}

/* Handshakes cost the control thread time: so many a second are begun, the others wait, and none is
 * refused. */
static void test_handshakes_wait(void **state)
{
	enum { KNOCKS = 220, A_SECOND = 100 };
	struct timespec from, to;
	struct rig *r;
	int fds[KNOCKS];
	double passed;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &from);
	r = rig_new(true, NULL);
	/* As many as the kernel's queue and the first second hold. */
	for (int i = 0; i < KNOCKS; i++)
		fds[i] = rig_dial(r);
	for (;;) {
		struct admin_counts n = rig_counts(r);

		clock_gettime(CLOCK_MONOTONIC, &to);
		passed =
		    (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
		assert_true((double)n.accepted <= A_SECOND * (1 + passed) + 1);
		if (n.accepted == KNOCKS)
			break;
		assert_true(passed < RIG_PATIENCE_MS / 1000.0);
		poll(NULL, 0, 5);
	}
	assert_true(rig_counts(r).held > 0 || passed > 1);
	rig_expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	for (int i = 0; i < KNOCKS; i++)
		close(fds[i]);
	rig_free(r);

	/* What is not encrypted does not wait. */
	r = rig_new(false, NULL);
	for (int i = 0; i < KNOCKS; i++)
		fds[i] = rig_dial(r);
	rig_expect(r, "GET /small HTTP/1.1\r\n\r\n", 200, "small");
	assert_int_equal(rig_counts(r).held, 0);
	for (int i = 0; i < KNOCKS; i++)
		close(fds[i]);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_token_and_tls),
	    cmocka_unit_test(test_unix_is_trusted),
	    cmocka_unit_test(test_plain_to_tls),
	    cmocka_unit_test(test_old_tls_is_refused),
	    cmocka_unit_test(test_certificate_is_read_again),
	    cmocka_unit_test(test_start_refuses),
	    cmocka_unit_test(test_handshakes_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
