/** A slider over several decades. */
interface SliderProps {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly onChange: (value: number) => void;
}

const STEPS = 60;

/** Two digits are more than a hand can set. */
const rounded = (value: number): number => Number(value.toPrecision(2));

export function LogSlider({ label, value, min, max, onChange }: SliderProps) {
  const factor = max / min;
  const position = Math.round((STEPS * Math.log(value / min)) / Math.log(factor));
  return (
    <label>
      {label}: <output>{value}</output>
      <input
        type="range"
        min={0}
        max={STEPS}
        value={position}
        aria-valuetext={String(value)}
        onInput={({ currentTarget }) => onChange(rounded(min * factor ** (Number(currentTarget.value) / STEPS)))}
      />
    </label>
  );
}
