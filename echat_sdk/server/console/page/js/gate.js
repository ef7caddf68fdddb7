// The way in, on both pages: by the link of the address bar, else by a key that is pasted.

import { $ } from "./dom.js";
import * as door from "./door.js";
import { calm, trouble } from "./troubles.js";

const TOLD = { refused: "gate_ticket_refused", unreachable: "gate_unreachable" };

export async function begin(talk) {
  $("#gate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = $("#gate-key");
    calm();
    if (!field.value.trim()) {
      trouble("gate_empty");
      field.focus();
      return;
    }
    door.use(field.value);
    field.value = "";
    talk.connect();
  });
  const entry = await door.enter();
  if (entry in TOLD) trouble(TOLD[entry]);
}
