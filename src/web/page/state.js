// The stream of what the page shows. A lost connection is opened again by the browser; the server
// then sends the whole state anew.

const listeners = new Map();

/** Calls `listener` with each value of an event. */
export function on(event, listener) {
  if (!listeners.has(event)) listeners.set(event, []);
  listeners.get(event).push(listener);
}

function tell(event, value) {
  for (const listener of listeners.get(event) ?? []) listener(value);
}

/** Opens the stream. */
export function connect() {
  const source = new EventSource("/events");
  source.onopen = () => tell("open", null);
  source.onerror = () => tell("lost", source.readyState === EventSource.CLOSED);
  for (const event of ["lab", "alive", "status", "proxy", "records", "history", "writes", "entry", "story", "drills", "drill",
    "complete"]) {
    source.addEventListener(event, (message) => tell(event, JSON.parse(message.data)));
  }
}
