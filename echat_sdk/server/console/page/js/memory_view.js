// What it knows about somebody, and how to make it forget.

import { el } from "./dom.js";
import { switches } from "./switches.js";
import { count, date, t } from "./words.js";

export class MemoryView {
  // onForget(scope); onAgree(purpose, on); onRefresh()
  constructor(root, { onForget, onAgree, onRefresh }) {
    Object.assign(this, { root, onForget, onAgree, onRefresh });
    this.note = "";
  }

  render(session, memory) {
    const focused = this.root.contains(document.activeElement) ? document.activeElement.id : "";
    this.root.replaceChildren(
      el("h2", { id: "memory-title" }, t("memory")),
      ...this.#known(session, memory),
      el("p", { class: "hint", role: "status", id: "memory-note" }, this.note),
      el("h3", {}, t("forget")),
      el("div", { class: "buttons" }, this.#button("turn", "forget_last"), this.#button("today", "forget_today"), this.#button("all", "forget_all", "grave")),
      el("h2", {}, t("agreed")),
      el("p", { class: "hint" }, t("agreed_text")),
      el("div", { class: "agreed" }, ...switches(session, {}, this.onAgree, "agreed")),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  say(note) {
    this.note = note;
    const place = document.getElementById("memory-note");
    if (place) place.textContent = note;
  }

  #known(session, memory) {
    if (session?.user === false) return [el("p", {}, t("memory_guest"))];
    if (!memory) return [el("p", { class: "hint" }, "…")];
    const { held, since, facts, mood } = memory;
    const turns = count(memory.turns);
    const kept = since ? t("memory_count", { turns, since: date(since) }) : t("memory_count_now", { turns });
    const nothing = !memory.turns && !facts?.length;
    return [
      mood && el("p", { class: "verdict" }, mood),
      facts?.length > 0 && el("ul", { class: "facts" }, facts.map((fact) => el("li", {}, line(fact)))),
      el("p", {}, nothing ? t("memory_empty") : kept),
      held > 0 && el("p", { class: "hint" }, t("memory_held", { held })),
      el("button", { type: "button", class: "plain small line", id: "memory-refresh", onclick: this.onRefresh }, t("memory_refresh")),
    ].filter(Boolean);
  }

  #button(scope, key, kind = "") {
    return el("button", { type: "button", class: `plain line ${kind}`, id: `forget-${scope}`, onclick: () => this.onForget(scope) }, t(key));
  }
}

const line = (fact) => (typeof fact === "string" ? fact : fact.text ?? Object.values(fact).join(" "));
