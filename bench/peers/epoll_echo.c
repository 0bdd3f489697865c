/*
 * Echo in C: one thread, epoll, no framing. Sends back what it reads, at once.
 * Per request: one recv, one send, a share of an epoll_wait. It looks at no
 * byte and knows no frame, so it is about the limit for one thread.
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

/* What the kernel did not take yet, while there is any. */
struct conn {
	int fd;
	char *rest;
	size_t at, end;
};

static int poller, listener;
static char buffer[64 * 1024];

static void end(struct conn *c) {
	close(c->fd);
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

static void receive(struct conn *c) {
	ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
	if (n < 0 && errno == EAGAIN) return;
	if (n <= 0) return end(c);
	ssize_t sent = send(c->fd, buffer, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) return end(c);
	if (sent < 0) sent = 0;
	if (sent == n) return;
	c->at = 0;
	c->end = (size_t)(n - sent);
	c->rest = malloc(c->end);
	if (c->rest == NULL) return end(c);
	memcpy(c->rest, buffer + sent, c->end);
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

int main(void) {
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
