// The table: all instances, in any order, as many as a filter leaves. Of many, only those rows are
// made that are on the screen or near it.

import { Sparkline } from "./chart.js";
import { h, setAttribute, setChildren, setText } from "./dom.js";
import { condition, errorsOf, known, megabytes, milliseconds, number, percent, rate } from "./words.js";

// Rows above and below the screen: the keyboard finds the next one there. In pixels, a row's height
// until one can be measured.
const SPARE_ROWS = 10;
const ROW_HEIGHT = 52;
const SEVERITY = ["bad", "warn", "calm", "good"];

// `value` is what is sorted by, `text` what is shown, `line` the column of its last minutes.
const COLUMNS = [
  { title: "instance", value: (one) => one.instance, head: true },
  { title: "state", value: (one) => SEVERITY.indexOf(condition(one).kind), state: true },
  { title: "in/s", value: (one) => one.rates?.in, text: rate, line: "in" },
  { title: "out/s", value: (one) => one.rates?.out, text: rate, line: "out" },
  { title: "wait", value: (one) => one.pre_queue, line: "pre_queue", hint: "inputs that wait for the model: pre_queue" },
  { title: "to publish", value: (one) => one.post_queue, line: "post_queue", hint: "results that wait to be published: post_queue" },
  { title: "p99", value: (one) => one.latency_ms?.p99, text: milliseconds, line: "p99" },
  { title: "errors", value: errorsOf, hint: "messages that failed for good" },
  { title: "dead", value: (one) => one.dead_letters_waiting, hint: "dead letters that wait to be published" },
  { title: "spooled", value: (one) => one.spooled, hint: "results that wait on disk" },
  { title: "restarts", value: (one) => one.restarts },
  { title: "CPU", value: (one) => one.cpu, text: percent, hint: "of a core" },
  { title: "memory", value: (one) => one.rss_bytes, text: megabytes },
  { title: "model version", value: (one) => one.model_version, text: (value) => value || "–", word: true },
];

