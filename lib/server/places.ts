/**
 * The limits that count connections: how many at once, and how many from one
 * address (`networkOf`). They hold for a whole server, whatever its threads.
 */

/** Who gets a place. */
export interface Places {
  /** The next connection's number, from 1, never given twice. */
  nextId(): number;
  /** Takes a place, if there is one. */
  take(): boolean;
  /** Gives a place back. */
  free(): void;
  /** Takes one of an address's places, if there is one. */
  enter(ip: string): boolean | Promise<boolean>;
  /** Gives one of an address's places back. */
  leave(ip: string): void;
}

/** The places of a server with one thread. */
export class LocalPlaces implements Places {
  readonly #most: number;
  readonly #perIp: AddressCounts;
  #ids = 0;
  #taken = 0;

  constructor(most: number, mostPerIp: number) {
    this.#most = most;
    this.#perIp = new AddressCounts(mostPerIp);
  }

  nextId(): number {
    return ++this.#ids;
  }

  take(): boolean {
    if (this.#most > 0 && this.#taken >= this.#most) return false;
    this.#taken++;
    return true;
  }

  free(): void {
    this.#taken--;
  }

  enter(ip: string): boolean {
    return this.#perIp.enter(ip);
  }

  leave(ip: string): void {
    this.#perIp.leave(ip);
  }
}

/** Counts connections by address. */
export class AddressCounts {
  readonly #most: number;
  readonly #open = new Map<string, number>();

  /** @param most The most from one address, 0 for no limit. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Takes one of an address's places, if there is one. */
  enter(ip: string): boolean {
    if (this.#most === 0) return true;
    const open = this.#open.get(ip) ?? 0;
    if (open >= this.#most) return false;
    this.#open.set(ip, open + 1);
    return true;
  }

  /** Gives places of an address back. */
  leave(ip: string, count = 1): void {
    if (this.#most === 0) return;
    const open = (this.#open.get(ip) ?? 0) - count;
    if (open > 0) this.#open.set(ip, open);
    else this.#open.delete(ip);
  }

  /** How many there are of each address. */
  [Symbol.iterator](): IterableIterator<[string, number]> {
    return this.#open.entries();
  }
}
