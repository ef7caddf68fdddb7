// The speaker, in the audio thread: plays what waits, tells its level and what was heard.

import { loudness } from "./pcm.js";
import { Playout } from "./playout.js";

const EVERY = 6; // blocks of 128 samples: 32 ms

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playout = new Playout();
    this.blocks = 0;
    this.peak = 0;
    this.port.onmessage = ({ data }) => this.#take(data);
  }

  process(_, [output]) {
    const out = output[0];
    for (const news of this.playout.fill(out)) this.port.postMessage(news);
    for (const other of output.slice(1)) other.set(out);
    this.peak = Math.max(this.peak, loudness(out));
    if (++this.blocks === EVERY) {
      this.port.postMessage({ level: this.peak, playing: this.playout.isPlaying });
      this.blocks = this.peak = 0;
    }
    return true;
  }

  #take({ item, samples, finish, flush }) {
    if (samples && !this.playout.add(item, samples)) this.port.postMessage({ refused: item });
    if (finish) this.playout.finish(finish);
    if (flush) this.port.postMessage({ flushed: flush, heard: this.playout.flush() });
  }
}

registerProcessor("player", Player);
