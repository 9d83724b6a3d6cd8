// Hashes tensors of a file, for identify.js: BLAKE3 of a tensor's bytes, and BLAKE2b of how it
// begins. Written from https://github.com/BLAKE3-team/BLAKE3-specs and RFC 7693. What is said of
// samples is said in zoo/store/tensor_keys.py, and must come out the same here.
"use strict";
const IV = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;
const CHUNK = 1024, PIECE = 1 << 22;

// One block: 16 words of m from `at` on into the 8 words of h, in place. The words are locals, as
// arrays would take twice as long.
function compress(h, m, at, chunk, length, flags) {
  let m0 = m[at], m1 = m[at + 1], m2 = m[at + 2], m3 = m[at + 3], m4 = m[at + 4], m5 = m[at + 5],
    m6 = m[at + 6], m7 = m[at + 7], m8 = m[at + 8], m9 = m[at + 9], ma = m[at + 10],
    mb = m[at + 11], mc = m[at + 12], md = m[at + 13], me = m[at + 14], mf = m[at + 15];
  let a0 = h[0], a1 = h[1], a2 = h[2], a3 = h[3], b0 = h[4], b1 = h[5], b2 = h[6], b3 = h[7],
    c0 = IV[0], c1 = IV[1], c2 = IV[2], c3 = IV[3],
    d0 = chunk | 0, d1 = chunk / 4294967296 | 0, d2 = length, d3 = flags;
  for (let round = 0; ; round++) {
    a0 = a0 + b0 + m0 | 0; d0 ^= a0; d0 = d0 << 16 | d0 >>> 16; c0 = c0 + d0 | 0; b0 ^= c0; b0 = b0 << 20 | b0 >>> 12;
    a0 = a0 + b0 + m1 | 0; d0 ^= a0; d0 = d0 << 24 | d0 >>> 8; c0 = c0 + d0 | 0; b0 ^= c0; b0 = b0 << 25 | b0 >>> 7;
    a1 = a1 + b1 + m2 | 0; d1 ^= a1; d1 = d1 << 16 | d1 >>> 16; c1 = c1 + d1 | 0; b1 ^= c1; b1 = b1 << 20 | b1 >>> 12;
    a1 = a1 + b1 + m3 | 0; d1 ^= a1; d1 = d1 << 24 | d1 >>> 8; c1 = c1 + d1 | 0; b1 ^= c1; b1 = b1 << 25 | b1 >>> 7;
    a2 = a2 + b2 + m4 | 0; d2 ^= a2; d2 = d2 << 16 | d2 >>> 16; c2 = c2 + d2 | 0; b2 ^= c2; b2 = b2 << 20 | b2 >>> 12;
    a2 = a2 + b2 + m5 | 0; d2 ^= a2; d2 = d2 << 24 | d2 >>> 8; c2 = c2 + d2 | 0; b2 ^= c2; b2 = b2 << 25 | b2 >>> 7;
    a3 = a3 + b3 + m6 | 0; d3 ^= a3; d3 = d3 << 16 | d3 >>> 16; c3 = c3 + d3 | 0; b3 ^= c3; b3 = b3 << 20 | b3 >>> 12;
    a3 = a3 + b3 + m7 | 0; d3 ^= a3; d3 = d3 << 24 | d3 >>> 8; c3 = c3 + d3 | 0; b3 ^= c3; b3 = b3 << 25 | b3 >>> 7;
    a0 = a0 + b1 + m8 | 0; d3 ^= a0; d3 = d3 << 16 | d3 >>> 16; c2 = c2 + d3 | 0; b1 ^= c2; b1 = b1 << 20 | b1 >>> 12;
    a0 = a0 + b1 + m9 | 0; d3 ^= a0; d3 = d3 << 24 | d3 >>> 8; c2 = c2 + d3 | 0; b1 ^= c2; b1 = b1 << 25 | b1 >>> 7;
    a1 = a1 + b2 + ma | 0; d0 ^= a1; d0 = d0 << 16 | d0 >>> 16; c3 = c3 + d0 | 0; b2 ^= c3; b2 = b2 << 20 | b2 >>> 12;
    a1 = a1 + b2 + mb | 0; d0 ^= a1; d0 = d0 << 24 | d0 >>> 8; c3 = c3 + d0 | 0; b2 ^= c3; b2 = b2 << 25 | b2 >>> 7;
    a2 = a2 + b3 + mc | 0; d1 ^= a2; d1 = d1 << 16 | d1 >>> 16; c0 = c0 + d1 | 0; b3 ^= c0; b3 = b3 << 20 | b3 >>> 12;
    a2 = a2 + b3 + md | 0; d1 ^= a2; d1 = d1 << 24 | d1 >>> 8; c0 = c0 + d1 | 0; b3 ^= c0; b3 = b3 << 25 | b3 >>> 7;
    a3 = a3 + b0 + me | 0; d2 ^= a3; d2 = d2 << 16 | d2 >>> 16; c1 = c1 + d2 | 0; b0 ^= c1; b0 = b0 << 20 | b0 >>> 12;
    a3 = a3 + b0 + mf | 0; d2 ^= a3; d2 = d2 << 24 | d2 >>> 8; c1 = c1 + d2 | 0; b0 ^= c1; b0 = b0 << 25 | b0 >>> 7;
    if (round === 6) break;
    let t = m0; m0 = m2; m2 = m3; m3 = ma; ma = mc; mc = m9; m9 = mb; mb = m5; m5 = t;
    t = m1; m1 = m6; m6 = m4; m4 = m7; m7 = md; md = me; me = mf; mf = m8; m8 = t;
  }
  h[0] = a0 ^ c0; h[1] = a1 ^ c1; h[2] = a2 ^ c2; h[3] = a3 ^ c3;
  h[4] = b0 ^ d0; h[5] = b1 ^ d1; h[6] = b2 ^ d2; h[7] = b3 ^ d3;
}

