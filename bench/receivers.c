/*
 * Many who listen to what one says: receivers PORT COUNT SIZE SECONDS
 *
 * COUNT connections read; one of them sends a line of SIZE bytes each time that
 * all have got the one before last, so that two are always under way. The server
 * sends each line to all. The result is the lines delivered in a second, the
 * server's answer to each of them being COUNT lines.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: receivers PORT COUNT SIZE SECONDS\n");
    return 2;
  }
  int count = atoi(argv[2]), size = atoi(argv[3]);
  double seconds = atof(argv[4]);
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons(atoi(argv[1])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int poll = epoll_create1(0), *fds = calloc(count, sizeof *fds), one = 1;
  for (int i = 0; i < count; i++) {
    fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (fds[i] < 0) die("socket");
    if (connect(fds[i], (void *)&to, sizeof to) < 0) die("connect");
    setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event) < 0) die("epoll_ctl");
  }
  char *line = malloc(size), *buffer = malloc(1 << 18);
  memset(line, 'x', size);
  line[size - 1] = '\n';
  /* The server has all of them once it has said a first line to each. */
  usleep(500000);
  long long got = 0, each = (long long)count * size;
  double from = 0, until = now() + seconds;
  long sent = 0, begun = -1;
  for (;;) {
    while (sent < 2 + got / each) {
      if (write(fds[0], line, size) != size) die("write");
      sent++;
    }
    struct epoll_event events[256];
    int n = epoll_wait(poll, events, 256, 5000);
    if (n <= 0) {
      fprintf(stderr, "receivers: nothing came for 5 s\n");
      return 1;
    }
    for (int i = 0; i < n; i++) {
      ssize_t bytes = recv(events[i].data.fd, buffer, 1 << 18, MSG_DONTWAIT);
      if (bytes == 0) die("a connection was closed");
      if (bytes < 0 && errno != EAGAIN) die("recv");
      if (bytes > 0) got += bytes;
    }
    double t = now();
    /* The first tenth warms up. */
    if (begun < 0 && t > until - 0.9 * seconds) {
      begun = got;
      from = t;
    }
    if (t >= until) {
      printf("%.0f\n", (got - begun) / (double)size / (t - from));
      return 0;
    }
  }
}
