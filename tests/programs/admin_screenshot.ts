/**
 * Makes the README's picture of the live page, `docs/admin-page.png`, of a
 * server under changing load: `deno task screenshot [seconds]`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

import { serveAdmin } from "../../lib/admin/mod.ts";
import { commands, serve } from "../../lib/mod.ts";
import { open, startBrowser } from "../support/admin_page.ts";
import { Peer, random } from "../support/fixtures.ts";

const CLIENTS = 60;
const MOST = 100;

const seconds = Number(Deno.args[0] ?? 300);
const file = new URL("../../docs/admin-page.png", import.meta.url);

await using server = serve({
  hostname: "127.0.0.1",
  port: 0,
  maxConnections: MOST,
  idleTimeout: 20_000,
}, commands);
await using admin = serveAdmin({ port: 0, handler: "commands" }, server);
const browser = await startBrowser();
const { page } = await open(browser, admin, {
  viewport: { width: 1280, height: 800 },
  colorScheme: "dark",
});

const started = Date.now();
const left = () => started + seconds * 1000 - Date.now();
const chance = random(7);
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** From 0 to 1 and back, at two paces. */
function tide(): number {
  const t = (Date.now() - started) / 1000;
  return 0.5 + 0.3 * Math.sin(t / 19) + 0.2 * Math.sin(t / 5.3);
}

/** One client after another, each with its own habits. */
async function clients(): Promise<void> {
  while (left() > 0) {
    await pause(chance() * 4000);
    if (chance() > tide() + 0.3) continue;
    using peer = await Peer.to(server);
    const depth = 1 + Math.floor(chance() * 24);
    const text = "x".repeat(20 + chance() * 900);
    const batches = 10 + chance() * 100;
    try {
      for (let i = 0; i < batches && left() > 0; i++) {
        const slow = chance() < 0.01;
        await peer.send(
          slow ? "DELAY 20 x\n" : `ECHO ${text}\n`.repeat(depth),
        );
        await peer.receive(slow ? 2 : (text.length + 1) * depth);
        await pause(100 + chance() * 600 * (1.3 - tide()));
      }
      if (chance() < 0.3) await peer.send("QUIT\n");
      else if (chance() < 0.05) await peer.send("x".repeat(70_000));
      await peer.finish();
      await peer.rest();
    } catch {
      // Turned away, or closed by the server: the next one comes.
    }
  }
}

/** Now and then more come than there is room for. */
async function crowd(): Promise<void> {
  while (left() > 0) {
    await pause(Math.min(25_000, Math.max(0, left())));
    const peers = await Promise.all(
      Array.from({ length: MOST / 2 }, () => Peer.to(server)),
    );
    await pause(3000);
    for (const peer of peers) peer[Symbol.dispose]();
  }
}

await Promise.race([
  Promise.all([crowd(), ...Array.from({ length: CLIENTS }, clients)]),
  pause(seconds * 1000 - 2000),
]);
await page.screenshot({ path: fileURLToPath(file) });
await browser.close();
// Those clients that still pause have nothing left to do.
Deno.exit();
