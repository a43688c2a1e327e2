// One model: what it does and did, what it needs, its instances side by side, its configuration.

import { Chart } from "./chart.js";
import { h, setText } from "./dom.js";
import { Heat } from "./heat.js";
import { address, head, reason, when } from "./letters.js";
import { ask } from "./store.js";
import { ago, condition, megabytes, milliseconds, number, percent, rate } from "./words.js";

const RANGES = ["15 minutes", "3 hours", "24 hours"];
const DAY_SECONDS = 10;
// Of so many instances the last errors are shown, and of each kind so many messages.
const MOST_ASKED = 4;
const MOST_LETTERS = 5;

export class Model {
  constructor(store, name) {
    this.store = store;
    this.name = name;
    this.title = `Model ${name}`;
    this.range = 0;
    this.day = null;
    this.due = 0;
    this.errorsDue = 0;
    this.charts = [
      { chart: new Chart("Messages a second", ["in", "out"], rate), columns: ["in", "out"] },
      { chart: new Chart("Waiting", ["for the model", "to be published"]), columns: ["pre_queue", "post_queue"] },
      { chart: new Chart("From input to result", ["p50", "p99"], milliseconds), columns: ["p50", "p99"] },
      { chart: new Chart("Errors a second", ["errors"], rate), columns: ["errors"] },
    ];
    this.heat = new Heat("How long messages took");
    this.load = h("p", { class: "load", role: "status" });
    this.gone = h("p", {});
    this.instances = h("tbody", {});
    this.errors = h("div", {});
    this.config = h("dl", { class: "config" });
    this.file = h("p", { role: "status" });
    const ranges = RANGES.map((title, at) =>
      h("label", {}, h("input", { type: "radio", name: "range", checked: at === 0, onchange: () => this.choose(at) }), title));
    this.element = h("div", {},
      this.gone, this.load,
      h("fieldset", { class: "ranges" }, h("legend", {}, "Over the last"), ranges),
      h("div", { class: "charts" }, this.charts.map(({ chart }) => chart.element), this.heat.element),
      h("h3", {}, "Instances"),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Instances of ${name}` },
        h("table", {}, h("thead", {}, h("tr", {}, HEADS.map((title, at) => h("th", { scope: "col", class: at < 2 ? "word" : null }, title)))), this.instances)),
      h("h3", {}, "Errors"), this.errors,
      h("h3", {}, "Configuration, as applied"), this.file, this.config);
  }

  choose(at) {
    this.range = at;
    this.draw();
  }

  async update() {
    const instances = this.store.models.get(this.name) ?? [];
    setText(this.gone, this.store.document && !instances.length ? `There is no model ${this.name} any longer.` : "");
    this.instances.replaceChildren(...instances.map(rowOf));
    this.sayErrors(instances);
    if (instances[0]?.config) this.sayConfig(instances[0].config);
    if (performance.now() < this.due || this.store.awaySince || !instances.length) return;
    this.due = performance.now() + DAY_SECONDS * 1000;
    try {
      this.day = await ask(`api/history/${encodeURIComponent(this.name)}`);
    } catch {
      return; // the store finds out whether the master is away
    }
    setText(this.load, loadSentence(this.day.load, instances[0].config));
    setText(this.file, fileSentence(this.day.file));
    this.draw();
  }

  draw() {
    if (!this.day) return;
    const tier = this.day.tiers[this.range];
    for (const { chart, columns } of this.charts) chart.update(columns.map((name) => tier[name]), tier.seconds);
    const { bounds_s: bounds, tiers } = this.day.latency;
    this.heat.update(tiers[this.range].counts, bounds, tiers[this.range].seconds);
  }

  async sayErrors(instances) {
    const kinds = new Map();
    for (const one of instances) {
      for (const [kind, count] of Object.entries(one.errors ?? {})) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
    }
    const last = instances.filter((one) => one.last?.error).sort((a, b) => b.last.error_time - a.last.error_time).slice(0, MOST_ASKED);
    const said = JSON.stringify([[...kinds], last.map((one) => one.last.error_time)]);
    if (said === this.saidErrors || performance.now() < this.errorsDue) return;
    this.saidErrors = said;
    this.errorsDue = performance.now() + DAY_SECONDS * 1000;
    const letters = (await Promise.all(last.map(({ instance }) => lettersOf(instance)))).flat().sort((a, b) => b.created - a.created);
    this.errors.replaceChildren(
      ...(kinds.size ? [...kinds].flatMap(([kind, count]) => [h("p", {}, h("b", {}, `${kind}: ${number(count)}`)), listOf(letters.filter((one) => one.kind === kind))]) : [h("p", {}, "None since the instances' start.")]),
      ...last.map((one) => h("p", {}, `The last one of ${one.instance}, ${ago(Date.now() / 1000 - one.last.error_time)}: `, h("code", {}, one.last.error))));
  }

  sayConfig(config) {
    const said = JSON.stringify(config);
    if (said === this.saidConfig) return;
    this.saidConfig = said;
    const pairs = Object.entries(config).flatMap(([key, value]) =>
      value !== null && typeof value === "object"
        ? Object.entries(value).map(([inner, one]) => [`${key}.${inner}`, one])
        : [[key, value]]);
    this.config.replaceChildren(...pairs.flatMap(([key, value]) => [h("dt", {}, key), h("dd", {}, String(value))]));
  }
}

// Whether the configuration's file says something else by now.
function fileSentence(file) {
  const more = "pyboot plan tells what a reload would do.";
  if (file?.state === "changed") return `▲ The file says otherwise: ${file.keys.join(", ")}. ${more}`;
  if (file?.state === "removed") return `▲ The file doesn't list this model any more. ${more}`;
  if (file?.state === "unreadable") return `▲ A reload would be refused: ${file.error}`;
  return "";
}

// Its newest dead letters; none where they can't be had.
async function lettersOf(instance) {
  try {
    const { letters } = await ask(`api/dead/${encodeURIComponent(instance)}`);
    return letters.map((letter) => ({ ...letter, instance }));
  } catch {
    return [];
  }
}

function listOf(letters) {
  return h("ul", { class: "letters" }, letters.slice(0, MOST_LETTERS).map((one) => h("li", {},
    h("a", { href: address(one.instance, one.id) }, `${one.instance}, ${when(one)}`),
    `: ${one.topic}, ${number(one.bytes)} bytes `, h("code", {}, head(one)), ` ${reason(one)}`)));
}

const HEADS = ["instance", "state", "in/s", "out/s", "wait", "to publish", "p50", "p99", "CPU", "memory", "process"];

function rowOf(one) {
  const { kind, shape, word, why } = condition(one);
  const cells = [
    rate(one.rates?.in), rate(one.rates?.out), number(one.pre_queue), number(one.post_queue),
    milliseconds(one.latency_ms?.p50), milliseconds(one.latency_ms?.p99), percent(one.cpu),
    megabytes(one.rss_bytes), String(one.pid ?? "–"),
  ];
  return h("tr", {}, h("th", { scope: "row" }, one.instance),
    h("td", { class: "state-cell" }, h("span", { class: `state ${kind}` }, `${shape} ${word}`), h("small", {}, why)),
    cells.map((text) => h("td", {}, text)));
}

export function loadSentence(load, config) {
  if (config && !config.share) return "Each instance gets every message: more of them take nothing off each other.";
  if (!load) return "Too few messages in the last minute to say how many instances it needs.";
  const { message_ms, measured, arriving, needed, running } = load;
  const takes = measured
    ? `An instance that always has something to do takes ${milliseconds(message_ms)} a message`
    : `A message takes ${milliseconds(message_ms)} of CPU time`;
  const runs = `it runs ${running}`;
  const needs = `${needed} ${needed === 1 ? "instance" : "instances"}`;
  const verdict = needed > running ? `▲ ${runs}. Set instance: ${needed}.` : `● ${runs}.`;
  const least = measured ? "" : " What the model waits for is not in it.";
  return `${takes}, ${rate(arriving)} arrive: ${needs}, with 30 % to spare; ${verdict}${least}`;
}
