// The kiosk: a yes, and a talk. By voice alone where the browser lets the page speak and hear without
// a touch; elsewhere by one touch, and from then on by voice.

import { mirrorFace, replyFace, isKnown } from "./affect.js";
import { $ } from "./dom.js";
import { Face } from "./face.js";
import * as gate from "./gate.js";
import * as looks from "./looks.js";
import { stateWords } from "./status.js";
import { isBarred, told } from "./switches.js";
import { Talk } from "./talk.js";
import { calm, trouble } from "./troubles.js";
import { Wake } from "./wake.js";
import { t } from "./words.js";

const QUIET = 120000; // ms without a word after which whoever was here has left
const AGAIN = 3000;
const GOODBYE = 6000; // ms for which a no is thanked for, where nobody touches anything
const DOZE = 5000; // ms for which whoever was here last does not wake it: they walk on
const PURPOSES = ["process_voice", "infer_emotion"];
const LONG = 160; // letters above which captions are set smaller

const talk = new Talk();
const { conversation } = talk;
const face = new Face($("#face"));
let screen = "waiting"; // gate, asleep, ask, bye, talk
let isHandsFree = false;
let isTouched = false; // whoever is here uses the buttons
let isRefused = false;
let isTalking = false;
let isDozing = false;
let wake = null; // of somebody who speaks near, while it is asleep
let wakes = 0; // when it may be woken again
let quiet = 0;
let again = 0;
let goodbye = 0;
let frame = 0;

function now() {
  if (talk.phase === "locked") return "gate";
  if (talk.phase !== "open") return "waiting";
  if (isTalking) return "talk";
  if (isRefused) return "bye";
  return isHandsFree && !isTouched && !talk.isAsking ? "asleep" : "ask";
}

function draw() {
  frame = 0;
  const before = screen;
  screen = now();
  document.body.dataset.screen = screen;
  $("#gate-form").hidden = screen !== "gate";
  $("#asleep").hidden = screen !== "asleep";
  $("#ask").hidden = screen !== "ask";
  $("#bye").hidden = screen !== "bye";
  $("#captions").hidden = screen !== "talk";
  $("#leave").hidden = screen !== "talk";
  if (screen === "ask") drawAsk();
  if (screen === "ask" && before !== "ask") $("#ask-title").focus();
  if (screen === "asleep" && !isDozing) doze();
  $("#bye-words").textContent = t(isHandsFree ? "kiosk_bye_voice" : "kiosk_bye");
  if (talk.phase === "ended") again ||= setTimeout(end, AGAIN); // not by us: we connect at once
  drawFace();
  drawCaptions();
  drawLight();
  if (isLeaving()) end();
}

function drawAsk() {
  const session = conversation.session?.echat;
  const judges = !isBarred(session, "infer_emotion");
  $("#ask-words").textContent = t(judges ? "kiosk_ask" : "kiosk_ask_voice");
  $("#half").hidden = !judges;
  $("#disclosure").textContent = told(session);
  $("#answer").textContent = talk.isAsking ? t("kiosk_answer") : "";
}

