/** How often each text came. */

/** More texts than these are a peer's that says something else each time. */
const MOST_TEXTS = 100;

const OTHERS = "(others)";

export interface TextCount {
  readonly text: string;
  readonly count: number;
}

/** Counts texts; the first hundred by themselves, and all others together. */
export class Tally {
  total = 0;
  readonly #counts = new Map<string, number>();

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
