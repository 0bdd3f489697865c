/**
 * The executable `server`: flags in, signals in, exit code out.
 *
 * @module
 */

import { formatAddr, formatHostPort } from "./lib/address.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags.ts";
import { openLog } from "./lib/cli/logging.ts";
import { serverFlags } from "./lib/cli/server_flags.ts";
import { handlers } from "./lib/handlers/mod.ts";
import { logListeners } from "./lib/log.ts";
import type { ServeOptions } from "./lib/options.ts";
import { type ParleyServer, serve } from "./lib/server.ts";
import { serveThreads } from "./lib/threads/mod.ts";
import { runtimeWarning, VERSION } from "./lib/version.ts";

const HELP = `Usage: server [flags]

Serves plain TCP: a request in, a reply out.

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

  let server: Omit<ParleyServer, "ref" | "unref">;
  try {
    const options: ServeOptions = {
      hostname: flags.hostname,
      port: flags.port,
      tcpBacklog: flags.backlog,
      framing: flags.framing,
      maxFrame: flags["max-frame"],
      maxConnections: flags["max-connections"],
      maxConnectionsPerIp: flags["max-connections-per-ip"],
      allow: flags.allow || undefined,
      deny: flags.deny || undefined,
      proxyProtocol: flags["proxy-protocol"],
      proxyTrust: flags["proxy-trust"] || undefined,
      idleTimeout: flags["idle-timeout"],
      requestTimeout: flags["request-timeout"],
      writeTimeout: flags["write-timeout"],
      drainTimeout: flags["drain-timeout"],
      preDrainDelay: flags["pre-drain-delay"],
      events: logListeners(log.logger, {
        connections: () => server.connections,
        drainTimeout: flags["drain-timeout"],
      }),
    };
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
  } catch (error) {
    const place = formatHostPort(flags.hostname, flags.port);
    fail(`cannot listen on ${place}: ${why(error)}`, 1);
  }
  const warning = runtimeWarning(Deno.version.deno);
  if (warning !== undefined) log.logger.warn(warning);
  onSignals(server);
  // What is bound needs no permission any more, and nothing else is needed. The
  // main thread of several serves nobody, and has to replace those that die.
  if (flags.threads === 1) {
    await Deno.permissions.revoke({ name: "net" });
    await Deno.permissions.revoke({ name: "read" });
  }
  await Deno.permissions.revoke({ name: "env" });
  console.log(
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
      `(${flags.framing} framing, ${flags.handler} handler)`,
  );
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
  await log.flush();
  Deno.exit(code);
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
    if (line.rest.length > 0) {
      throw new UsageError(
        `unexpected argument ${JSON.stringify(line.rest[0])} (try --help)`,
      );
    }
    if (
      line.flags["proxy-protocol"] !== "off" && line.flags["proxy-trust"] === ""
    ) {
      throw new UsageError(
        "--proxy-trust is missing, expected the addresses of the proxies " +
          "whose --proxy-protocol header is believed",
      );
    }
    return line;
  } catch (error) {
    if (error instanceof UsageError) fail(error.message, 2);
    throw error;
  }
}

function onSignals(server: Pick<ParleyServer, "shutdown">): void {
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
        Deno.exit(codes[signal]);
      }
    });
  }
}

function why(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "the port is in use (--port takes another, 0 picks a free one)";
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return "the address is not this machine's (--hostname takes one that is)";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "the system allows it to privileged users only (--port takes 0 or 1024 to 65535)";
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${message} (--hostname and --port say where to listen)`;
}

function finish(text: string): never {
  console.log(text);
  Deno.exit(0);
}

function fail(message: string, code: number): never {
  console.error(`server: ${message}`);
  Deno.exit(code);
}
