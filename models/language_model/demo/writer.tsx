/** A part of *Use it*: the language model writes on, and shows what it looks at. */
import './writer.css';
import { proxy } from 'comlink';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { useEngine } from '../../../demos/engine/use_engine.js';
import { EngineStatus } from '../../../demos/parts/engine_status.js';
import { NumberField } from '../../../demos/parts/number_field.js';
import { TaskForm } from '../../../demos/parts/task_form.js';
import { useTask } from '../../../demos/parts/use_task.js';
import { ModelPicker, useModel } from '../../../demos/use/model_choice.js';
import { LABELS } from '../../trainer/summary.js';
import { charactersOf } from './characters.js';
import type { jobs, LoadedModel } from './jobs.js';
import { Looks } from './looks.js';

/** How the writing went so far. */
interface Pace {
  readonly tokens: number;
  /** Milliseconds from the start to the first token, and from it to the newest. */
  readonly first: number;
  readonly since: number;
  readonly cacheBytes: number;
}

const perSecond = ({ tokens, since }: Pace): string =>
  tokens < 2 ? '…' : ((tokens - 1) / (since / 1000)).toPrecision(3);

export function Writer() {
  const engine = useEngine<typeof jobs>('language_model');
  const choice = useModel<LoadedModel>(engine);
  const task = useTask(engine);
  const [prompt, setPrompt] = useState('Call me ');
  const [maxTokens, setMaxTokens] = useState(200);
  const [temperature, setTemperature] = useState(0.8);
  const [bytes, setBytes] = useState<Uint8Array>(() => new Uint8Array());
  const [pace, setPace] = useState<Pace>();
  const { about } = choice;
  const characters = useMemo(() => charactersOf(bytes), [bytes]);
  const canStart = engine.state === 'ready' && about !== undefined && !task.isRunning;

  // What another model wrote says nothing about this one.
  useEffect(() => {
    setBytes(new Uint8Array());
    setPace(undefined);
  }, [about]);

  const start = () => {
    if (engine.state !== 'ready') return;
    const { jobs: remote } = engine;
    const given = new TextEncoder().encode(prompt);
    setBytes(given);
    setPace(undefined);
    task.start(async ({ check }) => {
      const begun = performance.now();
      let first = 0;
      let tokens = 0;
      const onByte = proxy((byte: number, cacheBytes: number) => {
        check();
        const now = performance.now();
        if (tokens === 0) first = now;
        tokens++;
        setBytes((before) => Uint8Array.of(...before, byte));
        setPace({ tokens, first: first - begun, since: now - first, cacheBytes });
      });
      await remote.write(given, { maxTokens, temperature }, onByte);
    });
  };

  return (
    <>
      <p>
        A small transformer has read a novel byte by byte (Moby-Dick) and writes on in its manner. Each new byte goes
        through the caches of its attention layers, so that it costs one row of attention and not a whole call.
      </p>
      <EngineStatus engine={engine} />
      <ModelPicker choice={choice} train="npm run train -- language_model" />
      {about !== undefined && (
        <p class="status">
          {LABELS[about.attention]} attention, {about.blocks} blocks of {about.heads} heads,{' '}
          {about.weights.toLocaleString('en')} weights, windows of {about.context} bytes
        </p>
      )}
      <TaskForm task={task} verb="Write" canStart={canStart} onStart={start}>
        <label>
          Begin with
          <input type="text" required value={prompt} onInput={({ currentTarget }) => setPrompt(currentTarget.value)} />
        </label>
        <div class="controls">
          <NumberField label="Bytes to write" value={maxTokens} min={1} max={2000} onChange={setMaxTokens} />
          <NumberField
            label="Temperature (0: the likeliest byte each time)"
            value={temperature}
            min={0}
            max={5}
            step="any"
            onChange={setTemperature}
          />
        </div>
      </TaskForm>
      {task.problem !== undefined && <p role="alert">{task.problem}</p>}
      {pace !== undefined && (
        <dl class="figures">
          <div>
            <dt>tokens</dt>
            <dd data-tokens>{pace.tokens}</dd>
          </div>
          <div>
            <dt>tokens per second</dt>
            <dd data-rate>{perSecond(pace)}</dd>
          </div>
          <div>
            <dt>first token after</dt>
            <dd>{pace.first.toFixed(0)} ms</dd>
          </div>
          <div>
            <dt>memory of the caches</dt>
            <dd data-cache>{(pace.cacheBytes / 1024).toFixed(0)} KiB</dd>
          </div>
        </dl>
      )}
      {task.isRunning && <p class="written">{characters.map(({ text }) => text).join('')}</p>}
      {!task.isRunning && engine.state === 'ready' && about !== undefined && characters.length > 0 && (
        <Looks jobs={engine.jobs} about={about} bytes={bytes} characters={characters} />
      )}
    </>
  );
}
