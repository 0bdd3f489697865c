/** The program `server`: flags in, signals in, exit code out. */

import { type AdminServer, startAdmin } from "../../admin/server.ts";
import { formatAddr, formatHostPort } from "../../core/address.ts";
import { runtimeWarning, VERSION } from "../../core/version.ts";
import { handlers } from "../../handlers/mod.ts";
import { removeStaleSocket } from "../../net/unix.ts";
import { logListeners } from "../../observe/log.ts";
import { loadTelemetry } from "../../observe/otel.ts";
import type { ParleyServer } from "../../server/parley_server.ts";
import { serve } from "../../server/serve.ts";
import { serveThreads } from "../../threads/serve_threads.ts";
import { flagHelp, parseFlags, UsageError } from "../flags/flags.ts";
import { formatPlace, type Place } from "../flags/values.ts";
import {
  print,
  show,
  surviveFileSizeLimit,
} from "../streams/standard_streams.ts";
import { adminFlags, whyNotBound, whyNotUnix } from "./bind_errors.ts";
import { confine, noPermissions } from "./confine.ts";
import { openFiles, type ServerFiles } from "./files.ts";
import { checkTogether, serveOptionsOf, serverFlags } from "./flags.ts";
import { type Log, openLog } from "./logging.ts";
import { reloadOnHangup, Stop } from "./signals.ts";
import { openSpares } from "./spare_files.ts";
import type { HeldSignals } from "./held_signals.ts";

const HELP = `Usage: server [flags]

Serves TCP, plain or with TLS, or a Unix socket: a request in, a reply out.

${flagHelp(serverFlags, true)}

SIGINT and SIGTERM drain and end the server; a second one ends it at once.
SIGHUP has it read the certificate again.`;

/**
 * How many descriptors the admin port has in reserve: one for each of its
 * connections, so that those who ask how the server is get an answer while
 * clients have taken all others.
 */
const SPARES = 16;

/** A server, on one thread or on several. */
type Server = Omit<ParleyServer, "ref" | "unref">;

export async function main(signals: HeldSignals): Promise<void> {
  surviveFileSizeLimit();
  const { flags } = await readFlags();
  const stop = new Stop(signals);
  const log = openLog(Deno.stderr, {
    format: flags["log-format"],
    level: flags["log-level"],
    noColor: Deno.noColor,
  });
  const logEvents = logListeners(log.logger, {
    connections: () => server.connections + server.metrics().opening,
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
        ...logEvents,
        drain: (event: Parameters<NonNullable<typeof logEvents.drain>>[0]) => {
          // The listener is closed: nobody connects by that name any more.
          removeSockets([flags.unix], files, log);
          logEvents.drain?.(event);
        },
      },
    };
    stop.hold();
    // First, so that whoever asks whether this server is ready asks this one.
    admin = flags.admin && serveAdminAt(flags.admin, flags);
    if (adminPath) files.bound(adminPath);
    server = flags.threads === 1
      ? serve(options, handlers[flags.handler])
      : await serveThreads({
        ...options,
        threads: flags.threads,
        worker: new URL("./worker.ts", import.meta.url),
        name: flags.handler,
        permissions: { ...noPermissions, net: true },
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
  confine(flags.threads);
  let listening = `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
    `(${flags.framing} framing, ${flags.handler} handler` +
    `${secured ? ", TLS" : ""})\n`;
  if (admin !== undefined) {
    const { addr } = admin;
    const place = "path" in addr
      ? formatPlace(addr)
      : `http://${formatAddr(addr)}`;
    listening += `admin on ${place}\n`;
  }
  const cleanUp = () => removeSockets(sockets, files, log);
  // Not awaited: a reader who does not take it must not hold up a shutdown.
  print(`${listening}ready to accept connections`).catch(async (error) => {
    await cleanUp();
    await log.flush();
    fail(error.message, 1);
  });
  log.logger.info("ready", {
    version: VERSION,
    runtime: Deno.version.deno,
    framing: flags.framing,
    handler: flags.handler,
    threads: flags.threads,
  });
  stop.serve(() => void server.shutdown(), cleanUp);
  reloadOnHangup(signals, server, files, log, cleanUp);
  // A listener that failed is in the log by now.
  const code = await server.finished.then(() => 0, () => 1);
  await cleanUp();
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

async function readFlags() {
  try {
    const line = parseFlags(
      serverFlags,
      Deno.args,
      (name) => Deno.env.get(name),
    );
    if (line.flags.help) await finish(HELP);
    if (line.flags.version) await finish(`parley ${VERSION}`);
    checkTogether(line);
    return line;
  } catch (error) {
    if (error instanceof UsageError) fail(error.message, 2);
    throw error;
  }
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

async function finish(text: string): Promise<never> {
  await print(text).catch((error) => fail(error.message, 1));
  Deno.exit(0);
}

function fail(message: string, code: number): never {
  show(`server: ${message}\n`);
  Deno.exit(code);
}
