// Dead letters: the newest of an instance, and one in full.

import { h, setText } from "./dom.js";
import { ask } from "./store.js";
import { ago, number } from "./words.js";

const SECONDS = 10;
const HEX_COLUMNS = 16;

export const address = (instance, id) => `#/dead/${encodeURIComponent(instance)}${id === undefined ? "" : `/${id}`}`;
export const command = (...words) => h("code", {}, `pyboot dead ${words.join(" ")}`);

// What a payload holds is text to be looked at, and steers nothing.
const printable = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) =>
  "\n\t".includes(one) ? one : `\\u{${one.codePointAt(0).toString(16)}}`);

const bytesOf = (letter) => Uint8Array.from(atob(letter.payload_base64), (one) => one.charCodeAt(0));

function textOf(bytes) {
  return printable(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
}

function jsonOf(bytes) {
  try {
    return printable(JSON.stringify(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), null, 2));
  } catch {
    return null;
  }
}

function hexOf(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += HEX_COLUMNS) {
    const some = [...bytes.slice(at, at + HEX_COLUMNS)];
    const hex = some.map((one) => one.toString(16).padStart(2, "0")).join(" ").padEnd(3 * HEX_COLUMNS);
    const text = some.map((one) => (one > 31 && one < 127 ? String.fromCharCode(one) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex} ${text}`);
  }
  return lines.join("\n");
}

// In a line: the beginning of the payload, or how it begins in bytes.
export function head(letter) {
  const bytes = bytesOf(letter);
  const text = textOf(bytes).replace(/\s+/g, " ");
  const shown = text.includes("\ufffd") && !text.endsWith("\ufffd") ? `0x${[...bytes.slice(0, 24)].map((one) => one.toString(16).padStart(2, "0")).join("")}` : text;
  return bytes.length < letter.bytes ? `${shown}…` : shown;
}

export const when = (letter) => ago(Date.now() / 1000 - letter.created);
export const reason = (letter) => letter.error.split("\n")[0];

// What is asked of a worker, again and again; it may not answer.
class Asked {
  constructor(path) {
    this.path = path;
    this.due = 0;
    this.said = h("p", { role: "status" }, "Asking the instance …");
  }

  async update() {
    if (performance.now() < this.due) return;
    this.due = performance.now() + SECONDS * 1000;
    try {
      const found = await ask(this.path);
      if (found.error) throw new Error(found.error);
      setText(this.said, "");
      this.show(found);
    } catch (error) {
      setText(this.said, `▲ The instance can't be asked: ${error.message}.`);
    }
  }
}

export class Letters extends Asked {
  constructor(instance) {
    super(`api/dead/${encodeURIComponent(instance)}`);
    this.instance = instance;
    this.title = `Dead letters of ${instance}`;
    this.count = h("p", {});
    this.body = h("tbody", {});
    this.element = h("div", {}, this.said, this.count,
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "The newest of them" },
        h("table", { class: "words" }, h("thead", {}, h("tr", {},
          ["ID", "when", "kind", "tried", "bytes", "topic", "reason", "payload"].map((title) => h("th", { scope: "col" }, title)))), this.body)),
      h("p", {}, "All of them, on the host: ", command("list", instance), ". Try all again: ", command("retry", instance, "--all")));
  }

  show({ kept, letters }) {
    setText(this.count, kept > letters.length ? `${number(kept)} are kept. The newest ${letters.length}:` : kept ? `${number(kept)} are kept:` : "None is kept.");
    this.body.replaceChildren(...letters.map((letter) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: address(this.instance, letter.id) }, String(letter.id))),
      [when(letter), letter.retrying ? `${letter.kind} (is tried again)` : letter.kind, number(letter.attempts), number(letter.bytes), letter.topic, reason(letter)].map((text) => h("td", {}, text)),
      h("td", {}, h("code", {}, head(letter))))));
  }
}

export class Letter extends Asked {
  constructor(instance, id) {
    super(`api/dead/${encodeURIComponent(instance)}/${id}`);
    this.instance = instance;
    this.id = id;
    this.title = `Dead letter ${id} of ${instance}`;
    this.facts = h("dl", { class: "config" });
    this.payload = h("pre", { tabindex: "0", role: "region", "aria-label": "Payload" });
    this.error = h("pre", { tabindex: "0", role: "region", "aria-label": "Error" });
    this.forms = h("fieldset", { class: "ranges" }, h("legend", {}, "Payload as"));
    this.cut = h("p", {});
    this.again = h("p", {});
    this.element = h("div", {}, this.said, this.facts, h("h3", {}, "Error"), this.error, h("h3", {}, "Payload"), this.forms, this.payload, this.cut,
      h("h3", {}, "Try it again"), this.again, h("p", {}, h("a", { href: address(instance) }, `All of ${instance}`)));
  }

  show({ letters: [letter] }) {
    this.due = Infinity;
    const facts = { topic: letter.topic, when: `${new Date(letter.created * 1000).toLocaleString()} (${when(letter)})`, kind: letter.kind, tried: `${number(letter.attempts)} times`, size: `${number(letter.bytes)} bytes` };
    this.facts.replaceChildren(...Object.entries(facts).flatMap(([key, value]) => [h("dt", {}, key), h("dd", {}, value)]));
    setText(this.error, letter.error);
    const bytes = bytesOf(letter);
    const forms = { JSON: jsonOf(bytes), text: textOf(bytes), hex: hexOf(bytes) };
    const first = forms.JSON !== null ? "JSON" : forms.text.includes("\ufffd") ? "hex" : "text";
    this.forms.append(...Object.entries(forms).map(([name, text]) => h("label", {},
      h("input", { type: "radio", name: "form", value: name, checked: name === first, disabled: text === null, onchange: () => setText(this.payload, text) }), name)));
    setText(this.payload, forms[first]);
    setText(this.cut, bytes.length < letter.bytes ? `These are its first ${number(bytes.length)} bytes; pyboot dead show ${this.instance} ${this.id} has what is kept of it.` : "");
    this.again.replaceChildren(...(letter.kind === "too_large"
      ? ["Only its beginning was kept: have it published again."]
      : [letter.retrying ? "It is being tried again. " : "On the host: ", command("retry", this.instance, this.id)]));
  }
}
