/** A part of *Use it*: a list of pairs that the model has to remember, and what it looks at for an answer. */
import './recaller.css';
import { useEffect, useState } from 'preact/hooks';
import { messageOf, useEngine } from '../../../demos/engine/use_engine.js';
import { EngineStatus } from '../../../demos/parts/engine_status.js';
import { shadeOf } from '../../../demos/parts/weights.js';
import { useTask } from '../../../demos/parts/use_task.js';
import { ModelPicker, useModel } from '../../../demos/use/model_choice.js';
import { LABELS } from '../../trainer/summary.js';
import type { jobs, LoadedRecaller, Recalled } from './jobs.js';

export function RecallerPart() {
  const engine = useEngine<typeof jobs>('associative_recall');
  const choice = useModel<LoadedRecaller>(engine);
  const task = useTask(engine);
  const [seed, setSeed] = useState(1);
  const [recalled, setRecalled] = useState<Recalled>();
  const [asked, setAsked] = useState(0);
  const [weights, setWeights] = useState<Float32Array>();
  const [problem, setProblem] = useState<string>();
  const { about } = choice;

  useEffect(() => {
    setRecalled(undefined);
    setWeights(undefined);
    if (engine.state !== 'ready' || about === undefined) return;
    const { jobs: remote } = engine;
    task.start(async ({ check }) => {
      const found = await remote.recall(seed);
      check();
      setRecalled(found);
      setAsked(0);
    });
  }, [about, seed]);

  useEffect(() => {
    setWeights(undefined);
    if (engine.state !== 'ready' || about === undefined || recalled === undefined) return undefined;
    let isCurrent = true;
    engine.jobs.weights(recalled.tokens, 2 * about.pairs + asked).then(
      (found) => {
        if (isCurrent) setWeights(found);
      },
      (error: unknown) => {
        if (isCurrent) setProblem(messageOf(error));
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [recalled, asked]);

  const largest = weights === undefined ? 0 : Math.max(...Array.from(weights, Math.abs));
  const half = (about?.vocabulary ?? 0) / 2;
  const token = (id: number) => (id < half ? `K${id}` : `V${id - half}`);
  const cell = (position: number, id: number) => (
    <span style={weights === undefined ? undefined : { background: shadeOf(weights[position], largest) }}>
      {token(id)}
    </span>
  );
  const right = recalled?.said.filter((answer, i) => answer.token === recalled.right[i]).length;

  return (
    <>
      <p>
        The model reads a list of pairs, a key and its value each, and then the keys again in another order: at each it
        has to say the value. No list is in its training data; all it can do is look back.
      </p>
      <EngineStatus engine={engine} />
      <ModelPicker choice={choice} train="npm run train -- associative_recall" />
      {(problem ?? task.problem) !== undefined && <p role="alert">{problem ?? task.problem}</p>}
      <div class="buttons">
        <button type="button" disabled={recalled === undefined} onClick={() => setSeed(seed + 1)}>
          Another list
        </button>
      </div>
      {about !== undefined && recalled !== undefined && (
        <>
          <p role="status" data-right={right}>
            {LABELS[about.attention]} attention: {right} of {about.pairs} values right.
          </p>
          <h2>The list</h2>
          <ol class="pairs">
            {Array.from({ length: about.pairs }, (_, i) => (
              <li key={i}>
                {cell(2 * i, recalled.tokens[2 * i])} {cell(2 * i + 1, recalled.tokens[2 * i + 1])}
              </li>
            ))}
          </ol>
          <p class="status">
            Shades: what the last layer looks at for {token(recalled.tokens[2 * about.pairs + asked])}, mean of its
            heads.
          </p>
          <h2>The answers</h2>
          <div class="table" tabIndex={0} role="region" aria-label="Answers">
            <table>
              <thead>
                <tr>
                  <th scope="col">asked for</th>
                  <th scope="col">said</th>
                  <th scope="col" class="number">
                    probability
                  </th>
                  <th scope="col">right</th>
                </tr>
              </thead>
              <tbody>
                {recalled.said.map((answer, i) => (
                  <tr key={i} data-answer>
                    <th scope="row">
                      <label>
                        <input type="radio" name="asked" checked={i === asked} onChange={() => setAsked(i)} />
                        {token(recalled.tokens[2 * about.pairs + i])}
                      </label>
                    </th>
                    <td>{token(answer.token)}</td>
                    <td class="number">{answer.probability.toFixed(3)}</td>
                    <td>{answer.token === recalled.right[i] ? 'yes' : `no, ${token(recalled.right[i])}`}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </>
  );
}
