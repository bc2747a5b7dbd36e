/** What counting pairs of bytes achieves: the yardstick for a model that sees more than one byte. */
import { VOCABULARY } from './data.js';

/**
 * The probability of a byte after another one, by counts of a text. Counts of single bytes, to each of which one is added,
 * smooth those of the pairs: `p(b | a) = (n(a, b) + p(b)) / (n(a) + 1)`, `p(b) = (n(b) + 1) / (n + 256)`.
 */
export class BigramModel {
  private readonly pairs = new Float64Array(VOCABULARY * VOCABULARY);
  /** How often each byte is followed by another one. */
  private readonly firsts = new Float64Array(VOCABULARY);
  private readonly singles = new Float64Array(VOCABULARY);
  private readonly length: number;

  constructor(text: Uint8Array) {
    this.length = text.length;
    for (const byte of text) this.singles[byte]++;
    for (let at = 1; at < text.length; at++) {
      this.pairs[text[at - 1] * VOCABULARY + text[at]]++;
      this.firsts[text[at - 1]]++;
    }
  }

  probability(byte: number, before: number): number {
    const single = (this.singles[byte] + 1) / (this.length + VOCABULARY);
    return (this.pairs[before * VOCABULARY + byte] + single) / (this.firsts[before] + 1);
  }

  /** Mean of `-ln p` over the first `count` bytes behind the first one of a text, in nats. */
  loss(text: Uint8Array, count = text.length - 1): number {
    let sum = 0;
    for (let at = 1; at <= count; at++) sum -= Math.log(this.probability(text[at], text[at - 1]));
    return sum / count;
  }
}
