// Middleware without a framework: functions that take a handler and return
// another handler.
//
//   deno run --allow-net examples/middleware.ts
//   printf 'AUTH secret\nPING\n' | nc -N 127.0.0.1 7000

import {
  commands,
  formatAddr,
  type Handler,
  type RateLimit,
  rateLimit,
  type Reply,
  serve,
} from "@parley/parley";

/** What is known of a client. */
interface Client {
  authenticated: boolean;
}
type Next = Handler<Client>;

const decoder = new TextDecoder();

/** Prints each request, and the connection that it came from. */
const log = (next: Next): Next => (request, info) => {
  console.log(`${info.id} asks ${JSON.stringify(decoder.decode(request))}`);
  return next(request, info);
};

/** Measures how long the replies take. */
const time =
  (next: Next, took: (ms: number) => void): Next =>
  async (request, info): Promise<Reply> => {
    const began = performance.now();
    try {
      return await next(request, info);
    } finally {
      took(performance.now() - began);
    }
  };

/** Limits how often each address may send requests. */
const rate = (next: Next, limit: RateLimit): Next => (request, info) =>
  limit.take(info.remoteAddr)
    ? next(request, info)
    : "ERR busy: too many requests";

/** Closes connections that do not begin with the secret. */
const authenticate = (next: Next, secret: string): Next => (request, info) => {
  if (info.state.authenticated) return next(request, info);
  if (decoder.decode(request) !== `AUTH ${secret}`) {
    info.close();
    return "ERR denied: AUTH secret first";
  }
  info.state.authenticated = true;
  return "OK";
};

let handler: Next = commands;
handler = authenticate(handler, "secret");
handler = rate(handler, rateLimit("10/m"));
handler = time(handler, (ms) => console.log(`took ${ms.toFixed(3)} ms`));
handler = log(handler);

serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 7000),
  state: () => ({ authenticated: false }),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, handler);
