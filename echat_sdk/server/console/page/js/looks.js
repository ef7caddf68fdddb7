// Theme and language: the reader's choice, else the system's. Kept in this browser; nothing else is.

import { preferred, speak, translate, language } from "./words.js";

let named = () => {}; // names the language's button anew
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
  named();
}

// The button that switches says so in the other language.
export function languageSwitch(button, onSwitch) {
  const name = () => {
    const isChinese = language() === "zh";
    button.textContent = isChinese ? "English" : "中文";
    button.lang = isChinese ? "en" : "zh-CN";
  };
  named = name;
  name();
  button.addEventListener("click", () => {
    useLanguage(language() === "zh" ? "en" : "zh");
    onSwitch();
  });
}

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
