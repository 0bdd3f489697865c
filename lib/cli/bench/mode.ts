/**
 * `client bench` from its flags to its report. `client.ts` loads it only for
 * that, since the histogram takes longer to load than a request to answer.
 */

import { type Clock, systemClock } from "../../core/clock.ts";
import type { Line } from "../client/flags.ts";
import { columns, print, show } from "../streams/standard_streams.ts";
import { type BenchOptions, runBench } from "./bench.ts";
import { summarize, toCsv, toJson, toProgress, toText } from "./report.ts";
import type { Moment } from "./result.ts";

const CLEAR = "\r\x1b[K";

/** `plain` says that the terminal must get no sequence that moves its cursor. */
export async function benchMode(
  { flags }: Line<"bench">,
  target: string,
  options: Pick<BenchOptions, "payloads" | "connect" | "signal">,
  plain: boolean,
): Promise<number> {
  const { c: connections, P: depth, rate = null, reconnect } = flags;
  const { framing, tls, duration = Infinity } = flags;
  let last: Moment = { elapsed: 0, done: 0 };
  const showsProgress = Deno.stderr.isTerminal() && !flags.q;
  const result = await runBench({
    ...{ ...options, connections, depth, rate, reconnect, duration },
    requests: duration === Infinity ? flags.n : Infinity,
    clock: preciseClock,
    onProgress(sofar) {
      // Lines that stay are enough once a second.
      if (plain && sofar.elapsed - last.elapsed < 1000) return;
      const text = toProgress(sofar, last, columns());
      if (showsProgress) show(plain ? `${text}\n` : CLEAR + text);
      last = { elapsed: sofar.elapsed, done: sofar.done };
    },
  });
  if (showsProgress && !plain) show(CLEAR);
  const summary = summarize(
    { target, framing, tls, connections, depth, rate, reconnect },
    options.payloads,
    result,
  );
  const format = flags.json ? toJson : flags.csv ? toCsv : toText;
  await print(format(summary));
  if (result.end === "interrupted") return 130;
  const failed = result.failed + result.refused > 0 ||
    result.end === "no_connection" ||
    (!flags["errors-ok"] && result.errReplies.total > 0);
  return failed ? 1 : 0;
}

/** How late timers are, and some more, in milliseconds: 1.2 were measured. */
const TIMER_LAG = 3;

/**
 * The process's clock with calls that are late by microseconds: the end of a
 * wait is turns of the event loop. A latency that counts from when a request
 * was due would else have the timer's lateness in it.
 */
export const preciseClock: Clock = {
  now: systemClock.now,
  after(ms, tick) {
    const due = systemClock.now() + ms;
    let cancel: () => void;
    const turn = () => {
      const immediate = setImmediate(() => {
        if (systemClock.now() >= due) tick();
        else turn();
      });
      cancel = () => clearImmediate(immediate);
    };
    if (ms > TIMER_LAG) cancel = systemClock.after(ms - TIMER_LAG, turn);
    else turn();
    return () => cancel();
  },
};