function drawFace() {
  const state = shownState();
  document.body.dataset.state = screen === "talk" || talk.isAsking ? state : "off";
  const words = shownWords(state);
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

// The privacy light: whether a microphone is open, and whether anything of it leaves this page.
function drawLight() {
  const light = $("#light");
  const now = !talk.microphone.isOpen ? "off" : talk.isWatching ? "near" : "on";
  light.dataset.light = now;
  if (light.textContent !== t(`light_${now}`)) light.textContent = t(`light_${now}`);
}

function shownState() {
  if (screen === "talk") return talk.state;
  if (screen !== "ask") return "asleep";
  return talk.isAsking && talk.isPlaying ? "speaking" : "listening";
}

function shownWords(state) {
  if (screen === "ask" && talk.isAsking) return t(`state_${state}`);
  return screen === "talk" || screen === "waiting" ? stateWords(talk) : "";
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

// Asleep, it hears whether somebody speaks near, and sends nothing.
async function doze() {
  if (talk.isWatching) return;
  isDozing = true;
  wake = new Wake();
  isHandsFree = await talk.watch(); // without a microphone it takes a touch
  isDozing = false;
  if (!isHandsFree) draw();
}

function heardNear(level) {
  const isSomebody = wake.push(level);
  if (isSomebody && !talk.isAsking && performance.now() > wakes) askAloud();
}

async function askAloud() {
  calm();
  const asking = talk.ask(PURPOSES.filter((each) => !isBarred(conversation.session?.echat, each)));
  draw();
  const answer = await asking;
  if (isTouched || isTalking) return; // it was answered by hand
  conversation.clear(); // of what was asked
  if (answer === "granted") await converse();
  if (answer === "denied") refuse();
  if (answer === "unanswered") wakes = performance.now() + DOZE;
  draw();
}

async function begin(isJudged) {
  calm();
  touched();
  await talk.speaker.open();
  if (talk.isAsking) {
    await talk.stopAsking();
    conversation.clear(); // of what was asked
  }
  await talk.agree({ process_voice: true, infer_emotion: isJudged });
  if (talk.allows("process_voice")) await converse();
}

async function converse() {
  isTalking = true;
  await talk.listen();
  stir();
  draw();
}

function refuse() {
  isRefused = true;
  if (isHandsFree) goodbye = setTimeout(end, GOODBYE);
}

// The next person is somebody else: a session of their own, asked anew.
function end() {
  for (const timer of [quiet, again, goodbye]) clearTimeout(timer);
  again = 0;
  isTalking = isRefused = isTouched = false;
  talk.leave();
  talk.agreed = null;
  conversation.clear();
  wakes = performance.now() + DOZE;
  talk.connect();
}

// Somebody uses the buttons.
function touched() {
  isTouched = true;
  stir();
  draw();
}

function stir() {
  clearTimeout(quiet);
  if (isTalking || (isHandsFree && isTouched)) quiet = setTimeout(end, QUIET);
}

// Who has said goodbye, and has heard the answer to it.
function isLeaving() {
  const turn = conversation.latest;
  return isTalking && turn?.isFarewell && turn.status === "completed" && talk.isHeardOut;
}

$("#touch").addEventListener("click", touched);
$("#yes").addEventListener("click", () => begin(true));
$("#half").addEventListener("click", () => begin(false));
$("#no").addEventListener("click", async () => {
  touched();
  await talk.stopAsking();
  refuse();
  draw();
  $("#wake").focus();
});
$("#wake").addEventListener("click", () => {
  clearTimeout(goodbye);
  isRefused = false;
  touched();
});
$("#leave").addEventListener("click", end);

talk.addEventListener("change", ({ detail }) => {
  if (detail.includes("phase") && talk.phase === "open") calm();
  if (detail.includes("entries")) stir();
  if (talk.phase === "ended" || talk.phase === "locked") isTalking = false;
  frame ||= requestAnimationFrame(draw);
});
talk.addEventListener("levels", ({ detail }) => {
  face.level = talk.levels.agent;
  face.user = talk.levels.user;
  if (detail === "user" && screen === "asleep") heardNear(talk.levels.user);
});
talk.addEventListener("trouble", ({ detail }) => trouble(detail.key, detail.said));

looks.begin();
looks.languageSwitch($("#lang"), () => {
  talk.useLanguage();
  draw();
});
draw();
await gate.begin(talk);
isHandsFree = await isLetSpeak();
talk.connect();

// Whether the browser needs no touch: it was told so when it was started.
async function isLetSpeak() {
  try {
    const { state } = await navigator.permissions.query({ name: "microphone" });
    return state === "granted" && (await talk.speaksUnasked());
  } catch {
    return false; // a browser that cannot tell
  }
}
