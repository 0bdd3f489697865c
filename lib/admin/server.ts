/**
 * {@linkcode serveAdmin}: the operator's HTTP port, apart from the public one.
 *
 * Health and metrics are for all. The rest is for requests by an address or by
 * the port's own name, or by a Unix socket; actions need the token, too.
 */

import { checkHostname, checkNumber, checkOptions } from "../core/checks.ts";
import { formatAddr } from "../core/address.ts";
import { systemClock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import { type AdminActionEvent, emit } from "../events/events.ts";
import { checkListenPath, listenUnix } from "../net/unix.ts";
import { PROMETHEUS_TYPE, prometheusText } from "../observe/prometheus.ts";
import type { AdminSource } from "../observe/numbers.ts";
import { hasToken, isToken, namesUs, TOKEN_FORM } from "./access.ts";
import { type History, keepHistory } from "./history.ts";
import { reply } from "./http.ts";
import { assets } from "./page.ts";
import { openPort, type PortOptions } from "./port.ts";
import { connectionTable, type Stats, statsOf } from "./stats.ts";

/** Options of {@linkcode serveAdmin}. */
export interface AdminOptions {
  /**
   * The address to listen on.
   *
   * @default {"127.0.0.1"}
   */
  hostname?: string;
  /**
   * The port to listen on; 0 lets the system pick one.
   *
   * @default {9090}
   */
  port?: number;
  /**
   * The path of a Unix socket to listen on, in place of an address and a port.
   * Its file has the permissions 0600; it must not be there yet, and is removed
   * at the end. See {@linkcode removeStaleSocket}.
   */
  path?: string;
  /**
   * What the actions ask for, behind `Authorization: Bearer`: 16 or more
   * letters, digits and `-._~+/`. Without it they are refused to all.
   */
  token?: string;
  /**
   * What the numbers call the server's handler.
   *
   * @default {"custom"}
   */
  handler?: string;
  /** Called for each action that was asked for, whether done or refused. */
  onAction?: (event: AdminActionEvent) => void;
}

/** A running admin port. */
export interface AdminServer extends AsyncDisposable {
  /** The bound address, with the real port where 0 was asked for, or path. */
  readonly addr: Deno.Addr;
  /** Resolves when the port is closed, and so are its connections. */
  readonly finished: Promise<void>;
  /**
   * Names the server that the port is for. Until then it is not ready. The
   * port is closed once that server has finished.
   *
   * @param source The server.
   */
  attach(source: AdminSource): void;
  /**
   * Closes the port. Answers under way get a tenth of a second to go out; then
   * every connection is cut.
   *
   * @returns Resolves with `finished`.
   */
  close(): Promise<void>;
}

/**
 * Serves the admin port of a server. It keeps no process alive.
 *
 * Bind it before the server, and `attach` the server to it then, where a port
 * in use must stop both.
 *
 * @param options Where to listen, and the token for the actions.
 * @param source The server.
 * @returns The port, bound already.
 * @throws {OptionError} An option has a value that is not allowed.
 * @throws {OptionError} There is a file at the path that is no socket.
 * @throws {Deno.errors.AddrInUse} The port or the path is taken.
 * @throws {Deno.errors.AddrNotAvailable} The address is not this machine's.
 * @throws {Deno.errors.NotFound} There is no folder for the path.
 *
 * @example
 * ```ts
 * import { formatAddr, serve } from "../mod.ts";
 * import { serveAdmin } from "./mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (text) => text);
 * await using admin = serveAdmin({ port: 0 }, server);
 * const answer = await fetch(`http://${formatAddr(admin.addr)}/readyz`);
 * console.log(await answer.text()); // ready
 * ```
 */
export function serveAdmin(
  options: AdminOptions,
  source?: AdminSource,
): AdminServer {
  const admin = startAdmin(options);
  if (source !== undefined) admin.attach(source);
  return admin;
}

/** What `serveAdmin` does, without a server yet, and with its surroundings. */
export function startAdmin(
  options: AdminOptions,
  { clock = systemClock, spares = [] }: Partial<
    Pick<PortOptions, "clock" | "spares">
  > = {},
): AdminServer {
  checkOptions(options, {
    ...{ hostname: 0, port: 0, path: 0, token: 0 },
    ...{ handler: "string", onAction: "function" } as const,
  });
  const { hostname = "127.0.0.1", port = 9090, path, token } = options;
  const { handler = "custom" } = options;
  if (path !== undefined) checkListenPath(options, ["hostname", "port"]);
  checkHostname(hostname);
  checkNumber("port", port);
  if (token !== undefined && !isToken(token)) {
    // The message does not have the value: it may be most of a secret.
    throw new OptionError("token", undefined, TOKEN_FORM);
  }
  const listener = path === undefined
    ? Deno.listen({ hostname, port })
    // Operators are of one user.
    : listenUnix({ path, mode: 0o600 });
  let server: Attached | undefined;
  const { finished, close } = openPort({
    listener,
    clock,
    spares,
    async answer(request, remoteAddr) {
      const from = { ...options, hostname, remoteAddr };
      const answer = await answerTo(request, from, server);
      const { pathname: action } = new URL(request.url);
      if (ACTION.test(action)) {
        const { status } = answer;
        const type = "admin_action";
        emit(options.onAction, { type, action, status, remoteAddr });
      }
      return answer;
    },
  });
  return {
    addr: listener.addr,
    finished,
    attach(source) {
      const stats = () =>
        statsOf(source, { handler, actions: token !== undefined });
      const history = keepHistory(stats, clock);
      server = { source, stats, history };
      source.finished.then(close, close);
      finished.then(history.close);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface Attached {
  readonly source: AdminSource;
  readonly stats: () => Stats;
  readonly history: History;
}

const NOT_READY = "not ready\n";

/** What is read of a server, by path. */
const READ: Readonly<
  Record<
    string,
    (server: Attached, query: URLSearchParams) => Response | Promise<Response>
  >
> = {
  "/readyz": ({ source: { ready, draining } }) => {
    if (ready) return reply("ready\n");
    return reply(draining ? "draining\n" : NOT_READY, 503);
  },
  "/metrics": ({ source }) =>
    reply(prometheusText(source), 200, { "content-type": PROMETHEUS_TYPE }),
  "/stats.json": ({ stats, history }) =>
    Response.json({ ...stats(), recent: history.latest() }),
  "/history.json": ({ history }, query) =>
    Response.json(history.after(Number(query.get("after")))),
  "/connections.json": async ({ source }) =>
    Response.json(connectionTable(await source.connectionList())),
};

const ACTION = /^\/drain$|^\/connections\/(\d{1,15})\/close$/;

/** What another site's page may read, too: it holds no secret. */
const HEALTH = ["/livez", "/readyz", "/metrics"];

async function answerTo(
  request: Request,
  options: AdminOptions & {
    readonly hostname: string;
    readonly remoteAddr: Deno.Addr;
  },
  server: Attached | undefined,
): Promise<Response> {
  const { pathname: path, searchParams } = new URL(request.url);
  // No web page reaches a Unix socket, whatever name it uses.
  const strange = options.path === undefined &&
    !namesUs(request, options.hostname);
  if (strange && !HEALTH.includes(path)) {
    const hint = "use an IP address or localhost in place of the host's name";
    return reply(`${hint}\n`, 421);
  }
  const asset = assets.get(path);
  const action = ACTION.exec(path);
  if (action !== null) {
    const refused = await refusal(request, options.token);
    if (refused !== undefined) return refused;
  } else if (asset || path in READ || path === "/livez") {
    if (!["GET", "HEAD"].includes(request.method)) {
      return notAllowed("GET, HEAD");
    }
  } else return reply("not found\n", 404);

  if (asset) return reply(asset.body, 200, { "content-type": asset.type });
  if (path === "/livez") return reply("ok\n");
  if (server === undefined) return reply(NOT_READY, 503);
  if (action === null) return await READ[path](server, searchParams);
  if (path === "/drain") {
    // Who waits for the server's end learns of a failure there.
    server.source.shutdown(`admin ${formatAddr(options.remoteAddr)}`)
      .catch(() => {});
    return reply("draining\n", 202);
  }
  return await server.source.disconnect(Number(action[1]))
    ? reply("closed\n")
    : reply("no such connection\n", 404);
}

async function refusal(request: Request, token: string | undefined) {
  if (request.method !== "POST") return notAllowed("POST");
  if (token === undefined) return reply("no token was set at the start\n", 403);
  if (await hasToken(request, token)) return undefined;
  const headers = { "www-authenticate": "Bearer" };
  return reply("token missing or wrong\n", 401, headers);
}

function notAllowed(allow: string): Response {
  return reply("method not allowed\n", 405, { allow });
}
