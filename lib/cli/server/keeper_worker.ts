/**
 * The worker behind {@linkcode openKeeper}. It obeys its one caller; what it
 * may touch at all is up to the permissions that it was started with.
 *
 * @module
 */

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />

import { removeFile } from "../../net/unix.ts";
import { WorkerCalls } from "../../threads/worker_calls.ts";

/** What it does. */
const procedures = {
  /** Answered once it is there. */
  ready() {},
  readTextFile: (path: string) => Deno.readTextFile(path),
  removeFile,
};

/** What its caller may call. */
export type KeeperProcedures = typeof procedures;

new WorkerCalls(self, procedures);
