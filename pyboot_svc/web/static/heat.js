// How long messages took, as a histogram over time: the darker, the more of an interval's messages.

import { HEIGHT, Plot, WIDTH } from "./chart.js";
import { h, s, setAttribute, setText } from "./dom.js";
import { milliseconds, number, sum } from "./words.js";

// From which share of an interval's messages on: also a few slow ones are to be seen.
const LEVELS = [0, 0.01, 0.1, 0.25, 0.5];

const duration = (seconds) => (seconds < 1 ? milliseconds(seconds * 1000) : `${number(seconds)} s`);

export class Heat extends Plot {
  constructor(title) {
    const cells = LEVELS.map((_, level) => s("path", { class: `heat h${level}` }));
    const said = h("span", {});
    super(title, cells, said);
    Object.assign(this, { cells, said, columns: [], bounds: [] });
  }

  // Of each interval the counts by bucket, whose upper bounds are in seconds, or null.
  update(columns, bounds, seconds) {
    Object.assign(this, { columns, bounds });
    const used = bounds.concat(Infinity).map((_, bucket) => columns.some((counts) => counts?.[bucket]));
    const low = Math.max(used.indexOf(true) - 1, 0);
    const high = Math.min(used.lastIndexOf(true) + 1, bounds.length);
    const paths = LEVELS.map(() => "");
    const [width, height] = [WIDTH / columns.length, HEIGHT / (high - low + 1)];
    columns.forEach((counts, at) => {
      const all = sum(counts ?? []);
      for (let bucket = low; all && bucket <= high; bucket += 1) {
        if (!counts[bucket]) continue;
        const level = LEVELS.findLastIndex((share) => counts[bucket] / all >= share);
        const [x, y] = [at * width, (high - bucket) * height];
        paths[level] += `M${x.toFixed(1)} ${y.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}h-${width.toFixed(1)}z`;
      }
    });
    this.cells.forEach((cell, level) => setAttribute(cell, "d", paths[level]));
    const any = used.includes(true);
    setText(this.top, any ? high < bounds.length ? duration(bounds[high]) : `over ${duration(bounds.at(-1))}` : "no messages in this time");
    setText(this.bottom, any ? duration(bounds[low - 1] ?? 0) : "");
    this.span(columns.length, seconds, this.inWords(columns.at(-1)));
  }

  tell(at) {
    setText(this.said, this.inWords(this.columns[at]));
  }

  inWords(counts) {
    const all = sum(counts ?? []);
    if (!all) return "no messages";
    const within = (share) => {
      let left = share * all;
      const bucket = counts.findIndex((count) => (left -= count) <= 0);
      return bucket < this.bounds.length ? `within ${duration(this.bounds[bucket])}` : `over ${duration(this.bounds.at(-1))}`;
    };
    return `${number(all)} messages: half ${within(0.5)}, 99 % ${within(0.99)}, all ${within(1)}`;
  }
}
