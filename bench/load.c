/*
 * The load generator: one thread, epoll, no framework, the same for every peer.
 *
 *   load --port N [--mode echo|connect|idle|paced] [--connections N] [--depth N]
 *        [--payload BYTES] [--framing line|length] [--ask TEXT --answer TEXT]
 *        [--warmup S] [--seconds S] [--requests N] [--interval S] [--opening N]
 *        [--pid N] [--move BYTES] [--settle S] [--tls]
 *
 *   echo     Each connection sends a batch of `depth` frames, waits for all the
 *            replies, and sends the next: a closed loop.
 *   connect  Each request has a connection of its own: connect, one batch, close.
 *   paced    Each connection sends a batch every `interval` seconds, all spread
 *            evenly over it. One that is due while the last is unanswered goes out
 *            after that, and its wait has begun when it was due.
 *            With `pid`, these tell the processor time of that process for a
 *            request, and its share of the time that has passed.
 *   idle     Opens the connections, lets them fall silent, reads the memory of
 *            process `pid`, lets each move `move` bytes, and reads it again.
 *
 * With `tls`, each connection begins with a handshake (see load_tls.h).
 *
 * A reply must be its request, byte for byte. A peer without framing that sends
 * back what it gets therefore passes as well. With `ask` and `answer`, all requests
 * are the one and all replies must be the other, for a peer that is no echo. The
 * result is one line of JSON. In `echo` it has the requests of the connection that
 * was served least, and of the one served most, against those of the average one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
/* How long opening all connections, and waiting for the last replies, may take. */
#define OPEN_LIMIT (60 * SECOND)
#define DRAIN_LIMIT (10 * SECOND)
#define MOVE_LIMIT (120 * SECOND)
/* How many idle connections move bytes at the same time. */
#define MOVING 64
#define GREETING 64
#define STAMP 8
#define RECEIVE (256 * 1024)
#define EVENTS 1024
/* More source addresses than one, or ports in TIME_WAIT could run out. */
#define SOURCES 16
/* Descriptors that are no connections: three streams, the poller, a file read. */
#define OTHER_FILES 8

enum mode { ECHO, CONNECT, IDLE, PACED };
enum state { CLOSED, CONNECTING, SECURING, QUIET, BUSY };
enum phase { OPENING, WARMING, MEASURING, DRAINING, SETTLING, MOVING_BYTES };

/* What one round of a connection sends, and gets back. */
struct batch {
	char *bytes;
	size_t length;
	const char *reply;
	size_t reply_length;
	size_t stamp, stamp_end; /* the part that differs from batch to batch */
	unsigned requests;
};

struct conn {
	int fd;
	SSL *tls; /* none on a plain connection */
	enum state state;
	uint32_t sequence;
	int wants_write, opened;
	size_t sent, received;
	uint64_t began;
	uint64_t left; /* batches to move, in mode `idle` */
	uint64_t due; /* since when the next batch waits for the last, in mode `paced` */
	uint64_t served;
	const struct batch *batch;
};

static struct {
	enum mode mode;
	int port, line, pid, tls;
	unsigned connections, depth, opening;
	size_t payload, move;
	const char *ask, *answer;
	uint64_t warmup, seconds, settle, requests, interval;
} options = { .line = 1, .connections = 64, .depth = 1, .opening = 512, .payload = 64,
	.warmup = SECOND / 5, .seconds = SECOND, .settle = SECOND, .interval = SECOND };

static int poller;
static struct conn *conns;
static struct batch greeting, load;
static enum phase phase = OPENING;
static unsigned started, opening, opened, busy, next_to_move;
static uint64_t requests, histogram[2048], slowest;
static struct { uint64_t refused, reset, lost, wrong; } failures;
static char receive_buffer[RECEIVE];

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Buckets of one 32nd of a power of two: at most 3% off, in constant memory. */
static void record(uint64_t ns) {
	unsigned bucket = (unsigned)ns;
	if (ns >= 64) {
		unsigned shift = 58 - (unsigned)__builtin_clzll(ns);
		bucket = (shift << 5) + (unsigned)(ns >> shift);
	}
	histogram[bucket]++;
	if (ns > slowest) slowest = ns;
}

