// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/// <reference lib="dom" />
// The live page: what it works out of the server's answers, and, in a browser,
// what it shows of them and does.

import { fileURLToPath } from "node:url";

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
  ratesBetween,
  short,
  size,
} from "../../lib/admin/page/numbers.js";
import { type AdminServer, serveAdmin } from "../../lib/admin/server.ts";
import { type Stats, statsOf } from "../../lib/admin/stats.ts";
import { durationBounds, quantileOf } from "../../lib/events/metrics.ts";
import { commands } from "../../lib/mod.ts";
import type { AdminSource } from "../../lib/observe/numbers.ts";
import type {
  ConnectionInfo,
  ParleyServer,
} from "../../lib/server/parley_server.ts";
import { keepBusy, open, startBrowser } from "../support/admin_page.ts";
import { Peer, serveTest } from "../support/fixtures.ts";
import { testWithTools } from "../support/programs.ts";

const OUTPUT = fileURLToPath(new URL("../.output/", import.meta.url));

const DESKTOP = { width: 1280, height: 860 };
const TOKEN = "correct-horse-battery";

const PHONE = { width: 390, height: 844 };

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

/** Waits until what has changed is drawn. */
async function frames(page: Page): Promise<void> {
  await page.evaluate(() =>
    new Promise((drawn) =>
      requestAnimationFrame(() => requestAnimationFrame(drawn))
    )
  );
}

/** A port of the system's choice for a server's operator. */
function adminOf(source?: AdminSource, port = 0, token?: string): AdminServer {
  return serveAdmin({ port, token, handler: "commands" }, source);
}

/** A server with connections that nobody has made. */
function crowded(server: ParleyServer, many: number): AdminSource {
  const rows = fakeRows(many);
  return {
    addr: server.addr,
    finished: server.finished,
    framing: server.framing,
    limits: server.limits,
    ready: true,
    draining: false,
    startedAt: server.startedAt,
    uptime: 1000,
    threads: server.threads,
    threadsLost: 0,
    descriptors: server.descriptors,
    metrics: () => server.metrics(),
    disconnect: (id) => server.disconnect(id),
    shutdown: () => server.shutdown(),
    connectionList: () => Promise.resolve(rows),
  };
}

function fakeRows(many: number): ConnectionInfo[] {
  return Array.from({ length: many }, (_, i) => ({
    id: i + 1,
    remoteAddr: {
      transport: "tcp",
      hostname: `10.0.${i >> 8}.${i & 255}`,
      port: 4000,
    },
    network: `10.0.${i >> 8}.${i & 255}`,
    age: i * 1000,
    state: i % 3 === 0 ? "handling" : "idle",
    // Each number once, in another order than the ids.
    requests: (i * 7919) % many,
    received: i * 100,
    sent: i * 200,
    idle: i,
  }));
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
      assertEquals(
        quantile(durationBounds, counts, part),
        quantileOf({ bounds: durationBounds, counts, sum, count: sum }, part),
      );
    },
  ));
});

