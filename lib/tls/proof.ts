/** Handshakes in memory, which show that the runtime heeds each option. */

import process from "node:process";
import { duplexPair } from "node:stream";
import type { ConnectionOptions, TLSSocket } from "node:tls";

import { systemClock, within } from "../core/clock.ts";
import { OptionError, TlsError } from "../core/errors.ts";
import { messageOf } from "../core/text.ts";
import { tls, type TlsContext } from "./context.ts";

/** How long a handshake may take, in milliseconds: it waits for nobody. */
const LIMIT = 5000;

/** Throws if no handshake works, or one of the settings is not heeded. */
export async function prove(context: TlsContext): Promise<void> {
  const { settings, chain } = context;
  const { cert, key, clientCa, tlsMinVersion, alpnProtocols } = settings;
  // A client with authorities of its own resumes no session of another client.
  // In a session that is resumed, no certificate is shown.
  const client = { ca: cert, rejectUnauthorized: false };
  const own = { cert, key, ALPNProtocols: alpnProtocols.slice(-1) };
  const { alpn, peer, shown } = await shake(context, { ...client, ...own });
  // The runtime tells the client of no more than the first two.
  const others = [shown, shown?.issuerCertificate];
  if (chain.slice(0, 2).some(({ raw }, i) => !others[i]?.raw.equals(raw))) {
    throw unheeded("cert", `${chain.length} given, others shown`);
  }
  if (alpn !== alpnProtocols.at(-1)) {
    throw unheeded("alpnProtocols", alpnProtocols);
  }
  if (clientCa !== undefined && !peer?.raw.equals(chain[0].raw)) {
    throw unheeded("clientAuth", settings.clientAuth);
  }
  if (tlsMinVersion === "1.2") return;
  const older = shake(context, { ...client, maxVersion: "TLSv1.2" });
  if (await older.then(() => true, () => false)) {
    throw unheeded("tlsMinVersion", tlsMinVersion);
  }
}

function unheeded(option: string, value: unknown): OptionError {
  const { deno } = Deno.version;
  return new OptionError(option, value, `a runtime that heeds it, not ${deno}`);
}

async function shake(context: TlsContext, options: ConnectionOptions) {
  const [near, far] = duplexPair();
  const { promise, resolve, reject } = Promise.withResolvers<true>();
  const engine = context.engine(near);
  let client: TLSSocket | undefined;
  engine.on("error", reject);
  engine.once("secure", () => resolve(true));
  engine.once("close", () => reject(new Error("the client has left")));
  // The engine starts in the tick that its constructor has asked for.
  process.nextTick(() => {
    client = tls().connect({ ...options, socket: far });
    client.on("error", reject);
  });
  try {
    if (!await within(systemClock, LIMIT, promise)) {
      throw new Error("it does not end");
    }
    return {
      shown: client?.getPeerX509Certificate(),
      alpn: engine.alpnProtocol || undefined,
      peer: engine.getPeerX509Certificate(),
    };
  } catch (error) {
    throw new TlsError(`Cannot shake hands in memory: ${messageOf(error)}`);
  } finally {
    client?.destroy();
    engine.destroy();
  }
}
