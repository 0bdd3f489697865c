/**
 * `deno task fuzz:wire [--seconds N] [--seed N] [--only NAME] [--executable]`:
 * random clients against the server as a process of its own, 600 s without a
 * flag. They send in parts, pipeline, half-close, reset, go over limits and
 * break frames, by all framings, plain, by TLS, behind PROXY headers, and with
 * two threads; a model (`tests/support/wire_model.ts`) says byte for byte what
 * must come back. In the end no connection is left, memory is flat, and there
 * are as many descriptors as before.
 *
 * What fails is made shorter, and printed as a program that repeats it.
 *
 * @module
 */

import { parseArgs } from "node:util";

import { fuzz, program } from "./wire_fuzz.ts";
import { settings } from "./wire_scripts.ts";

const names = settings.map(({ name }) => name);

function wrong(message: string): never {
  console.error(`fuzz:wire: ${message}`);
  Deno.exit(2);
}

function flags() {
  try {
    return parseArgs({
      args: Deno.args,
      options: {
        seconds: { type: "string", default: "600" },
        seed: { type: "string", default: String(Date.now() % 2 ** 31) },
        only: { type: "string", multiple: true, default: names },
        executable: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    wrong((error as Error).message);
  }
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number < 2 ** 31) return number;
  wrong(`--${name} is "${text}", expected a number below 2^31`);
}

const { seconds, seed, only, executable } = flags();
const plan = {
  way: executable ? "executable" : "deno run",
  seconds: numberOf("seconds", seconds),
  seed: numberOf("seed", seed),
  only,
} as const;
const strange = only.find((name) => !names.includes(name));
if (strange !== undefined) {
  wrong(`--only is "${strange}", expected one of ${names.join(", ")}`);
}
console.log(`fuzz:wire: ${plan.seconds} s, seed ${plan.seed}`);
const { figures, failure } = await fuzz(plan);
if (failure !== undefined) {
  console.log(program(failure));
  Deno.exit(1);
}
for (const { name, scripts, resident } of figures) {
  const memory = resident.map((MiB) => `${MiB.toFixed()} MiB`).join(", then ");
  console.log(`${name}: ${scripts} scripts, memory ${memory}`);
}
