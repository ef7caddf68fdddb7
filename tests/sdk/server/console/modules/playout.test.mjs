import assert from "node:assert/strict";
import { test } from "node:test";
import { FULL, Playout } from "./page/playout.js";

const samples = (n, value = 1) => new Float32Array(n).fill(value);

function play(playout, n, block = 128) {
  const out = [];
  const news = [];
  for (let at = 0; at < n; at += block) {
    const part = new Float32Array(Math.min(block, n - at));
    news.push(...playout.fill(part));
    out.push(...part);
  }
  return { out, news };
}

test("what comes is heard in order, then silence", () => {
  const playout = new Playout();
  playout.add("a", samples(100, 0.1));
  playout.add("a", samples(100, 0.2));
  playout.add("b", samples(56, 0.3));
  const { out } = play(playout, 400);
  const wanted = [...samples(100, 0.1), ...samples(100, 0.2), ...samples(56, 0.3), ...samples(144, 0)];
  assert.deepEqual(out, wanted.map(Math.fround));
});

test("an item ends once it is whole and heard", () => {
  const playout = new Playout();
  playout.add("a", samples(2400));
  playout.finish("a");
  const { news } = play(playout, 4800);
  assert.deepEqual(news, [{ ended: "a" }]);
});

test("a gap in what comes is no end", () => {
  const playout = new Playout();
  playout.add("a", samples(240));
  assert.deepEqual(play(playout, 480).news, []);
  assert.equal(playout.isPlaying, false);
  playout.add("a", samples(240));
  playout.finish("a");
  assert.deepEqual(play(playout, 480).news, [{ ended: "a" }]);
});

test("to flush tells how many milliseconds were heard of each, and forgets the rest", () => {
  const playout = new Playout();
  playout.add("a", samples(24000));
  playout.add("b", samples(24000));
  play(playout, 12000);
  const [a, b] = playout.flush();
  assert.deepEqual(b, { item: "b", ms: 0 });
  assert.equal(a.item, "a");
  assert.ok(a.ms >= 500 && a.ms <= 505); // the fade is heard, too
  assert.equal(playout.isPlaying, false);
  const { out } = play(playout, 480);
  assert.ok(out.slice(0, 120).every((s, i, all) => i === 0 || s <= all[i - 1])); // it fades
  assert.ok(out.slice(120).every((s) => s === 0));
  assert.deepEqual(playout.flush(), []);
});

test("whatever the size of blocks and pieces, heard and flushed add up", () => {
  for (let seed = 1; seed < 200; seed++) {
    let state = seed;
    const random = (n) => (state = (state * 48271) % 2147483647) % n;
    const playout = new Playout();
    let came = 0;
    let heard = 0;
    for (let step = 0; step < 30; step++) {
      const n = random(3000);
      playout.add("a", samples(n));
      came += n;
      const { out } = play(playout, random(3000), 1 + random(500));
      heard += out.filter((s) => s !== 0).length;
      assert.equal(playout.waiting, came - heard);
    }
    assert.equal(playout.items[0].heard, heard);
  }
});

test("what does not fit is refused, and what waits is heard", () => {
  const playout = new Playout();
  assert.equal(playout.add("a", samples(FULL)), true);
  assert.equal(playout.add("a", samples(1)), false);
  assert.equal(playout.waiting, FULL);
});
