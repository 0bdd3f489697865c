/**
 * How often each text came.
 *
 * @module
 */

/** More texts than these are a peer's that says something else each time. */
const MOST_TEXTS = 100;

/** Stands for all texts that came after those. */
const OTHERS = "(others)";

/** A text, and how often it came. */
export interface TextCount {
  /** The text. */
  readonly text: string;
  /** How often it came. */
  readonly count: number;
}

/** Counts texts; the first hundred by themselves, and all others together. */
export class Tally {
  /** How many came in all. */
  total = 0;
  readonly #counts = new Map<string, number>();

  /** Counts a text. */
  add(text: string): void {
    this.total++;
    const known = this.#counts.has(text) || this.#counts.size < MOST_TEXTS;
    const key = known ? text : OTHERS;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** The texts, the most frequent first. */
  list(): TextCount[] {
    return [...this.#counts]
      .map(([text, count]) => ({ text, count }))
      .sort((a, b) => b.count - a.count);
  }
}
