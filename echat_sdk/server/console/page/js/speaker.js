// The loudspeaker: what the agent says, and how much of it was heard.

import { fromBase64, fromPcm16, RATE } from "./pcm.js";

const MODULE = new URL("./player_worklet.js", import.meta.url);

export class Speaker {
  // onLevel(0 to 1, playing), onEnded(item), onRefused()
  constructor({ onLevel, onEnded, onRefused }) {
    Object.assign(this, { onLevel, onEnded, onRefused });
    this.context = null;
    this.node = null;
    this.flushes = new Map();
    this.count = 0;
    this.sink = "";
  }

  // To be called from a touch or a key: browsers play nothing before one.
  async open() {
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      this.ready = this.#load();
    }
    await this.context.resume();
    await this.ready;
  }

  get isOpen() {
    return this.context?.state === "running";
  }

  async #load() {
    await this.context.audioWorklet.addModule(MODULE);
    this.node = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.node.port.onmessage = ({ data }) => this.#take(data);
    this.node.connect(this.context.destination);
    if (this.sink) await this.useDevice(this.sink);
  }

  // Whether this browser can choose where sound goes.
  static get canChoose() {
    return "setSinkId" in AudioContext.prototype;
  }

  async useDevice(deviceId) {
    this.sink = deviceId;
    if (this.context && Speaker.canChoose) await this.context.setSinkId(deviceId);
  }

  add(item, base64) {
    if (!this.node) return;
    const samples = fromPcm16(fromBase64(base64));
    this.node.port.postMessage({ item, samples }, [samples.buffer]);
  }

  finish(item) {
    this.node?.port.postMessage({ finish: item });
  }

  // Stops at once. What was heard of each item that had not ended: [{ item, ms }].
  async flush() {
    if (!this.node) return [];
    const id = ++this.count;
    const heard = await new Promise((resolve) => {
      this.flushes.set(id, resolve);
      this.node.port.postMessage({ flush: id });
    });
    // What has left us may still be on its way to the ear.
    const late = Math.round(1000 * (this.context.outputLatency || 0));
    return heard.map(({ item, ms }) => ({ item, ms: Math.max(0, ms - late) }));
  }

  #take(data) {
    if ("level" in data) this.onLevel(data.level, data.playing);
    else if ("ended" in data) this.onEnded(data.ended);
    else if ("refused" in data) this.onRefused();
    else if ("flushed" in data) {
      this.flushes.get(data.flushed)(data.heard);
      this.flushes.delete(data.flushed);
    }
  }
}
