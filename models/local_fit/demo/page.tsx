/** *See it*: what softmax attention, local linear attention and a global linear fit make of points. */
import './page.css';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { type EngineState, messageOf, useEngine } from '../../../demos/engine/use_engine.js';
import { EngineStatus, Legend } from '../../../demos/parts/engine_status.js';
import { type Line, linesSpec, MARGIN } from '../../../demos/parts/lines.js';
import { type Look, Plot, useWidth } from '../../../demos/parts/plot.js';
import { LogSlider } from '../../../demos/parts/slider.js';
import { COLOURS } from '../../common/colours.js';
import { CURVES, type CurveName, type Point, pointsOn } from '../data.js';
import { type Fit, FITS, type FitSettings } from '../model.js';
import type { Heights, jobs } from './jobs.js';
import { type Mapping, Points } from './points.js';

const COUNT = 13;
const HEIGHT = 360;
const X = [-1.1, 1.1] as const;
const Y = [-2, 2] as const;
/** Where the fits are drawn; the first and the last are where the bias at the ends is read off. */
const PLACES = Array.from({ length: 121 }, (_, i) => -1 + i / 60);

const LABELS: Readonly<Record<Fit, string>> = {
  softmax: 'softmax attention (local constant)',
  localLinear: 'LLA (local linear)',
  mesa: 'mesa attention (one line for all)',
};
const TRUTH = '#8a93a3';

const clamp = (value: number, [low, high]: readonly [number, number]): number => Math.min(high, Math.max(low, value));

/** The newest fits; while some are computed, of later requests only the last one is kept. */
function useFits(engine: EngineState<typeof jobs>, points: readonly Point[], settings: FitSettings) {
  const [heights, setHeights] = useState<Heights>();
  const [problem, setProblem] = useState<string>();
  const waiting = useRef<(() => Promise<void>) | null>(null);
  const isBusy = useRef(false);
  useEffect(() => {
    if (engine.state !== 'ready') {
      isBusy.current = false;
      return;
    }
    const { jobs: remote } = engine;
    waiting.current = async () => setHeights(await remote.fit(points, PLACES, settings));
    const work = async () => {
      isBusy.current = true;
      while (waiting.current !== null) {
        const next = waiting.current;
        waiting.current = null;
        await next();
      }
      isBusy.current = false;
    };
    if (!isBusy.current) work().catch((error: unknown) => setProblem(messageOf(error)));
  }, [engine, points, settings]);
  return { heights, problem };
}

/** Mean distance of a fit from the curve at both ends. */
function biasAtEnds(heights: Float32Array, curve: CurveName): number {
  const miss = (index: number) => Math.abs(heights[index] - CURVES[curve].at(PLACES[index]));
  return (miss(0) + miss(PLACES.length - 1)) / 2;
}

export function Page() {
  const engine = useEngine<typeof jobs>('local_fit');
  const [curve, setCurve] = useState<CurveName>('wave');
  const [points, setPoints] = useState<readonly Point[]>(() => pointsOn(CURVES.wave, COUNT));
  const [settings, setSettings] = useState<FitSettings>({ scale: 12, ridge: 0.001 });
  const { heights, problem } = useFits(engine, points, settings);
  const [place, width] = useWidth();

  const mapping = useMemo((): Mapping => {
    const inner = width - MARGIN.left - MARGIN.right;
    return {
      toPixels: ({ x, y }) => ({
        left: `${MARGIN.left + ((x - X[0]) / (X[1] - X[0])) * inner}px`,
        top: `${MARGIN.top + ((Y[1] - y) / (Y[1] - Y[0])) * HEIGHT}px`,
      }),
      toPoint: (left, top) => ({
        x: X[0] + ((left - MARGIN.left) / inner) * (X[1] - X[0]),
        y: Y[1] - ((top - MARGIN.top) / HEIGHT) * (Y[1] - Y[0]),
      }),
    };
  }, [width]);

  const move = (index: number, { x, y }: Point) => {
    const to = { x: clamp(x, [-1, 1]), y: clamp(y, Y) };
    setPoints((before) => before.map((point, i) => (i === index ? to : point)));
  };
  const start = (name: CurveName) => {
    setCurve(name);
    setPoints(pointsOn(CURVES[name], COUNT));
  };

  const spec = useCallback(
    (look: Look) => {
      const along = (values: ArrayLike<number>) => PLACES.map((x, i) => [x, values[i]] as const);
      const truth: Line = {
        name: 'curve',
        colour: TRUTH,
        dash: [5, 4],
        width: 1.5,
        points: along(PLACES.map(CURVES[curve].at)),
      };
      const fits =
        heights === undefined
          ? []
          : FITS.map((fit): Line => ({ name: fit, colour: COLOURS[fit], points: along(heights[fit]) }));
      return linesSpec([truth, ...fits], { x: 'x', y: 'y', height: HEIGHT, xDomain: X, yDomain: Y }, look);
    },
    [heights, curve],
  );

  return (
    <>
      <p>
        Each point is a key with its height for a value; each place on the x axis is a query. Drag the points, or move
        one with the arrow keys. At the <strong>ends</strong> a local mean has points on one side only and is pulled
        inwards; a local line is not.
      </p>
      <EngineStatus engine={engine} />
      {problem !== undefined && <p role="alert">The fit failed: {problem}</p>}
      <Legend
        lines={[
          { label: `the curve: ${CURVES[curve].label}`, colour: TRUTH },
          ...FITS.map((fit) => ({ label: LABELS[fit], colour: COLOURS[fit] })),
        ]}
      />
      <div class="points" ref={place}>
        <Plot
          label="The curve, the points and three fits over x; the table below has the errors at the ends."
          spec={spec}
        />
        {width > 0 && <Points points={points} mapping={mapping} onMove={move} />}
      </div>
      <p id="points-help" class="status">
        Tab goes from point to point; arrow keys move it, with Shift five times as far.
      </p>
      <div class="controls">
        <label>
          Points on
          <select value={curve} onChange={({ currentTarget: { value } }) => start(value as CurveName)}>
            {Object.entries(CURVES).map(([name, { label }]) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <LogSlider
          label="Scale (how local)"
          min={0.1}
          max={1000}
          value={settings.scale}
          onChange={(scale) => setSettings((old) => ({ ...old, scale }))}
        />
        <LogSlider
          label="Ridge"
          min={0.0001}
          max={100}
          value={settings.ridge}
          onChange={(ridge) => setSettings((old) => ({ ...old, ridge }))}
        />
      </div>
      <div class="buttons">
        <button type="button" class="secondary" onClick={() => start(curve)}>
          Put the points back
        </button>
      </div>
      <h2>Error at the ends</h2>
      <div class="table">
        <table>
          <thead>
            <tr>
              <th scope="col">fit</th>
              <th scope="col" class="number">
                distance from the curve, mean of both ends
              </th>
            </tr>
          </thead>
          <tbody aria-live="polite">
            {FITS.map((fit) => (
              <tr key={fit}>
                <th scope="row">{LABELS[fit]}</th>
                <td class="number" data-bias={fit}>
                  {heights === undefined ? '…' : biasAtEnds(heights[fit], curve).toFixed(3)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p>
        A large ridge turns LLA into softmax attention; a small scale turns it into one line for all. The mesa fit takes
        the same ridge, for each point.
      </p>
    </>
  );
}
