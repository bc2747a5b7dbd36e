/** The 16-bit floats, by hand: `Float16Array` is missing in Node 20 and in many browsers, and bfloat16 everywhere. */

const scratch = new ArrayBuffer(4);
const asFloat = new Float32Array(scratch);
const asBits = new Uint32Array(scratch);

function bitsOf(value: number): number {
  asFloat[0] = value;
  return asBits[0];
}

/** The value of an IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction. */
function decodeFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

let float16Values: Float32Array | undefined;

/** A float16 as a number. All 65536 lie in a table (256 KiB, made at first use): a power per weight would be slow. */
export function fromFloat16(bits: number): number {
  float16Values ??= Float32Array.from({ length: 65536 }, (_, index) => decodeFloat16(index));
  return float16Values[bits];
}

/** A bfloat16 as a number: it is the upper half of a float32. */
export function fromBfloat16(bits: number): number {
  asBits[0] = bits << 16;
  return asFloat[0];
}

/** The nearest float16 of a float32, ties to even; beyond 65504 by half a step or more it is infinite. */
export function toFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const bits = bitsOf(value);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // Below 2^-14 the step stays that of the smallest normal numbers.
  const exponent = Math.max(((bits >>> 23) & 255) - 127, -14);
  const steps = roundHalfToEven(magnitude / 2 ** (exponent - 10));
  // Normal numbers have 1024 to 2047 steps; 2048, after rounding up, carries into the exponent by itself.
  return sign | (((exponent + 14) << 10) + steps);
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor % 2);
  return rest > 0.5 ? floor + 1 : floor;
}

/** The nearest bfloat16 of a float32, ties to even. */
export function toBfloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  const bits = bitsOf(value);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
