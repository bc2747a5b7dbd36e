/** Text from the model, byte by byte, through the caches of `generate`. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { generate, type GenerateOptions } from '../../src/layers/index.js';

export type SampleOptions = Pick<GenerateOptions, 'maxTokens' | 'temperature' | 'topK' | 'seed' | 'window'>;

/**
 * The text that follows a prompt.
 *
 * @param onText Told each new piece of it, as soon as its bytes make characters.
 */
export async function sampleText(
  model: LayersModel,
  prompt: string,
  options: SampleOptions,
  onText: (piece: string) => void = () => undefined,
): Promise<string> {
  // A character may be several bytes long: the decoder waits for the last of them.
  const decoder = new TextDecoder();
  let text = '';
  const take = (piece: string) => {
    text += piece;
    onText(piece);
  };
  const onToken = ([byte]: (number | null)[]) => take(decoder.decode(Uint8Array.of(byte ?? 0), { stream: true }));
  await generate(model, [...new TextEncoder().encode(prompt)], { ...options, onToken });
  take(decoder.decode());
  return text;
}
