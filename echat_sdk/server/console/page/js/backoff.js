// How long to wait before the next try: doubled each time, and never in step with others.

export const FIRST = 500;
export const LONGEST = 15000;

export function delay(attempt, random = Math.random) {
  const most = Math.min(LONGEST, FIRST * 2 ** Math.min(attempt, 30));
  return Math.round(most * (0.5 + 0.5 * random()));
}

// What is to be done once a connection is closed.
//   opened: whether it had ever been open; door: whether the key is let in: yes, no, nobody.
export function verdict({ code, opened, door, expired }) {
  if (code === 1000) return "ended";
  if (expired) return "expired";
  if (code === 1008 || door === "no") return "refused";
  if (code === 1013 || (!opened && door === "yes")) return "full";
  return "lost";
}