static double percentile(double share) {
	uint64_t total = 0, seen = 0;
	for (unsigned i = 0; i < 2048; i++) total += histogram[i];
	if (total == 0) return 0;
	for (unsigned i = 0; i < 2048; i++) {
		seen += histogram[i];
		if ((double)seen < share * (double)total) continue;
		unsigned shift = i < 64 ? 0 : (i >> 5) - 1;
		uint64_t low = i < 64 ? i : (uint64_t)(32 + (i & 31)) << shift;
		double middle = (double)low + (double)(1ull << shift) / 2;
		return (middle < (double)slowest ? middle : (double)slowest) / 1e3;
	}
	return (double)slowest / 1e3;
}

static char *repeated(const char *text, unsigned count) {
	size_t length = strlen(text);
	char *all = malloc(length * count);
	if (all == NULL) die("malloc");
	for (unsigned i = 0; i < count; i++) memcpy(all + i * length, text, length);
	return all;
}

/* The same text each time: there is nothing that could name the batch. */
static void make_dialogue(struct batch *batch, unsigned depth) {
	batch->requests = depth;
	batch->length = strlen(options.ask) * depth;
	batch->bytes = repeated(options.ask, depth);
	batch->reply_length = strlen(options.answer) * depth;
	batch->reply = repeated(options.answer, depth);
}

static void make_batch(struct batch *batch, size_t payload, unsigned depth) {
	size_t header = options.line ? 0 : 4, frame = payload + (options.line ? 1 : 4);
	uint32_t random = 1;
	if (options.ask != NULL) return make_dialogue(batch, depth);
	batch->requests = depth;
	batch->length = batch->reply_length = frame * depth;
	batch->bytes = malloc(batch->length);
	if (batch->bytes == NULL) die("malloc");
	batch->reply = batch->bytes;
	batch->stamp = header;
	batch->stamp_end = header + (payload < STAMP ? payload : STAMP);
	for (unsigned i = 0; i < depth; i++) {
		unsigned char *at = (unsigned char *)batch->bytes + i * frame;
		if (!options.line) {
			uint32_t length = htonl((uint32_t)payload);
			memcpy(at, &length, 4);
		}
		/* Printable, so that no line ends early, and never the same twice. */
		for (size_t j = 0; j < payload; j++) {
			random = random * 1664525u + 1013904223u;
			at[header + j] = (unsigned char)(33 + (random >> 24) % 94);
		}
		if (options.line) at[payload] = '\n';
	}
}

/* Names connection and batch, so that a reply to somebody else shows. */
static void stamp_of(const struct conn *c, char out[STAMP]) {
	uint64_t bits = ((uint64_t)(c - conns) & 0xffffff) << 24 | (c->sequence & 0xffffff);
	for (int i = 0; i < STAMP; i++, bits >>= 6) out[i] = (char)('0' + (bits & 63));
}

/* All of a short piece, both ends of a long one: the check must stay cheap. */
static int same(const char *a, const char *b, size_t length) {
	if (length <= 4096) return memcmp(a, b, length) == 0;
	return memcmp(a, b, 64) == 0 && memcmp(a + length - 64, b + length - 64, 64) == 0;
}

static int verify(const struct conn *c, const char *bytes, size_t length) {
	const struct batch *batch = c->batch;
	size_t from = c->received, to = from + length, stamp_end = batch->stamp_end;
	if (to > batch->reply_length) return 0;
	if (from < stamp_end) {
		char stamp[STAMP];
		stamp_of(c, stamp);
		size_t end = to < stamp_end ? to : stamp_end;
		for (size_t i = from; i < end; i++) {
			char expected = i < batch->stamp ? batch->reply[i] : stamp[i - batch->stamp];
			if (bytes[i - from] != expected) return 0;
		}
		if (to <= stamp_end) return 1;
		bytes += stamp_end - from;
		from = stamp_end;
	}
	return same(bytes, batch->reply + from, to - from);
}

