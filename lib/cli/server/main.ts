/** The program `server`: flags in, signals in, exit code out. */

import { type AdminServer, startAdmin } from "../../admin/server.ts";
import { formatAddr, type Place } from "../../core/address.ts";
import { systemClock } from "../../core/clock.ts";
import { OptionError } from "../../core/errors.ts";
import { messageOf, printableLine } from "../../core/text.ts";
import { runtimeWarning, VERSION } from "../../core/version.ts";
import type { EventListeners } from "../../events/events.ts";
import { handlers } from "../../handlers/mod.ts";
import { removeStaleSocket } from "../../net/unix.ts";
import { certificateFields, logListeners } from "../../observe/log.ts";
import { loadTelemetry } from "../../observe/otel.ts";
import { resolveServeOptions } from "../../server/config.ts";
import { serve } from "../../server/serve.ts";
import { TlsIdentity } from "../../tls/identity.ts";
import { checkTls } from "../../tls/settings.ts";
import {
  serveThreads,
  type ThreadedServer,
} from "../../threads/serve_threads.ts";
import type { ParleyServer } from "../../server/parley_server.ts";
import { completion } from "../flags/completion.ts";
import {
  helpOf,
  parseFlags,
  refuse,
  unknownTwins,
  UsageError,
} from "../flags/flags.ts";
import {
  print,
  show,
  surviveFileSizeLimit,
} from "../streams/standard_streams.ts";
import {
  cannotListen,
  descriptorsFor,
  openSpares,
  tryAddress,
} from "./addresses.ts";
import {
  checkTogether,
  serveOptionsOf,
  serverCommands,
  serverFlags,
} from "./flags.ts";
import { confine, openFiles, type ServerFiles } from "./keeper.ts";
import { openLog } from "./logging.ts";
import type { Signals } from "./signals.ts";

/**
 * How many descriptors the admin port has in reserve: one for each of its
 * connections, for when clients have taken all others.
 */
const SPARES = 16;

/** How many a worker takes: the runtime panics if one of them is missing. */
const PER_WORKER = 7;

/** The exit code where it cannot start. */
let failure = 1;

