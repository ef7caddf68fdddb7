import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBase64, fromPcm16, loudness, toBase64, toPcm16 } from "./page/pcm.js";

test("samples survive the way there and back to half a step", () => {
  const samples = Float32Array.from({ length: 50000 }, (_, i) => Math.sin(i / 7) * 0.99);
  const back = fromPcm16(fromBase64(toBase64(toPcm16(samples))));
  assert.equal(back.length, samples.length);
  assert.ok(samples.every((s, i) => Math.abs(s * (32767 / 32768) - back[i]) <= 0.5 / 32768 + 1e-7));
});

test("what is too loud is clipped, and is little-endian", () => {
  assert.deepEqual([...toPcm16(Float32Array.of(2, -2, 0))], [0xff, 0x7f, 0x01, 0x80, 0, 0]);
});

test("half a sample is none", () => {
  assert.equal(fromPcm16(Uint8Array.of(1, 2, 3)).length, 1);
});

test("base64 is what everybody else's is", () => {
  for (const n of [0, 1, 2, 3, 8191, 8192, 8193, 20000]) {
    const bytes = Uint8Array.from({ length: n }, (_, i) => (i * 131) & 255);
    assert.equal(toBase64(bytes), Buffer.from(bytes).toString("base64"));
    assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  }
});

test("a meter is empty in silence and full at full scale", () => {
  assert.equal(loudness(new Float32Array(100)), 0);
  assert.equal(loudness(new Float32Array(0)), 0);
  assert.equal(loudness(Float32Array.of(1, -1, 1, -1)), 1);
  assert.ok(Math.abs(loudness(new Float32Array(100).fill(0.0316)) - 0.5) < 0.01);
});
