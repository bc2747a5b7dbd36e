/** Bytes as what a reader sees. */

export interface Character {
  readonly text: string;
  /** Index of its last byte: the one that has seen all of it. */
  readonly last: number;
}

/** The characters of UTF-8 bytes; bytes that make none are shown as the decoder shows them. */
export function charactersOf(bytes: Uint8Array): Character[] {
  const decoder = new TextDecoder();
  const found: Character[] = [];
  bytes.forEach((byte, index) => {
    const text = decoder.decode(Uint8Array.of(byte), { stream: true });
    if (text !== '') found.push({ text, last: index });
  });
  const rest = decoder.decode();
  if (rest !== '') found.push({ text: rest, last: bytes.length - 1 });
  return found;
}

/** A character's name, for a place that does not show spaces. */
export const nameOf = ({ text }: Character): string => ({ ' ': 'space', '\n': 'line end' })[text] ?? `“${text}”`;
