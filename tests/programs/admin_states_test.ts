// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

// The live page in each state of a server, and at each width: nothing is cut
// off, nothing scrolls sideways, and what is told is what `/stats.json` says.
// With PICTURES=1 it makes a picture of each in `tests/.output/`, to look at.

import { fileURLToPath } from "node:url";

import type { Browser, Page } from "npm:playwright-core@1.65.1";

import type { Stats } from "../../lib/admin/stats.ts";
import { misfits, open, startBrowser } from "../support/admin_page.ts";
import {
  fakeRows,
  longRows,
  type Pretence,
  PretendServer,
} from "../support/pretend_server.ts";
import { testWithTools } from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

const OUTPUT = fileURLToPath(new URL("../.output/", import.meta.url));

const TOKEN = "correct-horse-battery";

const WIDTHS = [320, 360, 768, 1280, 1920];

const DAY = 86_400_000;

const tls = { subject: "CN=parley.example.net", failedReloads: 0 };

const draining = fakeRows(9).map((row, i) => ({
  ...row,
  state: i % 4 === 3 ? "writing" as const : "handling" as const,
}));

const STATES: Readonly<Record<string, Pretence>> = {
  ready: {
    connections: fakeRows(1400),
    tls: { ...tls, notAfter: Date.now() + 60.5 * DAY },
  },
  failing: {
    connections: fakeRows(90),
    failing: true,
    tls: { ...tls, notAfter: Date.now() + 5.5 * DAY },
  },
  draining: {
    connections: draining,
    drain: { accepting: false, left: 7400 },
    size: 0.1,
  },
  threads: { threads: 64, threadsLost: 3, connections: fakeRows(200) },
  extreme: {
    threads: 4,
    size: 900,
    connections: longRows(),
    address: {
      transport: "tcp",
      hostname: "2001:db8:1111:2222:3333:4444:5555:6666",
      port: 55_132,
    },
    tls: {
      subject: `CN=${"a-long-name.".repeat(8)}example.net,O=A,C=DE`,
      notAfter: Date.now() + 900.5 * DAY,
      failedReloads: 3,
    },
  },
  lost: { connections: fakeRows(20) },
};

/** Opens the page of a pretended server, once it has said what is true now. */
async function openState(browser: Browser, is: Pretence) {
  const server = new PretendServer(is);
  const admin = server.openAdmin({ token: TOKEN });
  const opened = await open(browser, admin, {
    viewport: { width: 1280, height: 860 },
    colorScheme: "dark",
  });
  await says(opened.page, "[data-show=requests]", /\d/);
  return { ...opened, server, admin };
}

async function says(page: Page, selector: string, pattern: RegExp) {
  await page.waitForFunction(
    ([selector, source]) =>
      new RegExp(source).test(document.querySelector(selector)!.textContent),
    [selector, pattern.source],
  );
}

const text = (page: Page, selector: string) =>
  page.locator(selector).textContent();

async function frames(page: Page) {
  await page.evaluate(() =>
    new Promise((drawn) =>
      requestAnimationFrame(() => requestAnimationFrame(drawn))
    )
  );
}

/** Measures it at each width, by turns in the dark and in the light. */
async function eachWidth(page: Page, state: string) {
  for (const [i, width] of WIDTHS.entries()) {
    const colorScheme = i % 2 === 0 ? "dark" : "light";
    await page.setViewportSize({ width, height: width < 800 ? 800 : 1080 });
    await page.emulateMedia({ colorScheme });
    await frames(page);
    // Without a graphics card, a picture takes longer than all the rest.
    if (Deno.env.get("PICTURES") === "1") {
      const path = `${OUTPUT}admin-${state}-${width}-${colorScheme}.png`;
      await page.screenshot({ path, fullPage: true });
    }
    assertEquals(await misfits(page), [], `${state} at ${width}`);
  }
}

const steps: Record<string, (browser: Browser) => Promise<void>> = {};

for (const [state, is] of Object.entries(STATES)) {
  steps[`${state}: it fits at each width`] = async (browser) => {
    const { page, admin, complaints } = await openState(browser, is);
    if (state === "lost") {
      await admin.close();
      await says(page, "#state", /^No contact with the server since/);
      // The browser tells of what it could not load.
      complaints.length = 0;
    }
    await eachWidth(page, state);
    if (state !== "lost") assertEquals(complaints, []);
    await admin.close();
  };
}

steps["the charts are full when it is opened"] = async (browser) => {
  const { page, asked, admin } = await openState(browser, STATES.ready);
  assertEquals(
    asked.filter((each) => each.endsWith("history.json")).length,
    1,
  );
  // The first and the last hour's ends are inked: a line goes all the way.
  const inked = await page.locator(".plot").evaluateAll((places) =>
    places.map((place) => {
      const canvas = place.querySelector("canvas")!;
      const { left, width } = place.querySelector(".u-over")!
        .getBoundingClientRect();
      const scale = canvas.width / canvas.getBoundingClientRect().width;
      const start = left - canvas.getBoundingClientRect().left;
      const context = canvas.getContext("2d")!;
      return [0.02, 0.5, 0.98].map((part) => {
        const x = Math.round((start + width * part) * scale);
        const { data } = context.getImageData(x, 0, 1, canvas.height);
        const colors = new Set(new Uint32Array(data.buffer));
        return colors.size > 2;
      });
    })
  );
  assertEquals(inked, Array(8).fill([true, true, true]));
  await admin.close();
};

