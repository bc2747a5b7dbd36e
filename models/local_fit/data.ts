/** Points on a curve, evenly spread over `[-1, 1]`. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Curve {
  readonly label: string;
  readonly at: (x: number) => number;
}

export const CURVES = {
  line: { label: 'a straight line', at: (x) => 1.3 * x },
  wave: { label: 'a wave', at: (x) => Math.sin(4.2 * x) + 0.5 * x },
  bend: { label: 'a bend', at: (x) => 2 * Math.abs(x) - 1 },
} as const satisfies Readonly<Record<string, Curve>>;

export type CurveName = keyof typeof CURVES;

export function pointsOn(curve: Curve, count: number): Point[] {
  return Array.from({ length: count }, (_, i) => {
    const x = -1 + (2 * i) / (count - 1);
    return { x, y: curve.at(x) };
  });
}
