// Echo in C++: a thread per connection, blocking calls, no framing. Sends back
// what it reads, at once. Per request: one recv, one send, two context switches.
// It looks at no byte and knows no frame.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <system_error>
#include <thread>

static void serve(int fd) {
	char buffer[64 * 1024];
	for (;;) {
		ssize_t n = recv(fd, buffer, sizeof buffer, 0);
		if (n <= 0) break;
		ssize_t done = 0;
		while (done < n) {
			ssize_t sent = send(fd, buffer + done, static_cast<size_t>(n - done), MSG_NOSIGNAL);
			if (sent < 0) break;
			done += sent;
		}
		if (done < n) break;
	}
	close(fd);
}

int main() {
	rlimit limit{};
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockaddr_in addr{};
	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t size = sizeof addr;
	if (bind(listener, reinterpret_cast<sockaddr *>(&addr), size) < 0) return 1;
	if (listen(listener, 4096) < 0) return 1;
	getsockname(listener, reinterpret_cast<sockaddr *>(&addr), &size);
	std::printf("%d\n", ntohs(addr.sin_port));
	std::fflush(stdout);
	for (;;) {
		int yes = 1, fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
		if (fd < 0) continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
		try {
			std::thread(serve, fd).detach();
		} catch (const std::system_error &) {
			// No thread to be had: this connection is refused, the others live.
			close(fd);
		}
	}
}
