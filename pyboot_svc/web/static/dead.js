// Dead letters as far as the master can know them: how many, and what shows them.

import { h } from "./dom.js";
import { errorsOf, number } from "./words.js";

export class Dead {
  constructor(store) {
    this.store = store;
    this.title = "Dead letters";
    this.body = h("tbody", {});
    this.none = h("p", {}, "None since the instances’ start.");
    this.element = h("div", {},
      h("p", {}, "The messages themselves are in the instances' state folders, which the master has no right to read. On the host, these commands show them, and try them again:"),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Messages that were given up" },
        h("table", {}, h("thead", {}, h("tr", {},
          ["instance", "given up", "to be published", "list them", "one with payload and traceback", "try all again"].map((title, at) =>
            h("th", { scope: "col", class: [0, 3, 4, 5].includes(at) ? "word" : null }, title)))), this.body)),
      this.none,
      h("p", {}, "“Given up” counts since the instances’ start; those that are kept may be older, or fewer."));
  }

  update() {
    const rows = this.store.instances
      .map((one) => [one.instance, one.model, errorsOf(one), one.dead_letters_waiting ?? 0])
      .filter(([, , given, waiting]) => given || waiting);
    const said = JSON.stringify(rows);
    if (said === this.said) return;
    this.said = said;
    this.none.hidden = rows.length > 0;
    this.body.replaceChildren(...rows.map(([instance, model, given, waiting]) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: `#/model/${encodeURIComponent(model)}` }, instance)),
      h("td", {}, number(given)), h("td", {}, number(waiting)),
      ...["list", "show", "retry"].map((action) => h("td", { class: "word" }, h("code", {}, command(action, instance)))))));
  }
}

function command(action, instance) {
  return `pyboot dead ${action} ${instance}${{ list: "", show: " ID", retry: " --all" }[action]}`;
}
