// What the page verifies: Merkle proofs (RFC 9162), signed notes (C2SP), hashes, and canonical CBOR. No page in here.

const HASH = "SHA-256";
const DIGEST_BYTES = 32;
const POLICY_LABEL = "cloister/v1 release policy";

export function fromHex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/.test(text)) throw new Error("not hex");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
}

export function fromBase64url(text) {
  return fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
}

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

function same(left, right) {
  return left.length === right.length && left.every((byte, place) => byte === right[place]);
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest(HASH, bytes));
}

export function leafHash(leaf) {
  return sha256(join(Uint8Array.of(0), leaf));
}

function nodeHash(left, right) {
  return sha256(join(Uint8Array.of(1), left, right));
}

function nodesOf(proof) {
  if (!Array.isArray(proof) || proof.length > 64) throw new Error("not a proof");
  return proof.map((text) => {
    const node = fromHex(text);
    if (node.length !== DIGEST_BYTES) throw new Error("not a digest");
    return node;
  });
}

const half = (number) => Math.floor(number / 2);
const odd = (number) => number % 2 === 1;

// RFC 9162, 2.1.3.2. Returns whether the leaf is number `index` in the tree of `size` leaves with that root.
export async function isIncluded({ leaf, index, size, proof, root }) {
  if (!(Number.isSafeInteger(index) && Number.isSafeInteger(size) && 0 <= index && index < size)) return false;
  let first = index, last = size - 1, computed = await leafHash(leaf);
  for (const node of nodesOf(proof)) {
    if (last === 0) return false;
    if (odd(first) || first === last) {
      computed = await nodeHash(node, computed);
      while (!odd(first) && first !== 0) { first = half(first); last = half(last); }
    } else {
      computed = await nodeHash(computed, node);
    }
    first = half(first); last = half(last);
  }
  return last === 0 && same(computed, root);
}

// RFC 9162, 2.1.4.2. Returns whether the tree of `oldSize` leaves is a prefix of the other.
export async function isExtension({ oldSize, oldRoot, size, root, proof }) {
  if (!(0 < oldSize && oldSize <= size)) return false;
  const nodes = nodesOf(proof);
  if (oldSize === size) return nodes.length === 0 && same(oldRoot, root);
  const power = Number.isInteger(Math.log2(oldSize));
  const path = power ? [oldRoot, ...nodes] : nodes;
  if (path.length === 0) return false;
  let first = oldSize - 1, last = size - 1;
  while (odd(first)) { first = half(first); last = half(last); }
  let older = path[0], newer = path[0];
  for (const node of path.slice(1)) {
    if (last === 0) return false;
    if (odd(first) || first === last) {
      older = await nodeHash(node, older);
      newer = await nodeHash(node, newer);
      while (!odd(first) && first !== 0) { first = half(first); last = half(last); }
    } else {
      newer = await nodeHash(newer, node);
    }
    first = half(first); last = half(last);
  }
  return last === 0 && same(older, oldRoot) && same(newer, root);
}

// Reads a checkpoint; `signatures` are the lines under the origin's own name. Nothing is verified yet.
export function readCheckpoint(note, origin) {
  const cut = note.indexOf("\n\n");
  const lines = note.slice(0, cut).split("\n");
  if (cut < 0 || note.length > 4096 || lines.length !== 3 || lines[0] !== origin) throw new Error("not this log's checkpoint");
  if (!/^(0|[1-9][0-9]{0,15})$/.test(lines[1])) throw new Error("not a size");
  const root = fromBase64(lines[2]);
  if (root.length !== DIGEST_BYTES) throw new Error("not a root");
  const mark = `\u2014 ${origin} `;
  const signatures = note.slice(cut + 2).split("\n").filter((line) => line.startsWith(mark)).map((line) => fromBase64(line.slice(mark.length)));
  return { text: note.slice(0, cut + 1), size: Number(lines[1]), root, signatures };
}

// Returns whether the key signed the checkpoint; null where this browser cannot tell.
export async function isSigned(checkpoint, key) {
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") return null;
    throw error;
  }
  const body = new TextEncoder().encode(checkpoint.text);
  for (const line of checkpoint.signatures) {
    if (line.length === 68 && await crypto.subtle.verify({ name: "Ed25519" }, imported, line.slice(4), body)) return true;
  }
  return false;
}

// Returns the hash that names a policy, as release-policy-v1 has it.
export async function policyHash(canonical) {
  const framed = [new TextEncoder().encode(POLICY_LABEL), canonical].flatMap((part) => {
    const size = new Uint8Array(8);
    new DataView(size.buffer).setBigUint64(0, BigInt(part.length));
    return [size, part];
  });
  return "sha256:" + toHex(await sha256(join(...framed)));
}

// Decodes one CBOR value of the kinds that Cloister writes: integers, bytes, texts, lists, maps, true, false, null.
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (count) => {
    if (count > bytes.length - at) throw new Error("cut short");
    at += count;
    return bytes.subarray(at - count, at);
  };
  const number = (short) => {
    if (short < 24) return short;
    const width = { 24: 1, 25: 2, 26: 4, 27: 8 }[short];
    if (width === undefined) throw new Error("a length of a kind that is not written");
    take(width);
    const place = at - width;
    if (width === 1) return view.getUint8(place);
    if (width === 2) return view.getUint16(place);
    if (width === 4) return view.getUint32(place);
    const wide = Number(view.getBigUint64(place));
    if (!Number.isSafeInteger(wide)) throw new Error("a number that is too large");
    return wide;
  };
  const value = (depth) => {
    if (depth > 16) throw new Error("too deep");
    const head = take(1)[0];
    const kind = head >> 5;
    if (kind === 7) {
      if (head === 0xf4) return false;
      if (head === 0xf5) return true;
      if (head === 0xf6) return null;
      throw new Error("a kind of value that is not written");
    }
    const count = number(head & 31);
    if (kind === 0) return count;
    if (kind === 1) return -1 - count;
    if (kind === 2) return take(count).slice();
    if (kind === 3) return new TextDecoder("utf-8", { fatal: true }).decode(take(count));
    if (kind > 5 || count > bytes.length) throw new Error("a kind of value that is not written");
    if (kind === 4) return Array.from({ length: count }, () => value(depth + 1));
    const map = new Map();
    for (let left = count; left > 0; left -= 1) map.set(value(depth + 1), value(depth + 1));
    return map;
  };
  const found = value(0);
  if (at !== bytes.length) throw new Error("bytes behind the value");
  return found;
}

// Reads what a view token says; the service checks its signature, this page only whom it names.
export function readToken(text) {
  const body = decode(decode(fromBase64url(text.trim())).get("body"));
  const service = body.get("service");
  if (!(service instanceof Uint8Array) || service.length !== DIGEST_BYTES) throw new Error("not a view token");
  return { service, scope: body.get("scope"), expires: body.get("expires") };
}
