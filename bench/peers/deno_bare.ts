/**
 * Echo on bare Deno, plain or by TLS: `deno_bare.ts [CERT KEY]`, both files in
 * PEM. A loop of `read` and `write`, no framing. Sends back what it reads, and
 * waits for each write. Per request: one read, one write, two promises. It looks
 * at no byte and knows no frame, limit or deadline.
 *
 * @module
 */

const [cert, key] = Deno.args;
const where = { hostname: "127.0.0.1", port: 0, tcpBacklog: 4096 };
const listener: Deno.Listener<Deno.TcpConn | Deno.TlsConn> = cert === undefined
  ? Deno.listen(where)
  : Deno.listenTls({
    ...where,
    cert: Deno.readTextFileSync(cert),
    key: Deno.readTextFileSync(key),
  });
console.log((listener.addr as Deno.NetAddr).port);

while (true) serve(await listener.accept());

async function serve(conn: Deno.TcpConn | Deno.TlsConn): Promise<void> {
  // A TLS connection has no such switch; its handshake comes with the first read.
  if ("setNoDelay" in conn) conn.setNoDelay(true);
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
