// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * The work of `deno task fuzz:wire`: random scripts against servers that are
 * processes of their own. See `fuzz_wire.ts`.
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";

import type { Way } from "../support/programs.ts";
import { Difference, play, type Script } from "./wire_play.ts";
import { scripts, settings } from "./wire_scripts.ts";
import type { Setting } from "./wire_sent.ts";
import { ServerTarget } from "./wire_target.ts";

/** How long an answer may take, in milliseconds: the machine may be busy. */
const PATIENCE = 20_000;

/** The same where nothing else goes on. */
const SHORT_PATIENCE = 3000;

/** How long a script that fails is made shorter, in milliseconds. */
const SHRINK = 90_000;

/** How often a script is played to see whether it fails by itself. */
const TRIES = 10;

/** How many scripts are made from one seed. */
const BATCH = 10;

/** How much memory may grow from a third of the time on, in MiB a thread. */
const GROWTH = 64;

/** A run that is shorter, in seconds, does not show: pools fill all the while. */
const LONG = 300;

/** What is to be done. */
export interface Plan {
  readonly way: Way;
  readonly seconds: number;
  readonly seed: number;
  /** The settings, by their names. */
  readonly only: readonly string[];
}

/** What was done with one server. */
export interface Figures {
  readonly name: string;
  readonly scripts: number;
  /** Its memory in the first and the last of three parts of the time, in MiB. */
  readonly resident: readonly [number, number];
}

/** What went wrong. */
export interface Failure {
  readonly setting: string;
  /** By this seed, and after so many seconds. */
  readonly seed: number;
  readonly after: number;
  readonly why: string;
  /** The script that did it, and how often it does by itself. */
  readonly script?: Script;
  readonly again?: number;
}

/** What all servers' runs share. */
interface Hunt extends Plan {
  /** When it began. */
  began: number;
  /** The first failure; the others stop then. */
  failure?: Failure;
}

/** Plays until the time is over, or something is wrong. */
export async function fuzz(
  plan: Plan,
): Promise<{ figures: Figures[]; failure?: Failure }> {
  const hunt: Hunt = { ...plan, began: 0 };
  const runs = settings
    .filter(({ name }) => plan.only.includes(name))
    .map((setting) => new Run(hunt, setting));
  try {
    await Promise.all(runs.map((run) => run.start()));
    hunt.began = performance.now();
    await Promise.all(runs.map((run) => run.play()));
    return { figures: runs.map((run) => run.figures), failure: hunt.failure };
  } finally {
    await Promise.all(runs.map((run) => run.stop()));
  }
}

/** Plays one script against a new server, until it fails or has not often. */
export async function repeat(name: string, script: Script): Promise<void> {
  const setting = settings.find((setting) => setting.name === name)!;
  await using target = await ServerTarget.start("deno run", setting);
  for (let i = 0; i < TRIES; i++) await play(target, script, SHORT_PATIENCE);
  console.log(`no difference in ${TRIES} times`);
}

/** A failure as a program that repeats it, to be run in the root folder. */
export function program(failure: Failure): string {
  const { setting, seed, after, why, script, again } = failure;
  const head = [
    `setting ${setting}, seed ${seed}, after ${after.toFixed(1)} s: ${why}`,
    `deno task fuzz:wire --only ${setting} --seed ${seed}`,
    ...again === undefined
      ? []
      : [`By itself it failed ${again} of ${TRIES} times:`],
  ].map((line) => `// ${line}\n`).join("");
  if (script === undefined) return head;
  const { copies, piece, talks, steps } = script;
  const list = (items: readonly unknown[]) =>
    items.map((item) => `\n    ${JSON.stringify(item)},`).join("");
  return `${head}// deno run --lock=deno.lock --frozen --allow-all FILE

import { repeat } from "./tests/load/wire_fuzz.ts";

await repeat(${JSON.stringify(setting)}, {
  copies: ${copies},
  piece: ${piece},
  talks: [${list(talks)}
  ],
  steps: [${list(steps)}
  ],
});
`;
}

/** One server, and what is played against it. */
class Run {
  readonly #hunt: Hunt;
  readonly #setting: Setting;
  #target: ServerTarget | undefined;
  #scripts = 0;
  readonly #resident: number[] = [];

  constructor(hunt: Hunt, setting: Setting) {
    this.#hunt = hunt;
    this.#setting = setting;
  }

