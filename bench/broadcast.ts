/**
 * `deno task bench-broadcast`: lines delivered in a second where each line that
 * one client sends goes to 1,000, on Parley and on Node in turns.
 *
 * @module
 */

import { at, BUILD } from "./paths.ts";
import { type Command, run, serverOf } from "./processes.ts";

const RECEIVERS = 1000;
const ROUNDS = 5;
const SECONDS = 3;

await Deno.mkdir(at(BUILD), { recursive: true });
const receivers = at(`${BUILD}receivers`);
await run(["cc", "-O2", at("bench/receivers.c"), "-o", receivers], 60_000);

const servers: Record<string, Command> = {
  Parley: [
    Deno.execPath(),
    ...["run", "--no-check", "--allow-net", "--allow-read"],
    at("bench/peers/parley_broadcast.ts"),
  ],
  Node: ["node", at("bench/peers/node_broadcast.mjs")],
};
for (const size of [64, 1024]) {
  const rates: Record<string, number[]> = { Parley: [], Node: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, command] of Object.entries(servers)) {
      const server = await serverOf(command);
      const told = [server.port, RECEIVERS, size, SECONDS].map(String);
      rates[name].push(Number(await run([receivers, ...told], 60_000)));
      await server.stop();
    }
  }
  const [parley, node] = [rates.Parley, rates.Node].map((all) =>
    all.sort((a, b) => a - b)[ROUNDS >> 1]
  );
  console.log(
    `${size} bytes, ${RECEIVERS} receivers: Parley ${parley} lines/s, ` +
      `Node ${node} lines/s, ${(parley / node).toFixed(2)} x`,
  );
}
