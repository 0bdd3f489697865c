/** The certificate of a server, and the event of its end. */

import type { Clock } from "../core/clock.ts";
import { ParleyError } from "../core/errors.ts";
import { emit, type EventListeners } from "../events/events.ts";
import { TlsIdentity } from "../tls/identity.ts";
import type { ServeConfig } from "./config.ts";

/** Opens the certificate of a server, if it has one. */
export function openCertificate(
  { tls }: ServeConfig,
  clock: Clock,
  { certificate_expiry: listener }: EventListeners,
): TlsIdentity | undefined {
  return tls && new TlsIdentity(
    tls,
    clock,
    listener && ((days, { subject, notAfter }) => {
      const type = "certificate_expiry";
      emit(listener, { type, days, subject, notAfter });
    }),
  );
}

/** @throws {ParleyError} There is none. */
export function needCertificate(tls: TlsIdentity | undefined): TlsIdentity {
  if (tls !== undefined) return tls;
  throw new ParleyError(
    "Cannot reload TLS: the server was started without cert and key",
  );
}
