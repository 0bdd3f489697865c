/**
 * {@linkcode serveAdmin}: the operator's HTTP port, apart from the public one.
 *
 * | path | answer |
 * | --- | --- |
 * | `/livez` | 200 while the process lives |
 * | `/readyz` | 200, or 503 from the first moment of a shutdown on |
 * | `/metrics` | the numbers for Prometheus |
 * | `/stats.json`, `/connections.json` | the numbers, and who is connected |
 * | `/` | the live page |
 * | `POST /drain` | begins the shutdown |
 * | `POST /connections/ID/close` | closes a connection now |
 *
 * Those who ask for more than health and metrics must name the port by an
 * address, unless they come by a Unix socket; those who act must have the token.
 *
 * @module
 */

import {
  checkHostname,
  checkNumber,
  refuseBesidePath,
  refuseUnknown,
} from "../core/checks.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import { isListenPath, LISTEN_PATH_FORM, listenUnix } from "../net/unix.ts";
import { PROMETHEUS_TYPE, prometheusText } from "../observe/prometheus.ts";
import type { AdminSource } from "../observe/source.ts";
import { hasToken, isToken, namesUs, TOKEN_FORM } from "./access.ts";
import type { Answer } from "./http.ts";
import { assets } from "./page.ts";
import { AdminPort } from "./port.ts";
import { connectionTable, statsOf } from "./stats.ts";

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

/** The permissions of a Unix socket's file: operators are of one user. */
const UNIX_MODE = 0o600;

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
 * import { serve, serveAdmin } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (text) => text);
 * await using admin = serveAdmin({ port: 0 }, server);
 * const { port } = admin.addr as Deno.NetAddr;
 * const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
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

/** What a program or a test may bring along. */
export interface Surroundings {
  /** The source of time. */
  clock?: Clock;
  /**
   * Closes something where the process has no descriptor left.
   *
   * @returns Whether there was anything to close.
   */
  makeRoom?: () => boolean;
}

/**
 * What `serveAdmin` does, without a server yet, and with time as an argument.
 */
export function startAdmin(
  options: AdminOptions,
  surroundings: Surroundings = {},
): AdminServer {
  const { hostname = "127.0.0.1", port = 9090, path, token } = options;
  refuseUnknown(options, {
    hostname: 0,
    port: 0,
    path: 0,
    token: 0,
    handler: 0,
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
  return new Admin(
    { handler: "custom", ...options, hostname, port },
    surroundings,
  );
}

/** The options, checked and complete. */
type CheckedOptions =
  & AdminOptions
  & Required<Pick<AdminOptions, "hostname" | "port" | "handler">>;

class Admin implements AdminServer {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly #options: CheckedOptions;
  readonly #port: AdminPort;
  #source: AdminSource | undefined;

  constructor(
    options: CheckedOptions,
    { clock = systemClock, makeRoom = () => false }: Surroundings,
  ) {
    this.#options = options;
    const { hostname, port, path } = options;
    const listener = path === undefined
      ? Deno.listen({ hostname, port })
      : listenUnix({ path, mode: UNIX_MODE });
    this.addr = listener.addr;
    this.#port = new AdminPort({
      listener,
      clock,
      makeRoom,
      answer: (request) => this.#answer(request),
    });
    this.finished = this.#port.finished;
  }

  attach(source: AdminSource): void {
    this.#source = source;
    const close = () => void this.close();
    source.finished.then(close, close);
  }

  close(): Promise<void> {
    this.#port.close();
    return this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #answer(request: Request): Promise<Answer> {
    const path = URL.parse(request.url)?.pathname ?? "";
    switch (path) {
      case "/livez":
        return read(request) ?? { body: "ok\n" };
      case "/readyz":
        return read(request) ?? this.#readiness();
      case "/metrics":
        return read(request) ?? this.#about((source) => ({
          type: PROMETHEUS_TYPE,
          body: prometheusText(source),
        }));
    }
    // No web page reaches a Unix socket, whatever it has its name resolved to.
    if (
      this.#options.path === undefined &&
      !namesUs(request, this.#options.hostname)
    ) {
      return {
        status: 421,
        body: "use an IP address or localhost in place of the host's name\n",
      };
    }
    switch (path) {
      case "/stats.json":
        return read(request) ?? this.#about((source) => {
          const { handler, token } = this.#options;
          const actions = token !== undefined;
          return json(statsOf(source, { handler, actions }));
        });
      case "/connections.json":
        return read(request) ??
          await this.#about(async (source) =>
            json(connectionTable(await source.connectionList()))
          );
      case "/drain":
        return await this.#refusal(request) ?? this.#about((source) => {
          // Whoever waits for its end hears of a failure, too.
          source.shutdown().catch(() => {});
          return { status: 202, body: "draining\n" };
        });
    }
    const [, id] = /^\/connections\/(\d{1,15})\/close$/.exec(path) ?? [];
    if (id !== undefined) {
      return await this.#refusal(request) ??
        await this.#about(async (source) =>
          await source.disconnect(Number(id))
            ? { body: "closed\n" }
            : { status: 404, body: "no such connection\n" }
        );
    }
    const asset = assets.get(path);
    if (asset === undefined) return { status: 404, body: "not found\n" };
    return read(request) ?? asset;
  }

  #readiness(): Answer {
    if (this.#source?.ready) return { body: "ready\n" };
    return this.#source?.draining
      ? { status: 503, body: "draining\n" }
      : notReady();
  }

  /** Answers about the server, if there is one yet. */
  #about<Result extends Answer | Promise<Answer>>(
    answer: (source: AdminSource) => Result,
  ): Result | Answer {
    return this.#source === undefined ? notReady() : answer(this.#source);
  }

  /** Why an action is not for whoever asks, if it is not. */
  async #refusal(request: Request): Promise<Answer | undefined> {
    if (request.method !== "POST") return notAllowed("POST");
    const { token } = this.#options;
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
}

/** Refuses what does not only read. */
function read({ method }: Request): Answer | undefined {
  return method === "GET" || method === "HEAD"
    ? undefined
    : notAllowed("GET, HEAD");
}

function notAllowed(allow: string): Answer {
  return { status: 405, body: "method not allowed\n", headers: { allow } };
}

function notReady(): Answer {
  return { status: 503, body: "not ready\n" };
}

function json(value: unknown): Answer {
  return { type: "application/json", body: JSON.stringify(value) };
}
