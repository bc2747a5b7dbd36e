/** *Forecast it*: a series of the visitor's own, or one of the project's, one step ahead by every operator. */
import { proxy } from 'comlink';
import { useCallback, useEffect, useState } from 'preact/hooks';
import { messageOf, useEngine } from '../../../demos/engine/use_engine.js';
import { EngineStatus, Legend } from '../../../demos/parts/engine_status.js';
import { type Line, linesSpec } from '../../../demos/parts/lines.js';
import { type Look, Plot } from '../../../demos/parts/plot.js';
import { NumberField } from '../../../demos/parts/number_field.js';
import { TaskForm } from '../../../demos/parts/task_form.js';
import { useTask } from '../../../demos/parts/use_task.js';
import { MOST_LAGS } from '../data.js';
import { COLOURS, DRAWN, LABELS, points, TRUTH } from '../plot.js';
import { HEAD, headingOf, scoresOf, verdict } from '../scores.js';
import type { Answer, jobs, Source } from './jobs.js';

const OWN = 'own';
const COLUMNS = ['label', 'error', 'share', 'scale', 'ridge', 'mark'] as const;
const IS_NUMBER: readonly string[] = ['error', 'share', 'scale', 'ridge'];

export function Page() {
  const engine = useEngine<typeof jobs>('forecast');
  const task = useTask(engine);
  const [titles, setTitles] = useState<readonly string[]>([]);
  const [chosen, setChosen] = useState('0');
  const [file, setFile] = useState<File>();
  const [columns, setColumns] = useState<readonly string[]>([]);
  const [column, setColumn] = useState('');
  const [fileProblem, setFileProblem] = useState<string>();
  const [lags, setLags] = useState(8);
  const [limit, setLimit] = useState(1500);
  const [progress, setProgress] = useState({ done: 0, of: 1, label: '' });
  const [answer, setAnswer] = useState<Answer>();

  useEffect(() => {
    if (engine.state === 'ready') void engine.jobs.titles().then(setTitles);
  }, [engine]);

  useEffect(() => {
    setColumns([]);
    setFileProblem(undefined);
    if (file === undefined || engine.state !== 'ready') return;
    engine.jobs.columns(file).then(
      (names) => {
        setColumns(names);
        setColumn((before) => (names.includes(before) ? before : names[names.length - 1]));
      },
      (error: unknown) => setFileProblem(messageOf(error)),
    );
  }, [file, engine]);

  const isOwn = chosen === OWN;
  const source: Source | undefined = !isOwn
    ? { index: Number(chosen) }
    : file !== undefined && columns.includes(column)
      ? { file, column }
      : undefined;
  const canStart = engine.state === 'ready' && source !== undefined && !task.isRunning;

  const start = () => {
    if (engine.state !== 'ready' || source === undefined) return;
    const { jobs: remote } = engine;
    setAnswer(undefined);
    setProgress({ done: 0, of: 1, label: 'reading' });
    task.start(async ({ check }) => {
      const onProgress = proxy((done: number, of: number, label: string) => {
        check();
        setProgress({ done, of, label });
      });
      setAnswer(await remote.forecast({ source, lags, limit }, onProgress));
    });
  };

  return (
    <>
      <p>
        Nothing is trained: each past window of values is a key, the value that came next is its value, the newest
        window is the query, and what attention returns is the forecast. Settings are chosen on the first third of the
        series, and errors are those on the rest.
      </p>
      <EngineStatus engine={engine} />
      <TaskForm task={task} verb="Forecast" canStart={canStart} onStart={start}>
        <div class="controls">
          <label>
            Series
            <select value={chosen} onChange={({ currentTarget }) => setChosen(currentTarget.value)}>
              {titles.map((title, index) => (
                <option key={title} value={String(index)}>
                  {title}
                </option>
              ))}
              <option value={OWN}>a CSV file of your own</option>
            </select>
          </label>
          <NumberField label="Past values (lags)" value={lags} min={1} max={MOST_LAGS} onChange={setLags} />
          <NumberField label="Take the first values" value={limit} min={18} max={20000} onChange={setLimit} />
        </div>
        {isOwn && (
          <div class="controls">
            <label>
              CSV file, with names in its first line; it never leaves this page
              <input
                type="file"
                accept=".csv,.tsv,.txt,text/csv"
                aria-invalid={fileProblem === undefined ? undefined : true}
                onChange={({ currentTarget }) => setFile(currentTarget.files?.[0])}
              />
            </label>
            <label>
              Column
              <select
                value={column}
                disabled={columns.length === 0}
                onChange={({ currentTarget }) => setColumn(currentTarget.value)}
              >
                {columns.map((name) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            </label>
          </div>
        )}
        {isOwn && fileProblem !== undefined && <p role="alert">{fileProblem}</p>}
      </TaskForm>
      {task.isRunning && (
        <p role="status">
          <progress value={progress.done} max={progress.of} aria-label="Trials done" />
          {progress.label}
        </p>
      )}
      {task.problem !== undefined && <p role="alert">{task.problem}</p>}
      {answer !== undefined && <Results answer={answer} />}
    </>
  );
}

function Results({ answer: { report, available } }: { readonly answer: Answer }) {
  const { series } = report;
  const spec = useCallback(
    (look: Look) => {
      const all = points(report);
      const lines = DRAWN.map((name): Line => ({
        name,
        colour: COLOURS[name],
        width: name === TRUTH ? 4 : 1.6,
        points: all.filter(({ line }) => line === name).map(({ step, value }) => [step, value]),
      }));
      return linesSpec(lines, { x: 'step', y: series.unit, height: 300 }, look);
    },
    [report],
  );
  return (
    <section aria-label="Result">
      <h2>{headingOf(report)}</h2>
      <p role="status" data-verdict>
        {verdict(report)} Computed in {report.seconds.toFixed(1)} s.
        {available > series.values.length && ` The first ${series.values.length} of ${available} values were taken.`}
      </p>
      <Legend lines={DRAWN.map((name) => ({ label: LABELS[name], colour: COLOURS[name] }))} />
      <Plot label={`The last steps of ${series.title}, and the forecasts of them. ${verdict(report)}`} spec={spec} />
      <div class="table" tabIndex={0} role="region" aria-label="Errors and settings">
        <table>
          <thead>
            <tr>
              {COLUMNS.map((name) => (
                <th key={name} scope="col" class={IS_NUMBER.includes(name) ? 'number' : undefined}>
                  {name === 'mark' ? 'verdict' : HEAD[name]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {scoresOf(report).map((score) => (
              <tr key={score.label}>
                {COLUMNS.map((name) =>
                  name === 'label' ? (
                    <th key={name} scope="row">
                      {score.label}
                    </th>
                  ) : (
                    <td key={name} class={IS_NUMBER.includes(name) ? 'number' : undefined}>
                      {score[name].replace('<- ', '')}
                    </td>
                  ),
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="status">MSE: mean squared error of the series standardised by mean and deviation of its first third.</p>
    </section>
  );
}
