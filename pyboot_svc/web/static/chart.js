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

export const [WIDTH, HEIGHT] = [600, 120];

// What has an axis of time: it tells what was at the pointer or, by arrow keys, at a moment.
export class Plot {
  constructor(title, shapes, keys) {
    this.title = title;
    this.at = null;
    this.count = 0;
    this.cursor = s("path", { class: "cursor", d: "" });
    this.svg = s(
      "svg",
      { viewBox: `0 -2 ${WIDTH} ${HEIGHT + 4}`, preserveAspectRatio: "none", role: "img", tabindex: "0", "aria-label": title },
      s("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}M0 0H${WIDTH}` }),
      shapes,
      this.cursor,
    );
    this.top = h("span", { class: "top" });
    this.bottom = h("span", { class: "bottom" });
    this.moment = h("span", { class: "moment" });
    this.start = h("span", {});
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("strong", {}, title), keys, this.moment),
      h("div", { class: "plot" }, this.top, this.bottom, this.svg),
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

  // So many values, each of so many seconds, are drawn; `told` is what they say in words.
  span(count, seconds, told) {
    this.count = count;
    this.seconds = seconds;
    const minutes = (seconds * count) / 60;
    setText(this.start, minutes > 90 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes)} min ago`);
    setAttribute(this.svg, "aria-label", `${this.title}: ${told}. Arrow keys show what was.`);
    this.look(this.at);
  }

  look(at) {
    this.at = at === null || !this.count ? null : Math.min(Math.max(at, 0), this.count - 1);
    this.tell(this.at ?? this.count - 1);
    const x = this.at === null ? null : (this.at / Math.max(this.count - 1, 1)) * WIDTH;
    setAttribute(this.cursor, "d", x === null ? "" : `M${x} 0V${HEIGHT}`);
    const back = this.at === null ? 0 : (this.count - 1 - this.at) * this.seconds;
    const moment = new Date(Date.now() - back * 1000).toLocaleTimeString();
    setText(this.moment, this.at === null ? "" : `at ${moment}`);
  }
}

// A figure with up to two lines.
export class Chart extends Plot {
  constructor(title, names, format = number) {
    const paths = names.map((_, index) => s("path", { class: `line ${"ab"[index]}` }));
    const values = names.map(() => h("b", {}));
    super(title, paths, names.map((name, index) =>
      h("span", { class: `key ${"ab"[index]}` }, `${"━┅"[index]} ${name} `, values[index])));
    Object.assign(this, { names, format, paths, values, lines: [] });
  }

  update(lines, seconds) {
    this.lines = lines;
    const top = most(lines.flat()) ?? 0;
    lines.forEach((line, index) =>
      setAttribute(this.paths[index], "d", linePath(line, WIDTH, HEIGHT, top)));
    setText(this.top, this.format(top));
    const told = this.names.map((name, index) => `${name} ${this.format(lines[index].at(-1))} now, at most ${this.format(most(lines[index]))}`);
    this.span(lines[0].length, seconds, told.join("; "));
  }

  tell(at) {
    this.values.forEach((value, index) => setText(value, this.format(this.lines[index]?.[at])));
  }
}
