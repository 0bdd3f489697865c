/**
 * The worker of `memory_pressure.ts`: pings a server, each time by a connection
 * of its own, on an event loop of its own. It is told the port, then to stop.
 *
 * @module
 */

import type { Pings } from "./memory_pressure.ts";

/** Between two pings, in milliseconds. */
const PAUSE = 20;

declare const self: DedicatedWorkerGlobalScope;
interface DedicatedWorkerGlobalScope {
  onmessage: (event: MessageEvent<number | "stop">) => void;
  postMessage(pings: Pings): void;
}

const bytes = new TextEncoder().encode("PING\n");
let count = 0;
let failed = 0;
let longest = 0;
/** When the ping under way began. */
let since: number | undefined;

self.onmessage = ({ data }) => {
  if (data !== "stop") return void pingOn(data);
  // Whoever still waits has waited for as long already.
  if (since !== undefined) {
    longest = Math.max(longest, performance.now() - since);
    count++;
    failed++;
  }
  self.postMessage({ count, failed, longest });
};

async function pingOn(port: number): Promise<void> {
  while (true) {
    since = performance.now();
    const answered = await ping(port);
    longest = Math.max(longest, performance.now() - since);
    since = undefined;
    count++;
    if (!answered) failed++;
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

/** Whether the right reply came. */
async function ping(port: number): Promise<boolean> {
  try {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await conn.write(bytes);
    const space = new Uint8Array(64);
    let text = "";
    while (!text.endsWith("\n")) {
      const n = await conn.read(space);
      if (n === null) break;
      text += new TextDecoder().decode(space.subarray(0, n));
    }
    return text === "PONG\n";
  } catch {
    return false;
  }
}
