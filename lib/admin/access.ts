/** Who may ask what of the admin port. */

/** So many random letters and digits have 80 bits and more. */
const SHORTEST_TOKEN = 16;

export const TOKEN_FORM =
  `at least ${SHORTEST_TOKEN} letters, digits and -._~+/ (openssl rand -hex 16)`;

/** The characters that RFC 6750, section 2.1, lets stand behind `Bearer`. */
export function isToken(text: unknown): text is string {
  return typeof text === "string" && text.length >= SHORTEST_TOKEN &&
    /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

/**
 * Whether a request has the token. It compares HMACs under a random key, so the
 * time that this takes tells nothing about the token. (`timingSafeEqual` needs
 * `node:crypto`, which takes as long to load as the rest of the program.)
 */
export async function hasToken(request: Request, token: string) {
  const given = /^Bearer +(\S+)$/i
    .exec(request.headers.get("authorization") ?? "")?.[1];
  if (given === undefined) return false;
  const hmac: HmacKeyGenParams = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.generateKey(hmac, false, ["sign", "verify"]);
  const encoder = new TextEncoder();
  const right = await crypto.subtle.sign("HMAC", key, encoder.encode(token));
  return await crypto.subtle.verify("HMAC", key, right, encoder.encode(given));
}

/**
 * Whether a request names this port by an address, by `localhost`, or by the
 * name that it was bound by. A page of another site can let its own name resolve
 * to 127.0.0.1 (DNS rebinding), but the browser still sends that name.
 */
export function namesUs(request: Request, own: string): boolean {
  const hostname = URL.parse(request.url)?.hostname;
  if (hostname === undefined) return false;
  return /^[\d.]+$/.test(hostname) || hostname.startsWith("[") ||
    hostname === "localhost" || hostname.endsWith(".localhost") ||
    hostname === own.toLowerCase();
}
