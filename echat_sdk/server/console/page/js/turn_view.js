// One turn laid open: how it sounded, what was thought, why it was answered so, and in what time.

import { isKnown, sentence, shares } from "./affect.js";
import { waterfall } from "./chart.js";
import { el, vary } from "./dom.js";
import { short } from "./transcript_view.js";
import { number, percent, t } from "./words.js";

const OTHERS = ["gender", "age", "events", "style"];

export class TurnView {
  constructor(root, { onStep }) {
    Object.assign(this, { root, onStep });
    this.open = { thought: true, why: false }; // what the reader folded stays so
    this.key = "";
  }

  // entry: of the user, if they have spoken; turn: once there is an answer; n of all.
  render({ entry, turn, n, all }) {
    const key = JSON.stringify([
      entry?.id, entry?.cues, entry?.typed, turn?.id, turn?.emotion, turn?.timings, turn?.words, turn?.safety, n, all,
    ]);
    if (key === this.key && this.thought) {
      this.thought.textContent = turn?.think || t("thought_empty"); // it grows: the rest stays put
      return;
    }
    this.key = key;
    const had = this.root.contains(document.activeElement) ? document.activeElement.dataset.step : null;
    this.root.replaceChildren(
      ...[
        this.#steps(n, all),
        ...this.#cues(entry),
        this.#thought(turn),
        this.#latency(turn?.timings),
        this.#why(turn),
      ].filter(Boolean),
    );
    if (had) this.root.querySelector(`[data-step="${had}"]`)?.focus();
  }

  again() {
    this.key = "";
  }

  #steps(n, all) {
    if (!all) return null;
    const step = (by, key, path) =>
      el(
        "button",
        {
          type: "button",
          class: "plain round small",
          "data-step": by,
          "aria-label": t(key),
          "aria-disabled": String(n + by < 1 || n + by > all),
          onclick: () => n + by >= 1 && n + by <= all && this.onStep(n + by),
        },
        path,
      );
    return el(
      "div",
      { class: "steps" },
      step(-1, "previous", "‹"),
      el("span", {}, t("turn_of", { n, all })),
      step(1, "next", "›"),
    );
  }

  #cues(entry) {
    const title = el("h2", { id: "cues-title" }, t("cues"));
    if (!entry) return [title, el("p", { class: "hint" }, t("cues_empty"))];
    if (entry.typed) return [title, el("p", { class: "hint" }, t("cues_typed"))];
    if (!entry.cues) return [title, el("p", { class: "hint" }, t("hearing_words"))];
    const { emotion } = entry.cues;
    const what = t(emotion.label);
    const told = sentence(emotion) === "unknown" ? t("sound_unknown") : t(sentence(emotion), { what });
    const bars = shares(emotion).map(([label, share]) => bar(short(label), share, label));
    return [
      title,
      el("p", { class: "verdict", "data-emotion": emotion.label }, told),
      isKnown(emotion)
        ? el("ul", { class: "bars", "aria-label": t("distribution") }, bars)
        : emotion.why && el("p", { class: "hint" }, t(emotion.why)),
      el("dl", { class: "others" }, others(entry.cues)),
    ].filter(Boolean);
  }

  #thought(turn) {
    this.thought = el("p", { class: "think" }, turn?.think || t("thought_empty"));
    return this.#fold("thought", [
      this.thought,
      turn?.emotion && el("p", { class: "tone" }, `${t("answered")} `, el("b", {}, t(turn.emotion))),
      turn?.safety && el("p", { class: "hint" }, t("safety")),
    ]);
  }

  #latency(timings) {
    const bars = waterfall(timings);
    const title = el("h3", {}, t("latency"));
    if (!bars.length) return el("div", { class: "block" }, title, el("p", { class: "hint" }, t("latency_empty")));
    const rows = bars.map(({ stage, at, from, to }) => {
      const strip = el("i", {});
      vary(vary(strip, "--from", from.toFixed(4)), "--to", to.toFixed(4));
      return el(
        "tr",
        { "data-stage": stage },
        el("th", { scope: "row" }, t(`stage_${stage}`)),
        el("td", { class: "strip", "aria-hidden": "true" }, strip),
        el("td", { class: "figure" }, t("seconds", { n: number(at) })),
      );
    });
    return el("div", { class: "block" }, title, el("table", { class: "waterfall" }, el("tbody", {}, rows)));
  }

  #why(turn) {
    if (!turn?.words?.length) return null;
    const lines = turn.words.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)]);
    return this.#fold("why", [el("dl", { class: "trace" }, lines)]);
  }

  #fold(name, children) {
    const fold = el("details", { class: "block", open: this.open[name] }, el("summary", {}, t(name)), ...children.filter(Boolean));
    fold.addEventListener("toggle", () => (this.open[name] = fold.open));
    return fold;
  }
}

function bar(words, share, label) {
  const strip = el("i", { "aria-hidden": "true" });
  vary(strip, "--share", share.toFixed(4));
  return el(
    "li",
    { "data-emotion": label },
    el("span", {}, words),
    strip,
    el("span", { class: "figure" }, percent(share)),
  );
}

// What is known has a line each; what is not is told together, by the reason.
function others(cues) {
  const known = OTHERS.filter((name) => isKnown(cues[name]));
  const reasons = new Map();
  for (const name of OTHERS) {
    if (!cues[name] || isKnown(cues[name])) continue;
    const why = cues[name].why ?? "";
    reasons.set(why, [...(reasons.get(why) ?? []), t(`cue_${name}`)]);
  }
  return [
    ...known.flatMap((name) => [
      el("dt", {}, t(`cue_${name}`)),
      el(
        "dd",
        {},
        el("span", {}, t(cues[name].label)),
        vary(el("i", { "aria-hidden": "true" }), "--share", cues[name].confidence.toFixed(4)),
        el("span", { class: "figure" }, percent(cues[name].confidence)),
      ),
    ]),
    ...[...reasons].flatMap(([why, names]) => [
      el("dt", {}, t("unknown")),
      el("dd", { class: "unknown" }, names.join(", "), why && el("small", {}, t(why))),
    ]),
  ];
}
