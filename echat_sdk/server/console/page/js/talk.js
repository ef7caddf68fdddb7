// One person's talk with the agent: session, microphone and speaker, and who interrupts whom.
//
// Tells of itself by events: "change" (detail: a list of what changed), "levels" (detail: whose),
// "trouble" (detail: { key, said }), "told" (detail: a finished entry, to be read out).

import { Conversation } from "./conversation.js";
import * as door from "./door.js";
import { explain, Microphone } from "./microphone.js";
import { RATE, toBase64 } from "./pcm.js";
import { Session } from "./session.js";
import { Speaker } from "./speaker.js";
import { language } from "./words.js";

const ASK = "echat.consent.ask";
const EVENTS = ["state", "cues", "think", "mood", "trace"];
const SILENCE = toBase64(new Uint8Array(2 * (RATE / 20)));
const PATIENCE = 1000; // ms until a browser that plays nothing without a touch has shown so
const TAIL = 40; // pieces of silence after the microphone is closed: a turn that was begun ends

export class Talk extends EventTarget {
  constructor() {
    super();
    this.conversation = new Conversation();
    this.phase = "connecting"; // locked, open, waiting (for the next try), ended
    this.wait = null;
    this.levels = { user: 0, agent: 0 };
    this.isPlaying = false;
    this.device = "";
    this.voice = "";
    this.aloud = true;
    this.agreed = null; // what was answered here: said again after a reconnection
    this.isNear = false; // the microphone is for this page alone: nothing is sent
    this.queued = new Map(); // by item that is not heard to its end: ms that came
    this.dropped = new Set(); // items that were interrupted: the rest of them comes too late
    this.asked = new Map(); // events that are to be answered, by id
    this.count = 0;
    this.tail = 0;
    this.session = new Session();
    this.session.addEventListener("open", () => this.#opened());
    this.session.addEventListener("message", ({ detail }) => this.#take(detail));
    this.session.addEventListener("closed", ({ detail }) => this.#closed(detail));
    this.microphone = new Microphone({
      onPiece: (audio) => this.isNear || this.session.sendAudio(audio),
      onLevel: (level) => this.#level("user", level),
      onLost: () => this.#trouble("mic_lost", "", ["microphone"]),
    });
    this.speaker = new Speaker({
      onLevel: (level, playing) => {
        this.#level("agent", level);
        if (playing !== this.isPlaying) {
          this.isPlaying = playing;
          this.#changed(["state"]);
        }
      },
      onEnded: (item) => this.queued.delete(item),
      onRefused: () => this.#trouble("too_long"),
    });
  }

  // What there is to see: the server's word, and what is heard here.
  get state() {
    if (this.phase !== "open") return this.phase;
    const { state } = this.conversation;
    if (this.isPlaying && state !== "hearing" && state !== "overlapped") return "speaking";
    if (state === "speaking") return this.conversation.isAnswering ? "speaking" : "listening";
    return state;
  }

  get isHeard() {
    return this.microphone.isOpen && !this.isNear;
  }

  // Whether all that the agent said has been heard, or is not to be.
  get isHeardOut() {
    return !this.queued.size && !this.isPlaying;
  }

  get isWatching() {
    return this.microphone.isOpen && this.isNear;
  }

  get isAsking() {
    return [...this.asked.values()].some(({ type }) => type === ASK);
  }

  // A server whose memory asks nobody has no purposes: its host has seen to it.
  allows(purpose) {
    const { purposes, allowed } = this.conversation.session?.echat ?? {};
    return isEmpty(purposes) || allowed.includes(purpose);
  }

  connect() {
    this.#phase(door.isHeld() ? "connecting" : "locked");
    if (door.isHeld()) this.session.open();
  }

  leave() {
    this.mute();
    this.#silence();
    this.session.close();
    this.#phase("ended");
  }

  // Asked aloud: granted, denied or unanswered. Until then sound is sent, for a yes or a no alone.
  async ask(purposes) {
    this.isNear = false;
    const answer = await this.#ask(ASK, { purposes, lang: language() });
    const state = answer?.state ?? "unanswered";
    if (state === "granted") {
      this.agreed = { ...this.agreed, ...Object.fromEntries(purposes.map((each) => [each, true])) };
    } else if (this.microphone.isOpen) {
      this.isNear = true;
    }
    return state;
  }

  // It is answered in another way.
  async stopAsking() {
    if (!this.isAsking) return;
    await this.#interrupt();
    this.session.send("response.cancel");
  }

  // choices: purpose -> whether it is agreed to. Resolves once the server has taken it.
  async agree(choices) {
    const states = this.conversation.session?.echat?.purposes;
    if (isEmpty(states)) return;
    const answers = { granted: [], denied: [], withdrawn: [] };
    for (const [purpose, yes] of Object.entries(choices)) {
      const state = states[purpose] ?? "unknown";
      if (yes && state !== "granted") answers.granted.push(purpose);
      if (!yes && state === "granted") answers.withdrawn.push(purpose);
      if (!yes && state === "unknown") answers.denied.push(purpose);
    }
    this.agreed = { ...this.agreed, ...choices };
    for (const [state, purposes] of Object.entries(answers)) {
      if (purposes.length) await this.#ask("echat.consent.update", { purposes, state });
    }
    if (!this.allows("process_voice")) this.mute();
  }

  // To be called from a touch or a key.
  async listen() {
    if (!this.allows("process_voice")) return this.#trouble("voice_refused");
    this.isNear = false;
    await this.#open();
  }

  // To know whether somebody speaks near; nothing of it leaves the page. Whether that can be.
  watch() {
    this.isNear = true;
    return this.#open();
  }

  // Without a touch, where the browser allows it. Whether it does.
  async speaksUnasked() {
    await Promise.race([this.speaker.open(), new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
    return this.speaker.isOpen;
  }

  async #open() {
    clearInterval(this.tail);
    try {
      await this.speaker.open();
      if (!this.microphone.isOpen) await this.microphone.open(this.device);
    } catch (error) {
      this.#trouble(explain(error));
      return false;
    }
    this.#changed(["microphone"]);
    return true;
  }

  mute() {
    if (!this.microphone.isOpen) return;
    const wasHeard = this.isHeard;
    this.microphone.close();
    let left = wasHeard && this.conversation.state === "hearing" ? TAIL : 0;
    clearInterval(this.tail);
    this.tail = setInterval(() => {
      if (left-- > 0) this.session.sendAudio(SILENCE);
      else clearInterval(this.tail);
    }, 50);
    this.#changed(["microphone"]);
  }

  async useMicrophone(device) {
    this.device = device;
    if (!this.isHeard && !this.microphone.isOpening) return;
    this.mute();
    await this.listen();
  }

  useVoice(voice) {
    this.voice = voice;
    this.#configure();
  }

  // What is told in words is told in the reader's language.
  useLanguage() {
    this.#configure();
  }

  speakAloud(aloud) {
    this.aloud = aloud;
    if (!aloud) this.#silence();
    this.#configure();
  }

  async type(text) {
    await this.stop();
    const content = [{ type: "input_text", text }];
    this.session.send("conversation.item.create", { item: { type: "message", role: "user", content } });
    return this.session.send("response.create");
  }

  // The agent falls silent.
  async stop() {
    await this.#interrupt();
    if (this.conversation.isAnswering) this.session.send("response.cancel");
  }

  // scope: all, today, turn; without an id the last that was kept.
  async forget(scope, turnId) {
    if (scope !== "turn") return this.#ask("echat.memory.forget", { scope });
    const last = this.conversation.turns.findLast((turn) => turn.turnId)?.turnId;
    const turn_id = turnId ?? last;
    return turn_id ? this.#ask("echat.memory.forget", { scope, turn_id }) : { turns: 0 };
  }

  recall() {
    return this.#ask("echat.memory.retrieve", { lang: language() });
  }

  // Of a guest no mood is kept.
  async recallMood() {
    return this.conversation.session?.echat?.user ? this.#ask("echat.mood.retrieve") : null;
  }

  // What was said goes with what was kept of it.
  #forgotten({ scope, turn_id: turn }) {
    if (scope === "turn") this.conversation.forget(turn);
    else this.conversation.clear();
    this.#changed(["entries", "turn"]);
    this.recall();
    this.recallMood();
  }

  #opened() {
    this.#configure();
  }

  #configure() {
    const audio = { output: { voice: this.voice || "alloy" } }; // that name is the default's
    this.session.send("session.update", {
      session: {
        type: "realtime",
        output_modalities: [this.aloud ? "audio" : "text"],
        audio,
        echat: { events: EVENTS, lang: language() },
      },
    });
  }

  #take(event) {
    const changed = this.conversation.take(event);
    const act = this.#acts[event.type];
    if (act) act(event);
    if (changed.length) this.#changed(changed);
  }

