/*
 * TLS for the load generator, by OpenSSL: what a socket's own calls do, on top
 * of TLS. Built only with -DWITH_TLS, so that the rest needs no headers of it.
 *
 * One version, one cipher and one group, so that all servers do the same work.
 * No session is ever taken up again: each handshake is a full one, whatever
 * tickets a server offers. The chain of the certificate is not checked: it was
 * made by this benchmark, and looking at it would cost the generator time that
 * says nothing about a server. The handshake's own signature always is.
 */
#include <errno.h>
#include <signal.h>
#include <sys/types.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

#define TLS_CIPHER "TLS_AES_128_GCM_SHA256"
#define TLS_GROUP "X25519"

static SSL_CTX *tls_context;

static int tls_trust(X509_STORE_CTX *chain, void *argument) {
	(void)chain, (void)argument;
	return 1;
}

/* Whether there is TLS; to be called before all others here. */
static int tls_begin(void) {
	tls_context = SSL_CTX_new(TLS_client_method());
	if (tls_context == NULL || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(tls_context, TLS_CIPHER) ||
		!SSL_CTX_set1_groups_list(tls_context, TLS_GROUP))
		return 0;
	/* OpenSSL writes without MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	/* SSL_VERIFY_NONE would build the chain, and forget what came of it. */
	SSL_CTX_set_cert_verify_callback(tls_context, tls_trust, NULL);
	/* An end that TLS does not say is a lost reply here, as it is without TLS. */
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF /* OpenSSL 3 */
	SSL_CTX_set_options(tls_context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
	SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
	/* A write that waits may begin anew from memory that has moved. */
	SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	/* One read of the socket for many records: `tls_more` tells what is left of it. */
	SSL_CTX_set_read_ahead(tls_context, 1);
	return 1;
}

static SSL *tls_open(int fd) {
	SSL *tls = SSL_new(tls_context);
	if (tls == NULL || !SSL_set_fd(tls, fd)) return NULL;
	SSL_set_connect_state(tls);
	return tls;
}

/* Says by `errno` what a call that failed with `result` is in want of. */
static ssize_t tls_failed(SSL *tls, int result) {
	int error = errno;
	switch (SSL_get_error(tls, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_SYSCALL: errno = error != 0 ? error : ECONNRESET; return -1;
	default: errno = EPROTO; return -1;
	}
}

/* Goes on with the handshake: above 0 when it is done, else as `tls_recv`. */
static ssize_t tls_handshake(SSL *tls) {
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(tls);
	return result == 1 ? 1 : tls_failed(tls, result);
}

static int tls_wants_write(SSL *tls) { return SSL_want_write(tls); }

static ssize_t tls_send(SSL *tls, const void *bytes, size_t length) {
	ERR_clear_error();
	errno = 0;
	int n = SSL_write(tls, bytes, (int)length);
	if (n > 0) return n;
	/* To write to a server that has said its end is no end of one's own. */
	if (tls_failed(tls, n) == 0) errno = EPIPE;
	return -1;
}

static ssize_t tls_recv(SSL *tls, void *bytes, size_t length) {
	ERR_clear_error();
	errno = 0;
	int n = SSL_read(tls, bytes, (int)length);
	return n > 0 ? n : tls_failed(tls, n);
}

/* Whether bytes are here that the socket no longer tells of. */
static int tls_more(SSL *tls) { return SSL_has_pending(tls); }

/* Says the end, so that no server takes it for a cut, and waits for no answer. */
static void tls_close(SSL *tls) {
	ERR_clear_error();
	if (SSL_is_init_finished(tls)) SSL_shutdown(tls);
	SSL_free(tls);
}

#else

typedef struct ssl SSL;

static int tls_begin(void) { return 0; }
static SSL *tls_open(int fd) { (void)fd; return NULL; }
static ssize_t tls_handshake(SSL *tls) { (void)tls; return 0; }
static int tls_wants_write(SSL *tls) { (void)tls; return 0; }
static ssize_t tls_send(SSL *tls, const void *bytes, size_t length) {
	(void)tls, (void)bytes, (void)length;
	return 0;
}
static ssize_t tls_recv(SSL *tls, void *bytes, size_t length) {
	(void)tls, (void)bytes, (void)length;
	return 0;
}
static int tls_more(SSL *tls) { (void)tls; return 0; }
static void tls_close(SSL *tls) { (void)tls; }

#endif
