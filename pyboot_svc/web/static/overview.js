// The plant as a picture, brokers → topics → models → results, and its figures as tiles.

import { Sparkline } from "./chart.js";
import { h, s, setAttribute, setText } from "./dom.js";
import { condition, errorsOf, known, milliseconds, most, number, rate, sum, worst } from "./words.js";

const ROW = 76;
const BLOCK = 176;
const WIDE = 760;
// More than these are no picture: those with a trouble come first, the others are in the table.
const MOST_ROWS = 60;

export class Overview {
  constructor(store) {
    this.store = store;
    this.title = "Overview";
    this.tiles = TILES.map((tile) => new Tile(tile));
    this.picture = h("div", { class: "plant" });
    this.rest = h("p", {});
    this.troubles = h("ul", { class: "troubles" });
    this.trouble = h("section", { "aria-labelledby": "to-look-at" }, h("h3", { id: "to-look-at" }, "To look at"), this.troubles);
    this.element = h(
      "div",
      {},
      h("dl", { class: "tiles" }, this.tiles.map((tile) => tile.element)),
      this.trouble,
      this.picture,
      this.rest,
    );
    this.shape = "";
    new ResizeObserver(() => this.update()).observe(this.picture);
  }

  update() {
    if (!this.store.document) return;
    for (const tile of this.tiles) tile.update(this.store);
    this.sayTroubles();
    const rows = rowsOf(this.store);
    const shown = rows.slice(0, MOST_ROWS).sort(byPlace);
    setText(this.rest, rows.length > shown.length
      ? `${rows.length - shown.length} more models are in the table of instances.` : "");
    const width = Math.max(Math.floor(this.picture.clientWidth), 280);
    const shape = JSON.stringify([width, shown.map((row) => [row.model, row.pre, row.post])]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.drawing = width < WIDE ? new Blocks(shown, width) : new Rows(shown, width);
      this.picture.replaceChildren(this.drawing.element);
    }
    this.drawing.update(new Map(shown.map((row) => [row.model, row])));
  }

  sayTroubles() {
    const found = this.store.instances
      .map((instance) => ({ instance, condition: condition(instance) }))
      .filter((one) => ["bad", "warn"].includes(one.condition.kind))
      .sort((a, b) => rank(a) - rank(b));
    const lines = found.slice(0, 8).map(({ instance, condition: { kind, shape, word, why } }) =>
      h("li", {}, h("span", { class: `state ${kind}` }, `${shape} ${word}`), " ",
        h("a", { href: `#/model/${encodeURIComponent(instance.model)}` }, instance.instance), why ? `: ${why}` : ""));
    if (found.length > lines.length) {
      lines.push(h("li", {}, h("a", { href: "#/instances" }, `and ${found.length - lines.length} more instances`)));
    }
    const said = lines.map((line) => line.textContent).join("\n");
    if (said !== this.said) {
      this.said = said;
      this.troubles.replaceChildren(...lines);
    }
    this.trouble.hidden = !lines.length;
  }
}

const TILES = [
  {
    title: "ready",
    value: ({ instances }) => {
      const configured = instances.filter((one) => one.configured);
      const ready = configured.filter((one) => one.error === null && one.state === "ready");
      return { text: `${ready.length} of ${configured.length}`, bad: ready.length < configured.length };
    },
  },
  { title: "messages in", line: "in", value: ({ instances }) => ({ text: rate(sum(instances.map((one) => one.rates?.in))) }) },
  { title: "results out", line: "out", value: ({ instances }) => ({ text: rate(sum(instances.map((one) => one.rates?.out))) }) },
  { title: "slowest p99", value: ({ instances }) => ({ text: milliseconds(most(instances.map((one) => one.latency_ms?.p99))) }) },
  {
    title: "errors a minute",
    line: "errors",
    value: (store) => {
      const value = store.errorsPerMinute();
      return { text: number(value), bad: value > 0 };
    },
  },
  {
    title: "dead letters",
    value: ({ instances }) => ({ text: number(sum(instances.map(errorsOf))), href: "#/dead" }),
  },
  {
    title: "spooled",
    value: ({ instances }) => {
      const value = sum(instances.map((one) => one.spooled));
      return { text: number(value), bad: value > 0 };
    },
  },
];

class Tile {
  constructor(tile) {
    this.tile = tile;
    this.value = h("dd", {});
    this.spark = tile.line ? new Sparkline() : null;
    this.element = h("div", { class: "tile" }, h("dt", {}, tile.title), this.value);
    if (this.spark) this.value.after(h("dd", { "aria-hidden": "true", class: "spark" }, this.spark.element));
  }

  update(store) {
    const { text, bad } = this.tile.value(store);
    setText(this.value, bad ? `▲ ${text}` : text);
    setAttribute(this.element, "class", bad ? "tile warn" : "tile");
    this.spark?.update(store.total(this.tile.line));
  }
}

