/** What is known of a connection by its TLS. */

/** What both sides of a connection have agreed on, and who the peer is. */
export interface TlsInfo {
  /** The version, such as `TLSv1.3`. */
  readonly version: string;
  /** The application protocol (RFC 7301), where one was agreed on. */
  readonly alpn: string | undefined;
  /**
   * The certificate that the client has shown. An authority of the server's
   * `clientCa` vouches for it; one that none vouches for is refused.
   */
  readonly peer: PeerCertificate | undefined;
}

/** A certificate, as far as it says whose it is. */
export interface PeerCertificate {
  /** The subject, as RFC 4514 writes it: `CN=ann,O=Example`. */
  readonly subject: string;
  /**
   * The subject's other names, each with its kind in front: `DNS:`, `email:`,
   * `URI:`, `IP:` or `dirName:`. What is behind that is as it was in the
   * certificate. Names of other kinds are left out.
   */
  readonly names: readonly string[];
  /** The SHA-256 of the certificate, as `openssl x509 -fingerprint` writes it. */
  readonly fingerprint: string;
}
