/**
 * The generator's own limit on Deno:
 * `deno_load.ts PORT CONNECTIONS DEPTH PAYLOAD SECONDS`.
 *
 * Each connection writes a batch of lines, reads until as many bytes have come
 * back, and writes the next. It makes no request anew, looks at no byte of a
 * reply and at no clock but the one that ends it. Prints what
 * `client bench --json` prints, without latencies.
 *
 * @module
 */

const [port, connections, depth, payload, seconds] = Deno.args.map(Number);

const line = new Uint8Array(payload + 1).fill(0x61);
line[payload] = 10;
const batch = new Uint8Array(line.length * depth);
for (let i = 0; i < depth; i++) batch.set(line, i * line.length);

let batches = 0;
let over = false;
let failed = 0;

const conns = await Promise.all(
  Array.from(
    { length: connections },
    () => Deno.connect({ hostname: "127.0.0.1", port }),
  ),
);
const began = performance.now();
setTimeout(() => over = true, seconds * 1000);
await Promise.all(conns.map(drive));
const spent = (performance.now() - began) / 1000;
console.log(JSON.stringify({
  failed,
  requests_per_second: batches * depth / spent,
  bytes_per_second: batches * depth * payload / spent,
  latency_seconds: {},
}));

async function drive(conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  const space = new Uint8Array(64 * 1024);
  while (!over) {
    for (let sent = 0; sent < batch.length;) {
      sent += await conn.write(batch.subarray(sent));
    }
    for (let got = 0; got < batch.length;) {
      const n = await conn.read(space);
      if (n === null) {
        failed++;
        return conn.close();
      }
      got += n;
    }
    batches++;
  }
  conn.close();
}
