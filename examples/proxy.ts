// Forwards each request to the one of several servers with the fewest requests
// in flight. A server that is down is left out until it answers again. A request
// that only reads is sent again if its server is lost.
//
//   deno run --allow-net examples/proxy.ts 7000 127.0.0.1:7001 127.0.0.1:7002

import {
  createPool,
  formatAddr,
  PoolBusyError,
  serve,
  TimeoutError,
} from "@parley/parley";

const [port, ...targets] = Deno.args;
const READS = /^(PING|ECHO|TIME|UPPER)\b/i;
const decoder = new TextDecoder();

const pool = createPool({
  servers: targets.map((target) => {
    const [hostname, port] = target.split(":");
    return { hostname, port: Number(port) };
  }),
  timeout: 2000,
  healthCheck: { request: "PING", expect: "PONG" },
  onStateChange: (server, error) =>
    console.log(`${server} is ${error === undefined ? "up" : "down"}`),
});

serve({
  hostname: "127.0.0.1",
  port: Number(port),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
  onError(error) {
    if (error instanceof PoolBusyError) return "ERR busy: too many requests";
    if (error instanceof TimeoutError) return "ERR late: no reply in time";
    // The request may have been done: another server would do it twice.
    return "ERR lost: the server behind has not replied";
  },
}, (request) => {
  const idempotent = READS.test(decoder.decode(request));
  return pool.request(request, { idempotent });
});
