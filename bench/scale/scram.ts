// The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), so that the probes log in as they do to a PostgreSQL: what they spend on it is
// theirs. Never used outside the benchmark: one salt serves every password.
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto';

/** PostgreSQL's `scram_iterations`. */
const ITERATIONS = 4096;
const SALT = Buffer.from('bench-scale-salt');

export interface Verifier {
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export function makeVerifier(password: string): Verifier {
  const salted = pbkdf2Sync(password, SALT, ITERATIONS, 32, 'sha256');
  const clientKey = hmac(salted, 'Client Key');
  return { storedKey: sha256(clientKey), serverKey: hmac(salted, 'Server Key') };
}

/** One login: what was said so far, as the proof covers it. */
export interface Exchange {
  readonly clientFirstBare: string;
  readonly serverFirst: string;
}

/** Answers the client's first message; undefined where it is none. */
export function begin(clientFirst: string, serverNonce: string): Exchange | undefined {
  const match = /^[ny],[^,]*,(.*)$/.exec(clientFirst);
  const bare = match?.[1];
  const nonce = bare === undefined ? undefined : /(?:^|,)r=([^,]+)/.exec(bare)?.[1];
  if (bare === undefined || nonce === undefined) return undefined;
  const serverFirst = `r=${nonce}${serverNonce},s=${SALT.toString('base64')},i=${ITERATIONS}`;
  return { clientFirstBare: bare, serverFirst };
}

/** The server's last message; undefined where the proof is wrong. */
export function finish(verifier: Verifier, exchange: Exchange, clientFinal: string): string | undefined {
  const match = /^(.*),p=([^,]+)$/.exec(clientFinal);
  const [withoutProof, proofText] = [match?.[1], match?.[2]];
  if (withoutProof === undefined || proofText === undefined) return undefined;
  const signed = `${exchange.clientFirstBare},${exchange.serverFirst},${withoutProof}`;
  const signature = hmac(verifier.storedKey, signed);
  const proof = Buffer.from(proofText, 'base64');
  if (proof.length !== signature.length) return undefined;
  const clientKey = Buffer.from(proof.map((byte, at) => byte ^ (signature[at] ?? 0)));
  if (!timingSafeEqual(sha256(clientKey), verifier.storedKey)) return undefined;
  return `v=${hmac(verifier.serverKey, signed).toString('base64')}`;
}

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();
