/** Points over a picture that the visitor moves with mouse, finger or arrow keys. */
import type { TargetedKeyboardEvent, TargetedPointerEvent } from 'preact';
import type { Point } from '../data.js';

/** From numbers to pixels of the picture and back. */
export interface Mapping {
  readonly toPixels: (point: Point) => { readonly left: string; readonly top: string };
  readonly toPoint: (left: number, top: number) => Point;
}

interface PointsProps {
  readonly points: readonly Point[];
  readonly mapping: Mapping;
  readonly onMove: (index: number, to: Point) => void;
}

/** A key's step, in the numbers of the axes; with Shift five times as far. */
const STEP = 0.02;
const DIRECTIONS: Readonly<Partial<Record<string, Point>>> = {
  ArrowLeft: { x: -STEP, y: 0 },
  ArrowRight: { x: STEP, y: 0 },
  ArrowUp: { x: 0, y: STEP },
  ArrowDown: { x: 0, y: -STEP },
};

export function Points({ points, mapping, onMove }: PointsProps) {
  const follow = (index: number, event: TargetedPointerEvent<HTMLButtonElement>) => {
    const handle = event.currentTarget;
    const picture = handle.parentElement;
    if (picture === null || !handle.hasPointerCapture(event.pointerId)) return;
    const { left, top } = picture.getBoundingClientRect();
    onMove(index, mapping.toPoint(event.clientX - left, event.clientY - top));
  };
  const step = (index: number, event: TargetedKeyboardEvent<HTMLButtonElement>) => {
    const direction = DIRECTIONS[event.key];
    if (direction === undefined) return;
    // Else the page would scroll.
    event.preventDefault();
    const times = event.shiftKey ? 5 : 1;
    const { x, y } = points[index];
    onMove(index, { x: x + times * direction.x, y: y + times * direction.y });
  };
  return (
    <>
      {points.map((point, index) => (
        <button
          key={index}
          type="button"
          class="point"
          style={mapping.toPixels(point)}
          aria-label={`Point ${index + 1} of ${points.length}: x ${point.x.toFixed(2)}, y ${point.y.toFixed(2)}`}
          aria-roledescription="movable point"
          aria-describedby="points-help"
          onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
          onPointerMove={(event) => follow(index, event)}
          onKeyDown={(event) => step(index, event)}
        />
      ))}
    </>
  );
}