steps["failures are coloured once they rise"] = async (browser) => {
  const calm = await openState(browser, STATES.ready);
  assertEquals(await calm.page.locator(".rising").count(), 0);
  await calm.admin.close();

  const { page, admin } = await openState(browser, STATES.failing);
  await says(page, "[data-show=rejected]", /[1-9]/);
  const rising = await page.locator(".rising").evaluateAll((lines) =>
    lines.map((line) => line.querySelector("dt")!.textContent)
  );
  for (const name of ["errors", "timeouts", "rejected", "days left"]) {
    assert(rising.includes(name), `${name}: ${rising}`);
  }
  const of = (selector: string) =>
    page.locator(selector).evaluate((element) =>
      getComputedStyle(element).color
    );
  assertEquals(
    await of("[data-show=errors]"),
    await of("[data-series=errors]"),
  );
  assert(!rising.includes("p50"));
  await admin.close();
};

steps["a drain says how long, and who is waited for"] = async (browser) => {
  const { page, server, admin, answers } = await openState(
    browser,
    STATES.draining,
  );
  assertEquals(await text(page, "#state"), "Draining");
  const stats: Stats = await answers[0];
  assertEquals(stats.drain, { accepting: false, left: 7400 });
  assertEquals(
    await text(page, "#drain-status"),
    "Cuts what is left in 8 s. Waited for: " +
      "7 handling (10.0.0.0:4000, 10.0.0.1:4000, 10.0.0.2:4000, …), " +
      "2 writing (10.0.0.3:4000, 10.0.0.7:4000).",
  );
  server.is.drain = { accepting: true, left: 2001 };
  await says(page, "#drain-status", /^Accepts connections for 3 s more, then/);
  server.is.drain = { accepting: false, left: Infinity };
  server.is.connections = [];
  await says(page, "#drain-status", /^Waits without a limit\. .*: nobody\.$/);
  server.is.drain = undefined;
  await page.locator("#drain-status").waitFor({ state: "hidden" });
  await admin.close();
};

steps["each thread has a row"] = async (browser) => {
  const { page, admin, answers } = await openState(browser, STATES.threads);
  const rows = await page.getByLabel("Threads").locator("div")
    .evaluateAll((rows) =>
      rows.map((row) => Array.from(row.children, (cell) => cell.textContent))
    );
  const { perThread }: Stats = (await Promise.all(answers)).at(-1)!;
  assertEquals(perThread.length, 64);
  assertEquals(rows.length, 65);
  assertEquals(rows.pop()!.slice(0, 2), ["lost", "3"]);
  for (const [i, [thread, told]] of rows.entries()) {
    assertEquals(thread, `${i + 1}`);
    assertMatch(told, /^\d+ open, \d+(\.\d)?\/s, [\d.]+ [mµ]?s late$/);
    assertEquals(parseInt(told), perThread[i].active);
  }
  await admin.close();
};

steps["age and actions are within reach on a phone"] = async (browser) => {
  const { page, admin } = await openState(browser, STATES.ready);
  await page.setViewportSize({ width: 320, height: 640 });
  await page.getByLabel("token").fill(TOKEN);
  await page.getByRole("link", { name: "Connections" }).click();
  const row = page.locator("#connections tbody tr").first();
  const close = row.getByRole("button");
  const age = row.locator(".age");
  for (const part of [age, close]) {
    const box = (await part.boundingBox())!;
    assert(box.x >= 0 && box.x + box.width <= 320, JSON.stringify(box));
    assert(box.y >= 0 && box.y + box.height <= 640, JSON.stringify(box));
    assert(box.height >= 24, JSON.stringify(box));
  }
  assertEquals(await age.textContent(), "0 s");
  await page.getByRole("button", { name: "age" }).click();
  await page.getByRole("button", { name: "age" }).click();
  assertEquals(await row.locator(".id").textContent(), "1400");
  const asked = page.waitForEvent("dialog").then(async (dialog) => {
    await dialog.dismiss();
    return dialog.message();
  });
  await close.click();
  assertMatch(await asked, /^Close connection 1400 of 10\.0\.5\.119:4000\?/);
  assertEquals(await misfits(page), []);
  // A row and its cells are such to a screen reader, whatever their style.
  assertEquals(await page.getByRole("row").count(), 501);
  assertEquals(await row.getByRole("cell").count(), 9);
  await admin.close();
};

steps["the pointer tells the values of a moment"] = async (browser) => {
  const { page, admin } = await openState(browser, STATES.ready);
  const over = (await page.locator(".u-over").first().boundingBox())!;
  await page.mouse.move(over.x + 2, over.y + 20);
  await page.mouse.move(over.x + 1, over.y + 20);
  const times = await page.locator("figcaption time").allTextContents();
  assertEquals(new Set(times).size, 1);
  const [h, m, s] = times[0].split(":").map(Number);
  const at = new Date();
  at.setHours(h, m, s);
  const ago = ((Date.now() - at.getTime()) / 1000 + 86_400) % 86_400;
  assert(ago > 3500 && ago < 3620, `${ago} s`);
  await admin.close();
};

testWithTools("the live page, in each state", ["chromium"], async (t) => {
  const browser = await startBrowser();
  try {
    for (const [name, fn] of Object.entries(steps)) {
      await t.step(name, () => fn(browser));
      for (const context of browser.contexts()) await context.close();
    }
  } finally {
    await browser.close();
  }
});
