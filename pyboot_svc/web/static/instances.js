// The table: all instances, in any order, as many as a filter leaves.

import { Sparkline } from "./chart.js";
import { h, setAttribute, setChildren, setText } from "./dom.js";
import { condition, errorsOf, known, megabytes, milliseconds, number, percent, rate } from "./words.js";

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
    this.rows = new Map();
    this.visible = new Set();
    this.filter = h("input", { type: "search", id: "filter", autocomplete: "off", oninput: () => this.update() });
    this.only = h("select", { id: "only", onchange: () => this.update() },
      h("option", { value: "" }, "all"), h("option", { value: "bad warn" }, "with a trouble"), h("option", { value: "good" }, "well"));
    this.count = h("output", { for: "filter only" });
    this.heads = COLUMNS.map((column, at) =>
      h("th", { scope: "col", title: column.hint ?? null, class: column.head || column.state || column.word ? "word" : null },
        h("button", { type: "button", onclick: () => this.sort(at) }, column.title)));
    this.body = h("tbody", {});
    this.element = h("div", {},
      h("form", { class: "filter", role: "search", onsubmit: (event) => event.preventDefault() },
        h("label", { for: "filter" }, "Filter "), this.filter, h("label", { for: "only" }, "Show "), this.only, this.count),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "All instances" },
        h("table", { class: "instances" }, h("caption", { class: "hidden" }, "Instances; the lines are the last 15 minutes"),
          h("thead", {}, h("tr", {}, this.heads)), this.body)));
    // Lines are drawn where they can be seen.
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) this.visible.add(entry.target);
        else this.visible.delete(entry.target);
        if (entry.isIntersecting) this.drawLines(entry.target);
      }
    }, { rootMargin: "200px" });
  }

  sort(at) {
    this.sorted = { column: at, down: this.sorted.column === at && !this.sorted.down };
    this.update();
  }

  update() {
    const wanted = this.filter.value.trim().toLowerCase();
    const kinds = this.only.value;
    const found = this.store.instances.filter((one) => {
      const { word, kind, why } = condition(one);
      const text = `${one.instance} ${word} ${why} ${one.model_version ?? ""} ${one.edge_mode ?? ""}`.toLowerCase();
      return text.includes(wanted) && (!kinds || kinds.includes(kind));
    });
    setText(this.count, `${found.length} of ${this.store.instances.length} instances`);
    this.heads.forEach((head, at) =>
      setAttribute(head, "aria-sort", at !== this.sorted.column ? null : this.sorted.down ? "descending" : "ascending"));
    this.forget(new Set(this.store.instances.map((one) => one.instance)));
    setChildren(this.body, this.ordered(found).map((one) => this.row(one)));
    for (const element of this.visible) this.drawLines(element);
  }

  ordered(found) {
    const { column, down } = this.sorted;
    const value = COLUMNS[column].value;
    const names = new Intl.Collator("en", { numeric: true });
    const keyed = found.map((one) => ({ one, key: value(one) }));
    keyed.sort((a, b) => {
      // Unknown ones come last, whichever way.
      if (known(a.key) !== known(b.key)) return known(a.key) ? -1 : 1;
      const order = typeof a.key === "string" ? names.compare(a.key, b.key) : a.key - b.key || 0;
      return (down ? -order : order) || names.compare(a.one.instance, b.one.instance);
    });
    return keyed.map((entry) => entry.one);
  }

  row(one) {
    let row = this.rows.get(one.instance);
    if (!row) {
      row = new Row(one);
      this.rows.set(one.instance, row);
      row.element.row = row;
      this.observer.observe(row.element);
    }
    row.update(one);
    return row.element;
  }

  drawLines(element) {
    element.row.drawLines(this.store);
  }

  forget(present) {
    for (const [name, row] of this.rows) {
      if (present.has(name)) continue;
      this.observer.unobserve(row.element);
      this.visible.delete(row.element);
      this.rows.delete(name);
    }
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

  update(one) {
    COLUMNS.forEach((column, at) => {
      const { text, why } = this.cells[at];
      if (column.state) {
        const { kind, shape, word, why: reason } = condition(one);
        setAttribute(text, "class", `state ${kind}`);
        setText(text, `${shape} ${word}`);
        setText(why, reason);
      } else if (!column.head) {
        setText(text, (column.text ?? number)(column.value(one)));
      }
    });
  }

  drawLines(store) {
    for (const [column, spark] of this.lines) spark.update(store.line(this.name, column));
  }
}