static void watch(struct conn *c, int operation, int wants_write) {
	struct epoll_event event = { .events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c };
	c->wants_write = wants_write;
	if (epoll_ctl(poller, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static ssize_t io_send(struct conn *c, const void *bytes, size_t length) {
	if (c->tls != NULL) return tls_send(c->tls, bytes, length);
	return send(c->fd, bytes, length, MSG_NOSIGNAL);
}

static ssize_t io_recv(struct conn *c, void *bytes, size_t length) {
	if (c->tls != NULL) return tls_recv(c->tls, bytes, length);
	return recv(c->fd, bytes, length, 0);
}

static void io_close(struct conn *c) {
	if (c->tls != NULL) tls_close(c->tls);
	c->tls = NULL;
	close(c->fd);
}

static void end(struct conn *c) {
	if (c->state == BUSY) busy--;
	if (!c->opened && opening > 0) opening--;
	c->state = CLOSED;
	io_close(c);
}

static void fail(struct conn *c, int error) {
	static int told;
	if (error == 0) failures.lost++;
	else if (error == ECONNRESET || error == EPIPE) failures.reset++;
	else failures.refused++;
	if (error != 0 && !told++) fprintf(stderr, "load: first failure: %s\n", strerror(error));
	end(c);
}

static void send_rest(struct conn *c) {
	const struct batch *batch = c->batch;
	while (c->sent < batch->length) {
		/* The memory is shared by all connections: the stamp is set each time. */
		if (c->sent < batch->stamp_end) {
			char stamp[STAMP];
			stamp_of(c, stamp);
			memcpy(batch->bytes + batch->stamp, stamp, batch->stamp_end - batch->stamp);
		}
		ssize_t n = io_send(c, batch->bytes + c->sent, batch->length - c->sent);
		if (n < 0) {
			if (errno != EAGAIN) return fail(c, errno);
			if (!c->wants_write) watch(c, EPOLL_CTL_MOD, 1);
			return;
		}
		c->sent += (size_t)n;
	}
	if (c->wants_write) watch(c, EPOLL_CTL_MOD, 0);
}

static void begin(struct conn *c, const struct batch *batch, uint64_t time) {
	c->batch = batch;
	c->sequence++;
	c->sent = c->received = 0;
	/* The time to connect counts where each request has its own connection. */
	if (c->state == QUIET) c->began = time;
	c->state = BUSY;
	busy++;
	send_rest(c);
}

static void start(struct conn *c) {
	struct sockaddr_in source = { .sin_family = AF_INET }, peer = { .sin_family = AF_INET };
	int yes = 1;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
	source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + started % SOURCES);
	if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0) die("bind");
	peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	peer.sin_port = htons((uint16_t)options.port);
	started++;
	c->opened = 0;
	c->began = now();
	c->state = CONNECTING;
	if (options.mode != CONNECT) opening++;
	if (connect(c->fd, (struct sockaddr *)&peer, sizeof peer) < 0 && errno != EINPROGRESS)
		return fail(c, errno);
	watch(c, EPOLL_CTL_ADD, 1);
}

/* Connected only means queued: the first reply shows that it was accepted. */
static void ready(struct conn *c) {
	begin(c, options.mode == CONNECT ? &load : &greeting, c->began);
}

static void secure(struct conn *c) {
	ssize_t done = tls_handshake(c->tls);
	if (done > 0) return ready(c);
	if (done == 0 || errno != EAGAIN) return fail(c, done == 0 ? 0 : errno);
	int wants_write = tls_wants_write(c->tls);
	if (wants_write != c->wants_write) watch(c, EPOLL_CTL_MOD, wants_write);
}

static void connected(struct conn *c) {
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error != 0) return fail(c, error);
	if (!options.tls) return ready(c);
	c->tls = tls_open(c->fd);
	if (c->tls == NULL) die("tls");
	c->state = SECURING;
	secure(c);
}

