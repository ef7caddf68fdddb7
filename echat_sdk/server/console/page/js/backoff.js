// How long to wait before the next try: doubled each time, and never in step with others.

export const FIRST = 500;
export const LONGEST = 15000;

export function delay(attempt, random = Math.random) {
  const most = Math.min(LONGEST, FIRST * 2 ** Math.min(attempt, 30));
  return Math.round(most * (0.5 + 0.5 * random()));
}

// What is to be done once a connection is closed.
//   opened: whether it had ever been open; reachable: whether the server answers otherwise.
export function verdict({ code, opened, reachable, expired }) {
  if (code === 1000 || code === 1001) return "ended";
  if (code === 1008 || code === 4401 || code === 4403) return "refused";
  if (expired) return "expired";
  if (code === 1013) return "full";
  return !opened && reachable ? "refused" : "lost";
}
