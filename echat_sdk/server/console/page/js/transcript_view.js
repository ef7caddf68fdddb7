// Both transcripts as they grow, set like a page: the words, and in the margin how they sounded.

import { isKnown, sentence } from "./affect.js";
import { $, el } from "./dom.js";
import { number, percent, t } from "./words.js";

const NEAR = 120; // pixels from the end within which new words are followed

export class TranscriptView {
  // onTurn(turn): its details are wanted; onForget(turn); onTry(text)
  constructor(root, announcer, { onTurn, onForget, onTry }) {
    Object.assign(this, { root, announcer, onTurn, onForget, onTry });
    this.shown = new Map(); // entry -> { node, key }
  }

  render(entries, selected) {
    const follows = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < NEAR;
    $(".empty", this.root)?.remove();
    if (!entries.length) this.root.append(this.#empty());
    for (const [entry, { node }] of this.shown) {
      if (entries.includes(entry)) continue;
      node.remove();
      this.shown.delete(entry);
    }
    for (const entry of entries) this.#show(entry, entry.turn && entry.turn === selected);
    if (follows) this.root.scrollTop = this.root.scrollHeight;
  }

  again() {
    this.shown.forEach(({ node }) => node.remove());
    this.shown.clear();
  }

  // For who does not see the page: a line once it is whole.
  tell(entry) {
    this.announcer.replaceChildren(el("p", {}, `${t(entry.role === "user" ? "you" : "agent")}: ${entry.text}`));
  }

  #show(entry, isSelected) {
    const before = this.shown.get(entry);
    const key = JSON.stringify([
      entry.role, entry.pending, entry.cues?.emotion, entry.heard, isSelected,
      entry.turn?.status, entry.turn?.emotion, entry.turn?.timings, entry.turn?.turnId,
    ]);
    if (before?.key === key) {
      if (entry.heard === undefined) $(".said", before.node).textContent = words(entry);
      return;
    }
    const node = entry.role === "user" ? this.#user(entry) : this.#agent(entry);
    node.classList.toggle("selected", Boolean(isSelected));
    if (before) {
      const focused = before.node.contains(document.activeElement) && document.activeElement.className;
      before.node.replaceWith(node);
      if (focused) node.getElementsByClassName(focused)[0]?.focus();
    } else this.root.append(node);
    this.shown.set(entry, { node, key });
  }

  #user(entry) {
    const emotion = entry.cues?.emotion;
    const note = entry.typed ? t("typed") : entry.pending ? "" : sounded(emotion);
    return el(
      "article",
      { class: "entry user", "data-emotion": isKnown(emotion) ? emotion.label : "unknown" },
      el(
        "header",
        {},
        el("span", { class: "who" }, t("you")),
        note && this.#note(entry, note, emotion?.confidence ? percent(emotion.confidence) : ""),
      ),
      el("p", { class: "said", lang: entry.lang }, words(entry)),
    );
  }

  #agent(entry) {
    const turn = entry.turn;
    const sound = turn?.timings?.first_audio ?? turn?.timings?.first_text;
    const cut = entry.heard !== undefined;
    const rest = cut ? entry.text.slice(entry.heard.length).trimStart() : "";
    const outcome = cut ? "interrupted" : turn?.status === "failed" ? "failed" : "";
    return el(
      "article",
      { class: "entry agent" },
      el(
        "header",
        {},
        el("span", { class: "who" }, t("agent")),
        turn?.emotion && this.#note(entry, t(turn.emotion), sound ? t("seconds", { n: number(sound) }) : ""),
        outcome && el("span", { class: "outcome" }, t(outcome)),
      ),
      el(
        "p",
        { class: "said", lang: turn?.user?.lang },
        cut ? entry.text.slice(0, entry.text.length - rest.length) : words(entry),
        rest && el("s", {}, el("span", { class: "unseen" }, t("unheard")), rest),
      ),
      turn?.turnId &&
        el(
          "button",
          {
            type: "button",
            class: "forget-turn",
            "aria-label": t("forget_turn_long", { words: (turn.user ?? entry).text.slice(0, 60) }),
            onclick: () => this.onForget(turn),
          },
          t("forget_turn"),
        ),
    );
  }

  #note(entry, text, figure) {
    return el(
      "button",
      {
        type: "button",
        class: "note",
        "aria-label": t("show_turn", { what: `${text} ${figure}`.trim() }),
        onclick: () => this.onTurn(entry.turn),
      },
      el("span", { class: "dot", "aria-hidden": "true" }),
      el("span", {}, text),
      figure && el("span", { class: "figure" }, figure),
    );
  }

  #empty() {
    const tries = ["try_1", "try_2", "try_3"].map((key) =>
      el("li", {}, el("button", { type: "button", onclick: () => this.onTry(t(key)) }, t(key))),
    );
    return el(
      "div",
      { class: "empty" },
      el("p", { class: "big" }, t("empty_title")),
      el("p", {}, t("empty_text")),
      el("p", { class: "hint" }, t("empty_try")),
      el("ul", {}, tries),
    );
  }
}

function words(entry) {
  if (entry.text) return entry.text;
  if (entry.pending) return t("hearing_words");
  return entry.role === "user" ? t("no_words") : "";
}

function sounded(emotion) {
  const what = emotion ? short(emotion.label) : "";
  return t(`${sentence(emotion) === "unknown" ? "sound_unknown" : sentence(emotion)}_short`, { what });
}

export const short = (label) => (label === "neutral" || label === "other" ? t(`short_${label}`) : t(label));
