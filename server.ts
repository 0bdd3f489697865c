/**
 * The executable `server`: flags in, signals in, exit code out.
 *
 * @module
 */

import { formatAddr, formatHostPort } from "./lib/address.ts";
import { type AdminServer, serveAdmin } from "./lib/admin/server.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags.ts";
import { type Keeper, openKeeper } from "./lib/cli/keeper.ts";
import { openLog } from "./lib/cli/logging.ts";
import { checkTogether, serverFlags } from "./lib/cli/server_flags.ts";
import { OptionError } from "./lib/errors.ts";
import type { Place } from "./lib/cli/values.ts";
import { handlers } from "./lib/handlers/mod.ts";
import { logListeners } from "./lib/log.ts";
import type { ServeOptions } from "./lib/options.ts";
import { loadTelemetry } from "./lib/otel.ts";
import { type ParleyServer, serve } from "./lib/server.ts";
import { serveThreads } from "./lib/threads/mod.ts";
import { fileId, removeStaleSocket } from "./lib/unix.ts";
import { runtimeWarning, VERSION } from "./lib/version.ts";

const HELP = `Usage: server [flags]

Serves plain TCP, or a Unix socket: a request in, a reply out.

${flagHelp(serverFlags)}

SIGINT and SIGTERM drain and end the server; a second one ends it at once.`;

/**
 * At a terminal, `deno task` passes Ctrl-C on to a program that has had it from
 * the terminal already. So what comes this soon there is the same keystroke.
 */
const SAME_KEYSTROKE = 250;

/** What a worker may do that is to do nothing. */
const NOTHING = {
  env: false,
  ffi: false,
  import: false,
  net: false,
  read: false,
  run: false,
  sys: false,
  write: false,
} as const;

/** The flags that say where the public port is, and the admin port. */
const PUBLIC_FLAGS = {
  host: "--hostname",
  port: "--port",
  both: "--hostname and --port say",
};
const ADMIN_FLAGS = { host: "--admin", port: "--admin", both: "--admin says" };

if (import.meta.main) await main();

async function main(): Promise<void> {
  // At its descriptor limit the runtime cannot load what it needs to print its
  // first stack trace, and panics; so the first one is made here.
  void new Error().stack;
  const { flags } = readFlags();
  const log = openLog(Deno.stderr, {
    format: flags["log-format"],
    level: flags["log-level"],
    noColor: Deno.noColor,
  });
  const exportNumbers = await loadTelemetry();

  const reasonOf = flags.unix ? whyNotUnix : why;
  const place = flags.unix || formatHostPort(flags.hostname, flags.port);
  let server: Omit<ParleyServer, "ref" | "unref">;
  let removeSocket: (() => Promise<void>) | undefined;
  let admin: AdminServer | undefined;
  const told = logListeners(log.logger, {
    connections: () => server.connections,
    drainTimeout: flags["drain-timeout"],
  });
  try {
    const options: ServeOptions = {
      ...(flags.unix ? { path: flags.unix, unixMode: flags["unix-mode"] } : {
        hostname: flags.hostname,
        port: flags.port,
        tcpBacklog: flags.backlog,
        maxConnectionsPerIp: flags["max-connections-per-ip"],
        allow: flags.allow || undefined,
        deny: flags.deny || undefined,
        proxyProtocol: flags["proxy-protocol"],
        proxyTrust: flags["proxy-trust"] || undefined,
      }),
      framing: flags.framing,
      maxFrame: flags["max-frame"],
      maxReply: flags["max-reply"],
      maxConnections: flags["max-connections"],
      idleTimeout: flags["idle-timeout"],
      requestTimeout: flags["request-timeout"],
      writeTimeout: flags["write-timeout"],
      drainTimeout: flags["drain-timeout"],
      preDrainDelay: flags["pre-drain-delay"],
      events: {
        ...told,
        drain: (event) => {
          // The listener is closed: nobody can connect by that name any more.
          removeSocket?.();
          told.drain?.(event);
        },
      },
    };
    // Before anything is bound: from then on no turn of the event loop may
    // pass until the permissions are gone.
    const keeper = flags.unix ? await prepareSocket(flags.unix) : undefined;
    // First, so that whoever asks whether this server is ready asks this one.
    admin = flags.admin && serveAdminAt(flags.admin, flags);
    server = flags.threads === 1
      ? serve(options, handlers[flags.handler])
      : await serveThreads({
        ...options,
        threads: flags.threads,
        worker: new URL("./lib/cli/server_worker.ts", import.meta.url),
        name: flags.handler,
        permissions: { ...NOTHING, net: true },
        confine: true,
      });
    if (keeper !== undefined) removeSocket = removerOf(keeper, flags.unix);
  } catch (error) {
    fail(`cannot listen on ${place}: ${reasonOf(error)}`, 1);
  }
  admin?.attach(server);
  exportNumbers?.(server);
  const warning = runtimeWarning(Deno.version.deno);
  if (warning !== undefined) log.logger.warn(warning);
  onSignals(server, removeSocket);
  // What is bound needs no permission any more, and nothing else is needed. The
  // main thread of several serves nobody, and has to replace those that die.
  const needless = flags.threads === 1
    ? ["env", "write", "net", "read"] as const
    : ["env", "write"] as const;
  for (const name of needless) {
    Deno.permissions.revokeSync({ name });
  }
  console.log(
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
      `(${flags.framing} framing, ${flags.handler} handler)`,
  );
  if (admin !== undefined) {
    console.log(`admin on http://${formatAddr(admin.addr)}`);
  }
  console.log("ready to accept connections");
  log.logger.info("ready", {
    version: VERSION,
    runtime: Deno.version.deno,
    framing: flags.framing,
    handler: flags.handler,
    threads: flags.threads,
  });
  // A listener that failed is in the log by now.
  const code = await server.finished.then(() => 0, () => 1);
  await removeSocket?.();
  await admin?.finished;
  await log.flush();
  Deno.exit(code);
}

