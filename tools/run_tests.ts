/**
 * Runs all tests: `deno task test`. Files run beside each other, and those that
 * measure something behind them. What is given to it is handed on
 * to `deno test`; a file among it is all that runs.
 *
 * @module
 */

import { isInstalled, packages } from "../tests/support/packages.ts";

/** What measures memory, or fills descriptors or processors: two at a time. */
const ALONE = [
  "tests/load/fuzz_wire_test.ts",
  "tests/load/held_test.ts",
  "tests/programs/descriptor_limit_test.ts",
  "tests/programs/memory_test.ts",
  "tests/programs/prompt_test.ts",
  "tests/programs/terminal_test.ts",
];

const missing = Object.keys(packages).filter((name) => !isInstalled(name));
for (const name of missing) {
  console.log(`tests with ${name} are left out: apt-get install ${name}`);
}

/** Gives whether all tests have passed. */
async function test(jobs: number, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      // The gate has looked at the types.
      ...["test", "--no-check", "--lock=deno.lock", "--frozen", "--allow-all"],
      "--parallel",
      ...Deno.args,
      ...args,
    ],
    env: { DENO_JOBS: String(jobs) },
  }).spawn().status;
  return success;
}

const some = Deno.args.some((arg) => /_test\.ts$/.test(arg));
// One more than there are processors, as many tests wait for something.
const jobs = navigator.hardwareConcurrency + 1;
const passed = some ? [await test(jobs)] : [
  await test(jobs, "--doc", `--ignore=${ALONE.join(",")}`),
  await test(2, ...ALONE),
];
if (passed.includes(false)) Deno.exit(1);