// BLAKE3 of `length` bytes, in hex. read(begin, end) gives some of them, as an ArrayBuffer.
function blake3(length, read) {
  const h = new Int32Array(8), stack = new Int32Array(8 * 56);
  let depth = 0;
  function merge(flags) { // the upper two of the stack
    h.set(IV);
    compress(h, stack, 8 * (depth - 2), 0, 64, PARENT | flags);
    stack.set(h, 8 * (--depth - 1));
  }
  const last = Math.max(0, Math.ceil(length / CHUNK) - 1);
  for (let begin = 0; begin === 0 || begin < length; begin += PIECE) {
    const size = Math.min(PIECE, length - begin);
    // Whole blocks: the last one is filled up with zeros.
    const bytes = new Uint8Array(Math.max(64, Math.ceil(size / 64) * 64));
    bytes.set(new Uint8Array(read(begin, begin + size)));
    const words = new Int32Array(bytes.buffer);
    for (let from = 0; from === 0 || from < size; from += CHUNK) {
      const chunk = (begin + from) / CHUNK, end = Math.min(from + CHUNK, size);
      const root = last === 0 ? ROOT : 0;
      h.set(IV);
      for (let block = from; block === from || block < end; block += 64) {
        const ends = block + 64 >= end;
        compress(h, words, block / 4, chunk, Math.min(64, end - block),
          (block === from ? CHUNK_START : 0) | (ends ? CHUNK_END | root : 0));
      }
      stack.set(h, 8 * depth++);
      if (chunk < last) for (let all = chunk + 1; all % 2 === 0; all /= 2) merge(0);
    }
  }
  while (depth > 1) merge(depth === 2 ? ROOT : 0);
  return hex(new Uint8Array(stack.buffer, 0, 32));
}