static void answered(struct conn *c) {
	uint64_t time = now();
	int greeted = c->batch == &greeting;
	c->state = QUIET;
	busy--;
	if (phase == MEASURING || (options.mode == IDLE && greeted)) {
		record(time - c->began);
		if (!greeted) {
			requests += c->batch->requests;
			c->served += c->batch->requests;
		}
	}
	if (options.mode == CONNECT) {
		end(c);
		if (phase != DRAINING) start(c);
		return;
	}
	if (!c->opened) {
		c->opened = 1;
		opening--;
		opened++;
	}
	if (options.mode == ECHO && (phase == WARMING || phase == MEASURING)) begin(c, &load, time);
	if (phase == MOVING_BYTES && --c->left > 0) begin(c, &load, time);
	if (c->due != 0) {
		begin(c, &load, c->due);
		c->due = 0;
	}
}

static void receive(struct conn *c) {
	do {
		ssize_t n = io_recv(c, receive_buffer, RECEIVE);
		if (n < 0 && errno == EAGAIN) return;
		if (n <= 0) return fail(c, n < 0 ? errno : 0);
		if (c->state != BUSY || !verify(c, receive_buffer, (size_t)n)) {
			failures.wrong++;
			return end(c);
		}
		c->received += (size_t)n;
		if (c->received == c->batch->reply_length) answered(c);
	} while (c->tls != NULL && c->state >= QUIET && tls_more(c->tls));
}

static void turn(void) {
	struct epoll_event events[EVENTS];
	int n = epoll_wait(poller, events, EVENTS, options.mode == PACED ? 1 : 20);
	if (n < 0 && errno != EINTR) die("epoll_wait");
	for (int i = 0; i < n; i++) {
		struct conn *c = events[i].data.ptr;
		if (c->state == CONNECTING) connected(c);
		else if (c->state == SECURING) secure(c);
		else if (c->state == BUSY && (events[i].events & EPOLLOUT)) send_rest(c);
		if (c->state >= QUIET && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) receive(c);
	}
}

/* Begins the batches that are due by now, the next connection's each time. */
static void pace(void) {
	static uint64_t from, next;
	uint64_t time = now();
	if (options.mode != PACED) return;
	if (from == 0) from = time;
	for (; from + next * options.interval / options.connections <= time; next++) {
		struct conn *c = &conns[next % options.connections];
		uint64_t due = from + next * options.interval / options.connections;
		/* Being late by itself, the generator does not count against the server. */
		if (c->state == QUIET) begin(c, &load, time);
		else if (c->state == BUSY && c->due == 0) c->due = due;
		else if (c->state == BUSY) failures.lost++;
	}
}

static void rest(uint64_t duration) {
	for (uint64_t until = now() + duration; now() < until; turn()) pace();
}

/* Whoever has not answered by the end of the limit has lost a request. */
static void drain(uint64_t limit) {
	for (uint64_t until = now() + limit; busy > 0 && now() < until;) turn();
	failures.lost += busy;
}

static void open_all(void) {
	unsigned next = 0;
	for (uint64_t until = now() + OPEN_LIMIT; now() < until; turn()) {
		while (next < options.connections && opening < options.opening) start(&conns[next++]);
		if (next == options.connections && opening == 0) return;
	}
	failures.lost += options.connections - next;
	for (unsigned i = 0; i < next; i++)
		if (conns[i].state != CLOSED && !conns[i].opened) fail(&conns[i], 0);
}

static void move_all(void) {
	uint64_t batches = (options.move + options.payload - 1) / options.payload;
	phase = MOVING_BYTES;
	for (uint64_t until = now() + MOVE_LIMIT; now() < until; turn()) {
		while (next_to_move < options.connections && busy < MOVING) {
			struct conn *c = &conns[next_to_move++];
			c->left = batches;
			if (c->state == QUIET) begin(c, &load, now());
		}
		if (next_to_move == options.connections && busy == 0) break;
	}
	failures.lost += busy + (options.connections - next_to_move);
}

