import assert from "node:assert/strict";
import { test } from "node:test";
import { mirrorFace, sentence, shares, valence } from "./page/affect.js";
import { dateBefore, dayPoints, line, turnPoints, waterfall } from "./page/chart.js";
import { mouth, pose } from "./page/face.js";
import en from "./page/words_en.js";
import zh from "./page/words_zh.js";

const cue = (label, confidence, distribution) => ({ label, confidence, distribution });

test("a guess is told as one, and unknown as unknown", () => {
  assert.equal(sentence(cue("sad", 0.68)), "sound");
  assert.equal(sentence(cue("sad", 0.4)), "may_sound");
  assert.equal(sentence(cue("unknown", 0)), "unknown");
  assert.equal(sentence(undefined), "unknown");
  assert.equal(valence(cue("unknown", 0)), null);
  assert.equal(valence(cue("other", 1)), null);
  assert.deepEqual(shares(cue("unknown", 0, { sad: 0.5, happy: 0.5 })), []);
  assert.equal(mirrorFace(cue("unknown", 0)), "neutral");
  assert.equal(mirrorFace(cue("anger", 0.9)), "concern"); // anger is not answered with anger
});

test("each step of a turn begins where the one before it ended", () => {
  const bars = waterfall({ heard: 0.5, think: 0.6, first_text: null, first_audio: 0.8, done: 1 });
  assert.deepEqual(bars.map(({ stage }) => stage), ["heard", "think", "first_audio", "done"]);
  assert.deepEqual(bars.map(({ from }) => from), [0, 0.5, 0.6, 0.8]);
  assert.deepEqual(waterfall(undefined), []);
  assert.deepEqual(waterfall({ heard: null }), []);
});

test("a day that is not known breaks the line", () => {
  const day = (day, v) => ({ day, affect: v === null ? null : { valence: v }, turns: 1, known: 1 });
  const points = dayPoints(
    [day("2026-03-01", 0.8), day("2026-03-02", null), day("2026-03-03", -0.8), day("2026-03-05", 0)],
    "2026-03-01", "2026-03-05", 400, 100,
  );
  assert.deepEqual(points.map(({ x, y }) => [x, y]), [[0, 0], [100, null], [200, 100], [400, 50]]);
  assert.equal(line(points), "M0.0 0.0M200.0 100.0L400.0 50.0");
  assert.equal(line(points, 150), "M0.0 0.0M200.0 100.0M400.0 50.0");
  assert.equal(dateBefore("2026-03-01", 1), "2026-02-28");
  assert.deepEqual(turnPoints([0.8, null], 100, 10).map(({ x, y }) => [x, y]), [[25, 0], [75, null]]);
});

test("the mouth opens with the sound, and only when it speaks", () => {
  assert.equal(pose("neutral", "listening", 1).open, 0);
  assert.equal(pose("neutral", "speaking", 1).open, 1);
  assert.notEqual(mouth(pose("happy", "listening")), mouth(pose("sad", "listening")));
  assert.doesNotMatch(mouth(pose("happy", "speaking", 0.7)), /NaN/);
});

test("every word is there in both languages, with the same places to fill", () => {
  const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
  const own = (key) => key.startsWith("words_") || key === "no measured classifier"; // in English as it comes
  const missing = Object.keys(en).filter((key) => !(key in zh));
  assert.deepEqual(missing, []);
  assert.deepEqual(Object.keys(zh).filter((key) => !(key in en) && !own(key)), []);
  assert.deepEqual(Object.keys(en).filter((key) => places(en[key]) !== places(zh[key])), []);
});