  #acts = {
    "session.created": async () => {
      this.conversation.state = "listening";
      if (this.agreed) await this.agree(this.agreed);
      this.#phase("open");
    },
    "input_audio_buffer.speech_started": () => this.#interrupt(),
    "response.output_audio.delta": ({ item_id: item, delta }) => {
      if (this.dropped.has(item) || !this.aloud) return;
      const came = (this.queued.get(item) ?? 0) + (0.75 * delta.length - padding(delta)) / (RATE / 500);
      this.queued.set(item, came);
      this.speaker.add(item, delta);
    },
    "response.output_audio.done": ({ item_id: item }) => this.speaker.finish(item),
    "response.output_item.done": ({ item }) => this.speaker.finish(item.id),
    "conversation.item.truncated": ({ item_id }) =>
      this.session.send("conversation.item.retrieve", { item_id }),
    "conversation.item.input_audio_transcription.completed": ({ item_id: id }) => this.#told(id),
    "response.output_audio_transcript.done": ({ item_id: id }) => this.#told(id),
    "response.output_text.done": ({ item_id: id }) => this.#told(id),
    "response.done": ({ response }) => {
      const error = response.status_details?.error;
      if (response.status === "failed") this.#trouble("answer_failed", error?.message ?? "");
    },
    "echat.consent.updated": (event) => this.#answered("echat.consent.update", event),
    "echat.consent.answered": (event) => {
      if (event.state === "denied") this.#interrupt(); // it stops telling what for
      this.#answered(ASK, event);
    },
    "echat.memory.forgotten": (event) => this.#answered("echat.memory.forget", event),
    "echat.memory.retrieved": (event) => this.#answered("echat.memory.retrieve", event),
    "echat.mood.retrieved": (event) => this.#answered("echat.mood.retrieve", event),
    error: ({ error }) => {
      const asked = this.asked.get(error.event_id);
      this.asked.delete(error.event_id);
      asked?.resolve(null);
      if (!HARMLESS.has(error.code)) this.#trouble("server_said", error.message ?? "");
    },
  };

  // An event of ours that is answered by one; null where the answer was an error, or none came.
  #ask(type, body = {}) {
    const id = `console_${++this.count}`;
    return new Promise((resolve) => {
      if (!this.session.send(type, { event_id: id, ...body })) return resolve(null);
      this.asked.set(id, { type, body, resolve });
    });
  }

  // Answers come in the order of the questions.
  #answered(type, event) {
    for (const [id, asked] of this.asked) {
      if (asked.type !== type) continue;
      this.asked.delete(id);
      asked.resolve(event);
      if (type === "echat.memory.forget") this.#forgotten(asked.body);
      return;
    }
  }

  async #interrupt() {
    const came = new Map(this.queued);
    for (const item of came.keys()) this.dropped.add(item);
    for (const { item, ms } of await this.#silence()) {
      const most = Math.floor(came.get(item) ?? 0);
      this.session.send("conversation.item.truncate", {
        item_id: item,
        content_index: 0,
        audio_end_ms: Math.min(ms, most),
      });
    }
  }

  #silence() {
    this.queued.clear();
    return this.speaker.flush();
  }

  #told(id) {
    const entry = this.conversation.entry(id);
    if (entry?.text) this.dispatchEvent(new CustomEvent("told", { detail: entry }));
  }

  #closed({ why, wait }) {
    for (const { resolve } of this.asked.values()) resolve(null);
    this.asked.clear();
    this.#silence();
    this.dropped.clear();
    this.wait = wait;
    if (wait !== null) return this.#phase("waiting");
    this.mute();
    if (why === "refused" || why === "expired") door.forget();
    this.#phase(door.isHeld() ? "ended" : "locked");
    this.#trouble(`closed_${why}`);
  }

  #phase(phase) {
    this.phase = phase;
    this.#changed(["phase", "state"]);
  }

  #level(who, level) {
    this.levels[who] = level;
    this.dispatchEvent(new CustomEvent("levels", { detail: who }));
  }

  #changed(what) {
    this.dispatchEvent(new CustomEvent("change", { detail: what }));
  }

  #trouble(key, said = "", changed = []) {
    if (changed.length) this.#changed(changed);
    this.dispatchEvent(new CustomEvent("trouble", { detail: { key, said } }));
  }
}

// What we asked for had happened by itself.
const HARMLESS = new Set(["response_cancel_not_active", "item_truncate_invalid_item_id"]);

const isEmpty = (purposes) => !Object.keys(purposes ?? {}).length;
const padding = (base64) => (base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0);
