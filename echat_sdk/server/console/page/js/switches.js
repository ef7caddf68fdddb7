// The switches of consent, each with its plain words: before the talk, and in the memory's panel.

import { el } from "./dom.js";
import { has, language, t } from "./words.js";

const NOW = ["process_voice", "infer_emotion", "infer_age", "infer_gender"];
const ALLOWING = new Set(["granted"]);

let served = {}; // purpose -> its words in English, as the server tells them

export async function load() {
  const answer = await fetch("/console/purposes.json", { credentials: "omit" });
  served = await answer.json();
}

// What is told before somebody is heard: the host's own words, and first what it is, in theirs.
export function told(session) {
  const text = session?.disclosure ?? "";
  const isRead = language() !== "zh" || /\p{Script=Han}/u.test(text);
  return text && isRead ? text : `${t("consent_ai")} ${text}`.trim();
}

// What there is to ask: of a guest nothing is kept, whatever they say.
export function asked(session) {
  const known = Object.keys(session?.purposes ?? served).filter((purpose) => purpose in served);
  const now = NOW.filter((purpose) => known.includes(purpose));
  const later = session?.user ? known.filter((purpose) => !NOW.includes(purpose)) : [];
  return { now, later };
}

export function isOn(session, purpose) {
  return ALLOWING.has(session?.purposes?.[purpose]) || (session?.allowed?.includes(purpose) ?? false);
}

// onChange(purpose, on) as one is switched; `chosen` outranks what the session says.
export function switches(session, chosen, onChange, prefix) {
  const { now, later } = asked(session);
  const group = (title, purposes) =>
    purposes.length &&
    el(
      "fieldset",
      { class: "switches" },
      el("legend", {}, t(title)),
      purposes.map((purpose) => one(purpose, chosen[purpose] ?? isOn(session, purpose), onChange, prefix)),
    );
  return [
    group("consent_now", now),
    group("consent_later", later),
    session?.user === false && el("p", { class: "hint guest" }, t("consent_guest")),
  ].filter(Boolean);
}

function one(purpose, on, onChange, prefix) {
  const id = `${prefix}-${purpose}`;
  const box = el("input", {
    type: "checkbox",
    role: "switch",
    id,
    checked: on,
    "data-purpose": purpose,
    "aria-describedby": `${id}-words`,
    onchange: () => onChange(purpose, box.checked),
  });
  return el(
    "div",
    { class: "switch" },
    el("label", { for: id }, t(`purpose_${purpose}`)),
    box,
    el("p", { id: `${id}-words` }, inWords(purpose)),
  );
}

function inWords(purpose) {
  const own = `words_${purpose}`;
  if (language() !== "en" && has(own)) return `${t(own)}。`;
  const words = served[purpose];
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
