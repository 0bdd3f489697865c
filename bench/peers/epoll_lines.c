/*
 * Lines in C: one thread, epoll: epoll_lines MAX_LINE
 *
 * Finds each line, calls a handler with it, puts
 * its reply and LF into a batch, and sends the batch in one write: the same work
 * for a request as Parley's. One read of 64 KiB for a connection and a turn, so
 * that nobody keeps the others waiting. A line of more than MAX_LINE bytes ends
 * its connection. No deadline, no count of connections, nothing is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ (64 * 1024)

struct conn {
	int fd;
	char *part; /* the start of a line that is not whole, if there is one */
	size_t part_length, part_room;
	char *rest; /* what the kernel did not take yet, while there is any */
	size_t at, end;
};

static int poller, listener;
static size_t max_line;
static char in[READ], *out;

static void end(struct conn *c) {
	close(c->fd);
	free(c->part);
	free(c->rest);
	free(c);
}

static void watch(struct conn *c, int operation, unsigned events) {
	struct epoll_event event = { .events = events, .data.ptr = c };
	epoll_ctl(poller, operation, c->fd, &event);
}

static void welcome(void) {
	int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) return;
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL) abort();
	c->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

/* Keeps a copy of some bytes; nothing where there are none. */
static char *keep(const char *bytes, size_t length) {
	char *copy = length == 0 ? NULL : malloc(length);
	if (length > 0 && copy == NULL) abort();
	return length == 0 ? NULL : memcpy(copy, bytes, length);
}

/* The handler: writes the reply to a request, and says how long it is. */
static size_t echo(const char *request, size_t length, char *reply) {
	memcpy(reply, request, length);
	return length;
}

/* A line that goes on is read behind its start, so that none is copied for each read. */
static char *room(struct conn *c) {
	if (c->part_length == 0) return in;
	if (c->part_room - c->part_length < READ) {
		c->part_room = 2 * c->part_length + READ;
		c->part = realloc(c->part, c->part_room);
		if (c->part == NULL) abort();
	}
	return c->part;
}

static void receive(struct conn *c) {
	char *bytes = room(c);
	size_t start = 0, scanned = c->part_length, filled = 0;
	ssize_t n = recv(c->fd, bytes + scanned, READ, 0);
	if (n < 0 && errno == EAGAIN) return;
	if (n <= 0) return end(c);
	size_t all = scanned + (size_t)n;
	for (char *lf; (lf = memchr(bytes + scanned, '\n', all - scanned)) != NULL; start = scanned) {
		scanned = (size_t)(lf - bytes) + 1;
		if (scanned - 1 - start > max_line) return end(c);
		filled += echo(bytes + start, scanned - 1 - start, out + filled);
		out[filled++] = '\n';
	}
	if (all - start > max_line) return end(c);
	if (start > 0 || bytes == in) {
		char *part = keep(bytes + start, all - start);
		free(c->part);
		c->part = part;
		c->part_room = all - start;
	}
	c->part_length = all - start;
	if (filled == 0) return;
	ssize_t sent = send(c->fd, out, filled, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) return end(c);
	if (sent < 0) sent = 0;
	if ((size_t)sent == filled) return;
	c->at = 0;
	c->end = filled - (size_t)sent;
	c->rest = keep(out + sent, c->end);
	/* Reads no more until this is out: that is all the backpressure it needs. */
	watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void send_rest(struct conn *c) {
	ssize_t n = send(c->fd, c->rest + c->at, c->end - c->at, MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN) return;
	if (n < 0) return end(c);
	c->at += (size_t)n;
	if (c->at < c->end) return;
	free(c->rest);
	c->rest = NULL;
	watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

int main(int argc, char **argv) {
	max_line = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	out = malloc(max_line + 2 * READ);
	if (max_line == 0 || out == NULL) return 2;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof addr;
	struct epoll_event events[1024], accepting = { .events = EPOLLIN };
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (bind(listener, (struct sockaddr *)&addr, size) < 0 || listen(listener, 4096) < 0) return 1;
	getsockname(listener, (struct sockaddr *)&addr, &size);
	printf("%d\n", ntohs(addr.sin_port));
	fflush(stdout);
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &accepting);
	for (;;) {
		int n = epoll_wait(poller, events, 1024, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c == NULL) welcome();
			else if (c->rest != NULL) send_rest(c);
			else receive(c);
		}
	}
}
