// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/// <reference lib="dom" />
// The live page: what it works out of the server's answers, and, in a browser,
// what it shows of them and does.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";
import type { Browser, Page } from "npm:playwright-core@1.65.1";

import { assets } from "../../lib/admin/page.ts";
import {
  age,
  busiest,
  bytes,
  count,
  done,
  duration,
  quantile,
  rate,
  short,
  valuesBetween,
} from "../../lib/admin/page/numbers.js";
import { type AdminServer, serveAdmin } from "../../lib/admin/server.ts";
import { type Stats, statsOf } from "../../lib/admin/stats.ts";
import { closeReasons, rejectReasons } from "../../lib/events/events.ts";
import {
  acceptFaults,
  durationBounds,
  quantileOf,
} from "../../lib/events/metrics.ts";
import { commands } from "../../lib/mod.ts";
import type { AdminSource } from "../../lib/observe/numbers.ts";
import { keepBusy, open, startBrowser } from "../support/admin_page.ts";
import { Peer, serveTest } from "../support/fixtures.ts";
import { fakeRows, PretendServer } from "../support/pretend_server.ts";
import { testWithTools } from "../support/programs.ts";

const DESKTOP = { width: 1280, height: 860 };
const TOKEN = "correct-horse-battery";

/** What is seen in a browser: one step each, as it takes long to start one. */
const steps: [name: string, fn: (browser: Browser) => Promise<void>][] = [];

function inBrowser(
  name: string,
  fn: (browser: Browser) => Promise<void>,
): void {
  steps.push([name, fn]);
}

/** What a part of the page says. */
function textOf(page: Page, selector: string): Promise<string> {
  return page.locator(selector).innerText();
}

/** Waits until a part of the page says something that matches. */
async function says(
  page: Page,
  selector: string,
  pattern: RegExp,
): Promise<void> {
  await page.waitForFunction(
    ([selector, pattern]) =>
      new RegExp(pattern).test(
        document.querySelector(selector)?.textContent ?? "",
      ),
    [selector, pattern.source],
  );
}

/** A port of the system's choice for a server's operator. */
function adminOf(source?: AdminSource, port = 0, token?: string): AdminServer {
  return serveAdmin({ port, token, handler: "commands" }, source);
}

