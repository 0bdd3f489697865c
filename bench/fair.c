/*
 * What one greedy client costs the others.
 *
 *   fair --port N --ask TEXT --answer TEXT [--flood TEXT] [--size BYTES]
 *        [--flooders N] [--admin PORT] [--every MS] [--warmup S] [--seconds S]
 *        [--patience S] [--tls]
 *
 * Each flooder, a thread, keeps one connection as full as the kernel allows with
 * the same line: `flood`, filled up with letters to `size` bytes. It reads all
 * that comes back and looks at none of it.
 *
 * Meanwhile newcomers come every `every` milliseconds, whether the last was served
 * or not: each connects, sends `ask`, reads `answer`, closes. With `admin`, every
 * fifth time somebody asks for /livez there as well. Their waits run from the call
 * of connect to the last byte of the answer. After `seconds` there are no new ones;
 * the flood goes on for `patience` at the most, until all are served. Those who are
 * not have waited for as long as that, and are counted as lost.
 *
 * With `tls`, flooders and newcomers begin with a handshake (see load_tls.h). The
 * result is one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load_tls.h"

#define SECOND 1000000000ull
#define MILLISECOND 1000000ull
#define FLOOD (1024 * 1024)
#define PROBES 16384
#define ANSWER 256
#define EVENTS 256
/* Every so many newcomers, one looks at /livez. */
#define LIVEZ_EVERY 5

enum state { CONNECTING, SECURING, ASKING, LISTENING, OVER };

/* What a kind of probe says, and must hear first of all. */
struct kind {
	int port, tls;
	const char *ask, *answer;
	unsigned count, served, waiting;
	uint64_t waits[PROBES];
};

struct probe {
	struct kind *kind;
	int fd;
	SSL *tls;
	enum state state;
	uint64_t began;
	size_t sent, received;
	char answer[ANSWER];
};

struct flooder {
	pthread_t thread;
	uint64_t sent, received;
	int ended; /* by the server */
};

static struct {
	int tls;
	unsigned flooders;
	size_t size;
	const char *flood;
	uint64_t every, warmup, seconds, patience;
} options = { .flooders = 1, .flood = "", .every = 10 * MILLISECOND, .warmup = SECOND,
	.seconds = 5 * SECOND, .patience = 10 * SECOND };

