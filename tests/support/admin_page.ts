// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/// <reference lib="dom" />
/**
 * What the tests of the live page share: a browser, and clients that keep a
 * server busy.
 *
 * @module
 */

import type {
  Browser,
  BrowserContextOptions,
  Page,
} from "npm:playwright-core@1.65.1";

import type { Stats } from "../../lib/admin/stats.ts";
import { Peer } from "./fixtures.ts";

/** Clients that pipeline for as long as they are let. */
export function keepBusy(
  server: { addr: Deno.Addr },
  clients: number,
): AsyncDisposable {
  const batch = "ECHO 0123456789\n".repeat(16);
  const reply = batch.replaceAll("ECHO ", "");
  let busy = true;
  const work = async () => {
    using peer = await Peer.to(server);
    while (busy) {
      await peer.send(batch);
      await peer.receive(reply.length);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, work));
  return {
    async [Symbol.asyncDispose]() {
      busy = false;
      await all;
    },
  };
}

/** Starts the browser; it finds nothing but the loopback. */
export async function startBrowser(): Promise<Browser> {
  // Not before a test runs: it reads files and variables as it is loaded.
  const { chromium } = await import("npm:playwright-core@1.65.1");
  return await chromium.launch({
    executablePath: "/usr/bin/chromium",
    // As root, which CI may be, there is no sandbox to be had.
    chromiumSandbox: Deno.uid() !== 0,
  });
}

/** A page that is open, and what has come of it. */
export interface Opened {
  page: Page;
  /** Whatever it complains about, and whatever the browser does. */
  complaints: string[];
  /** What it has asked for: `GET /stats.json`. */
  asked: string[];
  /** The answers of `/stats.json` that it has got. */
  answers: Promise<Stats>[];
}

/**
 * Opens the page of an admin port, and waits for its first answer.
 *
 * @param stopped Whether its time stands still until the test moves it.
 */
export async function open(
  browser: Browser,
  { addr }: { addr: Deno.Addr },
  options: BrowserContextOptions = {},
  stopped = false,
): Promise<Opened> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const opened: Opened = { page, complaints: [], asked: [], answers: [] };
  page.on("console", (message) => {
    const { url } = message.location();
    opened.complaints.push(`${message.type()}: ${message.text()} (${url})`);
  });
  page.on("pageerror", (error) => opened.complaints.push(String(error)));
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    opened.asked.push(`${request.method()} ${pathname}`);
  });
  page.on("response", (answer) => {
    if (!answer.url().endsWith("/stats.json") || !answer.ok()) return;
    const stats = answer.json();
    // One that is cut off is of no use to a test, and no failure.
    stats.catch(() => {});
    opened.answers.push(stats);
  });
  if (stopped) {
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 1000);
  }
  await page.goto(`http://127.0.0.1:${(addr as Deno.NetAddr).port}/`);
  await page.waitForFunction(() => document.body.dataset.state !== "waiting");
  return opened;
}

/**
 * What of a page does not fit: what scrolls sideways, and texts that reach
 * beyond the box that they are in, or beyond the window.
 */
export function misfits(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const named = (element: Element) =>
      `${element.localName}#${element.id}.${element.className}`;
    const { scrollWidth } = document.documentElement;
    if (scrollWidth > innerWidth) found.push(`the page: ${scrollWidth}`);
    for (const element of document.querySelectorAll("body *")) {
      if (!element.checkVisibility() || element.closest(".plot")) continue;
      const { overflowX } = getComputedStyle(element);
      const beyond = element.scrollWidth - element.clientWidth;
      if (overflowX !== "visible" && beyond > 0) {
        found.push(`${named(element)} scrolls by ${beyond}`);
      }
    }
    const texts = document.createTreeWalker(document.body, 4);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const element = text.parentElement!;
      if (!text.nodeValue?.trim() || !element.checkVisibility()) continue;
      const range = document.createRange();
      range.selectNodeContents(text);
      const box = range.getBoundingClientRect();
      const outside = (outer: DOMRect) =>
        box.left < outer.left - 1 || box.right > outer.right + 1;
      const cut = element.closest("td, th, dd, dt, button, li, h1, h2, p");
      const row = element.closest("tbody tr")?.getBoundingClientRect();
      if (
        outside(new DOMRect(0, 0, innerWidth)) ||
        outside((element.closest(".panel") ?? document.body)
          .getBoundingClientRect()) ||
        cut && outside(cut.getBoundingClientRect()) ||
        row && (box.top < row.top - 1 || box.bottom > row.bottom + 1)
      ) found.push(`${named(element)} cuts ${text.nodeValue}`);
    }
    return found;
  });
}
