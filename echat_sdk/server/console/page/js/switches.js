// The switches of consent, each with its plain words: before the talk, and in the memory's panel.

import { el } from "./dom.js";
import { has, language, t } from "./words.js";

const NOW = ["process_voice", "infer_emotion", "infer_age", "infer_gender"];

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

// Whether nobody can agree to it in this place.
export const isBarred = (session, purpose) => session?.barred?.includes(purpose) ?? false;

// What somebody may answer.
export function askable(session) {
  const { now, later } = shown(session);
  return [...now, ...later].filter((purpose) => !isBarred(session, purpose));
}

// Of a guest nothing is kept, whatever they say.
function shown(session) {
  const known = Object.keys(session?.purposes ?? served).filter((purpose) => purpose in served);
  const now = NOW.filter((purpose) => known.includes(purpose));
  const later = session?.user ? known.filter((purpose) => !NOW.includes(purpose)) : [];
  return { now, later };
}

export function isOn(session, purpose) {
  if (isBarred(session, purpose)) return false;
  return session?.purposes?.[purpose] === "granted" || (session?.allowed?.includes(purpose) ?? false);
}

// onChange(purpose, on) as one is switched; `chosen` outranks what the session says.
export function switches(session, chosen, onChange, prefix) {
  const { now, later } = shown(session);
  const group = (title, purposes) =>
    purposes.length &&
    el(
      "fieldset",
      { class: "switches" },
      el("legend", {}, t(title)),
      purposes.map((purpose) => one(session, purpose, chosen[purpose], onChange, prefix)),
    );
  return [
    group("consent_now", now),
    group("consent_later", later),
    session?.user === false && el("p", { class: "hint guest" }, t("consent_guest")),
  ].filter(Boolean);
}

function one(session, purpose, choice, onChange, prefix) {
  const id = `${prefix}-${purpose}`;
  const barred = isBarred(session, purpose);
  const box = el("input", {
    type: "checkbox",
    role: "switch",
    id,
    checked: !barred && (choice ?? isOn(session, purpose)),
    disabled: barred,
    "data-purpose": purpose,
    "aria-describedby": `${id}-words`,
    onchange: () => onChange(purpose, box.checked),
  });
  return el(
    "div",
    { class: barred ? "switch barred" : "switch" },
    el("label", { for: id }, t(`purpose_${purpose}`)),
    box,
    el("p", { id: `${id}-words` }, barred ? t(whyBarred(session)) : inWords(purpose)),
  );
}

function whyBarred({ deployment }) {
  return deployment === "workplace" || deployment === "education" ? `barred_${deployment}` : "barred";
}

function inWords(purpose) {
  const own = `words_${purpose}`;
  if (language() !== "en" && has(own)) return `${t(own)}。`;
  const words = served[purpose];
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
