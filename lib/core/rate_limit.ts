/**
 * Rates, by token buckets in memory that the threads of a server share.
 *
 * A bucket is one number, the moment when it will be full again (the "virtual
 * scheduling" of ITU-T I.371, annex A). A full one is as good as none. Where all
 * places of a set owe something, the one that owes least is forgotten.
 */

import { networkOf } from "./address.ts";
import { checkNumber, checkOptions } from "./checks.ts";
import { OptionError } from "./errors.ts";
import { parseRate, type Rate, RATE_FORM } from "./units.ts";

/** Places of a set: a key may have any of them, and no other. */
const WAYS = 8;
const SETS = 2 ** 14;
const PLACES = WAYS * SETS;

/**
 * How often a thread tries to lock a set, for about 10 ms. A lock is held for less
 * than a microsecond, so then its thread has ended, or the system has paused it.
 */
const PATIENCE = 1_000_000;

/** The buckets of one rate: 1.6 MiB, of which those in use are resident. */
export interface RateCells {
  /** When each is full again, in milliseconds; the last is the latest moment. */
  readonly times: Float64Array;
  /** Whose each is, a hash that is not 0; behind them two secret seeds. */
  readonly tags: Int32Array;
  /** Who works on a set, 0 for nobody. */
  readonly locks: Int32Array;
}

export function rateCells(): RateCells {
  const cells = (count: number) =>
    new Int32Array(new SharedArrayBuffer(4 * count));
  const tags = cells(PLACES + 2);
  tags.set(crypto.getRandomValues(new Int32Array(2)), PLACES);
  const times = new Float64Array(new SharedArrayBuffer(8 * (PLACES + 1)));
  return { times, tags, locks: cells(SETS) };
}

export class TokenBuckets {
  readonly #id = 1 + Math.floor(Math.random() * (2 ** 31 - 1));

  /** @param offset Milliseconds from this thread's clock to that of all threads. */
  constructor(
    readonly rate: Rate,
    private readonly cells: RateCells = rateCells(),
    private readonly offset = 0,
  ) {}

  /** Takes a token, if there is one; `now` is by this thread's clock. */
  take(key: string, now: number): boolean {
    const { times, tags, locks } = this.cells;
    const { interval, burst } = this.rate;
    // Clocks of threads differ by some milliseconds; time goes by the first.
    const at = times[PLACES] = Math.max(now + this.offset, times[PLACES]);
    let [a, b] = [tags[PLACES], tags[PLACES + 1]];
    for (let i = 0; i < key.length; i++) {
      const code = key.charCodeAt(i);
      a = Math.imul(a ^ code, 0x85ebca6b);
      b = Math.imul(b ^ code, 0xc2b2ae35);
      a ^= a >>> 15;
      b ^= b >>> 13;
    }
    const [set, tag] = [a & (SETS - 1), b || 1];
    let left = PATIENCE;
    while (Atomics.compareExchange(locks, set, 0, this.#id) !== 0) {
      if (--left === 0) Atomics.store(locks, set, 0);
    }
    const end = (set + 1) * WAYS;
    let place = end - WAYS;
    let fullest = place;
    for (; place < end && tags[place] !== tag; place++) {
      if (times[place] < times[fullest]) fullest = place;
    }
    const owing = place < end ? times[place] : at;
    const full = Math.max(owing, at) + interval;
    // A thousandth more, because sums of fractions are not exact.
    const taken = full - at <= (burst + 0.001) * interval;
    // This thread was paused and has lost the lock: what it read may be old.
    if (Atomics.load(locks, set) !== this.#id) return this.take(key, now);
    if (taken) {
      if (place === end) tags[place = fullest] = tag;
      times[place] = full;
    }
    Atomics.compareExchange(locks, set, this.#id, 0);
    return taken;
  }
}

/** A rate for each of many keys; see {@linkcode rateLimit}. */
export interface RateLimit {
  /**
   * Takes a token, if there is one.
   *
   * @param key Whose: any text, or an address, which counts by its network. All
   * clients of a Unix socket are one.
   * @returns Whether there was one.
   */
  take(key: string | Deno.Addr): boolean;
}

/**
 * Makes a token bucket for each key, full at first. Their memory is bounded
 * (1.6 MiB): beyond some 100,000 keys that are not full, those that owe least
 * are forgotten and begin anew, full. With threads, each has buckets of its own.
 *
 * @param rate Tokens a second, minute or hour, and how many a full bucket has,
 * by default as many: `100/s`, `600/m`, `1000/h`, `10/s:50`.
 * @param options `ipPrefix`: how many bits of an IPv6 address are its network's,
 * 64 by default. IPv4 is whole, also where it is written as IPv6.
 * @throws {OptionError} The rate is none, or the prefix not from 1 to 128.
 *
 * @example
 * ```ts
 * import { rateLimit, serve } from "../mod.ts";
 *
 * const searches = rateLimit("10/s:20");
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0 },
 *   (_, { remoteAddr }) => searches.take(remoteAddr) ? "found" : "ERR busy: later",
 * );
 * ```
 */
export function rateLimit(
  rate: string,
  options: { ipPrefix?: number } = {},
): RateLimit {
  checkOptions(options, { ipPrefix: 0 });
  const { ipPrefix = 64 } = options;
  const parsed = parseRate(rate);
  if (parsed === undefined) throw new OptionError("rate", rate, RATE_FORM);
  const buckets = new TokenBuckets(parsed);
  checkNumber("ipPrefix", ipPrefix);
  return {
    take: (key) =>
      buckets.take(
        typeof key === "string" ? key : networkOf(key, ipPrefix),
        performance.now(),
      ),
  };
}
