import assert from "node:assert/strict";
import { test } from "node:test";
import { delay, FIRST, LONGEST, verdict } from "./page/backoff.js";

test("each try waits longer than the one before, up to a limit", () => {
  const longest = [0, 1, 2, 3, 10, 1000].map((n) => delay(n, () => 1));
  assert.deepEqual(longest, [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, LONGEST, LONGEST]);
});

test("no two pages come back in step", () => {
  assert.equal(delay(3, () => 0), 4 * FIRST / 1);
  assert.ok(new Set(Array.from({ length: 20 }, () => delay(5))).size > 10);
});

test("what is done depends on why it closed", () => {
  const why = (each) => verdict({ code: 1006, opened: true, door: "yes", expired: false, ...each });
  assert.equal(why({}), "lost");
  assert.equal(why({ code: 1001 }), "lost"); // the server is started anew
  assert.equal(why({ code: 1000 }), "ended");
  assert.equal(why({ code: 1013 }), "full");
  assert.equal(why({ code: 1008 }), "refused");
  assert.equal(why({ opened: false, door: "no" }), "refused");
  assert.equal(why({ opened: false, door: "yes" }), "full");
  assert.equal(why({ opened: false, door: "nobody" }), "lost");
  assert.equal(why({ expired: true }), "expired");
});
