// What is to be heard, in order, and how much of each item was. Counted in samples at 24 kHz.

import { RATE } from "./pcm.js";

export const FULL = 600 * RATE; // samples that wait at most; what does not fit is refused
const FADE = RATE / 200; // 5 ms: a voice that stops at once clicks

export class Playout {
  constructor() {
    this.items = []; // { item, pieces, at, heard, whole }; the first is the one that is heard
    this.waiting = 0;
    this.fading = null;
  }

  // Whether there was room.
  add(item, samples) {
    if (this.waiting + samples.length > FULL) return false;
    let last = this.items.at(-1);
    if (last?.item !== item) {
      last = { item, pieces: [], at: 0, heard: 0, whole: false };
      this.items.push(last);
    }
    last.pieces.push(samples);
    this.waiting += samples.length;
    return true;
  }

  // Nothing more comes of an item, so that its end is an end and no gap.
  finish(item) {
    const found = this.items.find((each) => each.item === item);
    if (found) found.whole = true;
  }

  // Fill a block; what ended in it.
  fill(out) {
    out.fill(0);
    const news = [];
    let n = this.fading ? this.#fade(out) : 0;
    while (this.items.length) {
      const now = this.items[0];
      while (n < out.length && now.pieces.length) {
        n += this.#take(now, out.subarray(n));
      }
      if (now.pieces.length || !(now.whole || this.items.length > 1)) break;
      news.push({ ended: now.item });
      this.items.shift();
    }
    return news;
  }

  get isPlaying() {
    return this.waiting > 0;
  }

  // Stop and forget all: what was heard of each item that had not ended.
  flush() {
    const now = this.items[0];
    if (now?.heard && now.pieces.length) {
      const tail = new Float32Array(Math.min(FADE, this.waiting));
      this.fading = tail.subarray(0, this.#take(now, tail)).map((s, i) => s * (1 - i / FADE));
    }
    const heard = this.items.map(({ item, heard }) => ({ item, ms: milliseconds(heard) }));
    this.items = [];
    this.waiting = 0;
    return heard;
  }

  #take(from, out) {
    let n = 0;
    while (n < out.length && from.pieces.length) {
      const piece = from.pieces[0];
      const part = piece.subarray(from.at, from.at + out.length - n);
      out.set(part, n);
      n += part.length;
      from.at += part.length;
      if (from.at === piece.length) {
        from.pieces.shift();
        from.at = 0;
      }
    }
    from.heard += n;
    this.waiting -= n;
    return n;
  }

  #fade(out) {
    const part = this.fading.subarray(0, out.length);
    out.set(part);
    this.fading = this.fading.length > part.length ? this.fading.subarray(part.length) : null;
    return part.length;
  }
}

function milliseconds(samples) {
  return Math.floor((1000 * samples) / RATE);
}
