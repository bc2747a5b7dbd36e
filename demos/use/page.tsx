/** *Use it*: models that the experiments trained, at work. */
import { useState } from 'preact/hooks';
import { RecallerPart } from '../../models/associative_recall/demo/recaller.js';
import { Writer } from '../../models/language_model/demo/writer.js';

const PARTS = { write: 'A language model writes', recall: 'A model recalls pairs' } as const;
type Part = keyof typeof PARTS;

export function Page() {
  const [part, setPart] = useState<Part>('write');
  return (
    <>
      <fieldset class="parts">
        <legend>Model</legend>
        {Object.entries(PARTS).map(([name, title]) => (
          <label key={name}>
            <input type="radio" name="part" checked={part === name} onChange={() => setPart(name as Part)} />
            {title}
          </label>
        ))}
      </fieldset>
      {part === 'write' ? <Writer /> : <RecallerPart />}
    </>
  );
}
