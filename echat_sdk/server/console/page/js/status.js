// What there is to see, in words.

import { t } from "./words.js";

export function stateWords(talk) {
  if (talk.phase === "waiting") return t("state_waiting", { seconds: Math.ceil(talk.wait / 1000) });
  const { state } = talk;
  return t(state === "listening" && !talk.isHeard ? "state_off" : `state_${state}`);
}
