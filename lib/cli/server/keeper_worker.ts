/** The worker behind {@linkcode openKeeper}, which obeys its one caller. */

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />

import { constants, open } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

import { removeFile } from "../../net/unix.ts";
import { WorkerCalls } from "../../threads/worker_calls.ts";

const PAUSE = 20;

/** The most bytes of a file: a pipe may have no end. */
const MOST = 16 * 1024 * 1024;
const TOO_LARGE = "expected a file of at most 16 MiB";
const NO_FILE = "expected a file or a pipe";

/** `ready` is answered once the worker is there. */
const procedures = { ready() {}, readText, removeFile, notify };

export type KeeperProcedures = typeof procedures;

new WorkerCalls(self, procedures);

/** Sends a datagram to a Unix socket, from one at a path of its own. */
async function notify(to: string, own: string, text: string): Promise<true> {
  const socket = Deno.listenDatagram({ transport: "unixpacket", path: own });
  try {
    const bytes = new TextEncoder().encode(text);
    await socket.send(bytes, { transport: "unixpacket", path: to });
    return true;
  } finally {
    socket.close();
    await Deno.remove(own);
  }
}

async function readText(path: string, limit: number): Promise<string> {
  const { isFifo, isFile, isDirectory, size } = await Deno.stat(path);
  // A device may have no end. To read a folder fails with words of the system.
  if (!isFifo && !isFile && !isDirectory) throw new Error(NO_FILE);
  if (size > MOST) throw new Error(TOO_LARGE);
  return await (isFifo ? readPipe(path, limit) : Deno.readTextFile(path));
}

/**
 * Reads a pipe to its end, once somebody writes to it. It is opened without a
 * wait for that: before Deno 2.9 such a wait holds up this whole thread.
 */
async function readPipe(path: string, limit: number): Promise<string> {
  const late = performance.now() + limit;
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  await using pipe = await open(path, flags);
  const space = new Uint8Array(65_536);
  const decoder = new TextDecoder();
  let text = "";
  while (performance.now() < late) {
    const n = await pipe.read(space, 0, space.length, null)
      .then(({ bytesRead }) => bytesRead, nothingYet);
    if (text.length > MOST) throw new Error(TOO_LARGE);
    if (n > 0) text += decoder.decode(space.subarray(0, n), { stream: true });
    else if (n === 0 && text !== "") return text;
    else await setTimeout(PAUSE);
  }
  throw new Error(`no answer within ${limit} ms`);
}

/** A pipe whose writer has not written yet. */
function nothingYet(error: NodeJS.ErrnoException): number {
  if (error.code !== "EAGAIN") throw error;
  return -1;
}
