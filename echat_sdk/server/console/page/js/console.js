// The console: which screen is shown, and which view is told what has changed.

import { $, $$, vary } from "./dom.js";
import * as gate from "./gate.js";
import * as looks from "./looks.js";
import { MemoryView } from "./memory_view.js";
import { MoodView } from "./mood_view.js";
import { SettingsView } from "./settings_view.js";
import { stateWords } from "./status.js";
import * as consents from "./switches.js";
import { Talk } from "./talk.js";
import { TranscriptView } from "./transcript_view.js";
import { calm, trouble } from "./troubles.js";
import { TurnView } from "./turn_view.js";
import { count, t } from "./words.js";

const SCREENS = ["gate", "waiting", "consent", "talk"];
const wide = matchMedia("(min-width: 60rem)");

const talk = new Talk();
const { conversation } = talk;
const chosen = {}; // switched on or off before the talk began
let hasAgreed = false; // consent comes first, each time the page is opened
let view = "turn";
let selected = null; // the turn that is laid open; null follows the latest
let isDrawn = false;
let frame = 0;

const transcript = new TranscriptView($("#words"), $("#told"), {
  onTurn: (turn) => {
    selected = turn ?? null;
    show("turn");
  },
  onForget: (turn) => forget("turn", turn.turnId),
  onTry: (text) => talk.type(text),
});
const turnView = new TurnView($("[data-panel=turn]"), {
  onStep: (n) => {
    selected = n === conversation.turns.length ? null : conversation.turns[n - 1];
    draw();
  },
});
const moodView = new MoodView($("[data-panel=mood]"));
const memoryView = new MemoryView($("[data-panel=memory]"), {
  onForget: (scope) => forget(scope),
  onAgree: async (purpose, on) => {
    await talk.agree({ [purpose]: on });
    memoryView.say(t("agreed_saved"));
    talk.recall();
  },
  onRefresh: () => talk.recall(),
});
const settingsView = new SettingsView($("[data-panel=settings]"), talk, { onLanguage: switchLanguage, onEnd: () => talk.leave() });

// Screens

function screen() {
  if (talk.phase === "locked") return "gate";
  if (hasAgreed && talk.phase !== "ended") return talk.phase === "connecting" && !talk.agreed ? "waiting" : "talk";
  return talk.phase === "open" ? "consent" : "waiting";
}

function draw() {
  frame = 0;
  const now = screen();
  const moved = document.body.dataset.screen !== now || !isDrawn;
  document.body.dataset.screen = now;
  for (const each of SCREENS) $(`#${each}`).hidden = each !== now;
  if (now === "waiting") {
    $("#waiting-text").textContent = stateWords(talk);
    $("#again").hidden = talk.phase !== "ended";
  }
  $("#disclosure").textContent = consents.told(conversation.session?.echat);
  if (now === "consent" && moved) drawConsent();
  if (now === "talk") drawTalk();
  if (moved && isDrawn) $(`#${now} h2`)?.focus();
  if (moved && now === "talk") show(wide.matches ? "turn" : "talk");
  isDrawn = true;
}

function drawConsent() {
  const session = conversation.session?.echat;
  const onChange = (purpose, on) => {
    chosen[purpose] = on;
    goWords();
  };
  $("#consent-switches").replaceChildren(...consents.switches(session, chosen, onChange, "ask"));
  goWords();
}

function goWords() {
  const heard = $("#ask-process_voice")?.checked;
  $("#consent-go").textContent = t("consent_go");
  $("#consent-hint").textContent = t(heard ? "consent_mic_later" : "consent_typed");
}

function drawTalk() {
  const { entries, turns } = conversation;
  const open = selected && turns.includes(selected) ? selected : null;
  const turn = open ?? conversation.latest;
  // What was just said comes before its answer.
  const newest = entries.findLast((entry) => entry.role === "user");
  const isNew = !open && newest && !newest.turn;
  const n = turn ? turns.indexOf(turn) + 1 : 0;
  transcript.render(entries, open);
  turnView.render({ entry: isNew ? newest : turn?.user, turn: isNew ? null : turn, n, all: turns.length });
  moodView.render(entries, conversation.mood);
  drawState();
}

function drawState() {
  const { state } = talk;
  document.body.dataset.state = state === "listening" && !talk.isHeard ? "off" : state;
  const words = stateWords(talk);
  if ($("#state").textContent !== words) $("#state").textContent = words; // told once
  const mic = $("#mic");
  mic.setAttribute("aria-pressed", String(talk.isHeard));
  mic.setAttribute("aria-label", t(talk.isHeard ? "talk_mute" : "talk_start"));
  mic.title = t(talk.isHeard ? "mute" : "talk");
  mic.disabled = talk.phase !== "open";
  $("#stop").hidden = !(state === "speaking" || state === "thinking");
}

