// The page's frame: which view is shown, by what stands behind the # of the address.

import { h, setAttribute, setText } from "./dom.js";
import { Dead } from "./dead.js";
import { Instances } from "./instances.js";
import { Letter, Letters } from "./letters.js";
import { Model } from "./model.js";
import { Overview } from "./overview.js";
import { Store } from "./store.js";

const TABS = [["#/", "Overview"], ["#/instances", "Instances"], ["#/dead", "Dead letters"]];

class Page {
  constructor() {
    this.store = new Store();
    this.name = document.title;
    this.main = document.getElementById("main");
    this.heading = h("h2", { tabindex: "-1" });
    this.place = h("div", {});
    this.away = h("p", { class: "away", role: "alert", hidden: true });
    this.links = TABS.map(([href, title]) => h("a", { href }, title));
    document.querySelector("header").append(h("nav", { "aria-label": "Views" }, this.links));
    this.kept = { "#/": new Overview(this.store), "#/instances": new Instances(this.store), "#/dead": new Dead(this.store) };
    this.main.replaceChildren(this.away, this.heading, this.place);
    this.store.addEventListener("change", () => this.update());
    window.addEventListener("hashchange", () => {
      this.show();
      this.heading.focus();
    });
    this.show();
    this.store.turn();
  }

  show() {
    this.view = this.viewOf(location.hash);
    this.links.forEach((link) =>
      setAttribute(link, "aria-current", this.kept[link.getAttribute("href")] === this.view ? "page" : null));
    setText(this.heading, this.view.title);
    document.title = `${this.view.title} · ${this.name}`;
    this.place.replaceChildren(this.view.element);
    this.update();
  }

  viewOf(hash) {
    const model = hash.match(/^#\/model\/(.+)$/);
    if (model) return new Model(this.store, decoded(model[1]));
    const dead = hash.match(/^#\/dead\/([^/]+)(?:\/(\d+))?$/);
    if (dead) return dead[2] ? new Letter(decoded(dead[1]), dead[2]) : new Letters(decoded(dead[1]));
    return this.kept[hash] ?? this.kept["#/"];
  }

  update() {
    const since = this.store.awaySince;
    this.away.hidden = !since;
    document.body.classList.toggle("stale", Boolean(since));
    if (since) setText(this.away, `✕ The master has not answered since ${since.toLocaleTimeString()} (${this.store.trouble}). What is shown is from before; it is asked again and again.`);
    this.view.update();
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

new Page();
