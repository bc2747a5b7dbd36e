/** The written text, and what a chosen character of it looks at. */
import type { Remote } from 'comlink';
import { useEffect, useState } from 'preact/hooks';
import { messageOf } from '../../../demos/engine/use_engine.js';
import { largestOf, shadeOf } from '../../../demos/parts/weights.js';
import { type Character, nameOf } from './characters.js';
import type { jobs, LoadedModel } from './jobs.js';

interface LooksProps {
  readonly jobs: Remote<typeof jobs>;
  readonly about: LoadedModel;
  readonly bytes: Uint8Array;
  readonly characters: readonly Character[];
}

/** Rows of the table. */
const SHOWN = 6;

/** Weights of the characters before the chosen one and of itself, of a window's length at most. */
interface Seen {
  /** Index of the first character that is seen. */
  readonly from: number;
  readonly chosen: number;
  readonly weights: readonly number[];
}

const ALL = -1;

export function Looks({ jobs: remote, about, bytes, characters }: LooksProps) {
  const [chosen, setChosen] = useState(characters.length - 1);
  const [block, setBlock] = useState(about.blocks - 1);
  const [head, setHead] = useState(ALL);
  const [seen, setSeen] = useState<Seen>();
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    const end = characters[chosen].last + 1;
    const start = Math.max(0, end - about.context);
    let isCurrent = true;
    const look = async () => {
      const heads = await remote.weights(bytes.slice(start, end), block);
      if (!isCurrent) return;
      const picked = head === ALL ? heads : [heads[head]];
      const ofByte = (byte: number) => picked.reduce((sum, weights) => sum + weights[byte - start], 0) / picked.length;
      const from = characters.findIndex(({ last }) => last >= start);
      // A character of several bytes has the weights of all of them.
      const weights = characters.slice(from, chosen + 1).map(({ last }, i) => {
        const first = Math.max(start, i + from === 0 ? 0 : characters[i + from - 1].last + 1);
        let sum = 0;
        for (let byte = first; byte <= last; byte++) sum += ofByte(byte);
        return sum;
      });
      setSeen({ from, chosen, weights });
    };
    look().catch((error: unknown) => {
      if (isCurrent) setProblem(messageOf(error));
    });
    return () => {
      isCurrent = false;
    };
  }, [bytes, chosen, block, head]);

  const largest = Math.max(0, ...(seen?.weights ?? []).map(Math.abs));
  const weightOf = (index: number): number | undefined =>
    seen?.chosen === chosen && index >= seen.from ? seen.weights[index - seen.from] : undefined;
  const count = (length: number, name: string) =>
    Array.from({ length }, (_, i) => (
      <option key={i} value={i}>
        {name} {i + 1}
      </option>
    ));

  return (
    <section aria-label="The text and its attention weights">
      <p
        class="written"
        data-written
        onClick={({ target }) => {
          const index = target instanceof HTMLElement ? target.dataset.index : undefined;
          if (index !== undefined) setChosen(Number(index));
        }}
      >
        {characters.map(({ text }, index) => {
          const weight = weightOf(index);
          return (
            <span
              key={index}
              data-index={index}
              class={index === chosen ? 'chosen' : undefined}
              style={weight === undefined ? undefined : { background: shadeOf(weight, largest) }}
            >
              {text}
            </span>
          );
        })}
      </p>
      <h2>What a character looks at</h2>
      <p class="status">
        Choose a character by a click in the text or by the slider. The darker another one is, the larger its attention
        weight; weights below zero, which softmax attention does not have, are in the second colour.
      </p>
      {problem !== undefined && <p role="alert">{problem}</p>}
      <div class="controls">
        <label>
          Character {chosen + 1} of {characters.length}: {nameOf(characters[chosen])}
          <input
            type="range"
            min={0}
            max={characters.length - 1}
            value={chosen}
            aria-valuetext={`${chosen + 1}, ${nameOf(characters[chosen])}`}
            onInput={({ currentTarget }) => setChosen(Number(currentTarget.value))}
          />
        </label>
        <label>
          Block
          <select value={block} onChange={({ currentTarget }) => setBlock(Number(currentTarget.value))}>
            {count(about.blocks, 'block')}
          </select>
        </label>
        <label>
          Head
          <select value={head} onChange={({ currentTarget }) => setHead(Number(currentTarget.value))}>
            <option value={ALL}>mean of all heads</option>
            {count(about.heads, 'head')}
          </select>
        </label>
      </div>
      {seen !== undefined && (
        <div class="table" tabIndex={0} role="region" aria-label="Largest weights">
          <table>
            <thead>
              <tr>
                <th scope="col">looks at</th>
                <th scope="col">in</th>
                <th scope="col" class="number">
                  characters back
                </th>
                <th scope="col" class="number">
                  weight
                </th>
              </tr>
            </thead>
            <tbody>
              {largestOf(seen.weights, SHOWN).map((place) => {
                const index = seen.from + place;
                const around = characters.slice(Math.max(0, index - 8), index + 1).map(({ text }) => text);
                return (
                  <tr key={place} data-weight>
                    <th scope="row">{nameOf(characters[index])}</th>
                    <td>{around.join('')}</td>
                    <td class="number">{seen.chosen - index}</td>
                    <td class="number">{seen.weights[place].toFixed(3)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
