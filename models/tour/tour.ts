/** The tour: which backend computes, the forecast, twins that are trained, saved and loaded, and where to go from here. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dispose, mean, slice, squaredDifference, squeeze, tidy } from '@tensorflow/tfjs-core';
import type { InitializedBackend } from '../../src/node.js';
import { startBackend } from '../common/backend.js';
import { writeAtomically } from '../common/files.js';
import { Interrupted, Interruption } from '../common/interruption.js';
import type { Series } from '../forecast/data.js';
import type { Options as ForecastOptions } from '../forecast/options.js';
import { forecastSeries, shown } from '../forecast/program.js';
import type { Settings } from '../trainer/experiment.js';
import { settingsOf } from '../trainer/options.js';
import { plot } from '../trainer/plot.js';
import { panelsOf } from '../trainer/summary.js';
import { experiment, heldOutWaves } from '../waves/train.js';
import { modelOf, pictureOf, TWINS } from './files.js';
import type { TourOptions } from './options.js';
import { backendText, FAREWELL, heading, reloadedText, resultText, runText, taskText } from './text.js';
import { type Trained, trainTwin } from './twins.js';

/** @throws Interrupted where a signal came; files that were there before are as they were, or replaced whole. */
export async function runTour(series: readonly Series[], forecast: ForecastOptions, tour: TourOptions): Promise<void> {
  const interruption = new Interruption();
  const started = Date.now();

  console.log(heading(1, 'Which backend computes here'));
  const device = await startBackend(forecast.backend);
  console.log(backendText(device));
  await interruption.check();

  console.log(heading(2, 'Forecasting by attention, without training'));
  await forecastSeries(series, forecast, device, interruption.check);

  console.log(heading(3, 'A small model with an LLA layer, trained beside its softmax twin'));
  const twins = await trainTwins(tour, device, interruption);
  const records = twins.map(({ record }) => record);
  console.log(resultText(experiment, records));
  const picture = pictureOf(tour.out);
  await writeAtomically(picture, await plot(panelsOf(experiment, records)));
  console.log(`picture of the losses: ${shown(picture)}`);

  console.log(heading(4, 'Saved, and loaded again'));
  for (const { record, reloaded } of twins) {
    if (reloaded === undefined) continue;
    console.log(reloadedText(record.key.attention, { ...reloaded, folder: shown(reloaded.folder) }));
    // Written so that NaN is wrong, too.
    if (!(reloaded.difference === 0)) throw new Error(`${reloaded.folder}: the loaded model is not the one saved`);
  }

  console.log(heading(5, 'Where to go from here'));
  console.log(FAREWELL);
  console.log(`\nthe tour took ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

async function trainTwins({ steps, seeds, out }: TourOptions, device: InitializedBackend, { mustStop }: Interruption) {
  const set: Settings = steps === undefined ? {} : { steps };
  const settings = settingsOf(experiment, TWINS[0], set);
  console.log(taskText(settings, seeds, await lastNumberError(settings)));
  // The trainer's own files, of which nothing is to stay.
  const scratch = await mkdtemp(join(tmpdir(), 'tfjs-lla-tour-'));
  const host = { ...device, out: scratch, command: 'npm start', mustPause: mustStop };
  try {
    const trained: Trained[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      for (const attention of TWINS) {
        const folder = seed === 1 ? modelOf(out, attention) : undefined;
        const twin = await trainTwin(experiment, heldOutWaves, { attention, seed, set, folder }, host);
        if (twin === undefined) throw new Interrupted();
        console.log(runText(experiment, twin.record));
        trained.push(twin);
      }
    }
    return trained;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Mean squared error of the forecast that the next number is the last one: what has to be beaten. */
async function lastNumberError(settings: Settings): Promise<number> {
  const { windows, next } = heldOutWaves(settings);
  const error = tidy(() => {
    const last = slice(windows, [0, 0, settings.lags - 1], [-1, -1, 1]);
    return mean(squaredDifference(squeeze(last, [2]), next));
  });
  const [value] = await error.data();
  dispose([windows, next, error]);
  return value;
}