export class Instances {
  constructor(store) {
    this.store = store;
    this.title = "Instances";
    this.sorted = { column: 0, down: false };
    this.found = [];
    this.rows = new Map();
    this.shown = [];
    this.names = new Intl.Collator("en", { numeric: true });
    this.filter = h("input", { type: "search", id: "filter", autocomplete: "off", oninput: () => this.update() });
    this.only = h("select", { id: "only", onchange: () => this.update() },
      h("option", { value: "" }, "all"), h("option", { value: "bad warn" }, "with a trouble"), h("option", { value: "good" }, "well"));
    this.count = h("output", { for: "filter only" });
    this.heads = COLUMNS.map((column, at) =>
      h("th", { scope: "col", title: column.hint ?? null, class: column.head || column.state || column.word ? "word" : null },
        h("button", { type: "button", onclick: () => this.sort(at) }, column.title)));
    this.above = new Space();
    this.below = new Space();
    this.body = h("tbody", {});
    this.table = h("table", { class: "instances" }, h("caption", { class: "hidden" }, "Instances; the lines are the last 15 minutes"),
      h("thead", {}, h("tr", { "aria-rowindex": 1 }, this.heads)), this.body);
    this.element = h("div", {},
      h("form", { class: "filter", role: "search", onsubmit: (event) => event.preventDefault() },
        h("label", { for: "filter" }, "Filter "), this.filter, h("label", { for: "only" }, "Show "), this.only, this.count),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "All instances" },
        this.table));
    for (const moved of ["scroll", "resize"]) {
      window.addEventListener(moved, () => requestAnimationFrame(() => this.element.isConnected && this.show()), { passive: true });
    }
  }

  sort(at) {
    this.sorted = { column: at, down: this.sorted.column === at && !this.sorted.down };
    this.update();
  }

  update() {
    const wanted = this.filter.value.trim().toLowerCase();
    const kinds = this.only.value;
    this.found = this.ordered(this.store.instances.filter((one) => {
      const { word, kind, why } = condition(one);
      const text = `${one.instance} ${word} ${why} ${one.model_version ?? ""} ${one.edge_mode ?? ""}`.toLowerCase();
      return text.includes(wanted) && (!kinds || kinds.includes(kind));
    }));
    setText(this.count, `${this.found.length} of ${this.store.instances.length} instances`);
    this.heads.forEach((head, at) =>
      setAttribute(head, "aria-sort", at !== this.sorted.column ? null : this.sorted.down ? "descending" : "ascending"));
    setAttribute(this.table, "aria-rowcount", this.found.length + 1);
    this.forget(new Set(this.store.instances.map((one) => one.instance)));
    this.show();
  }

  show() {
    const height = this.shown[0]?.element.offsetHeight || ROW_HEIGHT;
    const passed = Math.floor(-this.body.getBoundingClientRect().top / height);
    const count = Math.ceil(window.innerHeight / height) + 2 * SPARE_ROWS;
    const first = Math.max(Math.min(passed - SPARE_ROWS, this.found.length - count), 0);
    this.shown = this.found.slice(first, first + count).map((one, at) => this.row(one, first + at + 2));
    const above = this.above.rows(first, height);
    const below = this.below.rows(this.found.length - first - this.shown.length, height);
    setChildren(this.body, [...above, ...this.shown.map((row) => row.element), ...below]);
  }

  ordered(found) {
    const { column, down } = this.sorted;
    const value = COLUMNS[column].value;
    const names = this.names;
    const keyed = found.map((one) => ({ one, key: value(one) }));
    keyed.sort((a, b) => {
      // Unknown ones come last, whichever way.
      if (known(a.key) !== known(b.key)) return known(a.key) ? -1 : 1;
      const order = typeof a.key === "string" ? names.compare(a.key, b.key) : a.key - b.key || 0;
      return (down ? -order : order) || names.compare(a.one.instance, b.one.instance);
    });
    return keyed.map((entry) => entry.one);
  }

  row(one, index) {
    let row = this.rows.get(one.instance);
    if (!row) {
      row = new Row(one);
      this.rows.set(one.instance, row);
    }
    row.update(one, index, this.store);
    return row;
  }

  forget(present) {
    for (const name of this.rows.keys()) {
      if (!present.has(name)) this.rows.delete(name);
    }
  }
}

// In place of the rows that are not made.
class Space {
  constructor() {
    this.cell = h("td", { colspan: COLUMNS.length });
    this.element = h("tr", { "aria-hidden": "true", class: "space" }, this.cell);
  }

  rows(count, height) {
    this.cell.style.height = `${count * height}px`;
    return count ? [this.element] : [];
  }
}

class Row {
  constructor(one) {
    this.name = one.instance;
    this.lines = [];
    this.cells = COLUMNS.map((column) => {
      if (column.head) {
        const link = h("a", { href: `#/model/${encodeURIComponent(one.model)}` }, one.instance);
        return { element: h("th", { scope: "row" }, link) };
      }
      const text = h("span", {});
      const element = h("td", { class: column.state ? "state-cell" : column.word ? "word" : null }, text);
      if (column.state) {
        const why = h("small", {});
        element.append(why);
        return { element, text, why };
      }
      if (column.line) {
        const spark = new Sparkline();
        this.lines.push([column.line, spark]);
        element.append(spark.element);
      }
      return { element, text };
    });
    this.element = h("tr", {}, this.cells.map((cell) => cell.element));
  }

  update(one, index, store) {
    setAttribute(this.element, "aria-rowindex", index);
    COLUMNS.forEach((column, at) => {
      const { text, why } = this.cells[at];
      if (column.state) {
        const { kind, shape, word, why: reason } = condition(one);
        setAttribute(text, "class", `state ${kind}`);
        setText(text, `${shape} ${word}`);
        setText(why, reason);
        setAttribute(why, "title", reason || null);
      } else if (!column.head) {
        setText(text, (column.text ?? number)(column.value(one)));
      }
    });
    for (const [column, spark] of this.lines) spark.update(store.line(this.name, column));
  }
}