function show(name) {
  view = name;
  if (wide.matches && view === "talk") view = "turn";
  document.body.dataset.view = view;
  for (const button of $$("#views button")) {
    button.setAttribute("aria-current", String(button.dataset.view === view));
  }
  for (const panel of $$("[data-panel]")) panel.hidden = panel.dataset.panel !== view;
  if (view === "memory") {
    memoryView.say("");
    memoryView.render(conversation.session?.echat, conversation.memory);
    talk.recall();
  }
  if (view === "mood") talk.recallMood();
  if (view === "settings") settingsView.look();
  if (document.body.dataset.screen === "talk") drawTalk();
}

function redraw() {
  for (const each of [transcript, turnView, moodView]) each.again();
  drawConsent();
  draw();
  if (view === "memory") memoryView.render(conversation.session?.echat, conversation.memory);
  if (view === "settings") settingsView.render();
}

// Acts

function switchLanguage() {
  talk.useLanguage();
  redraw();
  if (view === "memory") talk.recall();
}

async function forget(scope, turnId) {
  if (scope === "all" && !(await isSure())) return;
  const answer = await talk.forget(scope, turnId);
  if (!answer) return;
  const told = answer.turns ? t("forgotten", { turns: count(answer.turns) }) : t("forgotten_none");
  memoryView.say(told);
  if (view !== "memory") $("#told").textContent = told; // else its own note is read out
}

function isSure() {
  const dialog = $("#sure");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function toggle() {
  calm();
  if (talk.isHeard) talk.mute();
  else await talk.listen();
}

$("#consent-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  calm();
  const button = $("#consent-go");
  button.textContent = t("consent_saving");
  button.setAttribute("aria-disabled", "true");
  const session = conversation.session?.echat;
  const asked = consents.askable(session);
  await talk.speaker.open(); // while this is a touch: sound is allowed from now on
  await talk.agree(
    Object.fromEntries(asked.map((each) => [each, chosen[each] ?? consents.isOn(session, each)])),
  );
  button.removeAttribute("aria-disabled");
  hasAgreed = true;
  draw();
  talk.recallMood();
});

$("#typing").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  if (!text || talk.phase !== "open") return;
  calm();
  selected = null;
  $("#text").value = "";
  await talk.type(text);
});

$("#mic").addEventListener("click", toggle);
$("#stop").addEventListener("click", () => talk.stop());
$("#again").addEventListener("click", () => {
  calm();
  conversation.clear();
  hasAgreed = false;
  talk.connect();
});
$("#theme").addEventListener("click", () => {
  looks.switchTheme();
  if (view === "settings") settingsView.render();
});
for (const button of $$("#views button")) button.addEventListener("click", () => show(button.dataset.view));
wide.addEventListener("change", () => show(wide.matches ? "turn" : "talk"));

document.addEventListener("keydown", (event) => {
  if (document.body.dataset.screen !== "talk" || $("#sure").open) return;
  if (event.key === "Escape") talk.stop();
  if (!event.altKey || event.ctrlKey || event.metaKey) return;
  // By place on the keyboard: with Alt many write another letter.
  const views = ["talk", "turn", "mood", "memory", "settings"];
  const acts = { KeyT: toggle, KeyI: () => $("#text").focus() };
  views.forEach((name, i) => (acts[`Digit${i + 1}`] = () => show(name)));
  const act = acts[event.code];
  if (!act) return;
  event.preventDefault();
  act();
});

// What happens

talk.addEventListener("change", ({ detail }) => {
  if (detail.includes("phase") && talk.phase === "open") calm();
  if (detail.includes("memory") || detail.includes("consent")) {
    if (view === "memory") memoryView.render(conversation.session?.echat, conversation.memory);
  }
  if (detail.includes("session") && view === "settings" && document.body.dataset.screen === "talk") {
    settingsView.render();
  }
  frame ||= requestAnimationFrame(draw); // words may come a hundred times a second
});
talk.addEventListener("levels", () => {
  const { user, agent } = talk.levels;
  vary(vary(document.body, "--user", user.toFixed(3)), "--agent", agent.toFixed(3));
});
talk.addEventListener("told", ({ detail }) => transcript.tell(detail));
talk.addEventListener("trouble", ({ detail }) => trouble(detail.key, detail.said));

looks.begin();
looks.languageSwitch($("#lang"), switchLanguage);
redraw();
await Promise.all([gate.begin(talk), consents.load()]);
talk.connect();