Deno.test("the page's rates are those between two answers of one run", async () => {
  await using running = serveTest(commands);
  const stats = () =>
    statsOf(running.server, { handler: "commands", actions: false });
  const before = stats();
  using peer = await Peer.to(running);
  await peer.send("PING\nPING\n");
  await peer.receive(10);
  const after = { ...stats(), now: before.now + 500 };
  const rates = ratesBetween(before, after);
  assertEquals([rates?.requests, rates?.received, rates?.sent], [4, 20, 20]);
  assertEquals(rates?.p999, quantileOf(after.durations, 0.999));
  assertEquals(
    ratesBetween(after, { ...after, now: after.now + 1 })?.p50,
    undefined,
  );
  assertEquals(ratesBetween(before, before), undefined);
  assertEquals(ratesBetween(before, { ...after, startedAt: 0 }), undefined);
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
      "0.98 KiB",
      "1.00 KiB",
      "1.00 KiB",
      "12.3 MiB",
      "90.9 TiB",
    ],
  );
  assertEquals([512, 65536, 1.5 * 2 ** 20].map(size), [
    "512 B",
    "64 KiB",
    "1.5 MiB",
  ]);
  assertEquals(
    [undefined, 0.014, 0.9, 1.25, 900, 10_000, Infinity].map(duration),
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
    page.body.matchAll(/(?:src|href)="([^"]*)"/g),
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
          texts[`${line.parentElement?.id} ${name.textContent}`] =
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

    const agrees = (
      before: Stats,
      stats: Stats,
      texts: Record<string, string>,
    ) => {
      const rates = ratesBetween(before, stats)!;
      const { ok, inFlight } = stats.requests;
      for (
        const [name, expected] of Object.entries({
          "version": stats.version,
          "address": stats.address,
          "active": count(stats.connections.active),
          "requests": rate(rates.requests),
          "received": `${bytes(rates.received)}/s`,
          "sent": `${bytes(rates.sent)}/s`,
          "p50": duration(rates.p50),
          "p99": duration(rates.p99),
          "p999": duration(rates.p999),
          "limit-connections": "8 of 10,000",
          "limit-ip": "8, no limit",
          "limit-frame": "64 KiB",
          "listed": "8",
          "totals connections accepted": "8",
          "totals requests ok": count(ok),
          "totals requests in flight": count(inFlight),
          "totals bytes in": bytes(stats.bytes.received),
          "totals bytes out": bytes(stats.bytes.sent),
          "closed peer_closed": "0",
          "rejected busy": "0",
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
      [true, true, true, true],
    );
    // Nothing has moved since it was first seen.
    assertEquals(
      await page.evaluate(() => {
        const observer = new PerformanceObserver(() => {});
        observer.observe({ type: "layout-shift", buffered: true });
        return observer.takeRecords().map((shift) => JSON.stringify(shift));
      }),
      [],
    );

    for (
      const [form, viewport] of Object.entries({
        desktop: DESKTOP,
        phone: PHONE,
      })
    ) {
      for (const colorScheme of ["dark", "light"] as const) {
        await page.setViewportSize(viewport);
        await page.emulateMedia({ colorScheme });
        await frames(page);
        await page.screenshot({
          path: `${OUTPUT}admin-${form}-${colorScheme}.png`,
          fullPage: form === "phone",
        });
        // Nothing but the table is wider than its place.
        assertEquals(
          await page.evaluate(() =>
            document.documentElement.scrollWidth - innerWidth
          ),
          0,
        );
      }
    }
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
  "the table keeps few of 3,000 rows as elements, and sorts",
  async (browser) => {
    await using running = serveTest(commands);
    await using admin = adminOf(crowded(running.server, 3000));
    const { page, complaints } = await open(browser, admin);
    await says(page, "[data-show=listed]", /^3,000$/);
    const rows = page.locator("#connections tbody tr:not(.spacer)");
    /** The ids in the rows that can be seen. */
    const inSight = () =>
      page.evaluate(() => {
        const place = document.querySelector("#connections")!;
        const { top, bottom } = place.getBoundingClientRect();
        const head = place.querySelector("thead")!.clientHeight;
        return Array.from(place.querySelectorAll("tbody tr:not(.spacer)"))
          .filter((row) => {
            const box = row.getBoundingClientRect();
            return box.top >= top + head - 1 && box.bottom <= bottom + 1;
          })
          .map((row) => Number(row.querySelector(".id")!.textContent));
      });
    const few = async () => {
      const many = await rows.count();
      assert(many > 10 && many < 100, `${many} rows are elements`);
    };

    assertEquals((await inSight())[0], 1);
    await few();
    const top = await rows.first().boundingBox();
    assertEquals(top?.height, 26);

    // To the end, and to somewhere between, by keys and by the wheel's way.
    await page.locator("#connections").focus();
    await page.keyboard.press("End");
    await page.waitForFunction(() =>
      document.querySelector("#connections tbody")!.textContent
        .includes("10.0.11.183:4000")
    );
    await page.waitForFunction(() => {
      const { scrollTop, scrollHeight, clientHeight } = document
        .querySelector("#connections")!;
      return scrollTop + clientHeight > scrollHeight - 1;
    });
    assertEquals((await inSight()).at(-1), 3000);
    await few();
    await page.locator("#connections").evaluate((place) =>
      place.scrollTop = 1500 * 26
    );
    await page.waitForFunction(() =>
      document.querySelector("#connections tbody")!.textContent
        .includes("10.0.5.220:4000")
    );
    assertEquals((await inSight())[0], 1501);
    assertEquals(await rows.first().getAttribute("aria-rowindex"), "1494");
    await few();

    // By requests: upward by a click, downward by a key, and by id again.
    const byRequests = fakeRows(3000)
      .sort((a, b) => a.requests - b.requests)
      .map(({ id }) => id);
    const head = page.getByRole("button", { name: "requests" });
    const sorted = () =>
      page.locator("[data-column=requests]").getAttribute("aria-sort");
    await head.click();
    assertEquals(await sorted(), "ascending");
    assertEquals((await inSight()).slice(0, 5), byRequests.slice(0, 5));
    await head.press("Enter");
    assertEquals(await sorted(), "descending");
    assertEquals(
      (await inSight()).slice(0, 5),
      byRequests.toReversed().slice(0, 5),
    );
    await page.getByRole("button", { name: "id", exact: true }).press("Space");
    assertEquals(await sorted(), null);
    assertEquals((await inSight()).slice(0, 3), [1, 2, 3]);
    assertEquals(complaints, []);
  },
);

inBrowser(
  "the page asks each second, the table less often, and nothing when hidden",
  async (browser) => {
    await using running = serveTest(commands);
    await using admin = adminOf(crowded(running.server, 10_000));
    const { page, asked } = await open(browser, admin, {}, true);
    await says(page, "[data-show=listed]", /^10,000$/);
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
    await says(page, "#totals", /requests ok1requests/);

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
    adminAnew.attach({
      ...crowded(anew.server, 1),
      metrics() {
        if (broken && answers++ > 0) throw new Error("for the test");
        return anew.server.metrics();
      },
    });
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
    await says(page, "[data-show=listed]", /^2$/);
    const posts = () => asked.filter((each) => each.startsWith("POST"));
    const press = (name: string) =>
      page.getByRole("button", { name, exact: true }).click();
    const token = page.getByLabel("token");

    await press("Drain the server…");
    await says(page, "#answer", /^Enter the token first/);
    await token.fill("wrong");
    await press("close connection 1");
    assertStringIncludes(await textOf(page, "#question"), "Close connection 1");
    await press("Cancel");
    await press("close connection 1");
    await page.keyboard.press("Escape");
    assertEquals(posts(), []);

    await press("close connection 1");
    await press("Close");
    await says(page, "#answer", /refused the token/);
    assertEquals(server.connections, 2);

    await token.fill(TOKEN);
    await press("close connection 1");
    await press("Close");
    await says(page, "#answer", /^Connection 1 is closed/);
    await says(page, "[data-show=listed]", /^1$/);
    assertEquals(server.metrics().closed.closed, 1);
    assertEquals(await victim.rest(), "");

    // One who still gets a reply keeps the server draining.
    await other.send("DELAY 60000 x\n");
    await says(page, "td.state", /^handling$/);
    await press("Drain the server…");
    await press("Drain");
    await says(page, "#answer", /^The server drains/);
    await says(page, "#state", /^Draining$/);
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