Deno.test("the page's quantile is the server's quantileOf", () => {
  fc.assert(fc.property(
    fc.array(fc.nat(5), {
      minLength: durationBounds.length + 1,
      maxLength: durationBounds.length + 1,
    }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    (counts, part) => {
      const sum = counts.reduce((a, b) => a + b, 0);
      const theirs = { bounds: durationBounds, counts, sum, count: sum };
      const value = quantileOf(theirs, part);
      assertEquals(
        quantile(durationBounds, counts, part),
        // JSON has no infinity.
        value === Infinity ? 20_001 : value,
      );
    },
  ));
});

Deno.test("the page's values are those between two answers of one run", async () => {
  await using running = serveTest(commands);
  const stats = () =>
    statsOf(running.server, { handler: "commands", actions: false });
  const before = stats();
  using peer = await Peer.to(running);
  await peer.send("PING\nPING\n");
  await peer.receive(10);
  const after = { ...stats(), uptimeSeconds: before.uptimeSeconds + 0.5 };
  const values = valuesBetween(before, after);
  assertEquals(
    [values.requests!, values.received!, values.sent!].map(Math.round),
    [4, 20, 20],
  );
  assertEquals(values.p999, quantileOf(after.durations, 0.999));
  assertEquals([values.errors, values.timeouts, values.rejected], [0, 0, 0]);
  const later = { ...after, uptimeSeconds: after.uptimeSeconds + 1 };
  assertEquals(valuesBetween(after, later).p50, undefined);

  // Where nothing can be compared, there is what is true now.
  const now = Object.keys(valuesBetween(undefined, after));
  assertEquals(now, ["active", "resident", "held"]);
  assertEquals(Object.keys(valuesBetween(after, after)), now);
  const anew = { ...later, startedAt: 0 };
  assertEquals(Object.keys(valuesBetween(after, anew)), now);
});

Deno.test("each failure is counted in its series once", () => {
  const server = new PretendServer({ connections: [] });
  const stats = () => statsOf(server, { handler: "commands", actions: false });
  const before = stats();
  const [counters] = server.counters;
  counters.finished("error", 1);
  counters.finished("error_reply", 100);
  counters.finished("timeout", 2);
  counters.finished("busy", 4);
  for (const reason of closeReasons) counters.closed(reason);
  for (const reason of rejectReasons) counters.rejected(reason);
  for (const fault of acceptFaults) counters.acceptFailed(fault);
  const after = { ...stats(), uptimeSeconds: before.uptimeSeconds + 1 };
  const { errors, timeouts, rejected } = valuesBetween(before, after);
  // Of the endings `error` and `overload`; a peer's own fault is none.
  assertEquals(errors, 1 + 2 + acceptFaults.length - 1);
  assertEquals(timeouts, 2 + 1);
  assertEquals(rejected, 4 + rejectReasons.length);
});

Deno.test("the page puts numbers into words", () => {
  assertEquals([0, 999, 1234567].map(count), ["0", "999", "1,234,567"]);
  assertEquals([0, 3.14, 9.96, 71204.4].map(rate), [
    "0",
    "3.1",
    "10",
    "71,204",
  ]);
  assertEquals([0.5, 40, 1500, 2e6].map(short), ["0.5", "40", "1.5k", "2M"]);
  assertEquals(
    [0, 999, 1000, 1023, 1024, 12_900_000, 1e14].map(bytes),
    [
      "0 B",
      "999 B",
      "0.977 KiB",
      "0.999 KiB",
      "1 KiB",
      "12.3 MiB",
      "90.9 TiB",
    ],
  );
  assertEquals([512, 65536, 1.5 * 2 ** 20].map(bytes), [
    "512 B",
    "64 KiB",
    "1.5 MiB",
  ]);
  assertEquals(
    [undefined, 0.014, 0.9, 1.25, 900, 10_000, 20_001].map(duration),
    ["–", "14 µs", "900 µs", "1.25 ms", "900 ms", "10 s", "> 10 s"],
  );
  assertEquals(
    [999, 59_999, 60_000, 3_600_000, 90_061_000].map(age),
    ["0 s", "59 s", "1 m 00 s", "1 h 00 m", "1 d 01 h"],
  );
  assertEquals(busiest([]), 0);
  assertEquals(busiest(["::/64", "10.0.0.1", "::/64"]), 2);
});

Deno.test("every file that the page names is there, and nothing is inline", () => {
  const page = assets.get("/")!;
  assertEquals(page.type, "text/html; charset=utf-8");
  const named = Array.from(
    page.body.matchAll(/(?:src|href)="([^"#]*)"/g),
    ([, path]) => `/${path}`,
  );
  for (const [path, { type, body }] of assets) {
    if (!type.startsWith("text/javascript")) continue;
    for (
      const [, name] of body.matchAll(/^(?:import|\}).* from "\.\/(.*)";$/gm)
    ) {
      named.push(new URL(name, `http://page${path}`).pathname);
    }
  }
  assertEquals(
    [...new Set(["/", ...named])].sort(),
    [...assets.keys()].sort(),
  );
  for (
    const inline of [/<script(?![^>]* src=)/, /<style/, / style=/, / on\w+=/]
  ) {
    assert(!inline.test(page.body), `the page has ${inline}`);
  }
});

inBrowser(
  "the page shows what the server says, under load",
  async (browser) => {
    await using running = serveTest(commands);
    const { server } = running;
    await using admin = adminOf(server);
    await using _load = keepBusy(server, 8);
    const { page, complaints, answers } = await open(browser, admin, {
      viewport: DESKTOP,
      colorScheme: "dark",
    });

    /** All that is shown, at one tick. */
    const shown = () =>
      page.evaluate(() => {
        const texts: Record<string, string> = {};
        for (const part of document.querySelectorAll("[data-show]")) {
          texts[part.getAttribute("data-show")!] = part.textContent;
        }
        for (const line of document.querySelectorAll(".numbers > div")) {
          const [name, value] = line.children;
          texts[`${line.parentElement?.ariaLabel} ${name.textContent}`] =
            value.textContent;
        }
        return {
          now: Date.parse(
            document.querySelector("time#updated")!
              .getAttribute("datetime")!,
          ),
          texts,
        };
      });
    const tick = async (after: number) => {
      await page.waitForFunction(
        (after) =>
          Date.parse(
            document.querySelector("time#updated")!
              .getAttribute("datetime")!,
          ) > after,
        after,
      );
      return await shown();
    };
    const first = await shown();
    const second = await tick(first.now);
    const third = await tick(second.now);

    type Thread = Stats["perThread"][number];
    const meanDelay = ({ delays: were }: Thread, { delays }: Thread) =>
      (delays.sum - were.sum) / (delays.count - were.count);
    const agrees = (
      before: Stats,
      stats: Stats,
      texts: Record<string, string>,
    ) => {
      const values = valuesBetween(before, stats);
      const { ok, inFlight } = stats.requests;
      for (
        const [name, expected] of Object.entries({
          "version": stats.version,
          "address": stats.address,
          "active": count(stats.connections.active),
          "runtime": stats.runtime,
          "requests": rate(values.requests!),
          "received": `${bytes(values.received!)}/s`,
          "sent": `${bytes(values.sent!)}/s`,
          "p50": duration(values.p50),
          "p99": duration(values.p99),
          "p999": duration(values.p999),
          "errors": "0",
          "timeouts": "0",
          "rejected": "0",
          "resident": bytes(stats.process.residentBytes),
          "held": bytes(stats.memory.heldBytes),
          "cpu": `${rate(values.cpu!)} %`,
          "delay": duration(values.delay),
          "Process memory": bytes(stats.process.residentBytes),
          "Process held for clients": `${
            bytes(stats.memory.heldBytes)
          } of 256 MiB`,
          "Process processor": `${rate(values.cpu!)} % of one`,
          "Process descriptors": `${count(stats.process.openFds!)} of ${
            count(stats.process.maxFds!)
          }`,
          "Limits connections": "8 of 10,000",
          "Limits busiest address": "8, no limit",
          "Limits request size": "64 KiB",
          "Limits idle timeout": "300 s",
          "Limits request timeout": "30 s",
          "Limits write timeout": "30 s",
          "Limits drain timeout": "2 s",
          "Since the start connections accepted": "8",
          "Since the start requests ok": count(ok),
          "Since the start requests in flight": count(inFlight),
          "Since the start bytes in": bytes(stats.bytes.received),
          "Since the start bytes out": bytes(stats.bytes.sent),
          "Closed, by reason peer_closed": "0",
          "Rejected, by reason busy": "0",
          "Threads 1": `8 open, ${rate(values.requests!)}/s, ${
            duration(meanDelay(before.perThread[0], stats.perThread[0]))
          } late`,
        })
      ) assertEquals(texts[name], expected, name);
    };
    const given = await Promise.all(answers);
    for (const { now, texts } of [second, third]) {
      const at = given.findIndex((stats) => stats.now === now);
      agrees(given[at - 1], given[at], texts);
      assertEquals(given[at].connections.active, 8);
      assert(done(given[at]) > done(given[at - 1]));
    }
    // Without a token there are no actions.
    assertEquals(await page.locator("#actions").isVisible(), false);
    assertEquals(await page.locator("td.action").first().isVisible(), false);

    // The lines are drawn: not all of a chart is of one colour.
    assertEquals(
      await page.locator(".plot canvas").evaluateAll((canvases) =>
        canvases.map((canvas) => {
          const { width, height } = canvas as HTMLCanvasElement;
          const { data } = (canvas as HTMLCanvasElement).getContext("2d")!
            .getImageData(0, 0, width, height);
          return new Set(new Uint32Array(data.buffer)).size > 10;
        })
      ),
      Array(8).fill(true),
    );
    // Nothing has moved since it was first seen, but for the width of a number.
    assertEquals(
      await page.evaluate(() => {
        const observer = new PerformanceObserver(() => {});
        observer.observe({ type: "layout-shift", buffered: true });
        return observer.takeRecords()
          .filter((shift) =>
            (shift as unknown as { value: number }).value > 1e-4
          )
          .map((shift) => JSON.stringify(shift));
      }),
      [],
    );

    assertEquals(complaints, []);
    // The policy is in force, and its complaints would have been seen.
    const complaint = page.waitForEvent("console");
    await page.evaluate(() =>
      document.body.setAttribute("style", "color: red")
    );
    assertStringIncludes((await complaint).text(), "Content Security Policy");
  },
);

inBrowser(
  "the table shows 500 of 3,000 rows, sorts all of them, and finds any",
  async (browser) => {
    const rows = fakeRows(3000);
    await using admin = adminOf(new PretendServer({ connections: rows }));
    const { page, complaints } = await open(browser, admin);
    await says(page, "#listed", /^3,000, 500 shown$/);
    const ids = () =>
      page.locator("#connections td.id").evaluateAll((cells) =>
        cells.map((cell) => Number(cell.textContent))
      );
    const first500 = Array.from({ length: 500 }, (_, i) => i + 1);
    assertEquals(await ids(), first500);

    // By requests: upward by a click, downward by a key, and by id again.
    const byRequests = rows.toSorted((a, b) => a.requests - b.requests)
      .map(({ id }) => id);
    const head = page.getByRole("button", { name: "requests" });
    const sorted = () =>
      page.locator("[data-column=requests]").getAttribute("aria-sort");
    await head.click();
    assertEquals(await sorted(), "ascending");
    assertEquals(await ids(), byRequests.slice(0, 500));
    await head.press("Enter");
    assertEquals(await sorted(), "descending");
    assertEquals(await ids(), byRequests.toReversed().slice(0, 500));
    await page.getByRole("button", { name: "id", exact: true }).press("Space");
    assertEquals(await sorted(), null);
    assertEquals(await ids(), first500);

    // What is not among the first is found by its address, or by its state.
    const filter = page.getByRole("searchbox");
    await filter.fill("10.0.11.183");
    assertEquals(await ids(), [3000]);
    await says(page, "#listed", /^3,000, 1 shown$/);
    await filter.fill("handling");
    assertEquals((await ids()).slice(0, 3), [1, 4, 7]);
    await filter.fill("");
    assertEquals(await ids(), first500);
    assertEquals(complaints, []);
  },
);

inBrowser(
  "a row stays with its connection, and keeps the focus",
  async (browser) => {
    const connections = fakeRows(5);
    const server = new PretendServer({ connections });
    await using admin = adminOf(server, 0, TOKEN);
    const { page } = await open(browser, admin);
    await says(page, "#listed", /^5$/);
    const row = await page.locator("#connections tbody tr").nth(3)
      .elementHandle();
    await page.getByRole("button", { name: "close connection 4" }).focus();
    server.is.connections = connections.slice(2);
    await says(page, "#listed", /^3$/);
    assertEquals(
      await row!.evaluate((row) => [
        row.isConnected,
        row.querySelector(".id")!.textContent,
        document.activeElement?.closest("tr") === row,
      ]),
      [true, "4", true],
    );
  },
);

inBrowser(
  "the page asks each second, the table less often, and nothing when hidden",
  async (browser) => {
    await using admin = adminOf(
      new PretendServer({ connections: fakeRows(10_000) }),
    );
    const { page, asked } = await open(browser, admin, {}, true);
    await says(page, "#listed", /^10,000, 500 shown$/);
    /** Lets seconds pass, and each time the page take its answer. */
    const seconds = async (many: number) => {
      for (let i = 0; i < many; i++) {
        const answer = page.waitForResponse(/stats\.json$/);
        await page.clock.runFor(1000);
        const { now }: Stats = await (await answer).json();
        await page.waitForFunction(
          (now) =>
            Date.parse(
              document.querySelector("time#updated")!
                .getAttribute("datetime")!,
            ) === now,
          now,
        );
      }
    };
    const count = (what: string) =>
      asked.filter((each) => each === `GET /${what}`).length;
    asked.length = 0;
    await seconds(10);
    assertEquals([count("stats.json"), count("connections.json")], [10, 2]);

    const look = (visibilityState: string) =>
      page.evaluate((visibilityState) => {
        Object.defineProperty(document, "visibilityState", {
          configurable: true,
          get: () => visibilityState,
        });
        document.dispatchEvent(new Event("visibilitychange"));
      }, visibilityState);
    await look("hidden");
    await page.clock.runFor(60_000);
    assertEquals(count("stats.json"), 10);
    const answer = page.waitForResponse(/stats\.json$/);
    await look("visible");
    await (await answer).finished();
    assertEquals(count("stats.json"), 11);
  },
);

inBrowser(
  "the page says that contact is lost, and goes on when it is back",
  async (browser) => {
    await using running = serveTest(commands);
    await using admin = adminOf(running.server);
    const { port } = admin.addr as Deno.NetAddr;
    const { page } = await open(browser, admin);
    await says(page, "#state", /^Ready$/);
    using peer = await Peer.to(running);
    await peer.send("PING\n");
    await peer.receive(5);
    await says(page, "#side", /requests ok1requests/);

    await admin.close();
    await says(
      page,
      "#state",
      /^No contact with the server since \d\d:\d\d:\d\d$/,
    );
    assertMatch(await page.title(), /no contact/);
    assertEquals(await page.locator("#updated").isVisible(), false);
    assertEquals(await page.locator("#state").getAttribute("role"), "status");

    // The server is started anew: its port for the operator comes first.
    await using anew = serveTest(commands);
    await using adminAnew = adminOf(undefined, port);
    await says(page, "#state", /^Not ready$/);
    let answers = 0;
    let broken = true;
    const { server } = anew;
    const metrics = server.metrics.bind(server);
    server.metrics = () => {
      // The first is the history's, and the second the page's.
      if (broken && answers++ > 1) throw new Error("for the test");
      return metrics();
    };
    adminAnew.attach(server);
    await says(page, "#state", /It answers 500$/);
    // Of the one answer before, and of another run, no rate is made.
    assertEquals(await textOf(page, "[data-show=requests]"), "–");
    broken = false;
    await says(page, "#state", /^Ready$/);
    assertEquals(await page.locator("#updated").isVisible(), true);
    await says(page, "[data-show=requests]", /^0$/);
  },
);

inBrowser(
  "with a token a connection is closed, and the server drained",
  async (browser) => {
    await using running = serveTest(commands, { drainTimeout: 15_000 });
    const { server } = running;
    using victim = await Peer.to(running);
    await victim.send("PING\n");
    await victim.receive(5);
    using other = await Peer.to(running);
    await other.send("PING\n");
    await other.receive(5);
    await using admin = adminOf(server, 0, TOKEN);
    const { page, asked } = await open(browser, admin);
    await says(page, "#listed", /^2$/);
    const posts = () => asked.filter((each) => each.startsWith("POST"));
    const press = (name: string) =>
      page.getByRole("button", { name, exact: true }).click();
    const token = page.getByLabel("token");
    let agrees = false;
    let question = "";
    page.on("dialog", async (dialog) => {
      question = dialog.message();
      await (agrees ? dialog.accept() : dialog.dismiss());
    });

    await press("Drain the server…");
    await says(page, "#answer", /^Enter the token first/);
    await token.fill("wrong");
    await press("close connection 1");
    assertMatch(question, /^Close connection 1 of 127\.0\.0\.1:\d+\?/);
    assertEquals(posts(), []);

    agrees = true;
    await press("close connection 1");
    await says(page, "#answer", /refused the token/);
    assertEquals(server.connections, 2);

    await token.fill(TOKEN);
    await press("close connection 1");
    await says(page, "#answer", /^Connection 1 is closed/);
    await says(page, "#listed", /^1$/);
    assertEquals(server.metrics().closed.closed, 1);
    assertEquals(await victim.rest(), "");

    // One who still gets a reply keeps the server draining.
    await other.send("DELAY 60000 x\n");
    await says(page, "td.state", /^handling$/);
    await press("Drain the server…");
    assertMatch(question, /^Drain the server\?/);
    await says(page, "#answer", /^The server drains/);
    await says(page, "#state", /^Draining$/);
    await says(
      page,
      "#drain-status",
      /^Cuts what is left in 1\d s\. .*: 1 handling \(127\.0\.0\.1:\d+\)\.$/,
    );
    assertMatch(await page.title(), /draining/);
    assertEquals(server.ready, false);
    assertEquals(posts().slice(-2), [
      "POST /connections/1/close",
      "POST /drain",
    ]);

    // The token is in its field, and nowhere else.
    assertEquals(
      await page.evaluate(() => [
        document.cookie,
        localStorage.length,
        sessionStorage.length,
        location.search + location.hash,
      ]),
      ["", 0, 0, ""],
    );

    await server.disconnect(2);
    await says(page, "#state", /^No contact .*: it was draining$/);
  },
);

testWithTools("the live page, in a browser", ["chromium"], async (t) => {
  const browser = await startBrowser();
  try {
    for (const [name, fn] of steps) {
      await t.step(name, () => fn(browser));
      for (const context of browser.contexts()) await context.close();
    }
  } finally {
    await browser.close();
  }
});
