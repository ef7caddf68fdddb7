// What went wrong, in words, until somebody has read it.

import { $, el } from "./dom.js";
import { t } from "./words.js";

export function trouble(key, said = "") {
  const words = el("p", {}, t(key), said && el("span", { class: "detail" }, said));
  const close = el("button", { type: "button", class: "plain small", onclick: calm }, t("dismiss"));
  $("#trouble").replaceChildren(words, close);
}

export function calm() {
  $("#trouble").replaceChildren();
}
