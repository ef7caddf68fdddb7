import assert from "node:assert/strict";
import { test } from "node:test";

import { Wake } from "./page/wake.js";

function wakes(wake, ...levels) {
  return levels.map((level) => wake.push(level)).includes(true);
}

const times = (n, level) => Array(n).fill(level);

test("who speaks near wakes it within a syllable or two", () => {
  const wake = new Wake();
  assert(!wakes(wake, ...times(40, 0.1)));
  assert(!wakes(wake, ...times(4, 0.6)));
  assert(wakes(wake, ...times(1, 0.6)));
});

test("a click wakes nobody, and neither does who speaks far away", () => {
  const wake = new Wake();
  for (let n = 0; n < 50; n++) assert(!wakes(wake, 0.1, 0.1, 0.1, 0.9, 0.9));
  assert(!wakes(wake, ...times(200, 0.33)));
});

test("a voice with gaps between its syllables is one", () => {
  const wake = new Wake();
  assert(!wakes(wake, ...times(20, 0.1)));
  assert(wakes(wake, 0.6, 0.6, 0.6, 0.2, 0.6, 0.6, 0.6));
});

test("in a loud room who speaks must be louder than the room", () => {
  const wake = new Wake();
  assert(!wakes(wake, ...times(200, 0.6)));
  assert(!wakes(wake, ...times(200, 0.7)));
  assert(wakes(wake, ...times(10, 0.85)));
});

test("a hum that begins is the room after a while", () => {
  const wake = new Wake();
  wakes(wake, ...times(20, 0.05));
  assert(wakes(wake, ...times(10, 0.5)));
  wakes(wake, ...times(400, 0.5));
  assert(!wakes(wake, ...times(100, 0.5)));
});
