import assert from "node:assert/strict";
import { test } from "node:test";
import { Resampler } from "./page/resampler.js";

const tone = (hertz, rate, seconds) =>
  Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));

function all(resampler, samples, pieces = [samples.length]) {
  const out = [];
  for (let at = 0, n = 0; at < samples.length; at += pieces[n++ % pieces.length]) {
    out.push(...resampler.push(samples.slice(at, at + pieces[n % pieces.length])));
  }
  return Float32Array.from([...out, ...resampler.flush()]);
}

const rms = (samples) => Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / samples.length);

for (const rate of [8000, 16000, 22050, 24000, 44100, 48000, 96000]) {
  test(`a tone of 1 kHz at ${rate} Hz is the same tone at 24 kHz`, () => {
    const got = all(new Resampler(rate, 24000), tone(1000, rate, 1));
    const wanted = tone(1000, 24000, 1);
    assert.ok(Math.abs(got.length - wanted.length) <= 1 + Math.ceil(24000 / rate), `${got.length}`);
    const off = wanted.slice(500, -500).map((s, i) => s - got[i + 500]);
    assert.ok(rms(off) < 0.002, `${rms(off)}`);
  });

  test(`at ${rate} Hz pieces make no difference`, () => {
    const samples = tone(700, rate, 0.25);
    const whole = all(new Resampler(rate, 24000), samples);
    for (const pieces of [[128], [1], [1000, 3, 77]]) {
      assert.deepEqual(all(new Resampler(rate, 24000), samples, pieces), whole);
    }
  });
}

test("what 24 kHz cannot carry is taken away, and does not come back as another tone", () => {
  assert.ok(rms(all(new Resampler(48000, 24000), tone(15000, 48000, 1)).slice(200, -200)) < 0.001);
});

test("a constant stays what it is", () => {
  const got = all(new Resampler(44100, 24000), new Float32Array(44100).fill(0.5));
  assert.ok(got.slice(100, -100).every((s) => Math.abs(s - 0.5) < 1e-4));
});

test("a rate that is none is refused", () => {
  assert.throws(() => new Resampler(0, 24000), RangeError);
});
