// The page's words in the reader's language.

import en from "./words_en.js";
import zh from "./words_zh.js";
import { $$ } from "./dom.js";

const BOOKS = { en, zh };
let lang = "en";

export const language = () => lang;

export const preferred = (languages) =>
  languages.map((each) => each.slice(0, 2)).find((each) => each in BOOKS) ?? "en";

export function speak(code) {
  lang = code in BOOKS ? code : "en";
}

// A key that is none is shown as it is: a label of somebody else's model.
export function t(key, values = {}) {
  const text = has(key) ? BOOKS[lang][key] : key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const has = (key) => Object.hasOwn(BOOKS[lang], key);

// Fill what the markup names: data-t for text, data-t-label, data-t-placeholder for attributes.
export function translate(root = document) {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const node of $$("[data-t]", root)) node.textContent = t(node.dataset.t);
  for (const node of $$("[data-t-label]", root)) node.setAttribute("aria-label", t(node.dataset.tLabel));
  for (const node of $$("[data-t-placeholder]", root)) node.placeholder = t(node.dataset.tPlaceholder);
}

export const count = (turns) => t(turns === 1 ? "turns_one" : "turns_many", { turns });

export const percent = (share) =>
  new Intl.NumberFormat(lang, { style: "percent", maximumFractionDigits: 0 }).format(share);

export const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

// As the reader's own country writes it, where that is in this language.
const locale = () => navigator.languages.find((each) => each.startsWith(lang)) ?? lang;

export const date = (iso) =>
  new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short" }).format(new Date(iso));