static struct kind newcomers, livez = { .answer = "HTTP/1.1 200",
	.ask = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" };
static struct { unsigned refused, reset, lost, wrong; } failures;
static struct probe probes[PROBES];
static unsigned started;
static int poller, over;
static char *flood;
static size_t flood_length;

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
	fprintf(stderr, "fair: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int new_socket(void) {
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	return fd;
}

/* Whether it failed at once; else it is under way. */
static int connect_to(int fd, int port) {
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0 && errno != EINPROGRESS;
}

static int error_of(int fd) {
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

/* As many whole lines as one write may take, so that none costs a call. */
static void make_flood(void) {
	size_t prefix = strlen(options.flood);
	size_t line = (options.size > prefix ? options.size : prefix) + 1;
	size_t lines = line < FLOOD ? FLOOD / line : 1;
	flood_length = line * lines;
	flood = malloc(flood_length);
	if (flood == NULL) die("malloc");
	for (size_t i = 0; i < flood_length; i++) {
		size_t at = i % line;
		flood[i] = at < prefix ? options.flood[at] :
			at == line - 1 ? '\n' :
			(char)('a' + at % 26);
	}
}

/* The number of bytes moved; 0 where it would block; below 0 at the end. */
static ssize_t moved(ssize_t n) { return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1; }

static void *flood_on(void *argument) {
	struct flooder *f = argument;
	char *buffer = malloc(FLOOD);
	struct pollfd wait = { .fd = new_socket(), .events = POLLOUT };
	SSL *tls = NULL;
	size_t at = 0;
	if (buffer == NULL || connect_to(wait.fd, newcomers.port)) die("connect");
	poll(&wait, 1, 10000);
	if ((errno = error_of(wait.fd)) != 0) die("connect");
	wait.events = POLLIN | POLLOUT;
	if (options.tls && (tls = tls_open(wait.fd)) == NULL) die("tls");
	for (ssize_t done = 0; tls != NULL && done <= 0; poll(&wait, 1, 10)) {
		done = tls_handshake(tls);
		if (moved(done) < 0) die("handshake");
	}
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		ssize_t out = moved(tls == NULL ? send(wait.fd, flood + at, flood_length - at, MSG_NOSIGNAL) :
			tls_send(tls, flood + at, flood_length - at));
		ssize_t in = moved(tls == NULL ? recv(wait.fd, buffer, FLOOD, 0) : tls_recv(tls, buffer, FLOOD));
		if (out < 0 || in < 0) {
			f->ended = 1;
			break;
		}
		at = (at + (size_t)out) % flood_length;
		__atomic_fetch_add(&f->sent, (uint64_t)out, __ATOMIC_RELAXED);
		__atomic_fetch_add(&f->received, (uint64_t)in, __ATOMIC_RELAXED);
		if (out == 0 && in == 0) poll(&wait, 1, 100);
	}
	/* Its end is not what is measured: no farewell, and what is under way is lost. */
	struct linger rude = { .l_onoff = 1 };
	setsockopt(wait.fd, SOL_SOCKET, SO_LINGER, &rude, sizeof rude);
	close(wait.fd);
	free(buffer);
	return NULL;
}

static void finish(struct probe *p, unsigned *failure) {
	if (failure == NULL) p->kind->waits[p->kind->served++] = now() - p->began;
	else ++*failure;
	p->kind->waiting--;
	p->state = OVER;
	if (p->tls != NULL) tls_close(p->tls);
	close(p->fd);
}

static void watch(struct probe *p, int operation, uint32_t events) {
	struct epoll_event event = { .events = events, .data.ptr = p };
	if (epoll_ctl(poller, operation, p->fd, &event) < 0) die("epoll_ctl");
}

static void start(struct kind *kind) {
	if (started == PROBES) return;
	struct probe *p = &probes[started++];
	kind->count++;
	kind->waiting++;
	p->kind = kind;
	p->fd = new_socket();
	p->began = now();
	if (connect_to(p->fd, kind->port)) return finish(p, &failures.refused);
	watch(p, EPOLL_CTL_ADD, EPOLLOUT);
}

static unsigned *failure_of(ssize_t n) {
	if (n == 0) return &failures.lost;
	return errno == ECONNRESET || errno == EPIPE ? &failures.reset : &failures.refused;
}

static void ask(struct probe *p) {
	size_t length = strlen(p->kind->ask);
	p->state = ASKING;
	while (p->sent < length) {
		const char *rest = p->kind->ask + p->sent;
		ssize_t n = p->tls == NULL ? send(p->fd, rest, length - p->sent, MSG_NOSIGNAL) :
			tls_send(p->tls, rest, length - p->sent);
		if (n < 0 && errno == EAGAIN) return watch(p, EPOLL_CTL_MOD, EPOLLOUT);
		if (n <= 0) return finish(p, failure_of(n));
		p->sent += (size_t)n;
	}
	p->state = LISTENING;
	watch(p, EPOLL_CTL_MOD, EPOLLIN);
}

static void secure(struct probe *p) {
	ssize_t done = tls_handshake(p->tls);
	if (done > 0) return ask(p);
	if (done == 0 || errno != EAGAIN) return finish(p, failure_of(done));
	watch(p, EPOLL_CTL_MOD, tls_wants_write(p->tls) ? EPOLLOUT : EPOLLIN);
}

static void connected(struct probe *p) {
	if (error_of(p->fd) != 0) return finish(p, &failures.refused);
	if (!p->kind->tls) return ask(p);
	p->tls = tls_open(p->fd);
	if (p->tls == NULL) die("tls");
	p->state = SECURING;
	secure(p);
}

static void receive(struct probe *p) {
	size_t length = strlen(p->kind->answer);
	do {
		char *rest = p->answer + p->received;
		ssize_t n = p->tls == NULL ? recv(p->fd, rest, length - p->received, 0) :
			tls_recv(p->tls, rest, length - p->received);
		if (n < 0 && errno == EAGAIN) return;
		if (n <= 0) return finish(p, failure_of(n));
		p->received += (size_t)n;
	} while (p->received < length && p->tls != NULL && tls_more(p->tls));
	if (memcmp(p->answer, p->kind->answer, p->received) != 0) return finish(p, &failures.wrong);
	if (p->received == length) finish(p, NULL);
}

static void turn(uint64_t until) {
	struct epoll_event events[EVENTS];
	uint64_t time = now();
	int wait = until > time ? (int)((until - time + MILLISECOND - 1) / MILLISECOND) : 0;
	int n = epoll_wait(poller, events, EVENTS, wait);
	if (n < 0 && errno != EINTR) die("epoll_wait");
	for (int i = 0; i < n; i++) {
		struct probe *p = events[i].data.ptr;
		if (p->state == CONNECTING) connected(p);
		else if (p->state == SECURING) secure(p);
		else if (p->state == ASKING) ask(p);
		else if (p->state == LISTENING) receive(p);
	}
}

static void probe_all(void) {
	uint64_t from = now(), next = from, until = from + options.seconds;
	for (unsigned i = 0; next < until; i++, next += options.every) {
		while (now() < next) turn(next);
		start(&newcomers);
		if (livez.port != 0 && i % LIVEZ_EVERY == 0) start(&livez);
	}
	while (now() < until) turn(until);
}

static void wait_for_all(void) {
	uint64_t until = now() + options.patience;
	while (newcomers.waiting + livez.waiting > 0 && now() < until) turn(now() + MILLISECOND);
	for (unsigned i = 0; i < started; i++) {
		struct probe *p = &probes[i];
		if (p->state == OVER) continue;
		p->kind->waits[p->kind->served++] = now() - p->began;
		failures.lost++;
	}
}

static int compare(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void print_waits(const char *name, struct kind *kind) {
	unsigned n = kind->served;
	qsort(kind->waits, n, sizeof *kind->waits, compare);
	printf("\"%s\":{\"count\":%u", name, kind->count);
	if (n > 0)
		printf(",\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f", (double)kind->waits[n / 2] / 1e6,
			(double)kind->waits[n * 99 / 100] / 1e6, (double)kind->waits[n - 1] / 1e6);
	printf("},");
}

static uint64_t duration(const char *text) { return (uint64_t)(strtod(text, NULL) * 1e9); }

static void parse(int argc, char **argv) {
	static const struct option known[] = {
		{ "port", 1, NULL, 'p' }, { "ask", 1, NULL, 'a' }, { "answer", 1, NULL, 'q' },
		{ "flood", 1, NULL, 'f' }, { "size", 1, NULL, 'b' }, { "flooders", 1, NULL, 'n' },
		{ "admin", 1, NULL, 'l' }, { "every", 1, NULL, 'e' }, { "warmup", 1, NULL, 'w' },
		{ "seconds", 1, NULL, 's' }, { "patience", 1, NULL, 't' }, { "tls", 0, NULL, 'x' },
		{ NULL, 0, NULL, 0 } };
	for (int flag; (flag = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		unsigned long number = strtoul(optarg == NULL ? "" : optarg, NULL, 10);
		switch (flag) {
		case 'p': newcomers.port = (int)number; break;
		case 'a': newcomers.ask = optarg; break;
		case 'q': newcomers.answer = optarg; break;
		case 'f': options.flood = optarg; break;
		case 'b': options.size = number; break;
		case 'n': options.flooders = (unsigned)number; break;
		case 'l': livez.port = (int)number; break;
		case 'e': options.every = number * MILLISECOND; break;
		case 'w': options.warmup = duration(optarg); break;
		case 's': options.seconds = duration(optarg); break;
		case 't': options.patience = duration(optarg); break;
		case 'x': options.tls = newcomers.tls = 1; break;
		default: exit(2);
		}
	}
	if (newcomers.port == 0 || newcomers.ask == NULL || newcomers.answer == NULL ||
		*newcomers.answer == '\0' || strlen(newcomers.answer) >= ANSWER || options.every == 0) {
		fprintf(stderr, "fair: port and every must be above 0, ask given, answer 1 to %d bytes\n",
			ANSWER - 1);
		exit(2);
	}
	if (options.seconds / options.every * 2 > PROBES) {
		fprintf(stderr, "fair: %d probes at the most: more milliseconds for every, or less seconds\n",
			PROBES);
		exit(2);
	}
}

int main(int argc, char **argv) {
	struct rlimit limit;
	uint64_t sent = 0, received = 0;
	unsigned ended = 0;
	parse(argc, argv);
	if (options.tls && !tls_begin()) {
		fprintf(stderr, "fair: there is no TLS 1.3 in this build\n");
		exit(2);
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	/* The last resort, should every other limit here have a hole. */
	alarm((unsigned)((options.warmup + options.seconds + options.patience) / SECOND) + 15);
	poller = epoll_create1(EPOLL_CLOEXEC);
	struct flooder *flooders = calloc(options.flooders + 1, sizeof *flooders);
	if (poller < 0 || flooders == NULL) die("cannot start");
	make_flood();
	for (unsigned i = 0; i < options.flooders; i++)
		if (pthread_create(&flooders[i].thread, NULL, flood_on, &flooders[i]) != 0) die("thread");
	/* The waits must be the server's: where that is allowed, this thread goes first. */
	setpriority(PRIO_PROCESS, 0, -10);
	for (uint64_t until = now() + options.warmup; now() < until;) turn(until);
	uint64_t from = now();
	for (unsigned i = 0; i < options.flooders; i++) {
		sent -= __atomic_load_n(&flooders[i].sent, __ATOMIC_RELAXED);
		received -= __atomic_load_n(&flooders[i].received, __ATOMIC_RELAXED);
	}
	probe_all();
	double seconds = (double)(now() - from) / 1e9;
	for (unsigned i = 0; i < options.flooders; i++) {
		sent += __atomic_load_n(&flooders[i].sent, __ATOMIC_RELAXED);
		received += __atomic_load_n(&flooders[i].received, __ATOMIC_RELAXED);
	}
	wait_for_all();
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < options.flooders; i++) {
		pthread_join(flooders[i].thread, NULL);
		ended += (unsigned)flooders[i].ended;
	}
	printf("{");
	print_waits("newcomers", &newcomers);
	print_waits("livez", &livez);
	printf("\"sent\":%.3f,\"received\":%.3f,\"ended\":%u,"
		"\"refused\":%u,\"reset\":%u,\"lost\":%u,\"wrong\":%u}\n",
		(double)sent / 1e6 / seconds, (double)received / 1e6 / seconds, ended,
		failures.refused, failures.reset, failures.lost, failures.wrong);
	return 0;
}
