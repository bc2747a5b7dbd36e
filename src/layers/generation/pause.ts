/**
 * Lets the event loop turn once: input, timers and painting get their turn.
 *
 * A message, since timers of 0 ms that start each other wait 4 ms in a browser, and its frames 16 ms (or, in a hidden
 * tab, forever).
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
