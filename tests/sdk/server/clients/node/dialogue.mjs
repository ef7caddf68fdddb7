// The dialogue of ../dialogue.py, for clients in JavaScript.
//
// A client is {send(event), until(kind, count), told}: it sends events as they are called today,
// and waits until so many of a kind have come.

import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

const PIECE = 4800; // bytes: 100 ms
const QUIET = Buffer.alloc(96_000); // 2 s
const HEARD = 1200; // ms of the story, before it is interrupted
const WITHIN = 30_000; // ms for an answer, on a busy machine
const TOWN = { type: "object", properties: { town: { type: "string" } }, required: ["town"] };

const SESSION = {
  type: "realtime",
  instructions: "Be kind.",
  audio: { input: { turn_detection: { type: "server_vad", silence_duration_ms: 800 } } },
  tools: [
    { type: "function", name: "weather", description: "The weather of a town.", parameters: TOWN },
  ],
};

// What a run is given: where the server is, a key, and two recordings.
export const [URL_, KEY, GLAD, OTHER] = process.argv.slice(2);

export function pieces(path) {
  const sound = Buffer.concat([readFileSync(path), QUIET]);
  const starts = Array.from({ length: Math.ceil(sound.length / PIECE) }, (_, n) => n * PIECE);
  return starts.map((at) => sound.subarray(at, at + PIECE));
}

export function report(found) {
  console.log(JSON.stringify(found));
}

// Keeps what came, and wakes who waits for it.
export class Told {
  told = [];
  #waiting = [];

  take(event) {
    this.told.push(event);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  of(kind) {
    return this.told.filter((event) => event.type === kind);
  }

  async until(kind, count = 1) {
    const end = Date.now() + WITHIN;
    while (this.of(kind).length < count) {
      if (Date.now() > end) throw new Error(`no ${kind} came; ${this.told.at(-1)?.type} was last`);
      await Promise.race([new Promise((wake) => this.#waiting.push(wake)), pause(500)]);
    }
    return this.of(kind)[count - 1];
  }

  words(since = 0) {
    const kind = "response.output_audio_transcript.delta";
    const deltas = this.told.slice(since).filter((event) => event.type === kind);
    return deltas.map((event) => event.delta).join("");
  }
}

function say(client, path) {
  for (const piece of pieces(path)) {
    client.send({ type: "input_audio_buffer.append", audio: piece.toString("base64") });
  }
}

export async function first(client) {
  const found = {};
  await client.until("session.created");
  client.send({ type: "session.update", session: SESSION });
  await client.until("session.updated");

  say(client, GLAD);
  const heard = await client.until("conversation.item.input_audio_transcription.completed");
  let done = await client.until("response.done");
  const deltas = client.of("response.output_audio.delta");
  const bytes = deltas.map((event) => Buffer.from(event.delta, "base64").length);
  found.heard = heard.transcript;
  found.answer = client.words();
  found.seconds = bytes.reduce((a, b) => a + b, 0) / 48_000;
  found.answered = done.response.status;
  await pause(1000 * found.seconds + 100);

  say(client, GLAD);
  await client.until("response.output_audio.delta", deltas.length + 1);
  done = await client.until("response.done", 2);
  const item = done.response.output[0];
  await pause(HEARD);
  say(client, OTHER);
  await client.until("input_audio_buffer.speech_started", 3);
  const cut = { item_id: item.id, content_index: 0, audio_end_ms: HEARD };
  client.send({ type: "conversation.item.truncate", ...cut });
  await client.until("conversation.item.truncated");
  client.send({ type: "conversation.item.retrieve", item_id: item.id });
  const kept = await client.until("conversation.item.retrieved");
  found.played = HEARD / 1000;
  found.told = item.content[0].transcript;
  found.kept = kept.item.content[0].transcript;
  await client.until("response.done", 3);
  await pause(300);

  say(client, GLAD);
  done = await client.until("response.done", 4);
  const [call] = done.response.output;
  found.called = [call.name, call.arguments];
  const output = "The sky over Oslo is clear.";
  const given = { type: "function_call_output", call_id: call.call_id, output };
  const before = client.told.length;
  client.send({ type: "conversation.item.create", item: given });
  client.send({ type: "response.create" });
  await client.until("response.done", 5);
  found.result = client.words(before);
  await pause(500);

  const content = [{ type: "input_text", text: "Tell me another one." }];
  const begun = client.of("response.output_audio.delta").length + 1;
  client.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  client.send({ type: "response.create" });
  await client.until("response.output_audio.delta", begun);
  client.send({ type: "response.cancel" });
  done = await client.until("response.done", 6);
  found.cancelled = done.response.status;
  found.reason = done.response.status_details.reason;
  found.errors = client.of("error").map((event) => event.error);
  found.kinds = [...new Set(client.told.map((event) => event.type))];
  report(found);
}

export async function second(client) {
  await client.until("session.created");
  say(client, GLAD);
  await client.until("response.done");
  report({ again: client.words() });
}
