/** *Measure it*: how long the operators take on the visitor's own device. */
import { proxy } from 'comlink';
import { useRef, useState } from 'preact/hooks';
import { BACKEND_LABELS } from '../engine/backends.js';
import type { Device } from '../engine/take_backend.js';
import { useEngine } from '../engine/use_engine.js';
import { EngineStatus } from '../parts/engine_status.js';
import { TaskForm } from '../parts/task_form.js';
import { useTask } from '../parts/use_task.js';
import type { jobs, Measured, Sizes } from './jobs.js';

const TOKENS = [128, 256, 512, 1024, 2048, 4096];
const HEADS = [1, 4, 8, 16, 32];
const WIDTHS = [16, 32, 64];

const milliseconds = (value: number): string => String(Number(value.toPrecision(3)));
const sizeText = ({ heads, tokens, width }: Sizes): string =>
  `${heads} x ${tokens} x ${width} (heads, tokens, width), causal, float32`;

/** What the button copies: a table that issues and README files show as one. */
function markdown(rows: readonly Measured[], sizes: Sizes, { backend, adapter }: Device): string {
  return [
    `tfjs-lla, ${sizeText(sizes)}; ${BACKEND_LABELS[backend]} on ${adapter}; ${new Date().toISOString().slice(0, 10)}`,
    navigator.userAgent,
    '',
    '| operator | forward, ms | with gradients, ms |',
    '|---|---|---|',
    ...rows.map(
      ({ label, forward, both }) => `| ${label} | ${milliseconds(forward.median)} | ${milliseconds(both.median)} |`,
    ),
    '',
  ].join('\n');
}

export function Page() {
  const engine = useEngine<typeof jobs>('measure');
  const task = useTask(engine);
  const [sizes, setSizes] = useState<Sizes>({ heads: 4, tokens: 512, width: 64 });
  const [rows, setRows] = useState<readonly Measured[]>([]);
  const [measured, setMeasured] = useState<{ readonly sizes: Sizes; readonly device: Device }>();
  const [next, setNext] = useState<string>();
  const [copied, setCopied] = useState('');
  const text = useRef<HTMLTextAreaElement>(null);
  const canStart = engine.state === 'ready' && !task.isRunning;

  const start = () => {
    if (engine.state !== 'ready') return;
    const { jobs: remote, device } = engine;
    setRows([]);
    setCopied('');
    setNext(undefined);
    setMeasured({ sizes, device });
    task.start(async ({ check }) => {
      const onMeasured = proxy((done: readonly Measured[], name: string | undefined) => {
        check();
        setRows(done);
        setNext(name);
      });
      setRows(await remote.measure(sizes, onMeasured));
    });
  };

  const isDone = !task.isRunning && rows.length > 0;
  const result = measured === undefined ? '' : markdown(rows, measured.sizes, measured.device);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(result);
      setCopied('Copied.');
    } catch {
      // A browser may refuse pages the clipboard; a marked text can be copied by hand.
      text.current?.select();
      setCopied('The browser does not let the page copy: the text below is marked, copy it by Ctrl+C.');
    }
  };

  const choice = (label: string, name: keyof Sizes, values: readonly number[]) => (
    <label>
      {label}
      <select
        value={sizes[name]}
        disabled={task.isRunning}
        onChange={({ currentTarget }) => setSizes({ ...sizes, [name]: Number(currentTarget.value) })}
      >
        {values.map((value) => (
          <option key={value} value={value}>
            {value}
          </option>
        ))}
      </select>
    </label>
  );

  return (
    <>
      <p>
        Times of the operators on your device, as they are felt: calls one behind the other until the last result is
        there, median of three rounds behind a warm-up. A phone may take minutes at many tokens; begin with few.
      </p>
      <EngineStatus engine={engine} />
      <TaskForm
        task={task}
        verb="Measure"
        canStart={canStart}
        onStart={start}
        buttons={
          <button type="button" class="secondary" disabled={!isDone} onClick={() => void copy()}>
            Copy the result
          </button>
        }
      >
        <div class="controls">
          {choice('Tokens', 'tokens', TOKENS)}
          {choice('Heads', 'heads', HEADS)}
          {choice('Width of a head', 'width', WIDTHS)}
        </div>
      </TaskForm>
      <p role="status" class="status">
        {task.isRunning ? `Measuring ${next ?? '…'}` : copied}
      </p>
      {task.problem !== undefined && <p role="alert">{task.problem}</p>}
      {rows.length > 0 && measured !== undefined && (
        <>
          <h2>{sizeText(measured.sizes)}</h2>
          <div class="table" tabIndex={0} role="region" aria-label="Times">
            <table>
              <thead>
                <tr>
                  <th scope="col">operator</th>
                  <th scope="col" class="number">
                    forward, ms
                  </th>
                  <th scope="col" class="number">
                    with gradients, ms
                  </th>
                </tr>
              </thead>
              <tbody>
                {rows.map(({ label, forward, both }) => (
                  <tr key={label} data-measured>
                    <th scope="row">{label}</th>
                    <td class="number">{milliseconds(forward.median)}</td>
                    <td class="number">{milliseconds(both.median)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {isDone && (
            <details open={copied !== '' && copied !== 'Copied.'}>
              <summary>The result as text</summary>
              <textarea ref={text} readOnly rows={10} aria-label="The result as text" value={result} />
            </details>
          )}
        </>
      )}
    </>
  );
}
