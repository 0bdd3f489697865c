/** `client latency`: one request after another, and how long each took. */

import type { Client } from "../../client/api.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { toLine } from "../../core/text.ts";
import { Latencies } from "../bench/result.ts";

/** Takes samples, and gives a line for each, until there are enough of them. */
export async function* sampleLatency(
  client: Pick<Client, "request">,
  { payload, interval, count, json, clock = systemClock }: {
    payload: Uint8Array;
    /** From one request to the next, in milliseconds. */
    interval: number;
    count: number;
    json: boolean;
    clock?: Clock;
  },
): AsyncGenerator<string> {
  const latencies = new Latencies();
  let due = clock.now();
  while (true) {
    const asked = clock.now();
    await client.request(payload);
    const ms = clock.now() - asked;
    latencies.add(ms);
    const { min, mean: avg, max, count: samples } = latencies;
    const all = { last: ms, min, avg, p99: latencies.percentile(99), max };
    const times = Object.entries(all)
      .map(([name, ms]) => [name, ms.toFixed(3)]);
    const fields = times.map(([name, ms]) => [`${name}_ms`, Number(ms)]);
    yield json
      ? toLine({ samples, ...Object.fromEntries(fields) })
      : `${samples}: ${times.map((pair) => pair.join(" ")).join(", ")} ms`;
    if (samples === count) return;
    // If the reply took longer than the interval, the next request is due now.
    const now = clock.now();
    due = Math.max(due + interval, now);
    await new Promise<void>((next) => clock.after(due - now, next));
  }
}
