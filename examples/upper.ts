// A whole server: it replies to each line with the line in capitals.
//
//   deno run --allow-net examples/upper.ts
//   printf 'hello\n' | nc -N 127.0.0.1 7000

import { formatAddr, serve } from "@parley/parley";

const decoder = new TextDecoder();

serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 7000),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, (request) => decoder.decode(request).toUpperCase());
