interface NumberFieldProps {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max?: number;
  /** Default: whole numbers. */
  readonly step?: number | 'any';
  readonly disabled?: boolean;
  readonly onChange: (value: number) => void;
}

/** A number that has to be given. */
export function NumberField({ label, onChange, ...rest }: NumberFieldProps) {
  return (
    <label>
      {label}
      <input type="number" required {...rest} onInput={({ currentTarget }) => onChange(currentTarget.valueAsNumber)} />
    </label>
  );
}
