// What `deno task held` proves with 10,000 connections and more, with as many
// as every run of the tests has the time for.

import { assertEquals } from "../support/std.ts";

import { testPrograms } from "../support/programs.ts";
import { scenes } from "./load.ts";

const SIZES = {
  active: 2000,
  idle: 1500,
  besideIdle: 500,
  storm: 2000,
  rounds: 3,
};

testPrograms(
  "server holds many connections, active, idle and in a burst",
  async (way) => {
    const replies: number[] = [];
    for await (const figures of scenes(way, SIZES)) {
      replies.push(figures.replies);
      assertEquals(figures.failures, {
        refused: 0,
        reset: 0,
        lost: 0,
        wrong: 0,
        miscounted: 0,
        forced: 0,
      }, figures.scene);
    }
    // One at the start, and the rounds; ten times as many beside the idle, who
    // ask once more.
    assertEquals(replies, [2000 * 4, 1500 * 2 + 500 * 31, 2000]);
  },
  ["cat"],
);
