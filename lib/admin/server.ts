/**
 * {@linkcode serveAdmin}: the operator's HTTP port, apart from the public one.
 *
 * Those who ask for more than health and metrics must name the port by an
 * address, unless they come by a Unix socket; those who act must have the token.
 */

import {
  checkHostname,
  checkNumber,
  refuseBesidePath,
  refuseUnknown,
} from "../core/checks.ts";
import { formatAddr } from "../core/address.ts";
import { systemClock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import { type AdminActionEvent, emit } from "../events/events.ts";
import { isListenPath, LISTEN_PATH_FORM, listenUnix } from "../net/unix.ts";
import { PROMETHEUS_TYPE, prometheusText } from "../observe/prometheus.ts";
import type { AdminSource } from "../observe/numbers.ts";
import { hasToken, isToken, namesUs, TOKEN_FORM } from "./access.ts";
import { History } from "./history.ts";
import type { Answer } from "./http.ts";
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
  /** Called for each action that somebody asks for, done or refused. */
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

type Surroundings = Partial<Pick<PortOptions, "clock" | "makeRoom">>;

/** What `serveAdmin` does, without a server yet, and with its surroundings. */
export function startAdmin(
  options: AdminOptions,
  { clock = systemClock, makeRoom = () => false }: Surroundings = {},
): AdminServer {
  const { hostname = "127.0.0.1", port = 9090, path, token } = options;
  const { handler = "custom" } = options;
  refuseUnknown(options, {
    ...{ hostname: 0, port: 0, path: 0, token: 0, handler: 0 },
    onAction: 0,
  });
  if (path !== undefined) {
    if (!isListenPath(path)) {
      throw new OptionError("path", path, LISTEN_PATH_FORM);
    }
    refuseBesidePath(options, ["hostname", "port"]);
  }
  checkHostname(hostname);
  checkNumber("port", port);
  if (token !== undefined && !isToken(token)) {
    // The value stays out of it: it may be most of a secret.
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
    makeRoom,
    async answer(request, remoteAddr) {
      const from = { ...options, hostname, remoteAddr };
      const answer = await answerTo(request, from, server);
      const action = new URL(request.url).pathname;
      const { status = 200 } = answer;
      if (ACTION.test(action)) {
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
      const history = new History(stats, clock);
      server = { source, stats, history };
      source.finished.then(close, close);
      finished.then(() => history.close());
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

const ACTION = /^\/drain$|^\/connections\/(\d{1,15})\/close$/;

const NOT_READY: Answer = { status: 503, body: "not ready\n" };

/** What the web page of a stranger may read, too. */
const HEALTH = ["/livez", "/readyz", "/metrics"];

const NUMBERS = ["/stats.json", "/history.json", "/connections.json"];

async function answerTo(
  request: Request,
  options: AdminOptions & {
    readonly hostname: string;
    readonly remoteAddr: Deno.Addr;
  },
  server: Attached | undefined,
): Promise<Answer> {
  const { pathname: path, searchParams } = new URL(request.url);
  // No web page reaches a Unix socket, whatever it has its name resolved to.
  const strange = options.path === undefined &&
    !namesUs(request, options.hostname);
  if (strange && !HEALTH.includes(path)) {
    const body = "use an IP address or localhost in place of the host's name\n";
    return { status: 421, body };
  }
  const asset = assets.get(path);
  const action = ACTION.exec(path);
  if (action !== null) {
    const refused = await refusal(request, options.token);
    if (refused !== undefined) return refused;
  } else if (asset ?? [...HEALTH, ...NUMBERS].includes(path)) {
    if (!["GET", "HEAD"].includes(request.method)) {
      return notAllowed("GET, HEAD");
    }
  } else return { status: 404, body: "not found\n" };

  if (asset !== undefined) return asset;
  if (path === "/livez") return { body: "ok\n" };
  if (server === undefined) return NOT_READY;
  const { source, stats, history } = server;
  switch (path) {
    case "/readyz":
      if (source.ready) return { body: "ready\n" };
      return source.draining ? { status: 503, body: "draining\n" } : NOT_READY;
    case "/metrics":
      return { type: PROMETHEUS_TYPE, body: prometheusText(source) };
    case "/stats.json":
      return json({ ...stats(), recent: history.latest });
    case "/history.json":
      return json(history.after(Number(searchParams.get("after"))));
    case "/connections.json":
      return json(connectionTable(await source.connectionList()));
    case "/drain":
      // Whoever waits for its end hears of a failure, too.
      source.shutdown(`admin ${formatAddr(options.remoteAddr)}`)
        .catch(() => {});
      return { status: 202, body: "draining\n" };
    default:
      return await source.disconnect(Number(action![1]))
        ? { body: "closed\n" }
        : { status: 404, body: "no such connection\n" };
  }
}

async function refusal(
  request: Request,
  token: string | undefined,
): Promise<Answer | undefined> {
  if (request.method !== "POST") return notAllowed("POST");
  if (token === undefined) {
    return { status: 403, body: "no token was set at the start\n" };
  }
  if (await hasToken(request, token)) return undefined;
  return {
    status: 401,
    body: "token missing or wrong\n",
    headers: { "www-authenticate": "Bearer" },
  };
}

function notAllowed(allow: string): Answer {
  return { status: 405, body: "method not allowed\n", headers: { allow } };
}

function json(value: unknown): Answer {
  return { type: "application/json", body: JSON.stringify(value) };
}
