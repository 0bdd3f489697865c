/**
 * Echo on Deno's Web Streams: `readable.pipeTo(writable)`, no framing. Sends
 * back what it reads. It looks at no byte and knows no frame, limit or
 * deadline.
 *
 * @module
 */

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 4096,
});
console.log(listener.addr.port);

while (true) {
  const conn = await listener.accept();
  conn.setNoDelay(true);
  // The pipe closes the connection; the generator may reset it before.
  conn.readable.pipeTo(conn.writable).catch(() => {});
}
