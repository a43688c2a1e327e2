// Lines in SVG. A line breaks where nothing is known.

import { h, s, setAttribute, setText } from "./dom.js";
import { known, most, number } from "./words.js";

export function linePath(values, width, height, top) {
  let path = "";
  let drawing = false;
  const step = width / Math.max(values.length - 1, 1);
  values.forEach((value, at) => {
    if (known(value)) {
      const y = height - (value / (top || 1)) * height;
      path += `${drawing ? "L" : "M"}${(at * step).toFixed(1)} ${y.toFixed(1)}`;
      // A single value between two gaps is to be seen, too.
      if (!drawing && !known(values[at + 1])) path += "h1";
    }
    drawing = known(value);
  });
  return path;
}

// A word-sized line; the figure beside it is what a screen reader is told.
export class Sparkline {
  constructor() {
    this.path = s("path", { class: "line a" });
    this.element = s(
      "svg",
      { class: "spark", viewBox: "0 -1 80 22", preserveAspectRatio: "none", "aria-hidden": "true" },
      this.path,
    );
  }

  update(values) {
    if (values === this.values) return;
    this.values = values;
    setAttribute(this.path, "d", linePath(values, 80, 20, most(values)));
  }
}

const [WIDTH, HEIGHT] = [600, 120];

// A figure with up to two lines, and what they are at the pointer or, by arrow keys, at a moment.
export class Chart {
  constructor(title, names, format = number) {
    this.names = names;
    this.format = format;
    this.lines = [];
    this.at = null;
    this.paths = names.map((_, index) => s("path", { class: `line ${"ab"[index]}` }));
    this.cursor = s("path", { class: "cursor", d: "" });
    this.svg = s(
      "svg",
      { viewBox: `0 -2 ${WIDTH} ${HEIGHT + 4}`, preserveAspectRatio: "none", role: "img", tabindex: "0", "aria-label": title },
      s("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}M0 0H${WIDTH}` }),
      this.paths,
      this.cursor,
    );
    this.title = title;
    this.top = h("span", { class: "top" });
    this.values = names.map(() => h("b", {}));
    const keys = names.map((name, index) =>
      h("span", { class: `key ${"ab"[index]}` }, `${"━┅"[index]} ${name} `, this.values[index]));
    this.moment = h("span", { class: "moment" });
    this.start = h("span", {});
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("strong", {}, title), keys, this.moment),
      h("div", { class: "plot" }, this.top, this.svg),
      h("div", { class: "axis", "aria-hidden": "true" }, this.start, h("span", {}, "now")),
    );
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.look(Math.round(((event.clientX - box.left) / box.width) * (this.count - 1)));
    });
    this.svg.addEventListener("pointerleave", () => this.look(null));
    this.svg.addEventListener("blur", () => this.look(null));
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) {
        event.preventDefault();
        this.look((this.at ?? this.count - 1) + step);
      }
    });
  }

  get count() {
    return this.lines[0]?.length ?? 0;
  }

  update(lines, seconds) {
    this.lines = lines;
    this.seconds = seconds;
    const top = most(lines.flat()) ?? 0;
    lines.forEach((line, index) =>
      setAttribute(this.paths[index], "d", linePath(line, WIDTH, HEIGHT, top)));
    setText(this.top, this.format(top));
    const minutes = (seconds * this.count) / 60;
    setText(this.start, minutes > 90 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes)} min ago`);
    const told = this.names.map((name, index) => `${name} ${this.format(this.latest(index))} now, at most ${this.format(most(lines[index]))}`);
    setAttribute(this.svg, "aria-label", `${this.title}: ${told.join("; ")}. Arrow keys show what was.`);
    this.look(this.at);
  }

  latest(index) {
    return this.lines[index]?.at(-1) ?? null;
  }

  look(at) {
    this.at = at === null || !this.count ? null : Math.min(Math.max(at, 0), this.count - 1);
    this.names.forEach((_, index) => {
      const value = this.at === null ? this.latest(index) : this.lines[index][this.at];
      setText(this.values[index], this.format(value));
    });
    const x = this.at === null ? null : (this.at / Math.max(this.count - 1, 1)) * WIDTH;
    setAttribute(this.cursor, "d", x === null ? "" : `M${x} 0V${HEIGHT}`);
    const back = this.at === null ? 0 : (this.count - 1 - this.at) * this.seconds;
    const moment = new Date(Date.now() - back * 1000).toLocaleTimeString();
    setText(this.moment, this.at === null ? "" : `at ${moment}`);
  }
}
