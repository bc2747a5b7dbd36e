/** Light or dark: as the system has it, until the visitor chooses. */
import { useEffect, useState } from 'preact/hooks';

const THEMES = ['auto', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];

const KEY = 'tfjs-lla/theme';
const isTheme = (name: unknown): name is Theme => THEMES.some((theme) => theme === name);

function kept(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return isTheme(found) ? found : 'auto';
  } catch {
    // A browser may refuse pages any storage.
    return 'auto';
  }
}

function apply(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Then the choice lasts as long as the page.
  }
}

export function ThemePicker() {
  const [theme, setTheme] = useState(kept);
  useEffect(() => apply(theme), [theme]);
  return (
    <label class="picker">
      <span>Theme</span>
      <select
        value={theme}
        onChange={({ currentTarget: { value } }) => {
          if (!isTheme(value)) return;
          // At once: whoever reloads the page in the next moment has chosen, too.
          apply(value);
          setTheme(value);
        }}
      >
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

const isDarkNow = (): boolean =>
  (document.documentElement.dataset.theme ??
    (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

/** Whether the page is dark at the moment, for what is drawn in colours of its own. */
export function useIsDark(): boolean {
  const [isDark, setIsDark] = useState(isDarkNow);
  useEffect(() => {
    const look = () => setIsDark(isDarkNow());
    const media = matchMedia('(prefers-color-scheme: dark)');
    const observer = new MutationObserver(look);
    observer.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    media.addEventListener('change', look);
    look();
    return () => {
      observer.disconnect();
      media.removeEventListener('change', look);
    };
  }, []);
  return isDark;
}
