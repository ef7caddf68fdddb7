// The dialogue through a `RealtimeSession` of `@openai/agents`, which interrupts, truncates, runs
// functions and keeps the history by itself: what it was told, it must have understood.

import { setTimeout as pause } from "node:timers/promises";

import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents/realtime";
import { z } from "zod";

import { GLAD, KEY, OTHER, Told, URL_, pieces, report } from "./dialogue.mjs";

const HEARD = 1200; // ms of the story, before it is interrupted

const weather = tool({
  name: "weather",
  description: "The weather of a town.",
  parameters: z.object({ town: z.string() }),
  execute: async ({ town }) => `The sky over ${town} is clear.`,
});

class Client extends Told {
  errors = [];
  interruptions = 0;
  bytes = 0;
  calls = [];

  constructor() {
    super();
    const agent = new RealtimeAgent({ name: "echat", instructions: "Be kind.", tools: [weather] });
    const turnDetection = { type: "server_vad", silenceDurationMs: 800 };
    this.session = new RealtimeSession(agent, {
      transport: "websocket",
      model: "echat",
      config: { audio: { input: { turnDetection } } },
    });
    this.session.on("transport_event", (event) => this.take(event));
    this.session.on("error", (error) => this.errors.push(error));
    this.session.on("audio", (event) => (this.bytes += event.data.byteLength));
    this.session.on("audio_interrupted", () => (this.interruptions += 1));
    this.session.on("agent_tool_start", (context, who, { name }, { toolCall }) =>
      this.calls.push(name, toolCall.arguments),
    );
  }

  async connect() {
    const url = `${URL_.replace("http", "ws")}/realtime?model=echat`;
    await this.session.connect({ apiKey: KEY, url });
    await this.until("session.updated");
  }

  say(path) {
    for (const piece of pieces(path)) this.session.sendAudio(new Uint8Array(piece).buffer);
  }

  // The transcripts that the session knows, of one side.
  said(role) {
    const items = this.session.history.filter((item) => item.role === role);
    return items.map((item) => item.content[0]?.transcript ?? item.content[0]?.text);
  }

  async close() {
    this.session.close();
    await pause(100);
  }
}

async function first() {
  const client = new Client();
  const found = {};
  await client.connect();

  client.say(GLAD);
  let done = await client.until("response.done");
  found.answered = done.response.status;
  found.seconds = client.bytes / 48_000;
  found.answer = client.said("assistant")[0];
  await pause(1000 * found.seconds + 100);

  const deltas = client.of("response.output_audio.delta").length;
  client.say(GLAD);
  await client.until("response.output_audio.delta", deltas + 1);
  done = await client.until("response.done", 2);
  found.told = done.response.output[0].content[0].transcript;
  await pause(HEARD);
  const interruptions = client.interruptions;
  const retrieved = client.of("conversation.item.retrieved").length;
  client.say(OTHER);
  const cut = await client.until("conversation.item.truncated");
  found.interruptions = client.interruptions - interruptions;
  found.played = cut.audio_end_ms / 1000;
  await client.until("conversation.item.retrieved", retrieved + 1);
  await client.until("response.done", 3);
  await pause(300);
  const item = client.session.history.find((each) => each.itemId === cut.item_id);
  found.kept = item.content[0].transcript;
  found.heard = client.said("user")[0];

  client.say(GLAD);
  await client.until("response.done", 4);
  const before = client.told.length;
  await client.until("response.done", 5);
  found.called = client.calls;
  found.result = client.words(before);
  await pause(500);

  const begun = client.of("response.output_audio.delta").length + 1;
  client.session.sendMessage("Tell me another one.");
  await client.until("response.output_audio.delta", begun);
  await pause(200);
  client.session.interrupt();
  done = await client.until("response.done", 6);
  found.cancelled = done.response.status;
  found.reason = done.response.status_details.reason;
  await client.until("conversation.item.truncated", 2);
  await pause(200);
  found.errors = client.errors;
  found.kinds = [...new Set(client.told.map((event) => event.type))];
  report(found);
  await client.close();
}

async function second() {
  const client = new Client();
  await client.connect();
  client.say(GLAD);
  await client.until("response.done");
  report({ again: client.words() });
  await client.close();
}

await first();
await second();