/* Resident memory of the server. That of the kernel's sockets is not in it. */
static long resident(void) {
	char path[32];
	long pages = 0;
	if (options.pid == 0) return 0;
	snprintf(path, sizeof path, "/proc/%d/statm", options.pid);
	FILE *file = fopen(path, "r");
	if (file == NULL) die(path);
	if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
	fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Processor time that the server has used, all threads together. Other work on the
 * machine moves it far less than it moves the clock on the wall. */
static uint64_t used(void) {
	clockid_t clock;
	struct timespec t;
	if (options.pid == 0) return 0;
	if (clock_getcpuclockid(options.pid, &clock) != 0 || clock_gettime(clock, &t) < 0) die("pid");
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Those who still wait have waited for as long already. */
static void record_waiting(uint64_t time) {
	for (unsigned i = 0; i < options.connections; i++)
		if (conns[i].state == BUSY && time - conns[i].began > slowest) slowest = time - conns[i].began;
}

/* Who was served least, and most, against the average. */
static void print_shares(void) {
	uint64_t least = UINT64_MAX, most = 0;
	for (unsigned i = 0; i < options.connections; i++) {
		if (conns[i].served < least) least = conns[i].served;
		if (conns[i].served > most) most = conns[i].served;
	}
	double mean = (double)requests / options.connections;
	printf("\"least\":%.4f,\"most\":%.4f,", (double)least / mean, (double)most / mean);
}

static void run_load(void) {
	if (options.mode != CONNECT) open_all();
	phase = WARMING;
	for (unsigned i = 0; i < options.connections && options.mode != PACED; i++) {
		if (options.mode == CONNECT) start(&conns[i]);
		else if (conns[i].state == QUIET) begin(&conns[i], &load, now());
	}
	rest(options.warmup);
	phase = MEASURING;
	uint64_t from = now(), to = from, used_before = used();
	while (to < from + options.seconds && (options.requests == 0 || requests < options.requests)) {
		pace();
		turn();
		to = now();
	}
	uint64_t used_for = used() - used_before;
	long memory = resident();
	if (options.mode != CONNECT) record_waiting(to);
	phase = DRAINING;
	drain(DRAIN_LIMIT);
	double seconds = (double)(to - from) / 1e9;
	printf("{\"requests\":%llu,\"seconds\":%.3f,\"requestsPerSecond\":%.1f,\"megabytesPerSecond\":%.2f,",
		(unsigned long long)requests, seconds, (double)requests / seconds,
		(double)requests * (double)options.payload / seconds / 1e6);
	if (requests > 0) printf("\"cpu\":%.3f,", (double)used_for / 1e3 / (double)requests);
	if (requests > 0 && options.mode == ECHO) print_shares();
	printf("\"busy\":%.3f,\"residentKiB\":%ld,", (double)used_for / 1e6 / seconds, memory);
}

static void run_idle(void) {
	long empty = resident(), idle, moved = 0;
	uint64_t from = now();
	open_all();
	double seconds = (double)(now() - from) / 1e9;
	phase = SETTLING;
	rest(options.settle);
	idle = resident();
	if (options.move > 0) {
		move_all();
		phase = SETTLING;
		rest(options.settle);
		moved = resident();
	}
	printf("{\"requests\":%u,\"seconds\":%.3f,\"requestsPerSecond\":%.1f,"
		"\"emptyKiB\":%ld,\"idleKiB\":%ld,\"movedKiB\":%ld,",
		opened, seconds, opened / seconds, empty, idle, moved);
}

static uint64_t duration(const char *text) { return (uint64_t)(strtod(text, NULL) * 1e9); }

static void parse(int argc, char **argv) {
	static const struct option known[] = {
		{ "port", 1, NULL, 'p' }, { "mode", 1, NULL, 'm' }, { "connections", 1, NULL, 'c' },
		{ "depth", 1, NULL, 'd' }, { "payload", 1, NULL, 'b' }, { "framing", 1, NULL, 'f' },
		{ "warmup", 1, NULL, 'w' }, { "seconds", 1, NULL, 's' }, { "requests", 1, NULL, 'r' },
		{ "opening", 1, NULL, 'o' }, { "pid", 1, NULL, 'i' }, { "move", 1, NULL, 'v' },
		{ "settle", 1, NULL, 't' }, { "tls", 0, NULL, 'x' }, { "ask", 1, NULL, 'a' },
		{ "answer", 1, NULL, 'q' }, { "interval", 1, NULL, 'n' }, { NULL, 0, NULL, 0 } };
	for (int flag; (flag = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		unsigned long number = strtoul(optarg == NULL ? "" : optarg, NULL, 10);
		switch (flag) {
		case 'p': options.port = (int)number; break;
		case 'm':
			options.mode = optarg[0] == 'e' ? ECHO :
				optarg[0] == 'c' ? CONNECT :
				optarg[0] == 'p' ? PACED :
				IDLE;
			break;
		case 'c': options.connections = (unsigned)number; break;
		case 'd': options.depth = (unsigned)number; break;
		case 'b': options.payload = number; break;
		case 'f': options.line = strcmp(optarg, "line") == 0; break;
		case 'w': options.warmup = duration(optarg); break;
		case 's': options.seconds = duration(optarg); break;
		case 'r': options.requests = number; break;
		case 'o': options.opening = (unsigned)number; break;
		case 'i': options.pid = (int)number; break;
		case 'v': options.move = number; break;
		case 't': options.settle = duration(optarg); break;
		case 'x': options.tls = 1; break;
		case 'a': options.ask = optarg; break;
		case 'q': options.answer = optarg; break;
		case 'n': options.interval = duration(optarg); break;
		default: exit(2);
		}
	}
	if (options.port == 0 || options.connections == 0 || options.depth == 0 ||
		options.payload == 0 || options.opening == 0 || options.interval == 0) {
		fprintf(stderr,
			"load: port, connections, depth, payload, interval and opening must be above 0\n");
		exit(2);
	}
	if ((options.ask == NULL) != (options.answer == NULL) || (options.ask != NULL &&
		(*options.ask == '\0' || *options.answer == '\0'))) {
		fprintf(stderr, "load: ask and answer go together, and neither is empty\n");
		exit(2);
	}
}

int main(int argc, char **argv) {
	struct rlimit limit;
	parse(argc, argv);
	if (options.tls && !tls_begin()) {
		fprintf(stderr, "load: there is no TLS 1.3 in this build\n");
		exit(2);
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (options.connections + OTHER_FILES > limit.rlim_cur) {
		fprintf(stderr, "load: %u connections are more than the limit of %llu descriptors allows (ulimit -Hn)\n",
			options.connections, (unsigned long long)limit.rlim_cur);
		exit(2);
	}
	/* The last resort, should every other limit here have a hole. */
	alarm((unsigned)((OPEN_LIMIT + DRAIN_LIMIT + MOVE_LIMIT + options.warmup + options.seconds +
		2 * options.settle) / SECOND) + 5);
	poller = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc(options.connections, sizeof *conns);
	if (poller < 0 || conns == NULL) die("cannot start");
	make_batch(&greeting, options.payload < GREETING ? options.payload : GREETING, 1);
	make_batch(&load, options.payload, options.depth);
	if (options.mode == IDLE) run_idle();
	else run_load();
	printf("\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,"
		"\"refused\":%llu,\"reset\":%llu,\"lost\":%llu,\"wrong\":%llu}\n",
		percentile(0.5), percentile(0.99), percentile(0.999), (double)slowest / 1e3,
		(unsigned long long)failures.refused, (unsigned long long)failures.reset,
		(unsigned long long)failures.lost, (unsigned long long)failures.wrong);
	return 0;
}
