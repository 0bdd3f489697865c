/**
 * The executable `server`: flags in, signals in, exit code out.
 *
 * @module
 */

import { formatAddr, formatHostPort } from "./lib/address.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags.ts";
import { CERT_FILE, KEY_FILE, serverFlags } from "./lib/cli/server_flags.ts";
import { readKeyPair } from "./lib/cli/tls_files.ts";
import { handlers } from "./lib/handlers/mod.ts";
import type { TlsKeyPair } from "./lib/pem.ts";
import { type ParleyServer, serve } from "./lib/server.ts";
import { runtimeWarning, VERSION } from "./lib/version.ts";

const HELP = `Usage: server [flags]

Serves TCP, plain or with TLS: a request in, a reply out.

${flagHelp(serverFlags)}

SIGINT and SIGTERM drain and end the server; a second one ends it at once.
SIGHUP reads the certificate and its key again.`;

/**
 * At a terminal, `deno task` passes Ctrl-C on to a program that has had it from
 * the terminal already. So what comes this soon there is the same keystroke.
 */
const SAME_KEYSTROKE = 250;

if (import.meta.main) await main();

async function main(): Promise<void> {
  // At its descriptor limit the runtime cannot load what it needs to print its
  // first stack trace, and panics; so the first one is made here.
  void new Error().stack;
  const { flags } = readFlags();
  const readPair = flags["tls-cert"] === "" ? undefined : () =>
    readKeyPair(
      { cert: flags["tls-cert"], key: flags["tls-key"] },
      Deno.readTextFile,
    );
  const pair = await readPair?.().catch((error) => fail(error.message, 1));

  let server: ParleyServer;
  try {
    server = serve(
      {
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
        ...pair,
        idleTimeout: flags["idle-timeout"],
        requestTimeout: flags["request-timeout"],
        writeTimeout: flags["write-timeout"],
        drainTimeout: flags["drain-timeout"],
        events: {
          accept_error: ({ error, retryIn }) =>
            console.error(
              `server: cannot accept: ${error}, wait ${retryIn} ms`,
            ),
          handler_error: ({ id, error }) =>
            console.error(`server: handler failed, connection ${id}: ${error}`),
          drain: ({ connections }) =>
            console.error(`server: draining, connections open: ${connections}`),
          finished: ({ forced }) =>
            console.error(`server: finished, connections forced: ${forced}`),
        },
      },
      handlers[flags.handler],
    );
  } catch (error) {
    const place = formatHostPort(flags.hostname, flags.port);
    fail(`cannot listen on ${place}: ${why(error)}`, 1);
  }
  const warning = runtimeWarning(Deno.version.deno);
  if (warning !== undefined) console.error(`server: ${warning}`);
  onSignals(server);
  onHangup(server, readPair);
  // What is bound needs no permission any more, and nothing else is needed but
  // the certificate, should it change.
  if (readPair === undefined) await Deno.permissions.revoke({ name: "read" });
  await Deno.permissions.revoke({ name: "net" });
  await Deno.permissions.revoke({ name: "env" });
  console.log(
    `parley ${VERSION} listening on ${formatAddr(server.addr)} ` +
      `(${flags.framing} framing, ${flags.handler} handler` +
      `${pair === undefined ? "" : ", TLS"})`,
  );
  console.log("ready to accept connections");
  try {
    await server.finished;
  } catch (error) {
    fail(`listener failed: ${why(error)}`, 1);
  }
  Deno.exit(0);
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
    if ((line.flags["tls-cert"] === "") !== (line.flags["tls-key"] === "")) {
      throw new UsageError(
        line.flags["tls-cert"] === ""
          ? `--tls-cert is missing, expected with --tls-key: ${CERT_FILE}`
          : `--tls-key is missing, expected with --tls-cert: ${KEY_FILE}`,
      );
    }
    return line;
  } catch (error) {
    if (error instanceof UsageError) fail(error.message, 2);
    throw error;
  }
}

/** Reads the certificate anew on SIGHUP, as daemons do. */
function onHangup(
  server: ParleyServer,
  readPair: (() => Promise<TlsKeyPair>) | undefined,
): void {
  if (Deno.build.os === "windows") return;
  // At a terminal it says that the terminal is gone: what has nothing to read
  // ends with it, like any other program.
  if (readPair === undefined && atTerminal()) return;
  let reloaded = Promise.resolve();
  Deno.addSignalListener("SIGHUP", () => {
    if (readPair === undefined) {
      console.error("server: SIGHUP, but there is no --tls-cert to read again");
      return;
    }
    // One after the other, so that the last one read is the one that stays.
    reloaded = reloaded.then(readPair).then(
      (pair) => {
        server.reloadTls(pair);
        console.error("server: certificate reloaded");
      },
    ).catch((error) =>
      console.error(`server: certificate not reloaded: ${error.message}`)
    );
  });
}

function atTerminal(): boolean {
  return [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
}

function onSignals(server: ParleyServer): void {
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
