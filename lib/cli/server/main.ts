/** The program `server`: flags in, signals in, exit code out. */

import { type AdminServer, startAdmin } from "../../admin/server.ts";
import { formatAddr } from "../../core/address.ts";
import { OptionError } from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";
import { runtimeWarning, VERSION } from "../../core/version.ts";
import type { EventListeners } from "../../events/events.ts";
import { handlers } from "../../handlers/mod.ts";
import { removeStaleSocket } from "../../net/unix.ts";
import { logListeners } from "../../observe/log.ts";
import { loadTelemetry } from "../../observe/otel.ts";
import { serve } from "../../server/serve.ts";
import { TlsContext } from "../../tls/context.ts";
import { prove } from "../../tls/proof.ts";
import { checkTls } from "../../tls/settings.ts";
import { serveThreads } from "../../threads/serve_threads.ts";
import type { ThreadedServer } from "../../threads/supervisor.ts";
import { helpOf, parseFlags, UsageError } from "../flags/flags.ts";
import { formatPlace, type Place } from "../flags/values.ts";
import {
  print,
  show,
  surviveFileSizeLimit,
} from "../streams/standard_streams.ts";
import { confine } from "./confine.ts";
import { openFiles, openSpares, type ServerFiles } from "./files.ts";
import {
  checkTogether,
  serveOptionsOf,
  serverFlags,
  serverHelp,
} from "./flags.ts";
import type { HeldSignals } from "./held_signals.ts";
import { openLog } from "./logging.ts";
import { reloadOnHangup, Stop } from "./signals.ts";

/**
 * How many descriptors the admin port has in reserve: one for each of its
 * connections, for when clients have taken all others.
 */
const SPARES = 16;

export async function main(signals: HeldSignals): Promise<void> {
  surviveFileSizeLimit();
  const line = await readFlags();
  const { flags } = line;
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

  const { admin: adminPlace, unix } = flags;
  const place: Place = unix ? { path: unix } : flags;
  const adminPath = adminPlace && "path" in adminPlace ? adminPlace.path : "";
  let server: ThreadedServer;
  let files: ServerFiles;
  let admin: AdminServer | undefined;
  try {
    // Before anything is bound: from then on no turn of the event loop may
    // pass until the permissions are gone.
    const noAdmin = (error: unknown) =>
      fail(cannotListen(adminPlace!, error, true), 1);
    if (adminPath) await removeStaleSocket(adminPath).catch(noAdmin);
    if (unix) await removeStaleSocket(unix);
    const sockets = [adminPath, unix].filter((path) => path !== "");
    files = await openFiles(flags, sockets, log);
    const read = await files.readTls?.().catch(failed);
    const events: EventListeners = {
      ...logEvents,
      drain(event) {
        // The listener is closed: nobody connects by that name any more.
        files.removeSockets([unix]);
        logEvents.drain?.(event);
      },
    };
    const options = { ...serveOptionsOf(line), ...read, events };
    const tls = checkTls(options);
    if (tls !== undefined) await prove(new TlsContext(tls)).catch(failed);
    stop.hold();
    // First, so that whoever asks whether this server is ready asks this one.
    const token = flags["admin-token"] || undefined;
    admin = adminPlace && await Promise.try(
      startAdmin,
      { ...adminPlace, token, handler: flags.handler },
      { makeRoom: openSpares(SPARES) },
    ).catch(noAdmin);
    if (adminPath) files.bound(adminPath);
    server = flags.threads === 1
      ? serve(options, handlers[flags.handler])
      : await serveThreads({
        ...options,
        threads: flags.threads,
        worker: new URL("./worker.ts", import.meta.url),
        name: flags.handler,
        permissions: { net: true },
        confine: true,
      });
    if (unix) files.bound(unix);
  } catch (error) {
    // Its socket's file goes at once, before the process does.
    admin?.close();
    if (error instanceof OptionError && error.option === "framing") {
      fail(error.message, 2);
    }
    fail(cannotListen(place, error), 1);
  }
  admin?.attach(server);
  exportNumbers?.(server);
  const warning = runtimeWarning(Deno.version.deno);
  if (warning !== undefined) log.logger.warn(warning);
  confine(flags.threads);

  const secured = flags["tls-cert"] === "" ? "" : ", TLS";
  const lines = [
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
    `(${flags.framing} framing, ${flags.handler} handler${secured})`,
    ...admin === undefined ? [] : [`admin on ${urlOf(admin.addr)}`],
    "ready to accept connections",
  ];
  // Not awaited: a reader who does not take it must not hold up a shutdown.
  print(lines.join("\n")).catch(async (error) => {
    await files.removeSockets();
    await log.flush();
    failed(error);
  });
  log.logger.info("ready", {
    version: VERSION,
    runtime: Deno.version.deno,
    framing: flags.framing,
    handler: flags.handler,
    threads: flags.threads,
  });
  stop.serve(() => void server.shutdown(), files.removeSockets);
  reloadOnHangup(signals, server, files, log);
  // A listener that failed is in the log by now.
  const code = await server.finished.then(() => 0, () => 1);
  await files.removeSockets();
  await admin?.finished;
  await log.flush();
  Deno.exit(code);
}

function urlOf(addr: Deno.Addr): string {
  return "path" in addr ? formatPlace(addr) : `http://${formatAddr(addr)}`;
}

async function readFlags() {
  try {
    const twin = (name: string) => Deno.env.get(name);
    const line = parseFlags(serverFlags, Deno.args, twin);
    if (line.flags.help) await finish(helpOf(serverFlags, serverHelp));
    if (line.flags.version) await finish(`parley ${VERSION}`);
    checkTogether(line);
    return line;
  } catch (error) {
    if (error instanceof UsageError) fail(error.message, 2);
    throw error;
  }
}

async function finish(text: string): Promise<never> {
  await print(text).catch(failed);
  Deno.exit(0);
}

function failed(error: Error): never {
  fail(error.message, 1);
}

function fail(message: string, code: number): never {
  show(`server: ${message}\n`);
  Deno.exit(code);
}

function cannotListen(place: Place, error: unknown, admin = false) {
  const isPath = "path" in place;
  const where = isPath && !admin ? place.path : formatPlace(place);
  const reason = isPath
    ? whyNotUnix(error, admin ? "--admin" : "--unix")
    : admin
    ? whyNotBound(error, "--admin", "--admin", "--admin says")
    : whyNotBound(error, "--hostname", "--port", "--hostname and --port say");
  return `cannot listen on ${where}${admin ? " for --admin" : ""}: ${reason}`;
}

function whyNotBound(error: unknown, host: string, port: string, both: string) {
  if (error instanceof Deno.errors.AddrInUse) {
    return `the port is in use (${port} takes another, 0 picks a free one)`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `the address is not this machine's (${host} takes one that is)`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `the system allows it to privileged users only (${port} takes 0 or 1024 to 65535)`;
  }
  return `${messageOf(error)} (${both} where to listen)`;
}

function whyNotUnix(error: unknown, flag: string): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return `the socket is in use (${flag} takes another path)`;
  }
  if (error instanceof OptionError) {
    return `what is there is no socket, and is left alone (${flag} takes another path)`;
  }
  if (error instanceof Deno.errors.NotFound) {
    return `there is no such folder (${flag} takes a path in one that is there)`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `this user may not write to the folder (${flag} takes another path)`;
  }
  return `${messageOf(error)} (${flag} says where to listen)`;
}
