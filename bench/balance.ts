/**
 * A small simulation: how evenly a balancer spreads connections over machines,
 * by turns (round robin) or to whoever has the fewest (least connections).
 *
 *     deno run bench/balance.ts
 *
 * Connections arrive at random (Poisson) and stay for as long as their kind
 * does. After the start-up the spread is watched, then one machine restarts
 * empty: how long until it carries its share, and how much the others carry in
 * the meantime. Everything is drawn from one seed.
 *
 * @module
 */

const MACHINES = 10;
/** Connections that arrive in a second, over all machines. */
const RATE = 1000;
const SEED = 1;

/** A mix of connections: how many stay for how long on average, in seconds. */
interface Mix {
  readonly name: string;
  readonly kinds: readonly { share: number; seconds: number }[];
}

const mixes: readonly Mix[] = [
  { name: "all about 10 s", kinds: [{ share: 1, seconds: 10 }] },
  {
    name: "90% 1 s, 10% 100 s",
    kinds: [{ share: 0.9, seconds: 1 }, { share: 0.1, seconds: 100 }],
  },
  {
    name: "99% 0.1 s, 1% 1000 s",
    kinds: [{ share: 0.99, seconds: 0.1 }, { share: 0.01, seconds: 1000 }],
  },
];

type Choice = (open: readonly number[], arrivals: number) => number;

const choices: Readonly<Record<string, Choice>> = {
  "round robin": (open, arrivals) => arrivals % open.length,
  "least connections": (open) => open.indexOf(Math.min(...open)),
};

/** What came out of one run. */
interface Outcome {
  /** Connections on a machine, on average. */
  mean: number;
  /** The most on any machine against that, after the start-up. */
  peak: number;
  /** Seconds until the restarted machine has 90% of the mean again. */
  recovery: number;
  /** The most new connections that a machine got in one second after it. */
  burst: number;
}

function simulate({ kinds }: Mix, choose: Choice): Outcome {
  const random = generator(SEED);
  const exponential = (mean: number) => -mean * Math.log(1 - random());
  const longest = Math.max(...kinds.map(({ seconds }) => seconds));
  const mean =
    kinds.reduce((sum, { share, seconds }) => sum + share * seconds, 0) * RATE /
    MACHINES;
  // Five times the longest stay: all but 1% of the steady state is there.
  const restart = 5 * longest;
  const until = restart + 3 * longest;

  const open = new Array<number>(MACHINES).fill(0);
  const ends = new Heap();
  let life = 0;
  let peak = 0;
  let recovery = Infinity;
  let burst = 0;
  let inSecond = 0;
  let second = 0;
  for (let time = 0, arrivals = 0; time < until; arrivals++) {
    time += exponential(1 / RATE);
    for (let end; (end = ends.popBefore(time)) !== undefined;) {
      // What the restart cut has ended already.
      if (end.machine !== 0 || end.life === life) open[end.machine]--;
    }
    if (life === 0 && time >= restart) {
      life = 1;
      open[0] = 0;
    }
    const machine = choose(open, arrivals);
    open[machine]++;
    let draw = random();
    const kind = kinds.find(({ share }) => (draw -= share) < 0) ?? kinds[0];
    ends.push({ at: time + exponential(kind.seconds), machine, life });
    if (life === 0 && time > 4 * longest) {
      peak = Math.max(peak, open[machine] / mean);
    }
    if (life === 1) {
      if (recovery === Infinity && open[0] >= 0.9 * mean) {
        recovery = time - restart;
      }
      if (machine === 0) {
        if (time - second >= 1) {
          second = time;
          inSecond = 0;
        }
        burst = Math.max(burst, ++inSecond);
      }
    }
  }
  return { mean, peak, recovery, burst };
}

/** The end of a connection. */
interface End {
  readonly at: number;
  readonly machine: number;
  /** Which life of the machine it belongs to. */
  readonly life: number;
}

/** Ends, the next one first. */
class Heap {
  readonly #items: End[] = [];

  push(item: End): void {
    const items = this.#items;
    let i = items.push(item) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (items[up].at <= item.at) break;
      items[i] = items[up];
      i = up;
    }
    items[i] = item;
  }

  popBefore(time: number): End | undefined {
    const items = this.#items;
    if (items.length === 0 || items[0].at > time) return undefined;
    const [first] = items;
    const last = items.pop()!;
    if (items.length === 0) return first;
    let i = 0;
    while (true) {
      let down = 2 * i + 1;
      if (down >= items.length) break;
      if (down + 1 < items.length && items[down + 1].at < items[down].at) {
        down++;
      }
      if (items[down].at >= last.at) break;
      items[i] = items[down];
      i = down;
    }
    items[i] = last;
    return first;
  }
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), seed | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (import.meta.main) {
  console.log(
    "| connections stay | choice | open per machine | busiest machine | " +
      "restarted one has its share after | its most new ones in a second |",
  );
  console.log("| --- | --- | ---: | ---: | ---: | ---: |");
  for (const mix of mixes) {
    for (const [name, choose] of Object.entries(choices)) {
      const { mean, peak, recovery, burst } = simulate(mix, choose);
      console.log(
        `| ${mix.name} | ${name} | ${Math.round(mean)} | ${
          peak.toFixed(2)
        } × | ${recovery.toFixed(1)} s | ${burst} |`,
      );
    }
  }
}
