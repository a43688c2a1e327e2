// Dead letters: which instances have some. What they are is behind each instance's name.

import { h } from "./dom.js";
import { address, command } from "./letters.js";
import { errorsOf, number } from "./words.js";

export class Dead {
  constructor(store) {
    this.store = store;
    this.title = "Dead letters";
    this.body = h("tbody", {});
    this.none = h("p", {}, "None since the instances’ start.");
    this.others = h("select", { id: "others", onchange: () => { location.hash = address(this.others.value); } });
    this.element = h("div", {},
      h("p", {}, "Messages that were given up. An instance keeps the newest of them; on the host, these commands try them again."),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Messages that were given up" },
        h("table", {}, h("thead", {}, h("tr", {},
          ["instance", "given up", "to be published", "try all again"].map((title, at) =>
            h("th", { scope: "col", class: at % 3 ? null : "word" }, title)))), this.body)),
      this.none,
      h("p", {}, "“Given up” counts since the instances’ start; those that are kept may be older, or fewer. ",
        h("label", { for: "others" }, "What is kept of "), this.others));
  }

  update() {
    const names = this.store.instances.map((one) => one.instance);
    if (String(names) !== this.names) {
      this.names = String(names);
      this.others.replaceChildren(h("option", { value: "" }, "another instance …"), ...names.map((name) => h("option", { value: name }, name)));
    }
    const rows = this.store.instances
      .map((one) => [one.instance, errorsOf(one), one.dead_letters_waiting ?? 0])
      .filter(([, given, waiting]) => given || waiting);
    const said = JSON.stringify(rows);
    if (said === this.said) return;
    this.said = said;
    this.none.hidden = rows.length > 0;
    this.body.replaceChildren(...rows.map(([instance, given, waiting]) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: address(instance) }, instance)),
      h("td", {}, number(given)), h("td", {}, number(waiting)), h("td", { class: "word" }, command("retry", instance, "--all")))));
  }
}
