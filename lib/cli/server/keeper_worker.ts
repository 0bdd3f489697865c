/**
 * The worker behind {@linkcode openKeeper}. It obeys its one caller; what it
 * may touch at all is up to the permissions that it was started with.
 *
 * @module
 */

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />

import { type FileId, removeFile } from "../../net/unix.ts";
import { type SentError, serializeError } from "../../threads/sent_error.ts";

/** What the worker is asked to do. */
export type KeeperRequest =
  | { readonly id: number; readonly readText: string }
  | { readonly id: number; readonly remove: string; readonly file: FileId };

/** What has come of it. The worker says 0 by itself, once it is there. */
export interface KeeperReply {
  readonly id: number;
  readonly text?: string;
  readonly failure?: SentError;
}

async function perform(request: KeeperRequest): Promise<string | undefined> {
  if ("readText" in request) return await Deno.readTextFile(request.readText);
  removeFile(request.remove, request.file);
}

function reply(message: KeeperReply): void {
  self.postMessage(message);
}

self.onmessage = async ({ data }: MessageEvent<KeeperRequest>) => {
  const { id } = data;
  try {
    reply({ id, text: await perform(data) });
  } catch (error) {
    reply({ id, failure: serializeError(error) });
  }
};

reply({ id: 0 });