export async function main(signals: Signals): Promise<void> {
  surviveFileSizeLimit();
  const line = await readFlags();
  const { flags, unknown, env } = line;
  const log = openLog(Deno.stderr, {
    format: flags["log-format"],
    level: flags["log-level"],
    noColor: Deno.noColor,
  });
  const { logger } = log;
  const logEvents = logListeners(logger, {
    connections: () => server.connections + server.metrics().opening,
    drainTimeout: flags["drain-timeout"],
  });
  const exportNumbers = await loadTelemetry();

  const { admin: adminPlace, unix, framing, handler, threads } = flags;
  const place: Place = unix ? { path: unix } : flags;
  const adminPath = adminPlace && "path" in adminPlace ? adminPlace.path : "";
  let server: ParleyServer | ThreadedServer;
  let files: ServerFiles;
  let admin: AdminServer | undefined;
  try {
    // Before anything is bound: from then on no turn of the event loop may
    // pass until the permissions are gone.
    const noAdmin = (error: unknown) =>
      fail(cannotListen(adminPlace!, error, true));
    if (!flags.check) {
      if (adminPath) await removeStaleSocket(adminPath).catch(noAdmin);
      if (unix) await removeStaleSocket(unix);
    }
    // As many as workers may need: without them the runtime would panic.
    const needed = SPARES + PER_WORKER * (threads + 1);
    const spares = openSpares(needed);
    if (spares.length < needed) {
      fail(`${spares.length} descriptors left, expected ${needed} (ulimit -n)`);
    }
    for (
      const spare of spares.splice(adminPlace && !flags.check ? SPARES : 0)
    ) spare.close();
    const sockets = [adminPath, unix].filter((path) => path !== "");
    files = await openFiles(flags, sockets, log, env);
    const read = await files.readTls?.().catch(failed);
    const events: EventListeners = {
      ...logEvents,
      drain(event) {
        // The listener is closed: nobody connects by that name any more.
        files.removeSockets([unix]);
        files.notify("STOPPING=1");
        logEvents.drain?.(event);
      },
    };
    const options = { ...serveOptionsOf(line), ...read, events };
    const tls = checkTls(options);
    const identity = tls && new TlsIdentity(tls, systemClock);
    await identity?.proven.catch(failed);
    if (flags.check) {
      resolveServeOptions(options);
      const found = [`${framing} framing`, `${handler} handler`];
      const own = tryAddress(place);
      found.push(own);
      if (adminPlace) {
        // While it listens there, its own address must be as free as before.
        const both = () => {
          if (tryAddress(place) !== own) throw new Deno.errors.AddrInUse();
        };
        const admin = await Promise.try(tryAddress, adminPlace, both)
          .catch(noAdmin);
        found.push(`admin ${admin}`);
      }
      if (identity !== undefined) {
        const { subject, notAfter } = identity.status;
        const end = new Date(notAfter).toISOString();
        found.push(`certificate of ${subject} until ${end}`);
      }
      found.push(descriptorsFor(flags["max-connections"]));
      await finish(`good: ${found.join(", ")}`);
    }
    signals.hold(files.removeSockets);
    // It opens first, so that a probe for readiness reaches this server.
    const token = flags["admin-token"] || undefined;
    admin = adminPlace && await Promise.try(
      startAdmin,
      { ...adminPlace, token, handler, onAction: logEvents.admin_action },
      { spares },
    ).catch(noAdmin);
    if (adminPath) files.bound(adminPath);
    const worker = new URL("./worker.ts", import.meta.url);
    server = threads === 1
      ? serve(options, handlers[handler])
      : await serveThreads({
        ...{ ...options, threads, worker, name: handler, confine: true },
        permissions: { net: true },
      });
    if (unix) files.bound(unix);
  } catch (error) {
    // Its socket's file goes at once, before the process does.
    admin?.close();
    if (error instanceof OptionError && error.option === "framing") {
      fail(error.message, 2);
    }
    fail(cannotListen(place, error));
  }
  const source = Object.assign(server, { logLinesLost: log.linesLost });
  admin?.attach(source);
  exportNumbers?.(source);
  const runtime = Deno.version.deno;
  const warning = runtimeWarning(runtime);
  if (warning !== undefined) logger.warn(warning);
  for (const text of unknown) logger.warn(text);
  confine(threads);

  const secured = flags["tls-cert"] === "" ? "" : ", TLS";
  const lines = [
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
    `(${framing} framing, ${handler} handler${secured})`,
  ];
  if (admin !== undefined) {
    const url = `http://${formatAddr(admin.addr)}`;
    lines.push(`admin on ${adminPath ? `unix:${adminPath}` : url}`);
  }
  lines.push("ready to accept connections");
  // Not awaited: a reader who does not take it must not hold up a shutdown.
  print(lines.map(printableLine).join("\n")).catch(async (error) => {
    await files.removeSockets();
    await log.flush();
    failed(error);
  });
  const about = { version: VERSION, runtime, framing, handler, threads };
  logger.info("ready", about);
  files.notify("READY=1");
  const { readTls, removeSockets } = files;
  signals.serve({
    drain: (by) => void server.shutdown(by),
    async reload() {
      if (readTls === undefined) {
        // At a terminal it says that the terminal is gone: what has nothing to
        // read ends with it, like any other program.
        if (signals.atTerminal) {
          await removeSockets();
          Deno.exit(129);
        }
        logger.warn("SIGHUP, but there is no --tls-cert to read again");
        return;
      }
      try {
        if (!await server.reloadTls(readTls())) return;
        logger.info("certificate reloaded", certificateFields(server.tls!));
      } catch (error) {
        logger.error("certificate not reloaded", { error: messageOf(error) });
      }
    },
  });
  // A listener that failed is in the log by now.
  const code = await server.finished.then(() => 0, () => 1);
  await files.removeSockets();
  await admin?.finished;
  await log.flush();
  Deno.exit(code);
}

async function readFlags() {
  try {
    if (Deno.args[0] === "completion") {
      const args = Deno.args.slice(1);
      await finish(completion("server", serverCommands, args));
    }
    const all = Deno.permissions.querySync({ name: "env" }).state;
    const env = all === "granted" ? Deno.env.toObject() : {};
    const twin = (name: string) => {
      try {
        return Deno.env.get(name);
      } catch (error) {
        if (!(error instanceof Deno.errors.InvalidData)) throw error;
        refuse(`${name} is no text, expected UTF-8`);
      }
    };
    const line = parseFlags(serverFlags, Deno.args, twin);
    const unknown = unknownTwins(serverFlags, Object.keys(env));
    if (line.flags.check) {
      failure = 2;
      if (unknown.length > 0) refuse(unknown[0]);
    }
    if (line.flags.help) {
      await finish(helpOf(serverFlags, serverCommands[""].help));
    }
    if (line.flags.version) await finish(`parley ${VERSION}`);
    checkTogether(line);
    return { ...line, unknown, env };
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
  fail(error.message);
}

function fail(message: string, code = failure): never {
  show(`server: ${printableLine(message)}\n`);
  Deno.exit(code);
}
