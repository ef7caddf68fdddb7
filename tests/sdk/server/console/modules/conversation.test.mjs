import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation } from "./page/conversation.js";

const CUES = { emotion: { label: "sad", confidence: 0.7 } };
const user = { id: "u", type: "message", role: "user", content: [{ type: "input_audio" }] };
const agent = { id: "a", type: "message", role: "assistant", content: [] };
const heard = {
  type: "conversation.item.input_audio_transcription.completed",
  item_id: "u",
  transcript: "My dog died.",
  echat: { lang: "en", cues: CUES },
};

function spoken() {
  const conversation = new Conversation();
  for (const event of [
    { type: "conversation.item.added", item: user },
    heard,
    { type: "response.created", response: { id: "r" } },
    { type: "echat.think.delta", response_id: "r", delta: "<think>" },
    { type: "response.output_item.added", response_id: "r", item: agent },
    { type: "conversation.item.added", item: agent },
    { type: "response.output_audio_transcript.delta", response_id: "r", item_id: "a", delta: "I'm " },
    { type: "response.output_audio_transcript.delta", response_id: "r", item_id: "a", delta: "so sorry." },
  ]) {
    conversation.take(event);
  }
  return conversation;
}

const done = (conversation) =>
  conversation.take({
    type: "response.done",
    response: {
      id: "r",
      status: "completed",
      echat: { turn_id: "t", think: "", reply_emotion: "comforting", timings: { done: 1 } },
    },
  });

test("a spoken turn has both sides, and knows its answer", () => {
  const conversation = spoken();
  assert.deepEqual(conversation.entries.map(({ role, text }) => [role, text]), [
    ["user", "My dog died."],
    ["agent", "I'm so sorry."],
  ]);
  assert.equal(conversation.isAnswering, true);
  done(conversation);
  const [turn] = conversation.turns;
  assert.equal(conversation.isAnswering, false);
  assert.equal(turn.user.cues, CUES);
  assert.equal(turn.agent.turn, turn);
  assert.equal(turn.think, "<think>"); // what formed stays where the end tells none
  assert.equal(turn.emotion, "comforting");
});

test("cues that come before their item wait for it", () => {
  const conversation = new Conversation();
  conversation.take({ type: "echat.cues", item_id: "u", cues: CUES });
  conversation.take({ type: "conversation.item.added", item: user });
  assert.equal(conversation.entry("u").cues, CUES);
});

test("of an answer that was cut off the words that were heard are told apart", () => {
  const conversation = spoken();
  conversation.take({ type: "conversation.item.truncated", item_id: "a", audio_end_ms: 300 });
  const content = [{ type: "output_audio", transcript: "I'm" }];
  conversation.take({ type: "conversation.item.retrieved", item: { ...agent, content } });
  conversation.take({ type: "response.output_audio_transcript.done", item_id: "a", transcript: "I'm" });
  const entry = conversation.entry("a");
  assert.deepEqual([entry.text, entry.heard], ["I'm so sorry.", "I'm"]);
});

test("what is forgotten is gone on the page, both sides of it", () => {
  const conversation = spoken();
  done(conversation);
  conversation.forget("another");
  assert.equal(conversation.entries.length, 2);
  conversation.forget("t");
  assert.deepEqual([conversation.entries, conversation.turns], [[], []]);
});

test("a change of the session leaves what it does not name", () => {
  const conversation = new Conversation();
  conversation.take({ type: "session.created", session: { model: "m", echat: { user: true, allowed: [] } } });
  conversation.take({ type: "session.updated", session: { echat: { voices: ["v"] } } });
  assert.deepEqual(conversation.session, { model: "m", echat: { user: true, allowed: [], voices: ["v"] } });
  conversation.take({ type: "echat.consent.updated", purposes: { train: "denied" }, allowed: ["x"] });
  assert.deepEqual(conversation.session.echat.allowed, ["x"]);
});

test("an event that nobody knows changes nothing", () => {
  const conversation = spoken();
  assert.deepEqual(conversation.take({ type: "rate_limits.updated" }), []);
  assert.deepEqual(conversation.take({ type: "echat.cues", item_id: "none", cues: CUES }), ["entries", "turn"]);
  assert.deepEqual(conversation.take({ type: "response.output_text.delta", item_id: "none", delta: "x" }), []);
});

test("a day of talk does not fill the page", () => {
  const conversation = new Conversation();
  for (let n = 0; n < 2000; n++) {
    conversation.take({ type: "conversation.item.added", item: { ...user, id: `u${n}` } });
    conversation.take({ type: "response.created", response: { id: `r${n}` } });
  }
  assert.equal(conversation.entries.length, 500);
  assert.equal(conversation.turns.length, 500);
});