/** Clears the way to a path, and starts who may remove the file there. */
async function prepareSocket(path: string): Promise<Keeper> {
  await removeStaleSocket(path);
  return await openKeeper({ read: [], socket: path });
}

/**
 * How to remove the file of the server's Unix socket, if it is still the one
 * that is there now. It is done once, however often it is asked for.
 */
function removerOf(keeper: Keeper, path: string): () => Promise<void> {
  const file = fileId(path);
  let removed: Promise<void> | undefined;
  return () =>
    removed ??= keeper.removeSocket(file).catch((error) =>
      console.error(`server: cannot remove ${path}: ${error.message}`)
    );
}

function serveAdminAt(
  place: Place,
  flags: { handler: string; "admin-token": string },
): AdminServer {
  const token = flags["admin-token"] || undefined;
  try {
    return serveAdmin({ ...place, token, handler: flags.handler });
  } catch (error) {
    const { hostname, port } = place;
    const reason = why(error, ADMIN_FLAGS);
    fail(
      `cannot listen on ${formatHostPort(hostname, port)} for --admin: ` +
        reason,
      1,
    );
  }
}

function readFlags() {
  try {
    const line = parseFlags(
      serverFlags,
      Deno.args,
      (name) => Deno.env.get(name),
    );
    if (line.flags.help) finish(HELP);
    if (line.flags.version) finish(`parley ${VERSION}`);
    checkTogether(line);
    return line;
  } catch (error) {
    if (error instanceof UsageError) fail(error.message, 2);
    throw error;
  }
}

function onSignals(
  server: Pick<ParleyServer, "shutdown">,
  removeSocket?: () => Promise<void>,
): void {
  const codes = { SIGINT: 130, SIGTERM: 143 };
  const atTerminal = [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
  const patience = atTerminal ? SAME_KEYSTROKE : 0;
  let drainingSince: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    Deno.addSignalListener(signal, () => {
      if (drainingSince === undefined) {
        drainingSince = performance.now();
        server.shutdown();
      } else if (performance.now() - drainingSince >= patience) {
        if (removeSocket === undefined) Deno.exit(codes[signal]);
        else removeSocket().then(() => Deno.exit(codes[signal]));
      }
    });
  }
}

/** Why a port cannot be bound, and by which flags that is mended. */
function why(error: unknown, { host, port, both } = PUBLIC_FLAGS): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return `the port is in use (${port} takes another, 0 picks a free one)`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `the address is not this machine's (${host} takes one that is)`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `the system allows it to privileged users only (${port} takes 0 or 1024 to 65535)`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${message} (${both} where to listen)`;
}

function whyNotUnix(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "the socket is in use (--unix takes another path)";
  }
  if (error instanceof OptionError) {
    return "what is there is no socket, and is left alone (--unix takes another path)";
  }
  if (error instanceof Deno.errors.NotFound) {
    return "there is no such folder (--unix takes a path in one that is there)";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "this user may not write to the folder (--unix takes another path)";
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${message} (--unix says where to listen)`;
}

function finish(text: string): never {
  console.log(text);
  Deno.exit(0);
}

function fail(message: string, code: number): never {
  console.error(`server: ${message}`);
  Deno.exit(code);
}
