// Theme and language: the reader's choice, else the system's. Kept in this browser; nothing else is.

import { preferred, speak, translate, language } from "./words.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = () => read("theme") ?? "auto";

export function useTheme(name) {
  write("theme", name === "auto" ? null : name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

export function switchTheme() {
  const isDark = theme() === "auto" ? dark.matches : theme() === "dark";
  useTheme(isDark ? "light" : "dark");
}

export function useLanguage(code) {
  write("lang", code);
  speak(code);
  translate();
}

export const otherLanguage = () => (language() === "zh" ? "en" : "zh");

export function begin() {
  useTheme(theme());
  speak(read("lang") ?? preferred(navigator.languages));
  translate();
}

function read(name) {
  try {
    return localStorage.getItem(`echat.${name}`);
  } catch {
    return null; // storage is switched off: the system's choice stands
  }
}

function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(`echat.${name}`);
    else localStorage.setItem(`echat.${name}`, value);
  } catch {
    // as above
  }
}
