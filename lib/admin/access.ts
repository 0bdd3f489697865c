/** Who may ask what of the admin port. */

/** The shortest token: with 16 random letters and digits, 80 bits and more. */
const SHORTEST_TOKEN = 16;

/** What a token is, as a noun phrase. */
export const TOKEN_FORM =
  `at least ${SHORTEST_TOKEN} letters, digits and -._~+/ (openssl rand -hex 16)`;

/**
 * Whether a text can be a token: the characters that RFC 6750, section 2.1,
 * lets stand behind `Bearer`.
 */
export function isToken(text: unknown): text is string {
  return typeof text === "string" && text.length >= SHORTEST_TOKEN &&
    /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

/**
 * Whether a request has the token. The time that this takes says nothing about
 * how much of a wrong token is right: what is compared are HMACs under a key
 * that nobody knows, and by the runtime. (`timingSafeEqual` is in `node:crypto`
 * too, which takes as long to load as the rest of the program.)
 */
export async function hasToken(
  request: Request,
  token: string,
): Promise<boolean> {
  const given = /^Bearer +(\S+)$/i
    .exec(request.headers.get("authorization") ?? "")?.[1];
  if (given === undefined) return false;
  const key = await crypto.subtle.generateKey(
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign", "verify"],
  );
  const encoder = new TextEncoder();
  const right = await crypto.subtle.sign("HMAC", key, encoder.encode(token));
  return await crypto.subtle.verify("HMAC", key, right, encoder.encode(given));
}

/**
 * Whether a request names this port by an address, by `localhost`, or by the
 * name that the port was bound by.
 *
 * A web page of a stranger's can have its own name resolved to 127.0.0.1, and
 * is then of the same origin as this port for the operator's browser (DNS
 * rebinding). All that it cannot change is the name that the browser sends.
 */
export function namesUs(request: Request, own: string): boolean {
  const hostname = URL.parse(request.url)?.hostname;
  if (hostname === undefined) return false;
  return /^[\d.]+$/.test(hostname) || hostname.startsWith("[") ||
    hostname === "localhost" || hostname.endsWith(".localhost") ||
    hostname === own.toLowerCase();
}
