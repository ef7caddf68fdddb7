// What was said so far, made of the events of a session alone. Knows no page and no socket.
//
// An entry is one item: { id, role, text, lang, pending, typed, cues, seconds, turn }, of the agent
// also { heard }, where not all of it was. A turn is one answer and what is told of it.

const KEPT = 500; // entries; the oldest go first

export class Conversation {
  constructor() {
    this.clear();
    this.session = null;
    this.state = "listening";
    this.mood = null;
    this.memory = null;
  }

  clear() {
    this.entries = [];
    this.turns = []; // oldest first
    this.cuesBefore = new Map(); // of items whose words are not known yet
  }

  entry(id) {
    return this.entries.find((each) => each.id === id);
  }

  get latest() {
    return this.turns.at(-1) ?? null;
  }

  get isAnswering() {
    return this.latest?.status === "in_progress";
  }

  // What changed: any of session, state, entries, turn, mood, memory, consent; a list.
  take(event) {
    const take = TAKES[event.type];
    return take ? take(this, event) ?? [] : [];
  }

  forget(turnId) {
    const gone = this.turns.find((turn) => turn.turnId === turnId);
    this.entries = this.entries.filter((entry) => !gone || entry.turn !== gone);
    this.turns = this.turns.filter((turn) => turn !== gone);
  }
}

function add(conversation, entry) {
  conversation.entries.push(entry);
  if (conversation.entries.length > KEPT) conversation.entries.shift();
  return entry;
}

function turnOf(conversation, responseId) {
  return conversation.turns.findLast((turn) => turn.id === responseId);
}

function begin(conversation, response) {
  const user = conversation.entries.findLast((entry) => entry.role === "user" && !entry.turn);
  const turn = { id: response.id, status: "in_progress", think: "", user, agent: null, words: [] };
  if (user) user.turn = turn;
  conversation.turns.push(turn);
  if (conversation.turns.length > KEPT) conversation.turns.shift();
  return turn;
}

function added(conversation, item, turn) {
  if (item.type !== "message" || conversation.entry(item.id)) return [];
  const content = item.content ?? [];
  if (item.role === "user") {
    const heard = content.some((part) => part.type === "input_audio");
    const text = content.map((part) => part.text ?? part.transcript ?? "").join("");
    const cues = conversation.cuesBefore.get(item.id);
    conversation.cuesBefore.delete(item.id);
    add(conversation, { id: item.id, role: "user", text, typed: !heard, pending: heard && !text, cues });
  } else if (item.role === "assistant") {
    const entry = { id: item.id, role: "agent", text: "", pending: true, turn };
    if (turn) turn.agent = entry;
    add(conversation, entry);
  }
  return ["entries"];
}

function said(conversation, { item_id: id, response_id: response, delta }) {
  const entry = conversation.entry(id);
  if (!entry) return [];
  entry.text += delta;
  entry.turn ??= turnOf(conversation, response);
  return ["entries"];
}

function whole(conversation, { item_id: id }, text) {
  const entry = conversation.entry(id);
  if (!entry) return [];
  if (text !== undefined && entry.heard === undefined) entry.text = text;
  entry.pending = false;
  return ["entries"];
}

function felt(conversation, { mood }) {
  conversation.mood = mood;
  return ["mood"];
}

function agreed(conversation, { purposes, allowed }) {
  const { session } = conversation;
  conversation.session = { ...session, echat: { ...session?.echat, purposes, allowed } };
  return ["session", "consent"];
}

const TAKES = {
  "session.created": (c, { session }) => {
    c.session = session;
    return ["session"];
  },
  "session.updated": (c, { session }) => {
    // What is left out has not changed.
    c.session = { ...c.session, ...session, echat: { ...c.session?.echat, ...session.echat } };
    return ["session"];
  },
  "conversation.item.added": (c, { item }) => added(c, item),
  "conversation.item.created": (c, { item }) => added(c, item),
  "response.output_item.added": (c, { item, response_id: id }) => {
    const before = c.entry(item.id);
    if (!before) return added(c, item, turnOf(c, id));
    before.turn = turnOf(c, id);
    if (before.turn) before.turn.agent = before;
    return ["entries"];
  },
  "conversation.item.input_audio_transcription.delta": said,
  "conversation.item.input_audio_transcription.completed": (c, event) => {
    const entry = c.entry(event.item_id);
    if (!entry) return [];
    entry.text = event.transcript;
    entry.pending = false;
    entry.cues = event.echat?.cues ?? entry.cues;
    entry.lang = event.echat?.lang;
    entry.seconds = event.echat?.seconds;
    return ["entries", "turn"];
  },
  "conversation.item.input_audio_transcription.failed": (c, event) => whole(c, event, ""),
  "conversation.item.deleted": (c, { item_id: id }) => {
    c.entries = c.entries.filter((entry) => entry.id !== id);
    return ["entries"];
  },
  "conversation.item.truncated": (c, { item_id: id }) => {
    const entry = c.entry(id);
    if (!entry) return [];
    entry.heard ??= "";
    return ["entries"];
  },
  "conversation.item.retrieved": (c, { item }) => {
    const entry = c.entry(item.id);
    if (!entry) return [];
    const words = (item.content ?? []).map((part) => part.transcript ?? part.text ?? "").join("");
    if (entry.text.startsWith(words.trim())) entry.heard = words.trim();
    return ["entries"];
  },
  "response.created": (c, { response }) => {
    begin(c, response);
    return ["turn"];
  },
  "response.output_text.delta": said,
  "response.output_text.done": (c, event) => whole(c, event, event.text),
  "response.output_audio_transcript.delta": said,
  "response.output_audio_transcript.done": (c, event) => whole(c, event, event.transcript),
  "response.done": (c, { response }) => {
    const turn = turnOf(c, response.id) ?? begin(c, response);
    const told = response.echat ?? {};
    turn.status = response.status;
    turn.think = told.think || turn.think;
    turn.emotion = told.reply_emotion ?? turn.emotion;
    turn.strategy = told.strategy ?? turn.strategy;
    turn.timings = told.timings;
    turn.turnId = told.turn_id;
    turn.safety = told.safety;
    turn.isFarewell = told.farewell ?? false;
    if (turn.agent) turn.agent.pending = false;
    return ["entries", "turn"];
  },
  "echat.state": (c, { state }) => {
    c.state = state;
    return ["state"];
  },
  "echat.cues": (c, { item_id: id, cues }) => {
    const entry = c.entry(id);
    if (entry) entry.cues = cues;
    else if (c.cuesBefore.size < KEPT) c.cuesBefore.set(id, cues);
    return ["entries", "turn"];
  },
  "echat.think.delta": (c, { response_id: id, delta }) => {
    const turn = turnOf(c, id);
    if (turn) turn.think += delta;
    return ["turn"];
  },
  "echat.think.done": (c, { response_id: id, think, reply_emotion: emotion, strategy }) => {
    const turn = turnOf(c, id);
    if (turn) Object.assign(turn, { think, emotion, strategy });
    return ["turn"];
  },
  "echat.trace": (c, { response_id: id, words }) => {
    const turn = turnOf(c, id);
    if (turn) turn.words = words ?? [];
    return ["turn"];
  },
  "echat.mood": felt,
  "echat.mood.retrieved": felt,
  "echat.memory.retrieved": (c, event) => {
    c.memory = event;
    return ["memory"];
  },
  "echat.consent.answered": agreed,
  "echat.consent.updated": agreed,
};
