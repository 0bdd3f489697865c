/** Time, as an argument: tests bring a clock of their own. */

export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /**
   * Calls `tick` once after `ms`, and keeps the process alive until then unless
   * in the background. What it returns takes the call back.
   */
  after(
    ms: number,
    tick: () => void,
    options?: { background: boolean },
  ): () => void;
}

/** The process's monotonic clock: a change of the date does not move it. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, tick, options) {
    const id = setTimeout(tick, ms);
    if (options?.background) Deno.unrefTimer(id);
    return () => clearTimeout(id);
  },
};

/** Waits for something, but no longer than `ms`: then nothing comes back. */
export async function within<Value>(
  clock: Clock,
  ms: number,
  something: Promise<Value>,
): Promise<Value | undefined> {
  const late = Promise.withResolvers<undefined>();
  const cancel = clock.after(ms, () => late.resolve(undefined));
  return await Promise.race([something, late.promise]).finally(cancel);
}
