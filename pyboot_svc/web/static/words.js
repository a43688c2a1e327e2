// How an instance does, in a word, a shape and a colour; and figures as text.

const SHAPES = {
  ready: "●", backlog: "▲", spooling: "▲", waiting: "◆", loading: "◌", draining: "◐",
  stalled: "■", malformed: "■", absent: "✕",
};
const KINDS = { ready: "good", loading: "calm", draining: "calm", backlog: "warn", spooling: "warn", waiting: "warn" };
const ORDER = ["bad", "warn", "calm", "good"];

// So many seconds of what arrives may wait before it is called a backlog, and so many messages.
const BACKLOG_SECONDS = 2;
const BACKLOG_LEAST = 20;

const waits = (queue, rate) => queue > Math.max(BACKLOG_LEAST, BACKLOG_SECONDS * (rate ?? 0));

export function condition(instance) {
  const word = wordOf(instance);
  return { word, shape: SHAPES[word] ?? "?", kind: KINDS[word] ?? "bad", why: why(instance, word) };
}

function wordOf(instance) {
  if (instance.error !== null || instance.state !== "ready") return instance.state;
  if (instance.spooled > 0) return "spooling";
  const rates = instance.rates ?? {};
  if (waits(instance.pre_queue, rates.in) || waits(instance.post_queue, rates.out)) return "backlog";
  return "ready";
}

function why(instance, word) {
  if (instance.error !== null) return instance.error;
  const said = [...(instance.reasons ?? []), ...(instance.notices ?? [])];
  if (word === "spooling") said.unshift(`${number(instance.spooled)} results wait on disk`);
  if (word === "backlog") {
    const pre = instance.pre_queue >= instance.post_queue;
    said.unshift(pre ? `${number(instance.pre_queue)} wait for the model`
      : `${number(instance.post_queue)} wait to be published`);
  }
  return said.join("; ");
}

// The worst of several.
export function worst(conditions) {
  return [...conditions].sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind))[0];
}

export const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
export const sum = (values) => values.filter(known).reduce((a, b) => a + b, 0);
export const most = (values) => {
  const found = values.filter(known);
  return found.length ? found.reduce((a, b) => Math.max(a, b)) : null;
};
export const errorsOf = (instance) => sum(Object.values(instance.errors ?? {}));

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const FINE = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

export function number(value) {
  if (!known(value)) return "–";
  if (value !== 0 && Math.abs(value) < 1) return FINE.format(value);
  return (Math.abs(value) < 100 ? SHORT : WHOLE).format(value);
}

export const rate = (value) => (known(value) ? `${number(value)}/s` : "–");
export function milliseconds(value) {
  if (!known(value)) return "–";
  return value < 10000 ? `${number(value)} ms` : `${number(value / 1000)} s`;
}

export const megabytes = (value) => (known(value) ? `${number(value / 1e6)} MB` : "–");
export const percent = (value) => (known(value) ? `${number(value * 100)} %` : "–");

export function ago(seconds) {
  if (seconds < 120) return `${Math.max(Math.round(seconds), 0)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}