  get figures(): Figures {
    return {
      name: this.#setting.name,
      scripts: this.#scripts,
      resident: [partOf(this.#resident, 0), partOf(this.#resident, 2)],
    };
  }

  async start(): Promise<void> {
    this.#target = await ServerTarget.start(this.#hunt.way, this.#setting);
  }

  async stop(): Promise<void> {
    await this.#target?.[Symbol.asyncDispose]();
  }

  async play(): Promise<void> {
    const hunt = this.#hunt;
    for (let batch = 0; !this.#isOver; batch++) {
      await this.#playBatch(hunt.seed + batch);
      if (hunt.failure !== undefined) return;
      // What is compiled and pooled at first is no leak.
      if (this.#since > hunt.seconds / 4) this.#look();
    }
    this.#look();
    const why = await this.#leftOver();
    if (why !== undefined) this.#fails(hunt.seed, why);
  }

  get #since(): number {
    return (performance.now() - this.#hunt.began) / 1000;
  }

  /** A slow machine takes longer: one script at the least is played. */
  get #isOver(): boolean {
    return this.#scripts > 0 && this.#since > this.#hunt.seconds;
  }

  /** Plays what a seed makes up; what fails is made shorter. */
  async #playBatch(seed: number): Promise<void> {
    const hunt = this.#hunt;
    let failure: Failure | undefined;
    let shrinkUntil = 0;
    const tryOut = async (script: Script) => {
      if (failure !== undefined) {
        for (let i = 0; i < 3 && performance.now() < shrinkUntil; i++) {
          if (await this.#differs(script, SHORT_PATIENCE)) return false;
        }
        return true;
      }
      // Another one's failure is looked into, or the time is over.
      if (hunt.failure !== undefined || this.#isOver) return true;
      this.#scripts++;
      const why = await this.#differs(script, PATIENCE);
      if (why === undefined) return true;
      failure = this.#fails(seed, why, script);
      shrinkUntil = performance.now() + SHRINK;
      return failure === undefined;
    };
    const { counterexample } = await fc.check(
      fc.asyncProperty(scripts(this.#setting), tryOut),
      { seed, numRuns: BATCH },
    );
    if (failure === undefined || counterexample === null) return;
    const [script] = counterexample;
    hunt.failure = { ...failure, ...await this.#proof(script) ?? { again: 0 } };
  }

  /** Plays a script by itself, again and again. */
  async #proof(
    script: Script,
  ): Promise<Pick<Failure, "script" | "why" | "again"> | undefined> {
    let again = 0;
    let last: string | undefined;
    for (let i = 0; i < TRIES; i++) {
      const why = await this.#differs(script, SHORT_PATIENCE);
      if (why === undefined) continue;
      last = why;
      again++;
    }
    return last === undefined ? undefined : { script, why: last, again };
  }

  /** Notes a failure, unless there is one. */
  #fails(seed: number, why: string, script?: Script): Failure | undefined {
    const hunt = this.#hunt;
    if (hunt.failure !== undefined) return;
    const setting = this.#setting.name;
    return hunt.failure = { setting, seed, after: this.#since, why, script };
  }

  /**
   * Plays a script. A server that has failed is replaced.
   *
   * @returns What differs, if anything does.
   */
  async #differs(
    script: Script,
    patience: number,
  ): Promise<string | undefined> {
    try {
      await play(this.#target!, script, patience);
    } catch (error) {
      if (!(error instanceof Difference)) throw error;
      const { fault = "nothing" } = this.#target!;
      await this.stop();
      await this.start();
      return `${error.message} (its log: ${fault})`;
    }
  }

  #look(): void {
    this.#resident.push(this.#target!.resident());
  }

  /** Compares the looks at its memory, and ends the server. */
  async #leftOver(): Promise<string | undefined> {
    const { resident: [before, after] } = this.figures;
    const most = GROWTH * (this.#setting.threads ?? 1);
    if (this.#hunt.seconds >= LONG && after - before > most) {
      return `memory grew from ${before.toFixed()} to ${after.toFixed()} MiB`;
    }
    const code = await this.#target!.end();
    if (code !== 0) return `it ended with ${code}`;
  }
}

/** The median of one of three parts. */
function partOf(values: readonly number[], part: number): number {
  const third = values.length / 3;
  const some = values.slice(part * third, Math.ceil((part + 1) * third));
  return some.sort((a, b) => a - b)[some.length >> 1];
}
