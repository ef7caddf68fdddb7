// From one sample rate to another, piece by piece: the same samples as if all had come at once.

const ZEROS = 16; // of the sinc, to each side, at the lower of the two rates
const PASS = 0.92; // of the lower rate's half: room for the filter to fall
const BETA = 8; // of the Kaiser window: about 80 dB

export class Resampler {
  constructor(from, to) {
    if (!(from > 0 && to > 0)) throw new RangeError(`rates above 0; got ${from} and ${to}`);
    const shared = divisor(Math.round(from), Math.round(to));
    this.up = Math.round(to) / shared;
    this.down = Math.round(from) / shared;
    const cut = Math.min(1, this.up / this.down) * PASS;
    this.half = this.up === this.down ? 0 : Math.ceil(ZEROS / cut);
    this.phases = this.half ? table(this.up, this.half, cut) : [];
    this.held = new Float32Array(this.half); // silence before the first sample
    this.phase = 0; // of the next output, in 1/up of an input sample
  }

  push(samples) {
    if (!this.half) return Float32Array.from(samples);
    const all = new Float32Array(this.held.length + samples.length);
    all.set(this.held);
    all.set(samples, this.held.length);
    const width = 2 * this.half;
    const most = Math.ceil((all.length * this.up) / this.down) + 1;
    const out = new Float32Array(most);
    let at = 0; // the first input sample that the next output is made of
    let n = 0;
    while (at + width <= all.length) {
      const weights = this.phases[this.phase];
      let sum = 0;
      for (let k = 0; k < width; k++) sum += all[at + k] * weights[k];
      out[n++] = sum;
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.held = all.slice(at);
    return out.slice(0, n);
  }

  // What the filter still holds, once nothing more comes.
  flush() {
    return this.half ? this.push(new Float32Array(this.half)) : new Float32Array(0);
  }
}

// Weights of the samples from `half - 1` before to `half` after, for each place between two.
function table(up, half, cut) {
  const scale = 1 / bessel(BETA);
  return Array.from({ length: up }, (_, phase) => {
    const weights = Float32Array.from({ length: 2 * half }, (_, k) => {
      const x = k - half - phase / up;
      const inside = 1 - (x / half) ** 2;
      if (inside <= 0) return 0;
      const angle = Math.PI * cut * x;
      const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
      return cut * sinc * bessel(BETA * Math.sqrt(inside)) * scale;
    });
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((w) => w / sum); // a constant stays what it is
  });
}

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}
