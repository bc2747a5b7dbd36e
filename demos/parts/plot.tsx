/** A Vega picture as wide as its place, in the colours of the theme. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Config, parse, type Spec, View } from 'vega';
import { useIsDark } from './theme.js';

/** What a picture has to fit. */
export interface Look {
  /** Pixels from edge to edge. */
  readonly width: number;
  readonly isDark: boolean;
}

interface PlotProps {
  /** What the picture shows, for those who do not see it. */
  readonly label: string;
  readonly spec: (look: Look) => Spec;
}

/** Colours of axes and texts; the background is the page's. */
function configOf(isDark: boolean): Config {
  const ink = isDark ? '#c2c7d0' : '#373c44';
  const grid = isDark ? '#333a47' : '#dde1e7';
  return {
    background: 'transparent',
    axis: { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: grid, labelFontSize: 11 },
    text: { fill: ink },
  };
}

export function useWidth(): [{ current: HTMLDivElement | null }, number] {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (place.current === null) return undefined;
    const observer = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return [place, width];
}

export function Plot({ label, spec }: PlotProps) {
  const [place, width] = useWidth();
  const isDark = useIsDark();
  const shown = useRef<View | null>(null);
  useEffect(() => {
    const run = { isCurrent: true };
    const draw = async () => {
      if (place.current === null || width === 0) return;
      const canvas = document.createElement('div');
      // Its place has the label for all of it; Vega would label every line.
      canvas.setAttribute('aria-hidden', 'true');
      const view = new View(parse(spec({ width, isDark }), configOf(isDark)), { renderer: 'svg', container: canvas });
      await view.runAsync();
      // The old picture stays until the new one is there.
      if (!run.isCurrent) return void view.finalize();
      shown.current?.finalize();
      shown.current = view;
      place.current.replaceChildren(canvas);
    };
    void draw();
    return () => {
      run.isCurrent = false;
    };
  }, [spec, width, isDark]);
  useEffect(() => () => void shown.current?.finalize(), []);
  return <div class="plot" ref={place} role="img" aria-label={label} />;
}
