// Mood over this conversation and over the weeks; each drawing has its table.

import { valence } from "./affect.js";
import { dateBefore, dayPoints, level, line, turnPoints } from "./chart.js";
import { el, svg } from "./dom.js";
import { short } from "./transcript_view.js";
import { date, number, percent, t } from "./words.js";

const WIDE = 360;
const HIGH = 130;
const LEFT = 8;
const WEEKS = 8;

export class MoodView {
  constructor(root) {
    this.root = root;
    this.key = "";
  }

  again() {
    this.key = "";
  }

  render(entries, report) {
    const spoken = entries.filter((entry) => entry.role === "user" && entry.cues);
    const key = JSON.stringify([spoken.map(({ id, cues }) => [id, cues.emotion]), report]);
    if (key === this.key) return;
    this.key = key;
    const open = new Set([...this.root.querySelectorAll("details[open]")].map((fold) => fold.id));
    this.root.replaceChildren(
      el("h2", { id: "mood-title" }, t("mood_now")),
      ...now(spoken),
      el("h2", {}, t("mood_weeks")),
      ...weeks(report),
      el("p", { class: "hint" }, t("mood_note")),
    );
    for (const fold of this.root.querySelectorAll("details")) fold.open = open.has(fold.id);
  }
}

function now(entries) {
  const values = entries.map((entry) => valence(entry.cues.emotion));
  if (!entries.length) return [el("p", { class: "hint" }, t("mood_now_empty"))];
  const points = turnPoints(values, WIDE - 2 * LEFT, HIGH);
  const marks = points.map((point, i) => dot(point, entries[i].cues.emotion.label, 5));
  return [
    figure("chart_now", {}, [svg("path", { class: "trend", d: line(points) }), ...marks], HIGH),
    table("now-table", ["turn", "cue_emotion", "mood_value"], entries.map((entry, i) => [
      i + 1,
      short(entry.cues.emotion.label),
      values[i] === null ? t("unknown") : number(values[i]),
    ])),
  ];
}

function weeks(report) {
  const days = report?.days ?? [];
  if (!days.length) return [el("p", { class: "hint" }, t("mood_weeks_empty"))];
  const last = report.today;
  const first = [days[0].day, dateBefore(last, 7 * WEEKS - 1)].sort().at(-1);
  const from = [first, dateBefore(last, 13)].sort()[0]; // two weeks at least: a day is no line
  const width = WIDE - 2 * LEFT;
  const points = dayPoints(days, from, last, width, HIGH);
  const step = width / Math.max(1, (Date.parse(last) - Date.parse(from)) / 86400000);
  const most = Math.max(...points.map(({ known }) => known), 1);
  const home = report.home?.base && band(report.home, width);
  const bars = points.map(({ x, known }) =>
    svg("rect", {
      class: "heard",
      x: (x - Math.min(step, 10) * 0.35).toFixed(1),
      width: (Math.min(step, 10) * 0.7).toFixed(1),
      y: (HIGH + 34 - (18 * known) / most).toFixed(1),
      height: ((18 * known) / most).toFixed(1),
    }),
  );
  return [
    figure(
      "chart_weeks",
      { first: date(from), last: date(last) },
      [
        home,
        svg("path", { class: "trend", d: line(points, 4.5 * step) }),
        ...points.map((point) => dot(point, tone(point.value), 3.4)),
        ...bars,
        svg("text", { x: 0, y: HIGH + 50 }, date(from)),
        svg("text", { x: width, y: HIGH + 50, "text-anchor": "end" }, date(last)),
      ].filter(Boolean),
      HIGH + 54,
    ),
    home ? el("p", { class: "hint" }, t("home_band")) : null,
    el("dl", { class: "told" }, told(report)),
    table("weeks-table", ["day", "mood_value", "turns"], points.map(({ day, value, turns }) => [
      date(day),
      value === null ? t("unknown") : number(value),
      turns,
    ])),
  ].filter(Boolean);
}

function band({ base, spread }, width) {
  const top = level(base.valence + spread.valence, HIGH);
  const bottom = level(base.valence - spread.valence, HIGH);
  return svg("rect", { class: "home", x: 0, width, y: top.toFixed(1), height: (bottom - top).toFixed(1) });
}

function told(report) {
  const lines = [];
  const say = (key, words) => lines.push(el("dt", {}, t(key)), el("dd", {}, words));
  const missing = (part) => !part || "insufficient_data" in part;
  const { home, deviation, trend } = report;
  if (missing(home)) say("mood_home", t("not_enough"));
  if (!missing(deviation)) {
    const away = deviation.valence;
    say("mood_late", t(Math.abs(away) < 1 ? "mood_usual" : away < 0 ? "mood_lower" : "mood_brighter"));
  }
  if (missing(trend)) say("mood_trend", t("not_enough"));
  else {
    const { low, high } = trend.valence;
    say("mood_trend", t(low > 0 ? "mood_rising" : high < 0 ? "mood_falling" : "mood_steady"));
  }
  if (report.coverage !== null && report.coverage !== undefined) {
    say("mood_coverage", t("mood_heard", { turns: report.n_turns, days: report.days.length, percent: percent(report.coverage) }));
  }
  return lines;
}

// The colour of a day: nobody's emotion, only whether it was up or down.
const tone = (value) => (value === null ? "unknown" : value > 0.15 ? "happy" : value < -0.15 ? "sad" : "neutral");

function dot(point, label, r) {
  if (point.y === null) {
    return svg("circle", { class: "dot none", cx: point.x.toFixed(1), cy: HIGH / 2, r: 2.5 });
  }
  return svg("circle", { class: "dot", "data-emotion": label, cx: point.x.toFixed(1), cy: point.y.toFixed(1), r });
}

function figure(title, values, marks, high) {
  const width = WIDE - 2 * LEFT;
  return el(
    "figure",
    { class: "chart" },
    svg(
      "svg",
      { viewBox: `${-LEFT} -16 ${WIDE} ${high + 32}`, role: "img", "aria-label": t(title, values) },
      svg("line", { class: "axis", x1: 0, x2: width, y1: HIGH / 2, y2: HIGH / 2 }),
      svg("text", { x: 0, y: -4 }, t("pleasant")),
      svg("text", { x: 0, y: HIGH + 10 }, t("unpleasant")),
      ...marks,
    ),
  );
}

function table(id, head, rows) {
  return el(
    "details",
    { class: "table", id },
    el("summary", {}, t("table")),
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, head.map((key) => el("th", { scope: "col" }, t(key))))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, String(cell)))))),
    ),
  );
}