function hex(bytes) {
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

const IV64 = BigUint64Array.of(0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n, 0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n);
const SIGMA = ["0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8",
  "905724afe1bc683d", "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a",
  "6fe9b308c2d714a5", "a2847615fb9e3cd0"].map((row) => Array.from(row, (each) => parseInt(each, 16)));
const COLUMNS = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

// BLAKE2b of a few bytes, 8 bytes long, in hex.
function blake2b(bytes) {
  const h = IV64.slice(), v = new BigUint64Array(16);
  h[0] ^= 0x01010008n;
  const padded = new Uint8Array(Math.max(128, Math.ceil(bytes.length / 128) * 128));
  padded.set(bytes);
  const words = new BigUint64Array(padded.buffer);
  for (let at = 0; at < padded.length; at += 128) {
    const ends = at + 128 >= padded.length;
    v.set(h);
    v.set(IV64, 8);
    v[12] ^= BigInt(ends ? bytes.length : at + 128);
    if (ends) v[14] = ~v[14];
    for (let round = 0; round < 12; round++) {
      const order = SIGMA[round % 10];
      COLUMNS.forEach(([a, b, c, d], column) => {
        for (const [step, one, two] of [[0, 32n, 24n], [1, 16n, 63n]]) {
          v[a] += v[b] + words[at / 8 + order[2 * column + step]];
          v[d] = turned(v[d] ^ v[a], one);
          v[c] += v[d];
          v[b] = turned(v[b] ^ v[c], two);
        }
      });
    }
    for (let i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
  }
  return hex(new Uint8Array(h.buffer, 0, 8));
}

function turned(word, bits) {
  return word >> bits | word << (64n - bits);
}

const SAMPLE = 256, LEAST = 16;
const WIDTH = { BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1, I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, I64: 8, U64: 8, F64: 8,
  C64: 8 };

// Keys of how a tensor begins, one for each dtype that it could be cast to.
function samples(dtype, shape, bytes) {
  const elements = Math.min(shape.reduce((all, each) => all * each, 1), SAMPLE);
  const width = WIDTH[dtype], start = bytes.slice(0, elements * width);
  if (elements < LEAST || !width || start.length !== elements * width) return [];
  if (start.every((each, at) => each === start[at % width])) return [];
  const told = `(${shape.join(", ")}${shape.length === 1 ? "," : ""}) `;
  return Object.entries(forms(dtype, start)).map(([form, cast]) => {
    const text = new TextEncoder().encode(`${form} ${told}`), all = new Uint8Array(text.length + cast.length);
    all.set(text);
    all.set(cast, text.length);
    return blake2b(all);
  });
}

function forms(dtype, start) {
  const single = asSingle(dtype, start);
  if (!single) return { [dtype]: start };
  const words = new Uint32Array(single.buffer);
  const bfloat = Uint16Array.from(words, (word) => word + 0x7fff + (word >>> 16 & 1) >>> 16);
  const half = Array.from(single, toHalf);
  const found = { F32: new Uint8Array(single.buffer), BF16: new Uint8Array(bfloat.buffer) };
  if (!half.includes(null)) found.F16 = new Uint8Array(Uint16Array.from(half).buffer);
  return found;
}

function asSingle(dtype, start) {
  if (dtype === "F32") return new Float32Array(start.buffer);
  if (dtype === "F64") return Float32Array.from(new Float64Array(start.buffer));
  if (dtype === "F16") return Float32Array.from(new Uint16Array(start.buffer), fromHalf);
  if (dtype !== "BF16") return null;
  const words = Uint32Array.from(new Uint16Array(start.buffer), (each) => each << 16);
  return new Float32Array(words.buffer);
}

function fromHalf(bits) {
  const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, part = bits & 1023;
  if (exponent === 31) return part ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + part) * 2 ** (exponent - 25) : part * 2 ** -24);
}

// The nearest number of half precision, to even between two; null of what is too large for it.
function toHalf(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0, size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size === Infinity) return sign | 0x7c00;
  if (size >= 65520) return null;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -24)));
  const part = size * 2 ** (10 - exponent), floor = Math.floor(part), over = part - floor;
  const rounded = over > 0.5 || (over === 0.5 && floor % 2) ? floor + 1 : floor;
  return sign | (exponent + 14 << 10) + rounded;
}

self.onmessage = ({ data: { file, name, dtype, shape, begin, end } }) => {
  let start = new Uint8Array();
  const digest = blake3(end - begin, (from, to) => {
    const bytes = new FileReaderSync().readAsArrayBuffer(file.slice(begin + from, begin + to));
    if (from === 0) start = new Uint8Array(bytes, 0, Math.min(bytes.byteLength, 8 * SAMPLE));
    self.postMessage({ read: to - from });
    return bytes;
  });
  self.postMessage({ tensor: [name, dtype, shape, digest, samples(dtype, shape, start)] });
};
