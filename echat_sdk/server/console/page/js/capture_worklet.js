// The microphone, in the audio thread: to 24 kHz, in pieces of 50 ms.

import { loudness, RATE, toPcm16 } from "./pcm.js";
import { Resampler } from "./resampler.js";

const PIECE = RATE / 20;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
  }

  process([input]) {
    if (!input.length) return true; // the microphone is away
    let samples = this.resampler.push(input[0]);
    while (samples.length) {
      const part = samples.subarray(0, PIECE - this.filled);
      this.piece.set(part, this.filled);
      this.filled += part.length;
      samples = samples.subarray(part.length);
      if (this.filled === PIECE) this.#send();
    }
    return true;
  }

  #send() {
    const pcm = toPcm16(this.piece);
    this.port.postMessage({ pcm, level: loudness(this.piece) }, [pcm.buffer]);
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
