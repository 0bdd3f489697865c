/**
 * Echo on bare Deno: a loop of `read` and `write`, no framing. Sends back what
 * it reads, and waits for each write. Per request: one read, one write, two
 * promises. It looks at no byte and knows no frame, limit or deadline.
 *
 * @module
 */

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 4096,
});
console.log((listener.addr as Deno.NetAddr).port);

while (true) serve(await listener.accept());

async function serve(conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  const buffer = new Uint8Array(64 * 1024);
  try {
    while (true) {
      const n = await conn.read(buffer);
      if (n === null) break;
      for (let done = 0; done < n;) {
        done += await conn.write(buffer.subarray(done, n));
      }
    }
  } catch {
    // The generator may reset; nothing is owed then.
  }
  conn.close();
}
