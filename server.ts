/**
 * The executable `server`: flags in, signals in, exit code out.
 *
 * @module
 */

import { formatAddr, formatHostPort } from "./lib/address.ts";
import { type AdminServer, start as startAdmin } from "./lib/admin/server.ts";
import { adminFlags, whyNotBound, whyNotUnix } from "./lib/cli/bind_errors.ts";
import { confine, nothing } from "./lib/cli/confine.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags.ts";
import { type Log, openLog } from "./lib/cli/logging.ts";
import { openFiles, type ServerFiles } from "./lib/cli/server_files.ts";
import { openSpares } from "./lib/cli/spare_files.ts";
import {
  checkTogether,
  serveOptionsOf,
  serverFlags,
} from "./lib/cli/server_flags.ts";
import { formatPlace, type Place } from "./lib/cli/values.ts";
import { handlers } from "./lib/handlers/mod.ts";
import { logListeners } from "./lib/log.ts";
import { loadTelemetry } from "./lib/otel.ts";
import { type ParleyServer, serve } from "./lib/server.ts";
import { serveThreads } from "./lib/threads/mod.ts";
import { removeStaleSocket } from "./lib/unix.ts";
import { runtimeWarning, VERSION } from "./lib/version.ts";

const HELP = `Usage: server [flags]

Serves TCP, plain or with TLS, or a Unix socket: a request in, a reply out.

${flagHelp(serverFlags)}

SIGINT and SIGTERM drain and end the server; a second one ends it at once.
SIGHUP has it read the certificate again.`;

/**
 * At a terminal, `deno task` passes Ctrl-C on to a program that has had it from
 * the terminal already. So what comes this soon there is the same keystroke.
 */
const SAME_KEYSTROKE = 250;

/**
 * How many descriptors the admin port has in reserve: one for each of its
 * connections, so that those who ask how the server is get an answer while
 * clients have taken all others.
 */
const SPARES = 16;

/** A server, on one thread or on several. */
type Server = Omit<ParleyServer, "ref" | "unref">;

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
  const told = logListeners(log.logger, {
    connections: () => server.connections,
    drainTimeout: flags["drain-timeout"],
  });
  const exportNumbers = await loadTelemetry();
  const adminPath = flags.admin && "path" in flags.admin
    ? flags.admin.path
    : "";
  const sockets = [adminPath, flags.unix].filter((path) => path !== "");

  let server: Server;
  let files: ServerFiles;
  let admin: AdminServer | undefined;
  let secured = false;
  try {
    // Before anything is bound: from then on no turn of the event loop may
    // pass until the permissions are gone.
    if (adminPath) {
      await removeStaleSocket(adminPath)
        .catch((error) => failAdmin({ path: adminPath }, error));
    }
    if (flags.unix) await removeStaleSocket(flags.unix);
    files = await openFiles({
      cert: flags["tls-cert"],
      key: flags["tls-key"],
      sockets,
    });
    const pair = await files.readPair?.().catch((error) =>
      fail(error.message, 1)
    );
    secured = pair !== undefined;
    const options = {
      ...serveOptionsOf(flags),
      ...pair,
      events: {
        ...told,
        drain: (event: Parameters<NonNullable<typeof told.drain>>[0]) => {
          // The listener is closed: nobody connects by that name any more.
          removeSockets([flags.unix], files, log);
          told.drain?.(event);
        },
      },
    };
    // First, so that whoever asks whether this server is ready asks this one.
    admin = flags.admin && serveAdminAt(flags.admin, flags);
    if (adminPath) files.bound(adminPath);
    server = flags.threads === 1
      ? serve(options, handlers[flags.handler])
      : await serveThreads({
        ...options,
        threads: flags.threads,
        worker: new URL("./lib/cli/server_worker.ts", import.meta.url),
        name: flags.handler,
        permissions: { ...nothing, net: true },
        confine: true,
      });
    if (flags.unix) files.bound(flags.unix);
  } catch (error) {
    // Its socket's file goes at once, before the process does.
    admin?.close();
    const place = flags.unix || formatHostPort(flags.hostname, flags.port);
    const reason = flags.unix ? whyNotUnix(error) : whyNotBound(error);
    fail(`cannot listen on ${place}: ${reason}`, 1);
  }
  admin?.attach(server);
  exportNumbers?.(server);
  const warning = runtimeWarning(Deno.version.deno);
  if (warning !== undefined) log.logger.warn(warning);
  onSignals(server, () => removeSockets(sockets, files, log));
  onHangup(server, files, log);
  confine(flags.threads);
  console.log(
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
      `(${flags.framing} framing, ${flags.handler} handler` +
      `${secured ? ", TLS" : ""})`,
  );
  if (admin !== undefined) {
    const { addr } = admin;
    const place = "path" in addr
      ? formatPlace(addr)
      : `http://${formatAddr(addr)}`;
    console.log(`admin on ${place}`);
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
  await removeSockets(sockets, files, log);
  await admin?.finished;
  await log.flush();
  Deno.exit(code);
}

function serveAdminAt(
  place: Place,
  flags: { handler: string; "admin-token": string },
): AdminServer {
  const token = flags["admin-token"] || undefined;
  try {
    return startAdmin(
      { ...place, token, handler: flags.handler },
      { makeRoom: openSpares(SPARES) },
    );
  } catch (error) {
    failAdmin(place, error);
  }
}

function failAdmin(place: Place, error: unknown): never {
  const reason = "path" in place
    ? whyNotUnix(error, "--admin")
    : whyNotBound(error, adminFlags);
  fail(`cannot listen on ${formatPlace(place)} for --admin: ${reason}`, 1);
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

function onSignals(server: Server, cleanUp: () => Promise<void>): void {
  const codes = { SIGINT: 130, SIGTERM: 143 };
  const patience = atTerminal() ? SAME_KEYSTROKE : 0;
  let drainingSince: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    Deno.addSignalListener(signal, () => {
      if (drainingSince === undefined) {
        drainingSince = performance.now();
        server.shutdown();
      } else if (performance.now() - drainingSince >= patience) {
        cleanUp().then(() => Deno.exit(codes[signal]));
      }
    });
  }
}

/** Reads the certificate anew on SIGHUP, as daemons do. */
function onHangup(
  server: Server,
  { readPair }: ServerFiles,
  { logger }: Log,
): void {
  if (Deno.build.os === "windows") return;
  // At a terminal it says that the terminal is gone: what has nothing to read
  // ends with it, like any other program.
  if (readPair === undefined && atTerminal()) return;
  let reloaded = Promise.resolve();
  Deno.addSignalListener("SIGHUP", () => {
    if (readPair === undefined) {
      logger.warn("SIGHUP, but there is no --tls-cert to read again");
      return;
    }
    // One after the other, so that the last one read is the one that stays.
    reloaded = reloaded.then(readPair).then(
      (pair) => {
        server.reloadTls(pair);
        logger.info("certificate reloaded");
      },
    ).catch((error) =>
      logger.error("certificate not reloaded", { error: error.message })
    );
  });
}

async function removeSockets(
  paths: readonly string[],
  files: ServerFiles,
  { logger }: Log,
): Promise<void> {
  await Promise.all(paths.map(async (path) => {
    try {
      await files.removeSocket(path);
    } catch (error) {
      const { message } = error as Error;
      logger.error("socket not removed", { path, error: message });
    }
  }));
}

function atTerminal(): boolean {
  return [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
}

function finish(text: string): never {
  console.log(text);
  Deno.exit(0);
}

function fail(message: string, code: number): never {
  console.error(`server: ${message}`);
  Deno.exit(code);
}
