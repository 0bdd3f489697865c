// Guess a number: each connection has its own state, with its own type.
//
//   deno run --allow-net examples/state.ts
//   nc 127.0.0.1 7000

import { formatAddr, serve } from "@parley/parley";

const decoder = new TextDecoder();

serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 7000),
  state: () => ({ secret: 1 + Math.floor(Math.random() * 100), tries: 0 }),
  onOpen: () => "I think of a number from 1 to 100.",
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, (request, info) => {
  // `info.state` was made by the option `state` for this connection.
  const { state } = info;
  const guess = Number(decoder.decode(request));
  if (!(guess >= 1 && guess <= 100)) return "A number from 1 to 100, please.";
  state.tries++;
  if (guess < state.secret) return "It is more.";
  if (guess > state.secret) return "It is less.";
  info.close();
  return `Yes, after ${state.tries} tries.`;
});
