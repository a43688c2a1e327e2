// What the master says: all instances every two seconds, the last minutes every fifteen, and of many
// instances less often.

const SECONDS = 2;
const HISTORY_SECONDS = 15;
const HISTORY_SECONDS_EACH = 0.1;
const PATIENCE_SECONDS = 8;
// A master that needs long to answer is asked less often, within limits.
const SHARE_OF_TIME = 4;
const LONGEST_SECONDS = 8;

export async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000) });
  const said = response.headers.get("Content-Type") === "application/json" ? await response.json() : {};
  if (!response.ok) throw new Error(said.message ?? said.error ?? `${response.status} ${response.statusText}`);
  return said;
}

export class Store extends EventTarget {
  constructor() {
    super();
    this.document = null;
    this.instances = [];
    this.models = new Map();
    this.history = { columns: [], instances: {} };
    this.added = new Map();
    this.awaySince = null;
    this.timer = null;
    this.historyDue = 0;
    this.before = new Map();
    // Nobody looks at a hidden page.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.turn();
    });
  }

  async turn() {
    clearTimeout(this.timer);
    const begun = performance.now();
    let took = 0;
    try {
      this.take(await ask("api/instances"), begun);
      this.awaySince = null;
      took = performance.now() - begun;
      if (begun >= this.historyDue) {
        // What is known already is shown meanwhile.
        this.dispatchEvent(new Event("change"));
        this.history = await ask("api/history");
        this.added = new Map();
        const seconds = Math.max(HISTORY_SECONDS, HISTORY_SECONDS_EACH * this.instances.length);
        this.historyDue = performance.now() + seconds * 1000;
      }
    } catch (error) {
      this.awaySince ??= new Date();
      this.trouble = error.name === "TypeError" ? "no connection" : error.message;
      this.historyDue = 0;
    }
    this.dispatchEvent(new Event("change"));
    clearTimeout(this.timer);
    if (!document.hidden) {
      const rest = Math.min(Math.max(SECONDS * 1000, SHARE_OF_TIME * took), LONGEST_SECONDS * 1000);
      this.timer = setTimeout(() => this.turn(), rest);
    }
  }

  take(document, now) {
    this.document = document;
    this.instances = document.instances;
    this.models = new Map();
    const before = this.before;
    this.before = new Map();
    for (const instance of this.instances) {
      if (!this.models.has(instance.model)) this.models.set(instance.model, []);
      this.models.get(instance.model).push(instance);
      const last = before.get(instance.instance);
      // In cores, since the answer before; of another process, not known.
      const same = last && last.pid === instance.pid && now > last.now;
      instance.cpu = same ? ((instance.cpu_s - last.cpu_s) * 1000) / (now - last.now) : null;
      if (instance.error === null) {
        this.before.set(instance.instance, { now, pid: instance.pid, cpu_s: instance.cpu_s });
      }
    }
  }

  // The last minutes of an instance; empty where nothing is known.
  line(instance, column) {
    const lines = this.history.instances[instance];
    return lines ? lines[this.history.columns.indexOf(column)] ?? [] : [];
  }

  // Of all, added up point by point, once for each history; where none is known, null.
  total(column) {
    if (!this.added.has(column)) {
      this.added.set(column, addUp(this.instances.map((one) => this.line(one.instance, column)).filter((line) => line.length)));
    }
    return this.added.get(column);
  }

  errorsPerMinute() {
    const last = this.total("errors").slice(-4).filter((value) => value !== null);
    return last.length ? (last.reduce((a, b) => a + b, 0) / last.length) * 60 : null;
  }
}

function addUp(lines) {
  return (lines[0] ?? []).map((_, at) => {
    let sum = null;
    for (const line of lines) if (line[at] !== null) sum = (sum ?? 0) + line[at];
    return sum;
  });
}
