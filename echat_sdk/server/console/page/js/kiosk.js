// The kiosk: a touch, a yes, and from then on by voice alone.

import { mirrorFace, replyFace, isKnown } from "./affect.js";
import { $, el } from "./dom.js";
import * as door from "./door.js";
import { Face } from "./face.js";
import * as looks from "./looks.js";
import { told } from "./switches.js";
import { Talk } from "./talk.js";
import { t } from "./words.js";

const QUIET = 120000; // ms without a word after which whoever was here has left
const AGAIN = 3000;
const LONG = 160; // letters above which captions are set smaller

const talk = new Talk();
const { conversation } = talk;
const face = new Face($("#face"));
let screen = "waiting"; // ask, bye, talk, gate
let refused = false;
let talking = false;
let quiet = 0;
let again = 0;
let frame = 0;

function draw() {
  frame = 0;
  const before = screen;
  if (talk.phase === "locked") screen = "gate";
  else if (talk.phase === "open") screen = talking ? "talk" : refused ? "bye" : "ask";
  else screen = "waiting";
  document.body.dataset.screen = screen;
  $("#gate-form").hidden = screen !== "gate";
  $("#ask").hidden = screen !== "ask";
  $("#bye").hidden = screen !== "bye";
  $("#captions").hidden = screen !== "talk";
  $("#leave").hidden = screen !== "talk";
  $("#lang").textContent = looks.otherLanguage() === "zh" ? "中文" : "English";
  $("#lang").lang = looks.otherLanguage() === "zh" ? "zh-CN" : "en";
  if (screen === "ask") $("#disclosure").textContent = told(conversation.session?.echat);
  if (screen === "ask" && before !== "ask") $("#ask-title").focus();
  if (talk.phase === "ended") again ||= setTimeout(end, AGAIN); // not by us: we connect at once
  drawFace();
  drawCaptions();
}

function drawFace() {
  const state = screen === "talk" ? talk.state : screen === "ask" ? "listening" : "asleep";
  document.body.dataset.state = screen === "talk" ? state : "off";
  const words = screen === "talk" ? stateWords(state) : screen === "waiting" ? stateWords(talk.phase) : "";
  if ($("#state").textContent !== words) $("#state").textContent = words;
  face.state = state;
  const turn = conversation.latest;
  const user = conversation.entries.findLast((entry) => entry.role === "user");
  const cue = user?.cues?.emotion;
  const answers = turn && turn.user === user && turn.emotion && state !== "thinking";
  face.feeling = screen === "ask" ? "happy" : answers ? replyFace(turn.emotion) : mirrorFace(cue);
  document.body.dataset.emotion = screen === "talk" && isKnown(cue) ? cue.label : "unknown";
  face.name(t("face", { state: words || t("kiosk_hello") }));
}

function stateWords(state) {
  if (talk.phase === "waiting") return t("state_waiting", { seconds: Math.ceil(talk.wait / 1000) });
  if (state === "listening" && !talk.isHeard) return t("state_off");
  return t(`state_${state}`);
}

function drawCaptions() {
  const user = conversation.entries.findLast((entry) => entry.role === "user");
  const agent = conversation.entries.findLast((entry) => entry.role === "agent");
  const isNewer = agent && conversation.entries.indexOf(agent) > conversation.entries.indexOf(user);
  say($("#theirs"), user?.text ?? "", user?.lang);
  say($("#ours"), isNewer ? (agent.heard ?? agent.text) : user ? "" : t("kiosk_speak"), user?.lang);
}

function say(node, text, lang) {
  if (node.textContent === text) return;
  node.textContent = text;
  node.lang = lang ?? "";
  node.classList.toggle("long", text.length > LONG);
}

async function begin(judged) {
  calm();
  await talk.speaker.open();
  await talk.agree({ process_voice: true, infer_emotion: judged });
  if (!talk.allows("process_voice")) return;
  talking = true;
  await talk.listen();
  stir();
  draw();
}

// The next person is somebody else: a session of their own, asked anew.
function end() {
  clearTimeout(quiet);
  clearTimeout(again);
  again = 0;
  talk.leave();
  talking = false;
  refused = false;
  talk.agreed = null;
  conversation.clear();
  talk.connect();
}

function stir() {
  clearTimeout(quiet);
  if (talking) quiet = setTimeout(end, QUIET);
}

function trouble(key, said = "") {
  const words = el("p", {}, t(key), said && el("span", { class: "detail" }, said));
  $("#trouble").replaceChildren(words, el("button", { type: "button", class: "plain small", onclick: calm }, t("dismiss")));
}

function calm() {
  $("#trouble").replaceChildren();
}

$("#yes").addEventListener("click", () => begin(true));
$("#half").addEventListener("click", () => begin(false));
$("#no").addEventListener("click", () => {
  refused = true;
  draw();
  $("#wake").focus();
});
$("#wake").addEventListener("click", () => {
  refused = false;
  draw();
});
$("#leave").addEventListener("click", end);
$("#lang").addEventListener("click", () => {
  looks.useLanguage(looks.otherLanguage());
  draw();
});
$("#gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  calm();
  const key = $("#gate-key").value;
  if (!key.trim()) return trouble("gate_empty");
  $("#gate-key").value = "";
  door.use(key);
  talk.connect();
});

talk.addEventListener("change", ({ detail }) => {
  if (detail.includes("entries")) stir();
  if (talk.phase === "ended" || talk.phase === "locked") talking = false;
  frame ||= requestAnimationFrame(draw);
});
talk.addEventListener("levels", () => {
  face.level = talk.levels.agent;
  face.user = talk.levels.user;
});
talk.addEventListener("trouble", ({ detail }) => trouble(detail.key, detail.said));

looks.begin();
draw();
const entry = await door.enter();
if (entry === "refused" || entry === "unreachable") trouble(entry === "refused" ? "gate_ticket_refused" : "gate_unreachable");
talk.connect();
