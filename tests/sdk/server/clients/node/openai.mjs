// The dialogue through the WebSocket client of the package `openai`.

import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

import { KEY, Told, URL_, first, second } from "./dialogue.mjs";

async function session(lead) {
  const client = new OpenAI({ apiKey: KEY, baseURL: URL_ });
  const realtime = new OpenAIRealtimeWS({ model: "echat" }, client);
  const told = new Told();
  realtime.on("event", (event) => told.take(event));
  realtime.on("error", (error) => console.error(error.message));
  await new Promise((resolve) => realtime.socket.on("open", resolve));
  told.send = (event) => realtime.send(event);
  await lead(told);
  const closed = new Promise((resolve) => realtime.socket.on("close", resolve));
  realtime.close();
  await closed;
}

await session(first);
await session(second);