// A row a model: what is known of its instances together.
function rowsOf(store) {
  return [...store.models]
    .map(([model, instances]) => {
      const config = instances[0].config;
      const conditions = instances.map(condition);
      return {
        model,
        pre: config ? { broker: config.pre.broker, topic: config.pre.topic } : { broker: "?", topic: "not configured" },
        post: config ? { broker: config.post.broker, topic: config.post.topic } : { broker: "?", topic: "not configured" },
        in: total(instances, (one) => one.rates?.in),
        out: total(instances, (one) => one.rates?.out),
        preQueue: total(instances, (one) => one.pre_queue),
        postQueue: total(instances, (one) => sum([one.post_queue, one.spooled])),
        ready: instances.filter((one) => one.error === null && one.state === "ready").length,
        count: instances.length,
        condition: worst(conditions),
        preAway: away(instances, "pre"),
        postAway: away(instances, "post"),
      };
    })
    .sort((a, b) => rank(a) - rank(b));
}

const rank = (row) => ["bad", "warn", "calm", "good"].indexOf(row.condition.kind);
const byPlace = (a, b) =>
  [a.pre.broker, a.pre.topic, a.model].join("\0").localeCompare([b.pre.broker, b.pre.topic, b.model].join("\0"));

function total(instances, value) {
  const values = instances.map(value).filter(known);
  return values.length ? sum(values) : null;
}

function away(instances, side) {
  const without = instances.map((one) => one.brokers?.[side]).find((link) => link && link.state !== "connected");
  return without ? without.reason || without.state : null;
}

// A broker's address, without the port that is everybody's.
const brokerName = (address) => address.replace(/:1883$/, "");

const cut = (text, width) => {
  const fits = Math.max(Math.floor(width / 7.8), 4);
  return text.length > fits ? `${text.slice(0, fits - 1)}…` : text;
};

function box(className, x, y, width, height) {
  return s("rect", { class: className, x, y, width, height, rx: 6 });
}

function picture(width, height, ...children) {
  return s("svg", { width, height, viewBox: `-2 0 ${width + 4} ${height}`, role: "group", "aria-label": "The plant: from brokers through models to results" },
    s("defs", {}, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      s("path", { d: "M0 0L8 4L0 8z", class: "head" }))),
    ...children);
}

// A model's box: its name, how it does, and what waits on either side of it.
class ModelBox {
  constructor(row, x, y, width) {
    this.rect = box("model", x, y, width, 56);
    this.name = s("text", { x: x + 12, y: y + 20, class: "name" }, cut(row.model, width - 24));
    this.state = s("text", { x: x + 12, y: y + 36, class: "state" });
    this.queues = s("text", { x: x + 12, y: y + 50, class: "small" });
    this.link = s("a", { href: `#/model/${encodeURIComponent(row.model)}` },
      this.rect, this.name, this.state, this.queues);
    this.element = this.link;
    this.width = width;
  }

  update(row) {
    const { kind, shape, word } = row.condition;
    setAttribute(this.rect, "class", `model ${kind}`);
    setAttribute(this.state, "class", `state ${kind}`);
    const ready = `${row.ready} of ${row.count} ready`;
    setText(this.state, cut(`${shape} ${word === "ready" ? ready : `${word} · ${ready}`}`, this.width - 24));
    const queues = `${number(row.preQueue)} wait · ${number(row.postQueue)} to publish`;
    setText(this.queues, cut(queues, this.width - 24));
    setAttribute(this.link, "aria-label", `${row.model}: ${word}, ${ready}, ${rate(row.in)} in, ${rate(row.out)} out, ${queues}`);
  }
}

// The nodes of a column, each at about the middle of its rows, none on another.
function placed(rows, key, label, gap) {
  const nodes = new Map();
  rows.forEach((row, at) => {
    const name = key(row);
    if (!nodes.has(name)) nodes.set(name, { label: label(row), rows: [], at: [] });
    nodes.get(name).rows.push(row.model);
    nodes.get(name).at.push(at * ROW + ROW / 2);
  });
  const ordered = [...nodes.values()].map((node) => ({ ...node, y: sum(node.at) / node.at.length }));
  ordered.sort((a, b) => a.y - b.y);
  let least = 0;
  for (const node of ordered) {
    node.y = Math.max(node.y, least);
    least = node.y + gap;
  }
  return ordered;
}

function curve(x1, y1, x2, y2) {
  const bend = (x2 - x1) / 2;
  return s("path", { class: "flow", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "marker-end": "url(#arrow)" });
}

