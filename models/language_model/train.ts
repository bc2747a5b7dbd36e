import * as tf from '@tensorflow/tfjs-core';
import { InputError } from '../common/input_error.js';
import type { Attention, Batch, Json, Metrics, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import type { Random } from '../trainer/random.js';
import { BigramModel } from './bigram.js';
import { type Corpus, corpusOf, digestOf, randomWindows, startsOf, type Text, windowsAt } from './data.js';
import { languageModel, lossOf, sizeOf } from './model.js';
import { sampleText } from './sampling.js';
import { mobyDick, ownText } from './text.js';

/** What the text in the record of a run begins with. */
const PROMPT = 'Call me ';

class LanguageTask implements Task {
  readonly model;
  private readonly corpus: Corpus;
  /** Where the windows of an evaluation begin. */
  private readonly starts: readonly number[];
  private readonly bigram: number;

  constructor(
    text: Text,
    attention: Attention,
    private readonly settings: Settings,
  ) {
    const { context } = settings;
    if (!Number.isSafeInteger(context) || context < 1) {
      throw new InputError(`setting context must be a whole number of at least 1, got ${context}`);
    }
    this.corpus = corpusOf(text, context);
    const { training, heldOut } = this.corpus;
    this.starts = startsOf(heldOut, context);
    this.bigram = new BigramModel(training).loss(heldOut, this.starts.length * context);
    this.model = languageModel(attention, sizeOf(settings));
  }

  batch(random: Random): Batch {
    const { batch, context } = this.settings;
    return { ...randomWindows(this.corpus.training, batch, context, random) };
  }

  loss({ inputs, targets }: Batch): tf.Scalar {
    return lossOf(this.model, { inputs: inputs as tf.Tensor2D, targets: targets as tf.Tensor2D });
  }

  async evaluate(): Promise<Metrics> {
    const { batch, context } = this.settings;
    const { starts } = this;
    const total = tf.tidy(() => {
      let sum: tf.Scalar = tf.scalar(0);
      for (let first = 0; first < starts.length; first += batch) {
        // What a batch leaves behind is freed before the next one.
        sum = tf.tidy(() => {
          const some = starts.slice(first, first + batch);
          return tf.add(sum, tf.mul(lossOf(this.model, windowsAt(this.corpus.heldOut, some, context)), some.length));
        });
      }
      return sum;
    });
    const [value] = await total.data();
    total.dispose();
    const loss = value / starts.length;
    return { loss, bits: loss / Math.LN2, bigram: this.bigram };
  }

  async finish(): Promise<Json> {
    const { context, sampled } = this.settings;
    const { name, training, heldOut } = this.corpus;
    const notes = { text: name, training: training.length, heldOut: heldOut.length, context };
    if (sampled === 0) return notes;
    const sample = await sampleText(this.model, PROMPT, { maxTokens: sampled, temperature: 0.8, seed: 1 });
    return { ...notes, prompt: PROMPT, sample };
  }

  dispose(): void {
    this.model.dispose();
  }
}

/** The experiment on Moby-Dick, or on a text file of the user's. */
export async function experimentOn(file: string | undefined): Promise<TrainedExperiment> {
  const text = file === undefined ? await mobyDick() : await ownText(file);
  const digest = digestOf(text);
  return {
    name: 'language_model',
    title: 'Language model',
    metrics: [
      { name: 'loss', label: 'held-out loss (nats per byte)', better: 'lower' },
      { name: 'bits', label: 'bits per byte', better: 'lower' },
      { name: 'bigram', label: 'bigram counts (nats per byte)', better: 'lower' },
    ],
    settings: {
      steps: 2000,
      batch: 32,
      rate: 3e-3,
      decay: 0.1,
      evaluateEvery: 500,
      /** Features of a token, heads, blocks. */
      dim: 160,
      heads: 5,
      layers: 4,
      /** Bytes of a window. */
      context: 256,
      /** Bytes of text that a run ends with; 0: none. */
      sampled: 240,
      /** Tells texts apart, so that no run goes on with another one. */
      text: digest,
    },
    sweep: { rate: [1e-3, 3e-3, 6e-3], ridge: [0.1, 1, 10], scale: [0.5, 1, 2] },
    start(attention, settings) {
      if (settings.text !== digest) throw new InputError(`setting text is that of the file, ${digest}; it is not set`);
      return new LanguageTask(text, attention, settings);
    },
  };
}
