/** What a program may have called beside its handler. */

import type { CloseReason, RejectReason } from "../events/events.ts";
import type {
  Payload,
  PeerConnection,
  ReplyLater,
  RequestInfo,
} from "./handler.ts";

/**
 * Turns what a handler threw into a reply.
 *
 * @typeParam State What the handler keeps in `info.state`.
 */
export type ErrorHandler<State = Record<string, unknown>> = (
  error: unknown,
  info: RequestInfo<State>,
  request: Uint8Array<ArrayBuffer>,
) => ReplyLater;

/**
 * The hooks of {@linkcode serve}, none of which can be sent to a thread.
 *
 * @typeParam State What the handler keeps in `info.state`.
 */
export interface Hooks<State = Record<string, unknown>> {
  /** Makes a connection's `info.state`, when it is first looked at. */
  state?: (info: PeerConnection<unknown>) => State;
  /**
   * Called when a connection is to be served. Its reply goes out before all
   * others, as a protocol's greeting, such as `220 ready`. If it throws, the
   * connection is closed as `error`, and told so as by `onError`.
   */
  onOpen?: (info: RequestInfo<State>) => ReplyLater;
  /** Called once for each such connection when it has ended. */
  onClose?: (
    info: RequestInfo<State>,
    reason: CloseReason,
  ) => void | Promise<void>;
  /**
   * Turns what the handler threw into a reply; also a {@linkcode TimeoutError}
   * where it took too long, and a {@linkcode ReplyTooLargeError}. Without it the
   * peer is told `ERR internal error`, `ERR request timeout: …` or `ERR reply too
   * large: …`; the error itself goes to the events only.
   */
  onError?: ErrorHandler<State>;
  /**
   * Says to a client why it is turned away, in the protocol's own words; nothing
   * for no word. Without it that is `text`, which begins with `ERR `.
   */
  onRefuse?: (reason: RejectReason, text: string) => Payload | undefined;
}

export const hookNames: Readonly<Record<keyof Hooks, 0>> = {
  ...{ state: 0, onOpen: 0, onClose: 0, onError: 0, onRefuse: 0 },
};
