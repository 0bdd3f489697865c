/** The connections of a measurement, and the places for requests on them. */

import type { Client } from "../../client/client.ts";
import { TimeoutError } from "../../core/errors.ts";

/** How many requests of each lane may take too long in a row. */
export const LATE = 5;

/** The run, as its connections know it: what they ask for, and tell. */
export interface Dispatcher {
  /** Opens a connection; throws if the run ends meanwhile. */
  connect(): Promise<Client>;
  /** Sends the next request on a lane that is free, as soon as it is due. */
  next(lane: Lane): void;
  replied(reply: Uint8Array, due: number): void;
  failed(error: unknown): void;
  /** A connection has ended or is closed; the system took so many bytes. */
  parted(sentBytes: number): void;
  /** It has ended, and not by us. */
  lost(link: Link, error: Error): void;
  reopened(): void;
  unopened(link: Link, error: unknown): void;
  givenUp(): void;
}

export class Link {
  /** The one that is open; undefined while there is none. */
  client: Client | undefined;
  readonly lanes: readonly Lane[];
  tries = 0;
  #late = 0;
  readonly #run: Dispatcher;

  constructor(run: Dispatcher, client: Client, depth: number) {
    this.#run = run;
    this.lanes = Array.from({ length: depth }, () => new Lane(run, this));
    this.#use(client);
  }

  async reopen(): Promise<void> {
    try {
      this.#use(await this.#run.connect());
    } catch (error) {
      this.#run.unopened(this, error);
      return;
    }
    this.#run.reopened();
    for (const lane of this.lanes) {
      if (lane.parked) lane.next();
    }
  }

  replied(): void {
    this.tries = 0;
    this.#late = 0;
  }

  /** A request took too long. A server that answers nothing is given up. */
  late(): void {
    if (++this.#late !== LATE * this.lanes.length) return;
    this.close();
    this.#run.givenUp();
  }

  /** Closes it, if it is open. What is in flight fails. */
  close(): void {
    const { client } = this;
    if (client === undefined) return;
    client.close();
    this.#part(client);
  }

  #use(client: Client): void {
    this.client = client;
    client.closed.then((error) => {
      this.#part(client);
      // Closed by us, at the end of the run.
      if (error !== undefined) this.#run.lost(this, error);
    });
  }

  #part(client: Client): void {
    if (this.client !== client) return;
    this.client = undefined;
    this.#run.parted(client.sent);
  }
}

export class Lane {
  /** Whether it waits for its connection to be there again. */
  parked = false;
  readonly #run: Dispatcher;
  readonly #link: Link;
  #due = 0;

  constructor(run: Dispatcher, link: Link) {
    this.#run = run;
    this.#link = link;
  }

  /** Sends a request. Its latency counts from when it was due. */
  send(payload: Uint8Array, due: number): void {
    this.#due = due;
    this.#link.client!.request(payload).then(this.#replied, this.#failed);
  }

  /** Sends the next request, unless there is no connection now. */
  next(): void {
    this.parked = this.#link.client === undefined;
    if (!this.parked) this.#run.next(this);
  }

  // Made once, for a closure for each request costs.
  readonly #replied = (reply: Uint8Array): void => {
    this.#link.replied();
    this.#run.replied(reply, this.#due);
    this.next();
  };

  readonly #failed = (error: unknown): void => {
    this.#run.failed(error);
    // The connection goes on after a request that took too long; any other
    // error has ended it, and it is for the link to go on.
    this.parked = !(error instanceof TimeoutError);
    if (this.parked) return;
    this.#link.late();
    this.next();
  };
}
