/**
 * `deno task held [--executable]`: the load that a server has to hold. 10,000
 * connections at once, all of them active; 15,000 idle ones with 1,000 active
 * beside them; and 10,000 that come in one burst. Nothing may be refused,
 * reset, lost, wrong, or counted wrongly.
 *
 * @module
 */

import { type Figures, scenes } from "./load.ts";

const SIZES = {
  active: 10_000,
  idle: 15_000,
  besideIdle: 1000,
  storm: 10_000,
  rounds: 10,
};

/** The server has one descriptor for each connection, and some of its own. */
const DESCRIPTORS = 17_000;

const [argument, ...more] = Deno.args;
if (more.length > 0 || ![undefined, "--executable"].includes(argument)) {
  fail(`arguments are ${JSON.stringify(Deno.args)}, expected --executable`, 2);
}
const limit = await descriptorLimit();
if (limit < DESCRIPTORS) {
  fail(`${limit} descriptors a process, expected ${DESCRIPTORS} (ulimit -n)`);
}

const from = performance.now();
const failed: string[] = [];
const way = argument === undefined ? "deno run" : "executable";
for await (const figures of scenes(way, SIZES)) {
  console.log(inWords(figures));
  const { failures } = figures;
  // A number that is missing is no 0 either.
  const bad = Object.values(failures).some((count) => count !== 0);
  if (bad) failed.push(figures.scene);
}
console.log(`held: ${seconds(performance.now() - from)} s in all`);
if (failed.length > 0) fail(`failures in: ${failed.join("; ")}`);

function inWords(figures: Figures): string {
  const { scene, clients, connectMs, askMs, replies, residentKiB } = figures;
  const asked = replies - clients;
  const failures = Object.entries(figures.failures)
    .map(([name, count]) => `${name} ${count}`);
  return [
    `${scene}: ${failures.join(", ")}`,
    `  connected and answered in ${seconds(connectMs)} s, ` +
    `${perSecond(clients, connectMs)} connections/s`,
    ...(askMs === 0 ? [] : [
      `  ${asked} requests in ${seconds(askMs)} s, ` +
      `${perSecond(asked, askMs)} requests/s`,
    ]),
    `  server's memory ${Math.round(residentKiB / 1024)} MiB`,
  ].join("\n");
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

function perSecond(count: number, ms: number): number {
  return Math.round(count / ms * 1000);
}

/** What the processes started from here have, too. */
async function descriptorLimit(): Promise<number> {
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", "ulimit -n"],
  }).output();
  const text = new TextDecoder().decode(stdout).trim();
  return text === "unlimited" ? Infinity : Number(text);
}

function fail(message: string, code = 1): never {
  console.error(`held: ${message}`);
  Deno.exit(code);
}
