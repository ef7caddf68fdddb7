// The connection: events out, events in, and a new one when it breaks.
//
// Tells of itself by events: "open", "message" (detail: the event), "closed" (detail: why).

import { delay, verdict } from "./backoff.js";
import * as door from "./door.js";

const TRIES = 12;
const LAG = 4 << 20; // bytes not sent yet; sound beyond is dropped, for it would come too late

export class Session extends EventTarget {
  constructor() {
    super();
    this.socket = null;
    this.attempt = 0;
    this.timer = 0;
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    clearTimeout(this.timer);
    this.close();
    const to = new URL("/v1/realtime", location.href);
    to.protocol = to.protocol.replace("http", "ws");
    to.searchParams.set("model", "echat");
    const key = door.secret() ? [`openai-insecure-api-key.${door.secret()}`] : [];
    const socket = new WebSocket(to, ["realtime", ...key]);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#tell("open");
    };
    socket.onmessage = ({ data }) => {
      this.attempt = 0;
      this.#tell("message", JSON.parse(data));
    };
    socket.onclose = async ({ code }) => {
      if (this.socket !== socket) return; // closed by us
      this.socket = null;
      const answer = opened ? "yes" : await door.isOpen();
      if (this.socket !== null) return; // opened anew meanwhile
      this.#again(verdict({ code, opened, door: answer, expired: door.isExpired() }));
    };
  }

  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
  }

  send(type, body = {}) {
    if (this.isOpen) this.socket.send(JSON.stringify({ type, ...body }));
    return this.isOpen;
  }

  sendAudio(audio) {
    return this.isOpen && this.socket.bufferedAmount < LAG && this.send("input_audio_buffer.append", { audio });
  }

  #again(why) {
    const again = (why === "lost" || why === "full") && this.attempt < TRIES;
    const wait = again ? delay(this.attempt++) : null;
    if (again) this.timer = setTimeout(() => this.open(), wait);
    this.#tell("closed", { why, wait });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
