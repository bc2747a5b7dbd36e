/** The site: header, navigation and the page that the address names. */
import '@picocss/pico/css/pico.min.css';
import './style.css';
import { type ComponentType, render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf } from './engine/use_engine.js';
import { BackendNotice, BackendPicker, BackendProvider } from './parts/backend_choice.js';
import { ThemePicker } from './parts/theme.js';
import { type Route, ROUTES } from './routes.js';

const pathNow = (): string => location.hash.replace(/^#\/?/, '');

function usePath(): string {
  const [path, setPath] = useState(pathNow);
  useEffect(() => {
    const follow = () => setPath(pathNow());
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return path;
}

function Front() {
  return (
    <>
      <p>
        <strong>Local linear attention</strong> fits a line around each query where softmax attention takes a mean.
        These pages compute it, and its relatives, on your own machine: nothing is sent anywhere.
      </p>
      <div class="cards">
        {ROUTES.map(({ path, title, about }) => (
          <article key={path}>
            <h2>
              <a href={`#/${path}`}>{title}</a>
            </h2>
            <p>{about}</p>
          </article>
        ))}
      </div>
    </>
  );
}

/** A page, whose code is loaded now. */
function Loaded({ route }: { readonly route: Route }) {
  const [found, setFound] = useState<{ readonly Page: ComponentType } | { readonly problem: string }>();
  useEffect(() => {
    let isCurrent = true;
    const show = (next: typeof found) => {
      if (isCurrent) setFound(next);
    };
    route.load().then(
      ({ Page }) => show({ Page }),
      (error: unknown) => show({ problem: messageOf(error) }),
    );
    return () => {
      isCurrent = false;
    };
  }, [route]);
  if (found === undefined) return <p aria-busy="true">Loading the page …</p>;
  if ('problem' in found) return <p role="alert">The page could not be loaded: {found.problem}</p>;
  return <found.Page />;
}

function Site() {
  const path = usePath();
  const heading = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  const route = ROUTES.find((candidate) => candidate.path === path);
  const title = route?.title ?? (path === '' ? 'Attention in your browser' : 'No such page');
  useEffect(() => {
    document.title = `${title} · tfjs-lla`;
    // A screen reader goes on at the new page's heading; at the first page it begins at the top by itself.
    if (isFirst.current) isFirst.current = false;
    else heading.current?.focus();
  }, [title]);
  return (
    <>
      <a class="skip" href="#content" onClick={(event) => (event.preventDefault(), heading.current?.focus())}>
        Skip to the content
      </a>
      <header class="container">
        <nav aria-label="Demos">
          <a class="brand" href="#/" aria-current={path === '' ? 'page' : undefined}>
            tfjs-lla
          </a>
          <ul>
            {ROUTES.map((one) => (
              <li key={one.path}>
                <a href={`#/${one.path}`} aria-current={one.path === path ? 'page' : undefined}>
                  {one.title}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="settings">
          <BackendPicker />
          <ThemePicker />
        </div>
      </header>
      <main class="container" id="content">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <BackendNotice />
        {path === '' && <Front />}
        {route !== undefined && <Loaded key={route.path} route={route} />}
        {path !== '' && route === undefined && (
          <p>
            The address names no demo. <a href="#/">All demos</a>
          </p>
        )}
      </main>
    </>
  );
}

const place = document.getElementById('site');
if (place === null) throw new Error('index.html has no element with the id site');
render(
  <BackendProvider>
    <Site />
  </BackendProvider>,
  place,
);
