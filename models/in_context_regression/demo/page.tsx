/** *Train it*: a small model with an LLA layer, trained on the spot beside the same one with softmax attention. */
import { proxy } from 'comlink';
import { useCallback, useState } from 'preact/hooks';
import { useEngine } from '../../../demos/engine/use_engine.js';
import { EngineStatus, Legend } from '../../../demos/parts/engine_status.js';
import { type Line, linesSpec } from '../../../demos/parts/lines.js';
import { type Look, Plot } from '../../../demos/parts/plot.js';
import { NumberField } from '../../../demos/parts/number_field.js';
import { TaskForm } from '../../../demos/parts/task_form.js';
import { useTask } from '../../../demos/parts/use_task.js';
import { COLOURS } from '../../common/colours.js';
import { type Attention, ATTENTIONS, type Metrics } from '../../trainer/experiment.js';
import { LABELS } from '../../trainer/summary.js';
import type { jobs, Reached } from './jobs.js';

const FIRST: readonly Attention[] = ['localLinear', 'softmax'];

export function Page() {
  const engine = useEngine<typeof jobs>('in_context_regression');
  const task = useTask(engine);
  const [chosen, setChosen] = useState<readonly Attention[]>(FIRST);
  const [steps, setSteps] = useState(300);
  const [seed, setSeed] = useState(1);
  /** The attentions of the curves that are drawn. */
  const [trained, setTrained] = useState<readonly Attention[]>(FIRST);
  const [reached, setReached] = useState<readonly Reached[]>([]);
  const [metrics, setMetrics] = useState<Partial<Record<Attention, Metrics>>>({});
  const canStart = engine.state === 'ready' && !task.isRunning && chosen.length > 0;

  const start = () => {
    if (engine.state !== 'ready') return;
    const { jobs: remote } = engine;
    setTrained(chosen);
    setReached([]);
    setMetrics({});
    task.start(async ({ check }) => {
      const onReached = proxy((next: Reached) => {
        check();
        setReached((before) => [...before, next]);
      });
      setMetrics(await remote.train({ attentions: chosen, steps, seed }, onReached));
    });
  };

  const spec = useCallback(
    (look: Look) => {
      const lines = trained.map((attention): Line => {
        const points = reached.map(({ step, losses }) => [step, losses[attention] ?? NaN] as const);
        return { name: attention, colour: COLOURS[attention], points };
      });
      return linesSpec(lines, { x: 'step', y: 'loss', height: 300, xDomain: [0, Math.max(5, steps)] }, look);
    },
    [reached, trained, steps],
  );

  const last = reached.at(-1);
  const shown = (value: number | undefined, digits: number) =>
    value === undefined ? '…' : String(Number(value.toPrecision(digits)));
  return (
    <>
      <p>
        Two layers of attention learn to regress in context: each sequence has 32 pairs of an input and an output, by
        one linear map in its first half and by another one in its second. Models differ in their attention alone; all
        begin with the same numbers and see the same data. Predicting zero each time has a loss of 1.
      </p>
      <EngineStatus engine={engine} />
      <TaskForm task={task} verb="Train" canStart={canStart} onStart={start}>
        <fieldset>
          <legend>Attention</legend>
          {ATTENTIONS.map((attention) => (
            <label key={attention}>
              <input
                type="checkbox"
                checked={chosen.includes(attention)}
                disabled={task.isRunning}
                onChange={({ currentTarget: { checked } }) =>
                  setChosen(ATTENTIONS.filter((one) => (one === attention ? checked : chosen.includes(one))))
                }
              />
              {LABELS[attention]}
            </label>
          ))}
        </fieldset>
        <div class="controls">
          <NumberField label="Steps" value={steps} min={1} max={5000} disabled={task.isRunning} onChange={setSteps} />
          <NumberField label="Seed" value={seed} min={0} disabled={task.isRunning} onChange={setSeed} />
        </div>
      </TaskForm>
      {task.problem !== undefined && <p role="alert">{task.problem}</p>}
      {task.isRunning && (
        <p>
          <progress value={last?.step ?? 0} max={steps} aria-label="Steps done" />
          {last === undefined ? 'Building the models and their kernels …' : `Step ${last.step} of ${steps}`}
        </p>
      )}
      <Legend lines={trained.map((attention) => ({ label: LABELS[attention], colour: COLOURS[attention] }))} />
      <Plot label="Loss by step for each attention; the table below has the last numbers." spec={spec} />
      <div class="table" tabIndex={0} role="region" aria-label="Losses">
        <table>
          <thead>
            <tr>
              <th scope="col">attention</th>
              <th scope="col" class="number">
                loss
              </th>
              <th scope="col" class="number">
                error on unseen data
              </th>
              <th scope="col" class="number">
                ms a step
              </th>
            </tr>
          </thead>
          <tbody>
            {trained.map((attention) => (
              <tr key={attention}>
                <th scope="row">{LABELS[attention]}</th>
                <td class="number" data-loss={attention}>
                  {shown(last?.losses[attention], 4)}
                </td>
                <td class="number" data-error={attention}>
                  {shown(metrics[attention]?.error, 4)}
                </td>
                <td class="number">{shown(last?.pace[attention], 3)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