class Rows {
  constructor(rows, width) {
    const at = (share) => Math.round(width * share);
    const [broker, topic, model] = [at(0.12), at(0.16), at(0.21)];
    const x = { preBroker: 0, pre: at(0.155), model: at(0.4), post: at(0.685), postBroker: width - broker };
    this.models = new Map();
    this.brokers = [];
    const [flows, nodes] = [[], []];
    const y = (model_) => rows.findIndex((row) => row.model === model_) * ROW + ROW / 2;
    const preBrokers = placed(rows, (row) => row.pre.broker, (row) => brokerName(row.pre.broker), 52);
    const pres = placed(rows, (row) => `${row.pre.broker} ${row.pre.topic}`, (row) => row.pre.topic, 34);
    const posts = placed(rows, (row) => `${row.post.broker} ${row.post.topic}`, (row) => row.post.topic, 34);
    const postBrokers = placed(rows, (row) => row.post.broker, (row) => brokerName(row.post.broker), 52);
    const meets = (nodesOf, model_) => nodesOf.find((node) => node.rows.includes(model_));
    for (const node of pres) {
      const from = meets(preBrokers, node.rows[0]);
      flows.push(curve(broker, from.y, x.pre, node.y));
      nodes.push(topicBox(node, x.pre, topic));
    }
    for (const node of posts) {
      const to = meets(postBrokers, node.rows[0]);
      flows.push(curve(x.post + topic, node.y, x.postBroker, to.y));
      nodes.push(topicBox(node, x.post, topic));
    }
    for (const row of rows) {
      const middle = y(row.model);
      flows.push(curve(x.pre + topic, meets(pres, row.model).y, x.model, middle));
      flows.push(curve(x.model + model, middle, x.post, meets(posts, row.model).y));
      const drawn = {
        box: new ModelBox(row, x.model, middle - 28, model),
        in: s("text", { x: x.model - 8, y: middle - 8, class: "rate end" }),
        out: s("text", { x: x.model + model + 6, y: middle - 8, class: "rate" }),
      };
      this.models.set(row.model, drawn);
      nodes.push(drawn.box.element, drawn.in, drawn.out);
    }
    this.add(preBrokers, 0, broker, "preAway", nodes);
    this.add(postBrokers, x.postBroker, broker, "postAway", nodes);
    const height = Math.max(rows.length * ROW, ...[...pres, ...posts, ...preBrokers, ...postBrokers].map((node) => node.y + 30));
    this.element = picture(width, height, flows, nodes);
  }

  add(brokers, x, width, side, nodes) {
    for (const node of brokers) {
      const rect = box("broker", x, node.y - 22, width, 44);
      const state = s("text", { x: x + 8, y: node.y + 13, class: "state" });
      const title = s("title", {});
      nodes.push(s("g", {}, title, rect, s("text", { x: x + 8, y: node.y - 3, class: "name" }, cut(node.label, width - 12)), state));
      this.brokers.push({ node, rect, state, title, side });
    }
  }

  update(rows) {
    for (const [model, drawn] of this.models) {
      const row = rows.get(model);
      drawn.box.update(row);
      setText(drawn.in, rate(row.in));
      setText(drawn.out, rate(row.out));
    }
    for (const { node, rect, state, title, side } of this.brokers) {
      const away_ = node.rows.map((model) => rows.get(model)[side]).find((reason) => reason);
      setAttribute(rect, "class", away_ ? "broker bad" : "broker");
      setAttribute(state, "class", away_ ? "state bad" : "state good");
      setText(state, away_ ? "✕ away" : "● broker");
      setText(title, away_ ? `${node.label} is away: ${away_}` : `broker ${node.label}`);
    }
  }
}

function topicBox(node, x, width) {
  return s("g", {}, s("title", {}, `topic ${node.label}`), box("topic", x, node.y - 14, width, 28),
    s("text", { x: x + 8, y: node.y + 5, class: "small" }, cut(node.label, width - 14)));
}

// The same on a narrow screen: each model by itself, from the top down.
class Blocks {
  constructor(rows, width) {
    this.models = new Map();
    const nodes = rows.flatMap((row, at) => {
      const top = at * BLOCK;
      const drawn = {
        row,
        width,
        box: new ModelBox(row, 0, top + 58, width),
        in: s("text", { x: 34, y: top + 44, class: "rate" }),
        out: s("text", { x: 34, y: top + 136, class: "rate" }),
        pre: s("text", { x: 0, y: top + 22, class: "small" }),
        post: s("text", { x: 0, y: top + 160, class: "small" }),
      };
      this.models.set(row.model, drawn);
      const down = (y) => s("path", { class: "flow", d: `M20 ${y}V${y + 25}`, "marker-end": "url(#arrow)" });
      return [drawn.pre, down(top + 30), drawn.in, drawn.box.element, down(top + 116), drawn.out, drawn.post];
    });
    this.element = picture(width, rows.length * BLOCK, nodes);
  }

  update(rows) {
    for (const [model, drawn] of this.models) {
      const row = rows.get(model);
      drawn.box.update(row);
      setText(drawn.in, rate(row.in));
      setText(drawn.out, rate(row.out));
      for (const side of ["pre", "post"]) {
        const reason = row[`${side}Away`];
        const place = `${row[side].topic} at ${brokerName(row[side].broker)}`;
        setText(drawn[side], cut(reason ? `✕ away: ${place}` : place, drawn.width));
        setAttribute(drawn[side], "class", reason ? "small state bad" : "small");
      }
    }
  }
}
