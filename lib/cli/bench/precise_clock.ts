/** A clock for requests that are due at a certain moment. */

import { clearImmediate, setImmediate } from "node:timers";

import { type Clock, systemClock } from "../../core/clock.ts";

/**
 * How late the runtime's timers are, in milliseconds, and some more: measured
 * at 1.2 ms on the average, for any delay.
 */
const TIMER_LAG = 3;

/**
 * The process's monotonic clock with calls that are late by microseconds. The
 * last 3 ms of a wait are turns of the event loop, which keep a processor busy:
 * a latency that is counted from when a request was due would else have the
 * timer's lateness in it, many times what a server takes.
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
