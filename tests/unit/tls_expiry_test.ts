/** The end of a certificate: who is told of it, and how often. */

import type { CertificateExpiryEvent } from "../../lib/mod.ts";
import { ONE, TWO } from "../support/certificates.ts";
import { FakeClock, serveTest, type TestServer } from "../support/fixtures.ts";
import { assertEquals } from "../support/std.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Servers under test, at a date that stays until it is moved. */
class Dated implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly running: TestServer;
  readonly #now = Date.now;
  #date: number;

  /** @param left How long before the certificate's end it is. */
  constructor(left: number) {
    this.running = serveTest((request) => request, ONE, { clock: this.clock });
    this.#date = this.running.server.tls!.notAfter - left;
    Date.now = () => this.#date;
  }

  /** So much later, however the time went by. */
  pass(ms: number): void {
    this.#date += ms;
    this.clock.advance(HOUR);
  }

  get told(): CertificateExpiryEvent["days"][] {
    return this.running.events.of("certificate_expiry")
      .map(({ days }) => days);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.running[Symbol.asyncDispose]();
    Date.now = this.#now;
    assertEquals(this.clock.timers, 0);
  }
}

Deno.test("a server tells of its certificate's end once for each step", async () => {
  await using dated = new Dated(31 * DAY);
  const steps = [DAY - 1, 1, HOUR, 22 * DAY, DAY, HOUR, 7 * DAY, DAY, 90 * DAY];
  const told = steps.map((ms) => (dated.pass(ms), [...dated.told]));
  assertEquals(told, [
    ...[[], [30], [30], [30], [30, 7], [30, 7]],
    ...[[30, 7, 0], [30, 7, 0], [30, 7, 0]],
  ]);
  const { notAfter } = dated.running.server.tls!;
  assertEquals(dated.running.events.of("certificate_expiry")[0], {
    type: "certificate_expiry",
    days: 30,
    subject: "CN=localhost",
    notAfter,
  });
  assertEquals(notAfter, Date.parse("2126-10-29T21:58:23Z"));
});

Deno.test("a server tells the last step alone where it comes late", async () => {
  await using dated = new Dated(31 * DAY);
  dated.pass(31 * DAY);
  dated.pass(HOUR);
  assertEquals(dated.told, [0]);
});

Deno.test("a server tells each hour of a certificate that is not valid yet", async () => {
  await using dated = new Dated(31 * DAY);
  const { events } = dated.running;
  const notBefore = Date.parse("2026-11-22T21:58:23Z");
  const { notAfter } = dated.running.server.tls!;
  // An hour and a half before it is valid.
  dated.pass(notBefore - notAfter + 31 * DAY - 1.5 * HOUR);
  dated.pass(HOUR);
  dated.pass(HOUR);
  const early = {
    ...{ type: "certificate_expiry", days: 0, subject: "CN=localhost" },
    ...{ notAfter, notBefore },
  };
  assertEquals<unknown>(events.of("certificate_expiry"), [early, early]);
});

Deno.test("a server tells of a certificate that is reloaded", async () => {
  await using dated = new Dated(31 * DAY);
  dated.pass(25 * DAY);
  assertEquals(dated.told, [7]);
  // It ends at the same second.
  await dated.running.server.reloadTls(TWO);
  assertEquals(dated.told, [7, 7]);
  dated.pass(HOUR);
  assertEquals(dated.told, [7, 7]);
});
