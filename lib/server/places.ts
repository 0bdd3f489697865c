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
  free(): void;
  /** Takes one of an address's places, if there is one. */
  enter(ip: string): boolean | Promise<boolean>;
  leave(ip: string): void;
}

/** Counts connections by address. */
export class AddressCounts {
  readonly #open = new Map<string, number>();

  /** @param most The most from one address, 0 for no limit. */
  constructor(private readonly most: number) {}

  enter(ip: string): boolean {
    if (this.most === 0) return true;
    const open = this.#open.get(ip) ?? 0;
    if (open >= this.most) return false;
    this.#open.set(ip, open + 1);
    return true;
  }

  leave(ip: string, count = 1): void {
    if (this.most === 0) return;
    const open = (this.#open.get(ip) ?? 0) - count;
    if (open > 0) this.#open.set(ip, open);
    else this.#open.delete(ip);
  }

  [Symbol.iterator](): IterableIterator<[string, number]> {
    return this.#open.entries();
  }
}

/** The places of a server with one thread. */
export class LocalPlaces extends AddressCounts implements Places {
  #ids = 0;
  #taken = 0;

  constructor(private readonly places: number, perIp: number) {
    super(perIp);
  }

  nextId(): number {
    return ++this.#ids;
  }

  take(): boolean {
    if (this.places > 0 && this.#taken >= this.places) return false;
    this.#taken++;
    return true;
  }

  free(): void {
    this.#taken--;
  }
}
