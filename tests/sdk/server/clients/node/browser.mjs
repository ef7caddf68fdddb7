// The dialogue as a page leads it: a client secret that its server made, and the WebSocket of the
// web platform, which can send no header of its own and insists on a subprotocol that it offered.

import { KEY, Told, URL_, first, report, second } from "./dialogue.mjs";

async function secret() {
  const answer = await fetch(`${URL_}/realtime/client_secrets`, {
    method: "POST",
    headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ session: { type: "realtime" }, echat: { user: "ada" } }),
  });
  const made = await answer.json();
  if (!answer.ok) throw new Error(JSON.stringify(made));
  return made.value;
}

async function session(lead) {
  const protocols = ["realtime", `openai-insecure-api-key.${await secret()}`];
  const url = `${URL_.replace("http", "ws")}/realtime?model=echat`;
  const socket = new WebSocket(url, protocols);
  const told = new Told();
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  report({ protocol: socket.protocol });
  socket.addEventListener("message", (message) => told.take(JSON.parse(message.data)));
  told.send = (event) => socket.send(JSON.stringify(event));
  await lead(told);
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
  socket.close();
  await closed;
}

await session(first);
await session(second);
